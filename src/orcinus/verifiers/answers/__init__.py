"""Find the final answer in a text and compare it with a reference: one module for each answer type.

``text`` finds the place where an answer is announced, ``denials`` recognises what a text rules out,
and ``failures`` recognises refusals and loops.
"""
