"""What a student lacks for a chain that it fails: a part, or the chain alone (ProDa)."""

from typing import Any

from tests.evaluation.test_causes import RIGHT, WRONG

from orcinus.core.types import Example
from orcinus.evaluation.diagnosis.faults import Fault, find_faults
from orcinus.evaluation.diagnosis.outcomes import Pair

CHAIN: dict[str, Any] = {
    "level": "chain",
    "concepts": ["A", "B", "C"],
    "relations": ["A r1 B", "B r2 C"],
}


def pair(right: bool, source: str = "book", **meta: Any) -> Pair:
    name = "-".join(meta["relations"] or meta["concepts"])
    example = Example(
        id=name,
        task=meta["level"],
        prompt=name,
        answer_type="exact",
        reference="3",
        meta={"source_unit": source, **meta},
    )
    return example, RIGHT if right else WRONG


def parts(**right: bool) -> list[Pair]:
    """The lessons on A, B, C, r1 and r2, right unless it is said otherwise."""
    concepts = [
        pair(right.get(name, True), level="concept", concepts=[name], relations=[])
        for name in ("A", "B", "C")
    ]
    relations = [
        pair(right.get(text[2:4], True), level="relation", concepts=[], relations=[text])
        for text in ("A r1 B", "B r2 C")
    ]
    return [*concepts, *relations]


def fault(kind: Any, *names: str) -> list[Fault]:
    return [Fault(task="chain", example="A r1 B-B r2 C", kind=kind, parts=names)]


def test_a_chain_whose_parts_are_known_is_a_reasoning_break() -> None:
    found = list(find_faults([pair(False, **CHAIN)], parts()))
    assert found == fault("reasoning break", "A r1 B", "B r2 C")


def test_a_part_that_is_answered_wrong_is_a_concept_gap() -> None:
    assert list(find_faults([pair(False, **CHAIN)], parts(r2=False))) == fault(
        "concept gap", "B r2 C"
    )
    found = list(find_faults([pair(False, **CHAIN)], parts(B=False, r2=False)))
    assert found == fault("concept gap", "B", "B r2 C")


def test_a_part_without_a_lesson_is_a_gap_where_such_parts_are_taught() -> None:
    taught = parts()
    without_r2 = taught[:-1]
    assert list(find_faults([pair(False, **CHAIN)], without_r2)) == fault("concept gap", "B r2 C")
    only_relations = taught[3:]
    assert list(find_faults([pair(False, **CHAIN)], only_relations)) == fault(
        "reasoning break", "A r1 B", "B r2 C"
    )


def test_half_of_the_lessons_right_is_not_known() -> None:
    again = pair(False, level="relation", concepts=[], relations=["a R1 b"])
    assert list(find_faults([pair(False, **CHAIN)], [*parts(), again])) == fault(
        "concept gap", "A r1 B"
    )


def test_right_chains_and_documents_without_a_lesson_are_no_faults() -> None:
    other = pair(False, source="other", **CHAIN)
    assert list(find_faults([pair(True, **CHAIN), other], parts(r2=False))) == []
