"""Lint says what tells each stage something, and flags filters that go by something coarser."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe
from typer.testing import CliRunner

from orcinus.cli.app import app
from orcinus.core.types import Attempt, Example, Judged, Sampling, Verdict
from orcinus.lessons.kept import Kept, kept_by
from orcinus.pipeline.lint import lint
from orcinus.runs import layout, tables

TRACES = 120


def sources(path: Path) -> dict[str, tuple[str, ...]]:
    return {told.stage: (*told.outside, *told.inside) for told in lint(path).stages}


def rows(path: Path, *, references: bool = True) -> str:
    texts = [
        json.dumps({"id": str(i), "prompt": f"Add {i} 1.", "reference": str(i + 1)})
        for i in range(20)
    ]
    text = "\n".join(texts)
    path.write_text(text if references else text.replace("reference", "note"), encoding="utf-8")
    return str(path)


def test_a_recipe_with_programs_is_told_by_them(small_recipe: Path) -> None:
    program = "a program that solves its own questions"
    assert sources(small_recipe) == {
        "probe and assign": (program,),
        "teach": ("a program as teacher",),
        "curate": (program,),
        "train": ("a program as teacher", program),
        "evaluate": (program,),
    }
    assert lint(small_recipe).flags == ()


@pytest.mark.parametrize(
    ("task", "changes", "told"),
    [
        ({}, {}, {"curate": ("references in files",)}),
        ({}, {"curate": {"keep": "all"}}, {"curate": ()}),
        (
            {"unlabelled": True},
            {},
            {"probe and assign": ("agreement of the student's own answers",), "curate": ()},
        ),
        (
            {"unlabelled": True, "verifier": "judge"},
            {"judge": {"kind": "local", "path": "acme/student"}},
            {"curate": ("the student as its own judge",)},
        ),
        ({}, {"teacher": {"kind": "self"}}, {"teach": ("the student itself",)}),
        (
            {},
            {
                "curate": {"keep": "all"},
                "rehearse": {},
                "train": {"stages": [{"name": "pairs", "prefer": {}}]},
            },
            {"train": ("a program as teacher", "references in files")},
        ),
    ],
)
def test_files_judges_and_the_student_itself_are_told_apart(
    tmp_path: Path,
    task: Mapping[str, Any],
    changes: Mapping[str, Any],
    told: Mapping[str, tuple[str, ...]],
) -> None:
    file = rows(tmp_path / "rows.jsonl", references="unlabelled" not in task)
    path = write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"path": file, "name": "adds", "answer_type": "number", **task}],
        student={"kind": "local", "path": "acme/student"},
        **changes,
    )
    found = sources(path)
    assert {stage: found[stage] for stage in told} == told


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"environment": "gsm8k"}, "the rewards of an environment"),
        (
            {
                "name": "new",
                "authored": {"by": "teacher", "topics": ["levers", "gases", "heat"], "count": 30},
            },
            "answers of the models that write and check questions",
        ),
    ],
)
def test_questions_of_environments_and_models_are_not_a_program_s(
    tmp_path: Path, task: Mapping[str, Any], told: str
) -> None:
    assert sources(write_recipe(tmp_path / "r.yaml", tasks=[task]))["curate"] == (told,)


def test_a_student_that_learns_only_from_itself_is_flagged(tmp_path: Path) -> None:
    file = rows(tmp_path / "rows.jsonl", references=False)
    path = write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"path": file, "name": "adds", "answer_type": "number", "unlabelled": True}],
        student={"kind": "local", "path": "acme/student"},
        teacher={"kind": "local", "path": "acme/student"},
        train={"stages": [{"on_policy": {"teacher": "self", "under": "assigned", "own": 0.5}}]},
    )
    flags = lint(path).flags
    assert [flag.partition(" is closed")[0] for flag in flags] == [
        "probe and assign",
        "teach",
        "train",
    ]
    found = CliRunner().invoke(app, ["lint", str(path)])
    assert found.exit_code == 1
    assert "train is closed" in " ".join(found.output.split())


def run_with(folder: Path, keep: Any) -> Kept:
    """Write the tables of a run whose ``curate`` kept the traces that ``keep`` says."""
    (folder / layout.RECIPE).parent.mkdir(parents=True, exist_ok=True)
    for name, inputs in (
        ("sample-1", {}),
        ("teach-1", {}),
        ("curate-1", {"sample": "sample-1", "teach": "teach-1"}),
    ):
        (folder / name).mkdir()
        (folder / name / layout.STEP).write_text(json.dumps({"inputs": inputs, "finished": ""}))
        (folder / name / layout.DONE).touch()
    with (
        tables.TableWriter(folder / "sample-1" / layout.EXAMPLES, tables.EXAMPLES) as examples,
        tables.TableWriter(folder / "teach-1" / layout.ATTEMPTS, tables.JUDGED) as taught,
        tables.TableWriter(folder / "curate-1" / layout.KEPT, tables.JUDGED) as kept,
    ):
        for i in range(TRACES):
            example = Example(
                id=str(i),
                task="adds",
                prompt=f"Add {i}.",
                answer_type="number",
                reference="1",
                meta={"collection": "even" if i % 2 == 0 else "odd"},
            )
            attempt = Attempt(
                id=f"a{i}",
                example_id=example.id,
                task="adds",
                strategy="direct" if i % 3 else "step_by_step",
                model="t",
                messages=(),
                sampling=Sampling(),
                sample=0,
                text="word " * (10 + i * 7 % 31),
                finish="stop",
            )
            value = float(i % 10 != 0)
            verdict = Verdict(
                attempt_id=attempt.id, verifier="v", value=value, answer=None, reason=""
            )
            row = tables.judged_row(Judged(attempt=attempt, verdict=verdict))
            examples.write(tables.example_row(example, "teach"))
            taught.write(row)
            if keep(i, row):
                kept.write(row)
    return kept_by(folder)


def flagged(found: Kept) -> list[str]:
    return [row.feature for row in found.features if row.flagged]


def test_keeping_what_is_right_flags_nothing(tmp_path: Path) -> None:
    found = run_with(tmp_path, lambda i, row: row["value"] == 1.0)
    assert (found.traces, found.kept) == (TRACES, 108)
    assert found.efficiency == pytest.approx(1.0)
    assert [row.feature for row in found.features] == ["length", "collection", "strategy"]
    assert all(row.among_right is None for row in found.features)


def test_keeping_short_traces_is_flagged_among_right_ones_too(tmp_path: Path) -> None:
    found = run_with(tmp_path, lambda i, row: row["value"] == 1.0 and len(row["text"].split()) < 30)
    assert flagged(found) == ["length"]
    assert found.efficiency is not None
    assert found.efficiency < 0.2
    length = found.features[0]
    assert length.association.r is not None
    assert length.association.r < -0.5
    assert length.among_right is not None
    assert length.among_right.p_value < 0.01


def test_keeping_one_collection_is_flagged(tmp_path: Path) -> None:
    found = run_with(tmp_path, lambda i, row: i % 2 == 0 or i % 5 == 0)
    assert flagged(found) == ["collection"]
    assert found.features[1].detail == "kept of even 100%, of odd 20%"


def test_a_run_that_has_not_curated_is_one_line(tmp_path: Path, small_recipe: Path) -> None:
    run_dir = tmp_path / "runs" / "small"
    run_dir.mkdir(parents=True)
    (run_dir / layout.RECIPE).write_bytes(small_recipe.read_bytes())
    found = CliRunner().invoke(app, ["lint", "small", "--runs", str(tmp_path / "runs")])
    assert found.exit_code == 2 or "no finished sample step" in str(found.exception)
