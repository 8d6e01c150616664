"""Tokenize lessons to disk once, in a stream, and read them back through memory maps.

tokens.u32      all lessons' tokens, one after the other
index.npy       a row a lesson: where it starts, its tokens, how many of them are the prompt
weights.npy     a weight a lesson
evidence.npz    more numbers a lesson, as the objective needs them
token-NAME.f32  a number a response token, as the objective needs it
ids.parquet     the lessons' ids
facts.json      how many lessons were too long
sealed.json     the sizes of these files; written last

Memory does not grow with the number of lessons, except for a few numbers each.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orcinus.core.files import is_whole, seal_folder, write_atomically
from orcinus.core.protocols import Executor
from orcinus.core.types import Lesson
from orcinus.models.local.chat_format import Chat
from orcinus.runs import layout
from orcinus.runs.executors.local import LOCAL
from orcinus.training.packing import I64, Groups
from orcinus.training.token_numbers import PARTS, token_numbers
from orcinus.verifiers.answers.statements import after_marker

Truncation = Literal["drop", "keep_tail"]
LESSONS_PER_SHARD = 256
"""Lessons. Small enough to stream, large enough that handing a shard to a worker costs nothing."""


@dataclass(frozen=True, kw_only=True)
class TokenizedLessons:
    """Lessons as one model's tokens."""

    tokens: npt.NDArray[np.uint32]
    index: npt.NDArray[np.int64]
    """(lessons, 3): start, length, prompt length."""
    weights: npt.NDArray[np.float32]
    ids: pa.ChunkedArray
    """The lessons' ids, to name them when something goes wrong."""
    too_long: int
    """The number of lessons that did not fit and were dropped or cut."""
    evidence: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """By name, a number for each lesson. ``answer``: tokens of the final answer."""
    token_evidence: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    """By name, a number for each response token of all lessons, in their order."""
    given: Mapping[str, int] = field(default_factory=dict)
    """By name, how many lessons come with such numbers of tokens."""
    unit_of: I64 | None = None
    """The unit of each lesson, where lessons must stay together; None groups by prompts."""
    set_of: I64 | None = None
    """The set of each lesson, where lessons of different prompts stay in one row; None has none."""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Tokens of each lesson."""
        return self.index[:, 1]

    @property
    def response_tokens(self) -> int:
        """Tokens of all responses: those that are learnt."""
        return int((self.index[:, 1] - self.index[:, 2]).sum())

    def lesson(self, number: int) -> tuple[npt.NDArray[np.uint32], int]:
        """Return the tokens of a lesson, and how many of them are the prompt."""
        start, length, prompt = self.index[number]
        return self.tokens[start : start + length], int(prompt)

    @cached_property
    def _first_response(self) -> I64:
        """The place of each lesson's first response token among those of all lessons."""
        responses = self.index[:, 1] - self.index[:, 2]
        first: I64 = np.cumsum(responses) - responses
        return first

    def token_numbers(self, name: str, number: int) -> npt.NDArray[np.float32]:
        """Return the numbers ``name`` of the response tokens of a lesson."""
        first = self._first_response[number]
        _, length, prompt = self.index[number]
        return self.token_evidence[name][first : first + length - prompt]

    def units(self, context: int) -> Groups:
        """Group the lessons that have the same prompt, as far as they fit into ``context`` tokens.

        Groups are in the order of their first lesson.
        """
        first = np.arange(len(self), dtype=np.int64)  # of each lesson the first one of its unit
        for same in self._with_one_prompt():
            leader = room = -1
            for number in same:
                _, length, prompt = self.index[number].tolist()
                if room < length - prompt:
                    leader, room = number, context - length
                else:
                    first[number] = leader
                    room -= length - prompt
        _, unit_of = np.unique(first, return_inverse=True)
        return Groups.of(unit_of)

    @property
    def fixed_units(self) -> Groups | None:
        """The units of lessons that must stay together; None where none must."""
        return None if self.unit_of is None else Groups.of(self.unit_of)

    @property
    def sets(self) -> Groups | None:
        """The lessons that stay in one row, each with a prompt of its own; None without sets."""
        return None if self.set_of is None else Groups.of(self.set_of)

    @property
    def count(self) -> int:
        """Lessons, where those that must stay together count as one."""
        return len(self) if self.unit_of is None else len(np.unique(self.unit_of))

    @property
    def longest(self) -> int:
        """Tokens of the longest lesson, or of the longest unit or set that stays together."""
        if self.set_of is not None:
            return int(np.bincount(self.set_of, self.lengths).max())
        units = self.fixed_units
        return int((self.lengths if units is None else self.lengths_of(units)).max())

    def _with_one_prompt(self) -> Iterator[list[int]]:
        """Yield the numbers of the lessons that share one prompt, for each prompt with several."""
        prompts = np.empty(len(self), "S16")
        for number, (start, _, prompt) in enumerate(self.index):
            text = self.tokens[start : start + prompt].tobytes()
            prompts[number] = hashlib.blake2b(text, digest_size=16).digest()
        order = np.argsort(prompts, kind="stable")
        order = order[self.index[order, 2] > 0]
        new = np.flatnonzero(prompts[order[1:]] != prompts[order[:-1]]) + 1
        bounds = np.concatenate([[0], new, [len(order)]])
        for at in np.flatnonzero(np.diff(bounds) > 1):
            yield order[bounds[at] : bounds[at + 1]].tolist()

    def lengths_of(self, units: Groups) -> I64:
        """Return the tokens of each unit, whose lessons share one copy of their prompt."""
        responses = self.index[units.members, 1] - self.index[units.members, 2]
        lengths: I64 = (
            np.add.reduceat(responses, units.offsets[:-1])
            + self.index[units.members[units.offsets[:-1]], 2]
        )
        return lengths

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Open the files that ``tokenize_lessons`` wrote."""
        facts = orjson.loads((folder / layout.TOKEN_FACTS).read_bytes())
        index = np.load(folder / layout.TOKEN_INDEX, mmap_mode="r")
        return cls(
            tokens=_read_numbers(folder / layout.TOKENS, np.uint32),
            index=index,
            weights=np.load(folder / layout.LESSON_WEIGHTS),
            ids=pq.read_table(folder / layout.LESSON_IDS)["id"],
            too_long=facts["too_long"],
            evidence=dict(np.load(folder / layout.LESSON_NUMBERS)),
            token_evidence={
                name: _read_numbers(folder / layout.token_numbers(name))
                for name in facts.get("given", ())
            },
            given=facts.get("given", {}),
        )


def _read_numbers(path: Path, dtype: Any = np.float32) -> npt.NDArray[Any]:
    return np.memmap(path, dtype=dtype, mode="r") if path.stat().st_size else np.empty(0, dtype)


def tokenize_lessons(
    lessons: Iterable[Lesson],
    chat: Chat,
    folder: Path,
    *,
    context: int,
    truncation: Truncation,
    evidence: Sequence[str] = (),
    executor: Executor = LOCAL,
) -> TokenizedLessons:
    """Write the tokens of ``lessons`` to ``folder``, or reuse those of an interrupted run.

    Args:
        lessons: In the order in which they are numbered.
        chat: The student's chat format.
        folder: Created where it does not exist.
        context: Tokens of the longest lesson that fits.
        truncation: Drop a longer one, or cut the start of its prompt. A response is never cut.
        evidence: Names of the numbers to keep: those of ``lesson.meta`` (nan where a lesson has
            none), ``answer``, or those of ``PARTS``, which each token has of its own.
        executor: Where the lessons become tokens.
    """
    if not is_whole(folder):
        folder.mkdir(parents=True, exist_ok=True)
        of_tokens = tuple(name for name in evidence if name in PARTS)
        of_lessons = tuple(name for name in evidence if name not in PARTS)
        tokenize = _Tokenize(
            chat=chat,
            context=context,
            truncation=truncation,
            evidence=of_lessons,
            token_evidence=of_tokens,
        )
        shards = executor.map(tokenize, _split_into_shards(lessons))
        _write_shards(shards, folder, of_lessons, of_tokens)
    return TokenizedLessons.read(folder)


@dataclass(slots=True, kw_only=True)
class _Shard:
    """The tokens of some lessons, one lesson after the other."""

    tokens: list[int] = field(default_factory=list)
    lengths: list[tuple[int, int]] = field(default_factory=list)
    """For each lesson: the number of its tokens, and of its prompt's."""
    weights: list[float] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    numbers: list[list[float]] = field(default_factory=list)
    """For each lesson: the numbers that the objective needs."""
    token_numbers: dict[str, list[list[float]]] = field(default_factory=dict)
    """By name, for each lesson: the numbers of its response tokens."""
    given: Counter[str] = field(default_factory=Counter)
    """By name, how many lessons come with such numbers."""
    too_long: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tokenize:
    """A pure function from a shard of lessons to tokens.

    Not safe in threads: it switches the tokenizer between reading text and control tokens.
    """

    chat: Chat
    context: int
    truncation: Truncation
    evidence: tuple[str, ...]
    token_evidence: tuple[str, ...]

    def __call__(self, lessons: Sequence[Lesson]) -> _Shard:
        shard = _Shard()
        for lesson in lessons:
            tokens, prompt = self.chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
            surplus = len(tokens) - self.context
            if surplus > 0:
                shard.too_long += 1
                if self.truncation == "drop" or surplus >= prompt:
                    continue
                tokens, prompt = tokens[surplus:], prompt - surplus
            shard.tokens += tokens
            shard.lengths.append((len(tokens), prompt))
            shard.weights.append(lesson.weight)
            shard.ids.append(lesson.id)
            shard.numbers.append(
                [_evidence_number(name, lesson, self.chat) for name in self.evidence]
            )
            for name in self.token_evidence:
                numbers = token_numbers(name, lesson, self.chat)
                shard.token_numbers.setdefault(name, []).append(numbers)
                shard.given[name] += PARTS[name].column in lesson.meta
        return shard


