"""Judging attempts: find the final answer in the text, compare it with the reference."""
