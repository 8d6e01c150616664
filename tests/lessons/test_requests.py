"""The requests that a step lists for the plan are the requests that it sends."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orcinus.core.sampling import SamplingConfig
from orcinus.core.tool_calls import DEFINITIONS
from orcinus.core.types import (
    Assignment,
    Example,
    Messages,
    Request,
    Sampling,
    Split,
    Strategy,
)
from orcinus.evaluation import evaluate
from orcinus.evaluation.config import EvaluateConfig
from orcinus.lessons import curate, select, teach
from orcinus.lessons.config import (
    CurateConfig,
    QualityConfig,
    SelectConfig,
    SelectorConfig,
    TeachConfig,
)
from orcinus.models.function import FunctionModel
from orcinus.runs import tables
from orcinus.runs.context import Asking, Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_records import attempt_id
from orcinus.strategies import assign, probe, skills
from orcinus.strategies.config import AssignConfig, ProbeConfig, SkillsConfig
from orcinus.strategies.library import built_in
from orcinus.strategies.prompts import longest
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

STRATEGIES = tuple(built_in()[name] for name in ("direct", "step_by_step"))
GENERIC = "You are careful."
PROBE = ProbeConfig(per_task=8, adaptive=False, reserve=4)


def reply(messages: Messages, sampling: Sampling) -> str:
    """Answer right now and then."""
    return f"The answer is {len(messages[-1].content) % 7}."


@pytest.fixture
def context(tmp_path: Path) -> Iterator[StepContext]:
    """A sample of two tasks with 20 probe examples and 10 teach examples each."""
    with tables.TableWriter(tmp_path / "sample" / "examples.parquet", tables.EXAMPLES) as writer:
        for generator in ("sums", "largest"):
            drawn = draw(ProceduralConfig(generator=generator, count=30, size=(2, 3)))
            for number, example in enumerate(drawn):
                writer.write(tables.example_row(example, "probe" if number < 20 else "teach"))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield StepContext(
            out=tmp_path,
            inputs={"sample": tmp_path / "sample"},
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(workspace=tmp_path, ledger_path=tmp_path / "ledger.sqlite"),
            progress=Silent(),
            completer=lambda role, folder=None: FunctionModel(reply, model=role),
        )


def in_step(context: StepContext, name: str, **inputs: str) -> StepContext:
    """Return the context of a step whose folder has the step's name."""
    folders = {role: context.out / folder for role, folder in inputs.items()}
    out = context.out / name
    out.mkdir(exist_ok=True)
    return replace(context, out=out, inputs={**context.inputs, **folders})


def ids(askings: Sequence[Asking]) -> set[str]:
    return {attempt_id(r, asking.role) for asking in askings for r in asking.requests}


def sent(path: Path) -> set[str]:
    return {judged.attempt.id for judged in tables.read_judged(path)}


def test_the_listed_requests_are_those_that_are_sent(context: StepContext) -> None:
    probing = in_step(context, "probe")
    listed = probe.requests(PROBE, STRATEGIES, probing)
    assert [asking.exact for asking in listed] == [True]
    asyncio.run(probe.probe(PROBE, STRATEGIES, probing))
    assert ids(listed) == sent(probing.out / "attempts.parquet")

    assigning = in_step(context, "assign", probe="probe")
    config = AssignConfig(confirm=3, floor=0.0)  # near the floor, so that all are asked again
    (bound,) = assign.requests(config, STRATEGIES, PROBE, assigning)
    asyncio.run(assign.assign(config, STRATEGIES, PROBE, assigning))
    confirmed = sent(assigning.out / "confirm.parquet")
    assert len(list(bound.requests)) == len(confirmed) == 2 * 3
    assert not bound.exact

    selecting = in_step(context, "select", assign="assign")
    by_pass_rate = SelectConfig(
        by=(SelectorConfig.model_validate({"name": "teachable", "low": 0}),)
    )
    listed = select.requests(by_pass_rate, STRATEGIES, GENERIC, selecting)
    assert [asking.exact for asking in listed] == [True]
    asyncio.run(select.select(by_pass_rate, STRATEGIES, GENERIC, selecting))
    assert ids(listed) == sent(selecting.out / "attempts.parquet")

    teaching = in_step(context, "teach", assign="assign")
    twice = TeachConfig(sampling=SamplingConfig(samples=2, temperature=0.7), share=0.5)
    for role in ("teacher", "assistant"):
        listed = teach.requests(twice, STRATEGIES, teaching, role=role)
        assert [asking.exact for asking in listed] == [True]
        asyncio.run(teach.teach(twice, STRATEGIES, teaching, role=role))
        assert ids(listed) == sent(teaching.out / "attempts.parquet")