def _split_into_shards(lessons: Iterable[Lesson]) -> Iterator[list[Lesson]]:
    iterator = iter(lessons)
    while shard := list(islice(iterator, LESSONS_PER_SHARD)):
        yield shard


def _write_shards(
    shards: Iterable[_Shard], folder: Path, evidence: Sequence[str], token_evidence: Sequence[str]
) -> None:
    lengths, weights, ids, numbers, too_long = [np.empty((0, 2), np.int64)], [], [], [], 0
    given: Counter[str] = Counter()
    with ExitStack() as files:
        file = files.enter_context((folder / layout.TOKENS).open("wb"))
        by_name = {
            name: files.enter_context((folder / layout.token_numbers(name)).open("wb"))
            for name in token_evidence
        }
        for shard in shards:
            np.asarray(shard.tokens, np.uint32).tofile(file)
            for name, of_lessons in shard.token_numbers.items():
                np.concatenate(of_lessons).astype(np.float32).tofile(by_name[name])
            lengths.append(np.asarray(shard.lengths, np.int64).reshape(-1, 2))
            weights.append(np.asarray(shard.weights, np.float32))
            ids.append(pa.array(shard.ids, pa.string()))
            numbers.append(
                np.asarray(shard.numbers, np.float32).reshape(len(shard.ids), len(evidence))
            )
            too_long += shard.too_long
            given += shard.given
    length, prompt = np.concatenate(lengths).T
    np.save(
        folder / layout.TOKEN_INDEX, np.stack([np.cumsum(length) - length, length, prompt], axis=1)
    )
    np.save(folder / layout.LESSON_WEIGHTS, np.concatenate([np.empty(0, np.float32), *weights]))
    columns = np.concatenate([np.empty((0, len(evidence)), np.float32), *numbers]).T
    kept: dict[str, Any] = dict(zip(evidence, columns, strict=True))
    np.savez(folder / layout.LESSON_NUMBERS, **kept)
    pq.write_table(pa.table({"id": pa.chunked_array(ids, pa.string())}), folder / layout.LESSON_IDS)
    facts = {"too_long": too_long, "given": {name: given[name] for name in token_evidence}}
    write_atomically(folder / layout.TOKEN_FACTS, orjson.dumps(facts))
    seal_folder(folder)


def _evidence_number(name: str, lesson: Lesson, chat: Chat) -> float:
    if name == "answer":
        return _answer_tokens(lesson, chat)
    value = lesson.meta.get(name)
    return float("nan") if value is None else float(value)


def _answer_tokens(lesson: Lesson, chat: Chat) -> int:
    """Return how many of the last tokens are the final answer and the end of the turn.

    0 where the lesson announces no answer.
    """
    answer = after_marker(lesson.completion)
    if not answer or not answer.strip():
        return 0
    whole, _ = chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
    before, _ = chat.lesson(
        lesson.messages, lesson.completion.removesuffix(answer), lesson.reasoning
    )
    shared = next(
        (i for i, (a, b) in enumerate(zip(whole, before, strict=False)) if a != b), len(before)
    )
    return len(whole) - shared
