"""Reasons to drop a teacher's trace: a filter maps (example, attempt, verdict) to a reason or None.

wrong       the verdict is 0.0                     refused    the teacher declined
unjudged    no verdict could be made               truncated  it stopped at the token limit
empty       the reply is empty                     leak       it repeats the strategy's prompt
error       the call failed                        loop       the same lines or words repeat
too_long    more tokens than a lesson may have     length     fewer or more words than wanted
toxic       a function of yours scores it high     language   it is in another language

By name in ``curate.filters``: ``boilerplate`` (it speaks of itself as a language model),
``personal_data``, and ``label_agreement`` (a stored answer that lacks the dataset's label). Figures
on recorded outputs: docs/design/004-curation.md.
"""

import re
from collections.abc import Callable, Mapping

from orcinus.core import registry
from orcinus.core.guard import describe, guard
from orcinus.core.protocols import Filter
from orcinus.core.types import Attempt, Example, Strategy, Verdict
from orcinus.lessons.personal_data import personal_data
from orcinus.strategies.prompts import system_in
from orcinus.verifiers.answers.failures import loop_in, refuses, words_of

Reason = str | None

LEAK_WORDS = 8
"""Words. A run of this length from the strategy's message in an answer is a leak; shorter runs
occur in any text."""
_OF_ITSELF = re.compile(
    r"\b(?:as|i(?:['’]m| am)(?: only| just)?) an? (?:large |ai )*"
    r"(?:language model|ai assistant|ai\b(?=,| and | so | developed| created| trained))"
    r"|\bmy (?:knowledge|training)(?: data)? (?:cut-?off|only (?:goes|extends)|ends)"
    r"|\b(?:as of|until) my (?:last|latest) (?:knowledge |training )?(?:update|cut-?off)",
    re.IGNORECASE,
)
_OF_MODELS = re.compile(
    r"\b(?:ai|artificial intelligence|language models?|chat ?gpt|chatbot|assistant)\b",
    re.IGNORECASE,
)


def errors(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """Drop a failed call."""
    return f"no answer came: {attempt.error}" if attempt.finish == "error" else None


def empty(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """Drop an empty reply."""
    return None if attempt.text.strip() else "nothing was written"


def refused(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """Drop a reply that declines to answer."""
    if attempt.finish == "refusal" or refuses(attempt.text):
        return "the teacher declined to answer"
    return None


def truncated(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """Drop a trace that was cut off at the token limit."""
    return f"cut off at {attempt.usage.tokens_out} tokens" if attempt.finish == "length" else None


def loops(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """Drop a trace that repeats the same line, or the same words."""
    return loop_in(attempt.text, cut_off=attempt.finish == "length")


def boilerplate(example: Example, attempt: Attempt, _: Verdict) -> Reason:
    """Drop a trace that speaks of itself as a language model, unless the question is about that."""
    said = _OF_ITSELF.search(attempt.text)
    if said is None or _OF_MODELS.search(example.prompt):
        return None
    return f"speaks of itself as a model: {said.group()!r}"


def wrong(_: Example, __: Attempt, verdict: Verdict) -> Reason:
    """Drop a trace whose final answer is not the reference."""
    return f"answered {verdict.answer!r:.80}" if verdict.value == 0.0 else None


def unjudged(example: Example, __: Attempt, verdict: Verdict) -> Reason:
    """Drop a trace without a verdict, although there is a reference to compare with."""
    return verdict.reason if verdict.value is None and example.reference is not None else None


def too_long(limit: int) -> Filter:
    """Return a filter that drops traces of more than ``limit`` written tokens."""

    def rule(_: Example, attempt: Attempt, __: Verdict) -> Reason:
        return f"{attempt.usage.tokens_out} tokens" if attempt.usage.tokens_out > limit else None

    return rule


def length(at_least: int | None, at_most: int | None) -> Filter:
    """Return a filter that drops traces with too few or too many words, split at white space."""

    def rule(_: Example, attempt: Attempt, __: Verdict) -> Reason:
        words = len(attempt.text.split())
        if at_least is not None and words < at_least:
            return f"{words} words, fewer than {at_least}"
        if at_most is not None and words > at_most:
            return f"{words} words, more than {at_most}"
        return None

    return rule


def toxic(score: Callable[[str], float], name: str, limit: float) -> Filter:
    """Return a filter that drops traces with a ``score`` of ``limit`` or more.

    Args:
        score: Scores a text from 0.0 (harmless) to 1.0.
        name: Names the score in the reason.
        limit: The lowest score that drops a trace.
    """

    def rule(example: Example, attempt: Attempt, _: Verdict) -> Reason:
        with guard("curate.toxicity", name, score, lambda: describe(example)):
            found = float(score(attempt.text))
        return f"{name} scores it {found:.2f}, {limit:g} or more" if found >= limit else None

    return rule


def label_agreement(example: Example, attempt: Attempt, verdict: Verdict) -> Reason:
    """Drop a stored answer that does not contain the dataset's label.

    SlimOrca left these answers out of OpenOrca; it asked a judge. A verdict of the rules, which
    read the answer more strictly, takes precedence.
    """
    if verdict.value is not None or example.reference is None:
        return None
    labels = (example.reference,) if isinstance(example.reference, str) else example.reference
    answer = _spaced(attempt.text)
    if any(_spaced(label) in answer for label in labels):
        return None
    return f"the label {labels[0]!r:.80} is not in the answer"


def _spaced(text: str) -> str:
    """Return the words in lower case between single spaces, so that only whole words match."""
    return f" {' '.join(words_of(text))} "


def leaks(strategies: Mapping[str, Strategy]) -> Filter:
    """Return a filter that drops traces which quote their strategy's message."""
    told = {
        name: words_of(strategy.system) for name, strategy in strategies.items() if strategy.system
    }
    known = {
        name: (runs_of_words(words, LEAK_WORDS), runs_of_words(words, LEAK_WORDS // 2))
        for name, words in told.items()
    }

    def rule(_: Example, attempt: Attempt, __: Verdict) -> Reason:
        if attempt.strategy in known:
            runs, blocks = known[attempt.strategy]
        else:  # The message was drawn for this question.
            own = words_of(system_in(attempt.messages))
            runs, blocks = runs_of_words(own, LEAK_WORDS), runs_of_words(own, LEAK_WORDS // 2)
        said = words_of(attempt.text)
        # A shared run of eight words contains one of the answer's consecutive blocks of four.
        if blocks.isdisjoint(zip(*(iter(said),) * (LEAK_WORDS // 2), strict=False)):
            return None
        shared = runs & runs_of_words(said, LEAK_WORDS)
        return f"repeats the strategy's words {' '.join(min(shared))!r}" if shared else None

    return rule


def runs_of_words(words: list[str], n: int) -> frozenset[tuple[str, ...]]:
    """Return the runs of ``n`` words; a text with fewer has none."""
    return frozenset(zip(*(words[k:] for k in range(n)), strict=False))


def with_personal_data(_: Example, attempt: Attempt, __: Verdict) -> Reason:
    """Drop a trace that holds personal data."""
    return personal_data(attempt.text)


BUILT_IN: Mapping[str, Filter] = {
    "boilerplate": boilerplate,
    "personal_data": with_personal_data,
    "label_agreement": label_agreement,
}
"""The filters that a recipe names in ``curate.filters``."""


def find_filter(name: str) -> Filter:
    """Return the filter of a name, or at ``module:function``.

    Raises:
        ConfigError: There is none, or it does not have the shape of a filter.
    """
    found: Filter = registry.find("filter", name, BUILT_IN)
    return found
