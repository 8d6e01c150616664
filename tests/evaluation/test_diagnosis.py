"""Diagnosis of small real runs, each with a deliberate fault that it must name."""

import asyncio
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

from orcinus.core.types import Messages, Sampling
from orcinus.evaluation.diagnosis.tables import Diagnosis
from orcinus.pipeline.diagnose import diagnose_run
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.folders import finished_steps
from orcinus.runs.ledger import Ledger
from orcinus.runs.status import run_status
from orcinus.tasks.generators.procedural import explain

BASE: dict[str, Any] = {
    "kind": "local",
    "path": str(files("orcinus.pipeline.demo") / "base"),
    "chat_template": "chatml",
}
SUMS: dict[str, Any] = {"generator": "sums", "count": 60, "size": [2, 3]}
LARGEST: dict[str, Any] = {"generator": "largest", "count": 60, "size": [3, 4]}


def of_two_minds(messages: Messages, sampling: Sampling) -> str:
    """Answer right in the first sample, and half of the questions wrong in the second."""
    return explain(messages[-1].content, "step_by_step", errors=0.5 if sampling.seed else 0.0)


def run(folder: Path, train: dict[str, Any], **changes: Any) -> tuple[Path, Runtime]:
    """Run a small recipe with the demo's student up to its evaluation."""
    path = write_recipe(
        folder / "recipe.yaml",
        **{
            "tasks": [SUMS, LARGEST],
            "strategies": ["step_by_step"],
            "student": BASE,
            "probe": {"per_task": 4, "sampling": {"max_tokens": 64}},
            "train": {"context_length": 128, "batch_tokens": 512, **train},
            "evaluate": {
                "per_task": 12,
                "arms": ["before", "after"],
                "sampling": {"max_tokens": 64},
            },
            **changes,
        },
    )
    runtime = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent(), until="evaluate"))
    return path, runtime


def diagnosed(folder: Path, train: dict[str, Any], **changes: Any) -> Diagnosis:
    path, runtime = run(folder, train, **changes)
    return asyncio.run(diagnose_run(path, folder / "runs" / "small", runtime, Silent()))


def test_one_optimizer_step_is_too_few(tmp_path: Path) -> None:
    stage = {"name": "one", "epochs": 1, "learning_rate": 1e-6}
    found = diagnosed(tmp_path, {"stages": [stage], "batch_tokens": 65536})
    assert found.failed > 10
    assert {failure.causes[0] for failure in found.failures} == {"optimisation"}
    assert found.causes[0].first == found.advice[0].failures == found.failed
    assert "training had only 1 optimizer steps" in found.advice[0].words
    assert "epochs: 2.0" in found.advice[0].edit
    assert "batch_tokens: 16384" in found.advice[0].edit
    assert found.advice[0].command == f"orcinus run {tmp_path / 'recipe.yaml'}"


def test_contradicting_lessons_are_found(tmp_path: Path) -> None:
    found = diagnosed(
        tmp_path,
        {"stages": [{"name": "one", "epochs": 2, "learning_rate": 1e-3}]},
        teacher={"kind": "function", "function": "tests.evaluation.test_diagnosis:of_two_minds"},
        teach={"sampling": {"max_tokens": 64, "samples": 2, "temperature": 1.0}},
        curate={"keep": "all"},
    )
    (erased,) = finished_steps(tmp_path / "runs" / "small", "erase")
    taught: dict[str, set[str]] = {}
    for lesson in tables.read_lessons(erased / "lessons.parquet"):
        taught.setdefault(f"{lesson.task}/{lesson.example_id}", set()).add(lesson.completion)
    contradicted = {question for question, completions in taught.items() if len(completions) > 1}
    assert contradicted
    assert any(failure.causes[0] == "contradiction" for failure in found.failures)
    for failure in found.failures:
        assert (failure.causes[0] == "contradiction") == (
            f"{failure.task}/{failure.example}" in contradicted
        )
    advice = next(item for item in found.advice if item.edit.startswith("curate:"))
    assert advice.failures == next(
        count.first for count in found.causes if count.cause == "contradiction"
    )


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Diagnosis]:
    """Diagnose a run whose second stage, on another task at a high rate, undoes the first."""
    folder = tmp_path_factory.mktemp("forgetful")
    adding = {"name": "adding", "tasks": ["sums"], "epochs": 4, "learning_rate": 5e-4}
    other = {"name": "other", "tasks": ["largest"], "epochs": 6, "learning_rate": 5e-3}
    return folder, diagnosed(folder, {"stages": [adding, other]})


