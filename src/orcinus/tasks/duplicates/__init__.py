"""Texts that repeat others: equal ones, near ones, and ones that overlap with an evaluation set.

``ngrams`` turns texts into numbers, ``seen`` remembers hashes, ``near`` groups near duplicates,
``overlap`` finds what must stay unseen.
"""
