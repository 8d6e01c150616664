"""Name the fault behind each wrong answer about a chain of relations (ProDa).

    "A r1 B; B r2 C" is wrong; of its parts, r2 is wrong too  →  concept gap (r2)
    "A r1 B; B r2 C" is wrong; A, B, C, r1 and r2 are right   →  reasoning break (r1, r2)

A part is known if the student answers most of the questions right that it was taught it with.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from orcinus.core.types import Example
from orcinus.evaluation.diagnosis.outcomes import Pair, is_failure, is_right


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A question about a chain that the student fails, and the parts that it lacks."""

    task: str
    example: str
    """Id of the question."""
    kind: Literal["concept gap", "reasoning break"]
    parts: tuple[str, ...]
    """Concepts and relations to teach again: of a gap those that are not known, of a break the
    relations of the chain."""


def find_faults(held_out: Iterable[Pair], taught: Iterable[Pair]) -> Iterator[Fault]:
    """Yield the fault of each chain that the student fails.

    Chains of documents that no lesson is about are left out: the student cannot know them.

    Args:
        held_out: Held-out questions with the student's answers; those about chains count.
        taught: The questions of lessons with the student's answers; those about parts count.
    """
    answers: defaultdict[str, list[bool]] = defaultdict(list)
    documents, levels = set(), set()
    for example, judged in taught:
        if part := part_of(example):
            answers[part].append(is_right(judged))
            documents.add(example.meta["source_unit"])
            levels.add(example.meta["level"])
    for example, judged in held_out:
        if example.meta.get("level") != "chain" or not is_failure(example, judged):
            continue
        if example.meta["source_unit"] not in documents:
            continue
        relations = tuple(example.meta.get("relations", ()))
        needed = tuple(example.meta["concepts"]) if "concept" in levels else ()
        needed += relations if "relation" in levels else ()
        lacking = tuple(part for part in needed if not _is_known(answers.get(part.casefold())))
        yield Fault(
            task=example.task,
            example=example.id,
            kind="concept gap" if lacking else "reasoning break",
            parts=lacking or relations,
        )


def part_of(example: Example) -> str | None:
    """Return the concept or relation that a question is about, in lower case; None if neither."""
    named = {"concept": "concepts", "relation": "relations"}.get(example.meta.get("level", ""))
    parts = example.meta.get(named, ()) if named else ()
    return str(parts[0]).casefold() if parts else None


def _is_known(answers: list[bool] | None) -> bool:
    """Return True if most answers are right; a part that was never asked about is not known."""
    return answers is not None and 2 * sum(answers) > len(answers)
