"""Give each response token its numbers, from the numbers that a lesson's text has in parts.

    meta.validity {"bytes": [9, 12], "values": [0.98, 0.27]}  ──►  0.98 0.98 0.27 0.27 nan

Steps before training know texts, and not the student's tokens. So they give numbers to parts of a
lesson's text: its reasoning, then its completion. ``bytes`` are the lengths of the parts, and
``values`` their numbers, None for a part without one. ``rest`` is the number of what the chat
template adds, and ``end`` that of the token that ends the turn.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from orcinus.core.token_bytes import align
from orcinus.core.types import Lesson
from orcinus.models.local.chat_format import Chat

NAN = float("nan")
VALIDITY = "validity"
TEACHER_LOGPROB = "teacher_logprob"
TEACHER_GROUP = "teacher_group"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The text that a student learns to write, in parts that have a number."""

    text: bytes
    lengths: Sequence[int]
    """Bytes of each part; together those of the text."""
    values: Sequence[float | None]
    rest: float
    """The number of a token outside the lesson's own text."""
    end: float | None
    """The number of the token that ends the turn; None where it has none of its own."""


def token_numbers(name: str, lesson: Lesson, chat: Chat) -> list[float]:
    """Return the number ``name`` of each response token of a lesson; nan for one without.

    Args:
        name: One of ``PARTS``.
        lesson: The lesson, with the numbers in its ``meta``.
        chat: The student's chat format.
    """
    kind = PARTS[name]
    text, lengths = chat.written_tokens(lesson.messages, lesson.completion, lesson.reasoning)
    given = lesson.meta.get(kind.column)
    parts = None if given is None else _parts_of(given, text, lesson)
    return [NAN] * len(lengths) if parts is None else kind.spread(parts, lengths)


def _parts_of(given: Mapping[str, Any], written: str, lesson: Lesson) -> Parts | None:
    """Return the parts of ``written``, of which the lesson's own text is a part.

    Returns:
        None where the numbers are not those of this text.
    """
    reasoning = lesson.reasoning or ""
    thought = reasoning.strip("\n")
    if sum(given["bytes"]) != len((reasoning + lesson.completion).encode()):
        return None
    whole, start = written.encode(), 0
    places = []  # of the reasoning and of the completion: in the parts, in what is written, length
    for text, before in (
        (thought, reasoning[: reasoning.find(thought)] if thought else ""),
        (lesson.completion, reasoning),
    ):
        part = text.encode()
        is_last = text is lesson.completion
        at = whole.rfind(part, start) if is_last else whole.find(part)
        if at < 0:
            return None
        places.append((len(before.encode()), at, len(part)))
        start = at + len(part)
    lengths: list[int] = []
    values: list[float | None] = []
    done = 0
    for first, at, size in places:
        lengths.append(at - done)
        values.append(None)
        for length, value in _cut(given["bytes"], given["values"], first, first + size):
            lengths.append(length)
            values.append(value)
        done = at + size
    lengths.append(len(whole) - done)
    values.append(None)
    rest = given.get("rest")
    return Parts(
        text=whole,
        lengths=lengths,
        values=values,
        rest=NAN if rest is None else rest,
        end=given.get("end"),
    )


def _cut(
    lengths: Sequence[int], values: Sequence[float | None], first: int, last: int
) -> list[tuple[int, float | None]]:
    """Return the parts between two places, cut where they stand over."""
    found, start = [], 0
    for length, value in zip(lengths, values, strict=True):
        inside = min(start + length, last) - max(start, first)
        if inside > 0:
            found.append((inside, value))
        start += length
    return found


def by_last_byte(parts: Parts, lengths: Sequence[int]) -> list[float]:
    """Return for each token the number of the part that its last byte is in."""
    ends = list(accumulate(parts.lengths))
    found: list[float] = []
    end = 0
    for length in lengths:
        end += length
        value = parts.values[bisect_left(ends, end)] if length else None
        found.append(parts.rest if value is None else value)
    return found


def mean_of_group(parts: Parts, lengths: Sequence[int]) -> list[float]:
    """Return for each token the sum of its group's numbers, divided by the group's tokens.

    A group are the fewest tokens and parts that write the same bytes. Where a part of it has no
    number, its tokens have none.
    """
    found = [NAN] * len(lengths)
    for group in align(parts.lengths, lengths, parts.text):
        values = [parts.values[i] for i in group.theirs if parts.lengths[i]]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            for token in group.ours:
                found[token] = sum(known) / len(group.ours)
    if parts.end is not None and found and found[-1] != found[-1]:
        found[-1] = parts.end
    return found


def starts_of_groups(parts: Parts, lengths: Sequence[int]) -> list[float]:
    """Return 1 for each token that begins a group of ``mean_of_group``, else 0."""
    found = [0.0] * len(lengths)
    for group in align(parts.lengths, lengths, parts.text):
        found[group.ours[0]] = 1.0
    if parts.end is not None and found:
        found[-1] = 1.0
    return found


class _Kind(NamedTuple):
    """A number of a token: where it comes from, and how it is made."""

    column: str
    """The column of ``lesson.meta`` with the numbers of the text's parts."""
    spread: Callable[[Parts, Sequence[int]], list[float]]
    """From the parts, and the bytes of each token, to the tokens' numbers."""
    made_by: str
    """The setting of a recipe that makes it."""


_LOGPROBS = (
    "teach.sampling.logprobs: true, with a teacher that gives log-probabilities (a program gives "
    "none; answers in ledgers of version 0.2 lack the lengths of tokens: `orcinus ledger forget`)"
)
PARTS: Mapping[str, _Kind] = {
    VALIDITY: _Kind(VALIDITY, by_last_byte, "a section weigh: {boundaries: 2}"),
    TEACHER_LOGPROB: _Kind(TEACHER_LOGPROB, mean_of_group, _LOGPROBS),
    TEACHER_GROUP: _Kind(TEACHER_LOGPROB, starts_of_groups, _LOGPROBS),
}
"""The numbers of tokens, by name."""
