"""Check each trace alone: the rules of ``curate``, which workers run on row groups.

    TraceChecks(config=CurateConfig(), strategies=…, held_out=…)(group)
    →  Checked(reasons={3: ("wrong", "answered '41'")}, hashes=[…], …)

A worker imports this module and no verifiers, which take most of a second.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orcinus.core.errors import StepError
from orcinus.core.protocols import Filter
from orcinus.core.registry import find_function
from orcinus.core.types import LECTURE, Example, Judged, Strategy
from orcinus.lessons import filters
from orcinus.lessons.config import CurateConfig, ToxicityConfig
from orcinus.lessons.language import languages
from orcinus.lessons.refusals import refused
from orcinus.lessons.screening import RULES, Screen
from orcinus.runs import tables
from orcinus.runs.columns import numbers_of
from orcinus.runs.row_groups import TraceGroup
from orcinus.strategies.library import by_name
from orcinus.tasks.duplicates.near import TEXTS_PER_BATCH, signatures_of
from orcinus.tasks.duplicates.ngrams import Words, normal
from orcinus.tasks.duplicates.overlap import Overlap, words_in_parts
from orcinus.tasks.duplicates.seen import hash_of

Reason = tuple[str, str]
"""A filter's name, and why it drops a trace."""


def calls_users_functions(config: CurateConfig) -> bool:
    """Return True where a user's own function looks at the traces; it stays in one process."""
    own_score = config.toxicity is not None and config.toxicity.function is not None
    return own_score or not set(config.filters) <= set(filters.BUILT_IN)


def refuses_unsafe(config: ToxicityConfig | None, judged: Judged) -> bool:
    """Return True where a refusal is put in place of an unsafe trace. A lecture answers nobody."""
    refuses = config is not None and config.instead == "refuse"
    return refuses and judged.attempt.strategy != LECTURE


