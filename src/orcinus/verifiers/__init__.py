"""Verdicts: find the final answer in a text, and decide whether it is right.

What cannot be judged is None, never wrong. ``verify`` judges one attempt by the verifier of its
task. ``rules`` judge by answer type, with ``answers``, and with ``programs`` run in a ``sandbox``.
``judge`` asks a model, in the words of ``judge_prompts``. ``official`` holds the rules of published
figures, ``ifeval`` those of IFEval, and ``rewards`` score answers without a reference. ``measure``
asks a model a list of questions and judges the answers.
"""
