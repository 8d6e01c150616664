"""Find the traces that no rule about the words of a reply drops, from whole columns.

    Screen(strategies).passes(table, texts, words)  →  [True, False, …]

The rules look at one trace after another, and most traces break none. Here the words of all traces
are hashed at once. True means that the rules in ``RULES`` have no reason to drop a trace. False
means that they must look.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orcinus.core.types import Strategy
from orcinus.lessons.filters import LEAK_WORDS, runs_of_words
from orcinus.tasks.duplicates.ngrams import U64, Ngrams, Words, identifiers
from orcinus.tasks.duplicates.overlap import TEXTS_AT_ONCE, batched
from orcinus.verifiers.answers.failures import (
    LONGEST_WORD,
    LOOP_SHARE,
    LOOP_WORDS,
    refuses,
    repeated_line,
    words_of,
)

Bools = NDArray[np.bool_]
RULES = frozenset(("error", "empty", "refused", "truncated", "loop", "leak"))
"""The rules that are decided here, by the names that ``curate_rules`` gives them."""
_MOST_SLOTS = 1 << 14
"""Slots for the runs of a text, at most. A text of more runs than that must be looked at."""


class Screen:
    """What tells the traces apart that must be looked at."""

    def __init__(self, strategies: Mapping[str, Strategy]) -> None:
        """Take the strategies, by name, whose words a trace must not repeat."""
        # Where the message is drawn for each question, only the trace itself holds it.
        own = [one for one in strategies.values() if one.system_from == "strategy"]
        self._names = frozenset(one.name for one in own)
        told = {
            " ".join(run)
            for strategy in own
            for run in runs_of_words(words_of(strategy.system), LEAK_WORDS)
        }
        self._told = np.unique(identifiers(list(filter(str.isascii, told))).runs(LEAK_WORDS).hashes)
        self._starts = np.zeros(1 << 16, np.bool_)
        self._starts[_start_of(self._told)] = True

    def passes(self, table: pa.Table, texts: Sequence[str], words: Iterable[Words]) -> Bools:
        """Return which traces pass.

        Args:
            table: The traces' rows, with ``strategy`` and ``finish``.
            texts: Their texts.
            words: ``words_in_parts`` of the texts.
        """
        columns = (table[name].to_pylist() for name in ("strategy", "finish"))
        may_pass = [
            finish == "stop"
            and strategy in self._names
            and text.isascii()
            and bool(text)
            and not text.isspace()
            and not refuses(text)
            and repeated_line(text) is None
            for text, strategy, finish in zip(texts, *columns, strict=True)
        ]
        passed = np.array(may_pass, np.bool_)
        are_new = [self._have_new_words(part.without_symbols()) for part in words]
        # An underscore is part of a word for the rules, and between words for ``words``.
        joined = np.flatnonzero(passed & np.array(["_" in text for text in texts], np.bool_))
        passed &= np.concatenate([np.empty(0, np.bool_), *are_new])
        for places in batched(joined.tolist(), TEXTS_AT_ONCE):
            some = identifiers([texts[place] for place in places])
            passed[places] = self._have_new_words(some)
        return passed

    def _have_new_words(self, words: Words) -> Bools:
        """Return which ASCII texts neither repeat themselves nor a strategy's message."""
        runs = words.runs(LOOP_WORDS)
        rows = runs.rows
        is_new = 1 - _least_distinct(runs, rows) / np.maximum(1, np.diff(runs.offsets)) < LOOP_SHARE
        of_word = np.repeat(np.arange(len(words.counts)), words.counts)
        is_new[of_word[words.lengths > LONGEST_WORD]] = False
        maybe = np.flatnonzero(self._starts[_start_of(runs.hashes)])
        is_new[rows[maybe[np.isin(runs.hashes[maybe], self._told)]]] = False
        return is_new


def _start_of(hashes: U64) -> NDArray[np.int64]:
    """Return the first 16 bits of hashes."""
    return (hashes >> np.uint64(48)).view(np.int64)


def _least_distinct(runs: Ngrams, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a lower bound of the number of different runs of each text: the slots they fall in."""
    counts = np.diff(runs.offsets)
    slots = min(_MOST_SLOTS, 4 << int(counts.max(initial=0)).bit_length())
    is_taken = np.zeros((len(counts), slots), np.bool_)
    is_taken[rows, (runs.hashes & np.uint64(slots - 1)).view(np.int64)] = True
    return np.asarray(np.count_nonzero(is_taken, axis=1), np.int64)