def curate_rules(config: CurateConfig, strategies: Sequence[Strategy]) -> dict[str, Filter]:
    """Return the filters by name, in the order in which they are applied."""
    rules: dict[str, Filter] = {
        "error": filters.errors,
        "empty": filters.empty,
        "refused": filters.refused,
        "truncated": filters.truncated,
        "loop": filters.loops,
        "leak": filters.leaks(by_name(strategies)),
    }
    if config.max_tokens is not None:
        rules["too_long"] = filters.too_long(config.max_tokens)
    if config.min_words is not None or config.max_words is not None:
        rules["length"] = filters.length(config.min_words, config.max_words)
    if config.keep != "all":
        rules["wrong"] = filters.wrong
    if config.unjudged == "drop":
        rules["unjudged"] = filters.unjudged
    if config.languages:
        rules["language"] = languages(config.languages)
    if config.toxicity is not None and config.toxicity.function is not None:
        score = find_function(config.toxicity.function)
        rules["toxic"] = filters.toxic(score, config.toxicity.function, config.toxicity.limit)
    for name in config.filters:
        rules[name] = filters.find_filter(name)
    return rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the checks of each trace alone found in one row group."""

    reasons: Mapping[int, Reason]
    """Why traces are dropped, by their place in the group."""
    replaced: Mapping[int, Judged]
    """Refusals in place of unsafe traces, by place."""
    hashes: list[int]
    """Of question and answer; 0 for a trace that is dropped."""
    signatures: tuple[NDArray[np.uint8], NDArray[np.bool_]] | None
    """For near duplicates; None where they are not looked for."""


_NEEDED = (
    "id",
    "example_id",
    "task",
    "strategy",
    "messages",
    "text",
    "finish",
    "tokens_out",
    "error",
    "value",
    "answer",
    "reason",
)
"""Columns of a trace that the built-in filters look at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceChecks:
    """The checks of each trace alone. Workers run them on row groups."""

    config: CurateConfig
    strategies: tuple[Strategy, ...]
    held_out: Overlap

    def __call__(self, group: TraceGroup) -> Checked:
        """Check the traces of a row group."""
        if self.config.toxicity is not None or calls_users_functions(self.config):
            return self.check(list(group.read()))
        table = group.table(_NEEDED)
        examples, texts = group.examples_of(table), table["text"].to_pylist()
        rules = curate_rules(self.config, self.strategies)
        others = {name: rule for name, rule in rules.items() if name not in RULES}
        words = list(words_in_parts(texts))
        is_clear = Screen(by_name(self.strategies)).passes(table, texts, words)
        is_done = np.zeros(len(table), np.bool_)
        if others.keys() <= {"wrong", "unjudged"}:
            right = [value == 1.0 for value in table["value"].to_pylist()]
            is_done = is_clear & np.array(right, np.bool_)
        places = np.flatnonzero(~is_done)
        rows = numbers_of(places)
        judged = tables.judged_in(table.take(rows), first_turns=True)
        doubtful = zip(tables.examples_in(examples.take(rows)), judged, strict=True)
        return self._check(
            texts,
            words,
            examples["prompt"].to_pylist(),
            list(tables.whole_prompts_in(examples)),
            (
                (place, trace, others if is_clear[place] else rules)
                for place, trace in zip(places.tolist(), doubtful, strict=True)
            ),
        )

    def check(self, traces: Sequence[tuple[Example, Judged]]) -> Checked:
        """Check traces, each with its example."""
        rules = curate_rules(self.config, self.strategies)
        texts = [judged.attempt.text for _, judged in traces]
        return self._check(
            texts,
            list(words_in_parts(texts)),
            [example.prompt for example, _ in traces],
            [example.whole_prompt for example, _ in traces],
            ((place, trace, rules) for place, trace in enumerate(traces)),
        )

    def _check(
        self,
        texts: list[str],
        words: Sequence[Words],
        prompts: Sequence[str],
        whole_prompts: Sequence[str],
        doubtful: Iterable[tuple[int, tuple[Example, Judged], Mapping[str, Filter]]],
    ) -> Checked:
        """Check traces.

        Args:
            texts: Of the traces.
            words: ``words_in_parts`` of them.
            prompts: Their questions.
            whole_prompts: These after the turns before them.
            doubtful: The traces that a rule may drop, with their places and these rules.
        """
        overlaps = self.held_out.reasons(texts, words)
        reasons: dict[int, Reason] = {}
        replaced: dict[int, Judged] = {}
        said = list(texts)
        for place, (example, judged), rules in doubtful:
            reason = _drop_reason(rules, example, judged)
            if reason is None:
                continue
            if reason[0] == "toxic" and refuses_unsafe(self.config.toxicity, judged):
                replaced[place] = refused(judged, reason[1])
                said[place] = replaced[place].attempt.text
            else:
                reasons[place] = reason
        for place, overlap in enumerate(overlaps):
            if overlap is not None and place not in replaced:
                reasons.setdefault(place, ("contaminated", overlap))
        hashes = [
            0 if place in reasons else hash_of(prompt, normal(text))
            for place, (prompt, text) in enumerate(zip(whole_prompts, said, strict=True))
        ]
        return Checked(
            reasons=reasons,
            replaced=replaced,
            hashes=hashes,
            signatures=None if self.config.near_duplicates is None else _sign(prompts, texts),
        )


def _drop_reason(rules: Mapping[str, Filter], example: Example, judged: Judged) -> Reason | None:
    """Return the first rule's reason to drop a trace."""
    for name, rule in rules.items():
        why: object = rule(example, judged.attempt, judged.verdict)
        if isinstance(why, str):
            return name, why
        if why is not None:
            raise StepError(f"filter {name!r} gives {why!r:.60}; a filter gives a reason or None")
    return None


def _sign(
    prompts: Sequence[str], texts: Sequence[str]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    pairs = [f"{prompt}\n{text}" for prompt, text in zip(prompts, texts, strict=True)]
    parts = [
        signatures_of(pairs[start : start + TEXTS_PER_BATCH])
        for start in range(0, len(pairs), TEXTS_PER_BATCH)
    ]
    return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])
