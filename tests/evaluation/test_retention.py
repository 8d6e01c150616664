"""Retention: losses are found, refusals count in both directions, small samples are reported."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from scipy.stats import binom
from tests.conftest import table_rows, write_recipe
from tests.pipeline.test_run import orcinus

from orcinus.core.results import RetentionScore
from orcinus.core.sampling import SamplingConfig
from orcinus.core.stats import minimum_detectable_drop
from orcinus.core.types import Example, Messages, Sampling, Split
from orcinus.evaluation.config import EvaluateConfig
from orcinus.evaluation.evaluate import evaluate
from orcinus.models.function import FunctionModel
from orcinus.reports.headline import cost_of_training
from orcinus.reports.warnings import losses_that_could_be_missed
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.folders import finished_steps
from orcinus.runs.ledger import Ledger

REFUSAL = "I'm sorry, but I can't help with that."


def number(task: str, i: int) -> Example:
    return Example(
        id=str(i), task=task, prompt=f"{task} {i}", answer_type="number", reference=str(i)
    )


def marked(i: int, harmful: bool) -> Example:
    word = "harmful" if harmful else "harmless"
    return Example(
        id=f"{word}-{i}",
        task="requests",
        prompt=f"{word} {i}",
        answer_type="free",
        meta={"harmful": harmful},
    )


EXAMPLES: tuple[tuple[Example, Split], ...] = (
    *((number("taught", i), "held_out") for i in range(5)),
    *((number("kept", i), "retention") for i in range(60)),
    *((number("lost", i), "retention") for i in range(60)),
    *((number("tiny", i), "retention") for i in range(4)),
    *((marked(i, harmful), "retention") for i in range(40) for harmful in (True, False)),
)


def before(messages: Messages, sampling: Sampling) -> str:
    """Know every number, and refuse harmful requests."""
    task, i = messages[-1].content.split()
    return REFUSAL if task == "harmful" else f"The answer is {i}."


def after(messages: Messages, sampling: Sampling) -> str:
    """Miss every second item of one task, and refuse only a few harmless requests."""
    task, i = messages[-1].content.split()
    if task == "harmless" and int(i) % 20 == 0:
        return REFUSAL
    return "The answer is -1." if task == "lost" and int(i) % 2 else f"The answer is {i}."


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("evaluate")
    with tables.TableWriter(folder / "sample" / "examples.parquet", tables.EXAMPLES) as writer:
        for example, split in EXAMPLES:
            writer.write(tables.example_row(example, split))
    students = {
        None: FunctionModel(before, model="before"),
        folder / "train": FunctionModel(after, model="after"),
    }
    with Ledger(folder / "ledger.sqlite") as ledger:
        context = StepContext(
            out=folder / "evaluate",
            inputs={"sample": folder / "sample", "train": folder / "train"},
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite"),
            progress=Silent(),
            completer=lambda role, trained=None: students[trained],
        )
        config = EvaluateConfig(arms=("after",), sampling=SamplingConfig(max_tokens=8))
        asyncio.run(evaluate(config, (), "", context))
    found: dict[str, Any] = orjson.loads((folder / "evaluate" / "scores.json").read_bytes())
    return found


def rows(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in scores["retention"]}


def records(scores: dict[str, Any]) -> list[RetentionScore]:
    return [RetentionScore(**row) for row in scores["retention"]]


def test_retention_tasks_are_in_no_other_score(scores: dict[str, Any]) -> None:
    assert set(scores["arms"]["after"]) == {"taught", "_micro", "_macro"}
    assert set(rows(scores)) == {
        "kept",
        "lost",
        "tiny",
        "harmful requests refused",
        "harmless requests answered",
    }


def test_a_loss_is_found_and_stated_in_the_headline(scores: dict[str, Any]) -> None:
    found = rows(scores)["lost"]
    assert (found["before"], found["after"], found["regressions"], found["repairs"]) == (
        1.0,
        0.5,
        30,
        0,
    )
    assert found["p_holm"] < 1e-6
    assert rows(scores)["kept"]["p_holm"] == 1.0
    headline = list(cost_of_training(records(scores)))
    assert headline[0].startswith(
        "Warning: training cost something. lost fell from 100.0 % to 50.0 % (−50.0 points"
    )
    assert headline[-1].startswith("No loss was found on 3 of 5 things")


def test_refusals_are_counted_in_both_directions(scores: dict[str, Any]) -> None:
    refused, answered = (
        rows(scores)["harmful requests refused"],
        rows(scores)["harmless requests answered"],
    )
    assert (refused["n"], refused["before"], refused["after"]) == (40, 1.0, 0.0)
    assert (answered["n"], answered["before"], answered["after"]) == (40, 1.0, 0.95)
    assert refused["p_holm"] < 0.001 < 0.05 < answered["p_holm"]
    assert any(
        "Harmful requests refused fell" in line for line in cost_of_training(records(scores))
    )


def test_too_few_items_are_reported(scores: dict[str, Any]) -> None:
    lines = list(losses_that_could_be_missed(records(scores)))
    assert any(
        line.startswith("Not even a total loss would have been found on tiny with its 4 items")
        for line in lines
    )
    assert not any(" on lost " in line for line in lines)


@pytest.mark.parametrize("n", [5, 10])
def test_the_smallest_detectable_loss_is_exact(n: int) -> None:
    """Without repairs, five losses are significant (1/32); at this loss they occur in 80 %."""
    least = minimum_detectable_drop(n)
    assert least is not None
    assert float(binom.sf(4, n, least)) == pytest.approx(0.8, abs=5e-3)
    assert minimum_detectable_drop(4) is None


@pytest.mark.slow
def test_a_run_asks_only_the_student_the_retention_tasks(tmp_path: Path) -> None:
    watched = [{"generator": "reverse", "name": "watched", "count": 10, "size": [2, 3]}]
    write_recipe(tmp_path / "r.yaml", retention=watched)
    done = orcinus("run", "r.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run_dir = tmp_path / "runs" / "small"
    (evaluated,) = finished_steps(run_dir, "evaluate")
    (row,) = orjson.loads((evaluated / "scores.json").read_bytes())["retention"]
    assert (row["what"], row["n"]) == ("watched", 6)
    with Ledger(tmp_path / "runs" / "ledger.sqlite") as ledger:
        asked = {
            (spend.step, spend.model.split(":")[0])
            for spend in ledger.spend("small")
            if spend.task == "watched"
        }
    assert asked == {("evaluate", "folder")}
    page = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "What training must not cost" in page
    assert ("watched", "6") in [
        (cells[0], cells[5]) for cells in table_rows(page) if len(cells) == 10
    ]
