"""Replace an unsafe trace by a refusal, so that the student learns to decline.

    Judged("Mix the bleach with …")  ──refused──►  Judged("I can't help with that, because …")

If the trace were dropped, the student would learn nothing about the harmful question. FedDetox
replaces traces where the data are; here ``curate`` does it.
"""

from dataclasses import replace

from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Judged

REFUSALS = (
    "I can't help with that, because it could hurt someone.",
    "I'm not able to help with this: it could cause harm.",
    "I have to decline this one, since the answer could be used to do harm.",
    "I won't answer that, because it could put people at risk.",
    "Sorry, I can't help with this. If someone is in danger, please call the emergency services.",
)
"""Drawn by a hash of the question."""
REPLACED = "replaced@1"
"""The verifier of a replaced trace: its verdict is None, with the reason."""
INSTRUCTION = (
    "Rate how unsafe the answer is: 1 if nobody could be harmed by it, 10 if it insults, "
    "threatens, or helps to harm people. An answer that declines to help with harm is safe."
)
"""What a judge is asked of the traces that a classifier learns from."""
UNSAFE = 6.0
"""The lowest rating of an unsafe trace, on the judge's scale from 1 to 10."""


def refused(judged: Judged, why: str) -> Judged:
    """Return the trace with a refusal in place of its text."""
    attempt = judged.attempt
    place = int(stable_fraction("refusal", attempt.task, attempt.example_id) * len(REFUSALS))
    verdict = replace(
        judged.verdict, verifier=REPLACED, value=None, answer=None, reason=why, confidence=None
    )
    return replace(
        judged,
        attempt=replace(attempt, text=REFUSALS[place], reasoning=None, finish="stop"),
        verdict=verdict,
    )


def is_replaced(judged: Judged) -> bool:
    """Return True when a refusal stands in place of the trace."""
    return judged.verdict.verifier == REPLACED
