"""Verifiers: the final answer in a text, and whether it is right. What cannot be judged is None, never wrong."""