SHOWN = Strategy(name="shown", system="Look: ß", demonstrations=(("1 + 1?", "It is 2."),))
DRAWN = replace(SHOWN, system="", system_from="collection")
OF_ROWS = replace(SHOWN, system="", system_from="row")
LISTS: Mapping[str, Callable[[StepContext], list[Asking]]] = {
    "probe": lambda at: probe.requests(PROBE, (SHOWN, *STRATEGIES), at),
    "adaptive": lambda at: probe.requests(
        PROBE.model_copy(update={"adaptive": True}), STRATEGIES, at
    ),
    "assign": lambda at: assign.requests(AssignConfig(confirm=3), STRATEGIES, PROBE, at),
    "teach": lambda at: teach.requests(TeachConfig(), (SHOWN,), at),
    "share": lambda at: teach.requests(
        TeachConfig(share=0.5, sampling=SamplingConfig(samples=3, temperature=1.0)), STRATEGIES, at
    ),
    "collection": lambda at: teach.requests(TeachConfig(), (DRAWN,), at),
    "row": lambda at: teach.requests(TeachConfig(), (OF_ROWS,), at),
    "evaluate": lambda at: evaluate.requests(EvaluateConfig(), STRATEGIES, GENERIC, at),
    "few": lambda at: evaluate.requests(
        EvaluateConfig(per_task=2, sampling=SamplingConfig(samples=5, temperature=1.0)),
        STRATEGIES,
        GENERIC,
        at,
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_requests_are_counted_without_making_them(context: StepContext, name: str) -> None:
    path = context.inputs["sample"] / "examples.parquet"
    splits: dict[Split, list[Example]] = {
        split: list(tables.read_examples(path, split)) for split in ("probe", "teach")
    }
    splits["held_out"] = [replace(item, id=f"h{item.id}") for item in splits["teach"]]
    splits["retention"] = [replace(item, task="kept", prompt="naïve?") for item in splits["teach"]]
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for split, items in splits.items():
            for number, item in enumerate(items):
                more: dict[str, Any] = {"collection": ("cot", "t0")[number % 2]}
                more["system"] = f"Row {number}."
                if number % 3 == 0:
                    more["history"] = [{"role": "user", "content": "Grüße"}]
                    more[DEFINITIONS] = [{"name": "add", "description": "Größe"}]
                item = replace(item, meta={**item.meta, **more})
                writer.write(tables.example_row(item, split))
    for asking in LISTS[name](context):
        made = list(asking.requests)
        assert asking.size is not None
        assert asking.size() == (
            len(made),
            sum(len(message.content) for request in made for message in request.messages),
            sum(request.sampling.max_tokens for request in made),
        )
        assert made


def test_counting_knows_the_assignment(context: StepContext) -> None:
    sums = Assignment(
        group="sums", strategy="direct", evidence=(), runner_up=None, p_value=None, reason=""
    )
    with tables.TableWriter(context.out / "assign/assignments.parquet", tables.ASSIGNMENTS) as one:
        one.write(tables.assignment_row(sums))
    assigned = in_step(context, "teach", assign="assign")
    (listed,) = teach.requests(TeachConfig(), STRATEGIES, assigned)
    made = list(listed.requests)
    assert {request.example.task for request in made} == {"sums"}  # the other task is not taught
    assert listed.size is not None
    characters = sum(len(message.content) for request in made for message in request.messages)
    assert listed.size()[:2] == (10, characters)


def test_an_adaptive_probe_sends_no_more_than_it_lists(context: StepContext) -> None:
    adaptive = PROBE.model_copy(update={"adaptive": True})
    probing = in_step(context, "probe")
    (listed,) = probe.requests(adaptive, STRATEGIES, probing)
    asyncio.run(probe.probe(adaptive, STRATEGIES, probing))
    assert not listed.exact
    assert len(sent(probing.out / "attempts.parquet")) <= len(list(listed.requests)) == 2 * 8 * 2


def test_before_there_is_an_assignment_the_longest_strategy_bounds_the_calls(
    context: StepContext,
) -> None:
    (listed,) = teach.requests(TeachConfig(), STRATEGIES, in_step(context, "teach"))
    asked = list(listed.requests)
    assert len(asked) == 20
    assert {request.strategy for request in asked} == {longest(STRATEGIES).name}
    assert not listed.exact


def test_a_selector_that_needs_no_pass_rate_asks_nothing(context: StepContext) -> None:
    config = SelectConfig(
        by=(SelectorConfig.model_validate({"name": "diverse", "clusters": 2, "total": 5}),)
    )
    assert select.requests(config, STRATEGIES, GENERIC, in_step(context, "select")) == []


def test_a_teacher_that_stands_in_for_references_is_listed_too(context: StepContext) -> None:
    path = context.inputs["sample"] / "examples.parquet"
    rows = [replace(example, reference=None) for example in tables.read_examples(path, "probe")]
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for example in rows:
            writer.write(tables.example_row(example, "probe"))
    probing = in_step(context, "probe")
    asyncio.run(probe.probe(PROBE, STRATEGIES, probing))
    assigning = in_step(context, "assign", probe="probe")
    config = AssignConfig(confirm=3, proxy="teacher")
    _, listed = assign.requests(config, STRATEGIES, PROBE, assigning)
    asyncio.run(assign.assign(config, STRATEGIES, PROBE, assigning))
    assert listed.role == "teacher"
    assert sent(assigning.out / "teacher.parquet") <= ids([listed])


def test_a_test_of_skills_asks_each_example_twice_in_every_round(context: StepContext) -> None:
    config = SkillsConfig(test=10, rounds=2)
    (listed,) = skills.requests(config, STRATEGIES, SamplingConfig(), in_step(context, "skills"))
    assert len(list(listed.requests)) == 2 * 2 * 10


def test_the_judge_rates_a_few_of_the_traces(context: StepContext) -> None:
    config = CurateConfig(quality=QualityConfig(labelled=50))
    (teaching,) = teach.requests(
        TeachConfig(sampling=SamplingConfig(samples=5, temperature=0.7)), STRATEGIES, context
    )
    taught: list[Request] = list(teaching.requests)
    (listed,) = curate.requests(config, context, taught=taught)
    ratings = list(listed.requests)
    assert (len(taught), len(ratings), listed.role) == (100, 50, "judge")
    assert ratings[0].strategy == "judge: rating"
    assert taught[0].example.prompt in ratings[0].messages[-1].content
    assert curate.requests(CurateConfig(), context, taught=taught) == []
