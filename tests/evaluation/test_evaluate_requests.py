"""The calls that an evaluation lists for the plan are the calls that it makes."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Assignment, Messages, Sampling, Split
from orcinus.evaluation.config import EvaluateConfig
from orcinus.evaluation.evaluate import evaluate, requests
from orcinus.models.function import FunctionModel
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_records import attempt_id
from orcinus.strategies.library import built_in
from orcinus.strategies.prompts import longest
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

STRATEGIES = tuple(built_in()[name] for name in ("direct", "step_by_step"))
CONFIG = EvaluateConfig(per_task=5, sampling=SamplingConfig(samples=2, temperature=0.7))
GENERIC = "You are a helpful assistant."


def reply(messages: Messages, sampling: Sampling) -> str:
    return f"The answer is {len(messages[-1].content) % 7}."


@pytest.fixture
def context(tmp_path: Path) -> Iterator[StepContext]:
    """Held-out and retention questions of one task each, and an assignment of ``direct``."""
    with tables.TableWriter(tmp_path / "sample" / layout.EXAMPLES, tables.EXAMPLES) as writer:
        splits: tuple[tuple[str, Split], ...] = (("sums", "held_out"), ("largest", "retention"))
        for generator, split in splits:
            for example in draw(ProceduralConfig(generator=generator, count=8, size=(2, 3))):
                writer.write(tables.example_row(example, split))
    path = tmp_path / "assign" / layout.ASSIGNMENTS
    with tables.TableWriter(path, tables.ASSIGNMENTS) as writer:
        writer.write(
            tables.assignment_row(
                Assignment(
                    group="sums",
                    strategy="direct",
                    evidence=(),
                    runner_up=None,
                    p_value=None,
                    reason="measured",
                )
            )
        )
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield StepContext(
            out=tmp_path / "evaluate",
            inputs={
                role: tmp_path / role for role in ("sample", "assign", "train", "train_answer_only")
            },
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(workspace=tmp_path, ledger_path=tmp_path / "ledger.sqlite"),
            progress=Silent(),
            # One name for all students, so that ids tell only what was asked.
            completer=lambda role, folder=None: FunctionModel(reply, model=role),
        )


def sent(path: Path) -> list[str]:
    return [judged.attempt.id for judged in tables.read_judged(path)]


def test_the_listed_requests_are_those_that_are_sent(context: StepContext) -> None:
    listed = requests(CONFIG, STRATEGIES, GENERIC, context)
    asyncio.run(evaluate(CONFIG, STRATEGIES, GENERIC, context))
    files = [layout.attempts(arm) for arm in CONFIG.arms]
    files += [layout.retention(arm) for arm in ("before", "after")]
    assert [
        [attempt_id(request, asking.role) for request in asking.requests] for asking in listed
    ] == [sent(context.out / name) for name in files]
    assert [asking.exact for asking in listed] == [False, True, False, False, True, False, False]


def test_before_there_is_an_assignment_the_longest_strategy_bounds_the_calls(
    context: StepContext,
) -> None:
    inputs = {role: folder for role, folder in context.inputs.items() if role != "assign"}
    listed = requests(CONFIG, STRATEGIES, GENERIC, replace(context, inputs=inputs))
    asked = {asking.role: list(asking.requests) for asking in listed}
    assert len(asked["teacher"]) == 10
    assert {request.strategy for request in asked["teacher"]} == {longest(STRATEGIES).name}
    assert not any(asking.exact for asking in listed)
