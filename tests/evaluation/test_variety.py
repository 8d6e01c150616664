"""How different the lessons to one question are: the Vendi score, in a note of a diagnosis."""

from dataclasses import replace
from pathlib import Path

from tests.lessons.test_export import lesson

from orcinus.evaluation.diagnosis.variety import describe_variety
from orcinus.runs import tables

ONE = "first add the units then add the tens"
OTHER = "count on from the larger number step by step"


def note_on(folder: Path, *questions: list[str]) -> str | None:
    """Return the note on lessons with these texts, a list for each question."""
    path = folder / "lessons.parquet"
    with tables.TableWriter(path, tables.LESSONS) as writer:
        for number, texts in enumerate(questions):
            for text in texts:
                one = replace(lesson(number), completion=text)
                writer.write(tables.lesson_row(one))
                # Demonstrations before a question make no other explanation.
                writer.write(tables.lesson_row(replace(one, meta={"shots": 2})))
    return describe_variety(path)


def test_repeats_are_told_from_explanations_that_differ(tmp_path: Path) -> None:
    assert note_on(tmp_path, [ONE], [OTHER]) is None
    different = note_on(tmp_path, [ONE, OTHER], [ONE])
    assert different is not None
    assert different.startswith("Of 2.0 lessons to a question, 2.0 differ")
    assert "several lessons: 1)" in different
    assert "temperature" not in different
    # Three equal ones count 1, two equal and another 1.89: of three lessons 1.4 in the mean.
    repeated = note_on(tmp_path, [ONE, ONE, ONE], [ONE, ONE, OTHER])
    assert repeated is not None
    assert repeated.startswith("Of 3.0 lessons to a question, 1.4 differ")
    assert repeated.endswith("or lower its samples: repeats cost the same.")