def test_a_stage_that_forgets_is_named_and_replay_advised(
    forgetful: tuple[Path, Diagnosis],
) -> None:
    found = forgetful[1]
    lost = [failure for failure in found.failures if failure.causes[0] == "forgetting"]
    by_stage = [
        failure
        for failure in lost
        if "right after stage adding, and wrong after stage other" in failure.why[0]
    ]
    assert sum(failure.task == "sums" for failure in by_stage) >= 5
    assert [row.arm for row in found.errors if row.items == "lessons"] == [
        "before",
        "adding",
        "other",
    ]
    advice = next(item for item in found.advice if "lost them later" in item.words)
    assert advice.failures == len(lost)
    assert "tasks: [largest], epochs: 6.0, learning_rate: 0.005, replay: 0.2" in advice.edit


def test_no_call_is_made_twice_and_a_diagnosis_is_no_step(
    forgetful: tuple[Path, Diagnosis],
) -> None:
    folder, first = forgetful
    run_dir = folder / "runs" / "small"
    runtime = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    with Ledger(runtime.ledger_path) as ledger:
        before = sum(row.calls for row in ledger.spend("small"))
    fewer = asyncio.run(diagnose_run(run_dir, run_dir, runtime, Silent(), lessons=12))
    with Ledger(runtime.ledger_path) as ledger:
        assert sum(row.calls for row in ledger.spend("small")) == before
    assert fewer.asked == 12 < first.asked
    assert {failure.lesson for failure in fewer.failures} <= {
        failure.lesson for failure in first.failures
    }
    assert {step.state for step in run_status(run_dir, runtime.ledger_path).steps} == {"done"}


def test_the_diagnosis_fits_a_narrow_screen_and_is_kept(forgetful: tuple[Path, Diagnosis]) -> None:
    folder, _ = forgetful
    run_dir = folder / "runs" / "small"
    done = orcinus("diagnose", "small", "--lessons", "12", cwd=folder, variables={"COLUMNS": "60"})
    assert done.returncode == 0, done.stderr
    assert "of the 12 lessons that it was asked again" in " ".join(done.stdout.split())
    tables_only = done.stdout.split("\n1. ")[0]
    assert max(map(len, tables_only.splitlines())) <= 60
    assert "…" not in tables_only
    page = (run_dir / "diagnosis.md").read_text(encoding="utf-8")
    for section in ("## What to do next", "## Why lessons fail", "## Outcomes of the answers"):
        assert section in page
    again = orcinus("diagnose", "recipe.yaml", "--lessons", "12", "--json", cwd=folder)
    assert json.loads(again.stdout.splitlines()[-1]) == json.loads(
        (run_dir / "diagnosis.json").read_bytes()
    )


def test_a_run_that_was_not_evaluated_is_one_clear_line(tmp_path: Path) -> None:
    write_recipe(tmp_path / "r.yaml")
    assert orcinus("run", "r.yaml", "--until", "sample", cwd=tmp_path).returncode == 0
    done = orcinus("diagnose", "small", cwd=tmp_path)
    assert done.returncode == 2
    assert "no finished evaluate step; run the recipe first" in done.stderr


@pytest.mark.slow
def test_a_students_layers_are_compressed_and_it_is_compared_with_itself(
    forgetful: tuple[Path, Diagnosis],
) -> None:
    from orcinus.pipeline.compress import compress_run

    folder, _ = forgetful
    runtime = Runtime(workspace=folder / "runs", ledger_path=folder / "runs" / "ledger.sqlite")
    run_dir = folder / "runs" / "small"
    found = asyncio.run(compress_run(run_dir, runtime, Silent(), ratio=0.2, method="weighted"))
    assert found.numbers_after <= 0.8 * found.numbers_before
    assert found.before.n == found.after.n == found.compared.n > 0
    assert (run_dir / "compressed-weighted-0.2" / "config.json").is_file()


def test_checkpoints_have_losses_and_hesitations(forgetful: tuple[Path, Diagnosis]) -> None:
    found = forgetful[1]
    assert [row.arm for row in found.checkpoints] == ["before", "adding", "other"]
    for row in found.checkpoints:
        assert row.loss > 0
        assert 0 <= row.hesitant <= row.tokens
        assert (row.he_snr is None) == (row.hesitant == 0)
    assert found.success_in_state is None or found.success_in_state.n <= found.asked
