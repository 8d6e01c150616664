"""Reasons to drop a teacher's trace: each filter is a function of (example, attempt, verdict), and says why or says None.

wrong       the verdict is 0.0                     refused    the teacher declined
unjudged    no verdict could be made               truncated  it stopped at the token limit
empty       nothing was written                    leak       it repeats the words of the strategy's prompt
error       no answer came                         loop       the same line again and again
too_long    more tokens than a lesson may have
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from orcinus.strategies import system_in
from orcinus.types import Attempt, Example, Strategy, Verdict

Reason = str | None
Rule = Callable[[Example, Attempt, Verdict], Reason]

LEAK_WORDS = 8
"""A run of so many words of the strategy's message in an answer is a leak; shorter ones occur in any text."""
LOOP_LINES = 6
"""The same line so often is a model that has lost its way."""
_WORD = re.compile(r"\w+")
_REFUSED = re.compile(
    r"\A\W*(?:i(?:'m| am)(?: very| really)? sorry\b|sorry,? (?:but )?i\b|i (?:can(?:no|')t|cannot|won't|am unable to|'m unable to)|as an ai\b)",
    re.IGNORECASE,
)


def errors(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """No answer came."""
    return f"no answer came: {attempt.error}" if attempt.finish == "error" else None


def empty(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """Nothing was written."""
    return None if attempt.text.strip() else "nothing was written"


def refused(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """The teacher declined to answer."""
    if attempt.finish == "refusal" or (len(attempt.text) < 600 and _REFUSED.search(attempt.text)):
        return "the teacher declined to answer"
    return None


def truncated(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """The trace stops in the middle."""
    return f"cut off at {attempt.usage.tokens_out} tokens" if attempt.finish == "length" else None


def loops(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """The same line again and again."""
    lines = Counter(line.strip() for line in attempt.text.splitlines() if len(line.strip()) > 10)
    if lines and (most := lines.most_common(1)[0])[1] >= LOOP_LINES:
        return f"one line stands {most[1]} times"
    return None


def wrong(_: Example, __: Attempt, verdict: Verdict) -> Reason:
    """The final answer is not the reference."""
    return f"answered {verdict.answer!r:.80}" if verdict.value == 0.0 else None


def unjudged(example: Example, __: Attempt, verdict: Verdict) -> Reason:
    """No verdict could be made, though there is a reference to compare with."""
    return verdict.reason if verdict.value is None and example.reference is not None else None


def too_long(limit: int) -> Rule:
    """A filter for traces of more than ``limit`` written tokens."""

    def rule(_: Example, attempt: Attempt, __: Verdict) -> Reason:
        return f"{attempt.usage.tokens_out} tokens" if attempt.usage.tokens_out > limit else None

    return rule


def leaks(strategies: Mapping[str, Strategy]) -> Rule:
    """A filter for traces that repeat the words of their strategy's message, so that erasing it would be in vain."""
    runs = {name: _runs(strategy.system) for name, strategy in strategies.items() if strategy.system}

    def rule(_: Example, attempt: Attempt, __: Verdict) -> Reason:
        told = runs.get(attempt.strategy) or _runs(system_in(attempt.messages))
        shared = told & _runs(attempt.text)
        return f"repeats the strategy's words {' '.join(min(shared))!r}" if shared else None

    return rule


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    words = [word.casefold() for word in _WORD.findall(text)]
    return frozenset(tuple(words[i : i + LEAK_WORDS]) for i in range(len(words) - LEAK_WORDS + 1))
