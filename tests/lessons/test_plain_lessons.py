"""Lessons made from whole columns are those that are made one after another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orcinus.core.types import Attempt, Example, Judged, Message, Sampling, Strategy, Verdict
from orcinus.lessons import plain_lessons
from orcinus.lessons.config import EraseConfig
from orcinus.lessons.erase import Eraser
from orcinus.lessons.refusals import refused
from orcinus.runs import tables
from orcinus.runs.row_groups import TraceGroup

STEPS = Strategy(name="steps", system="Go step by step, then answer.")
EXAMPLES = (
    Example(id="a", task="t", prompt="What is 17 + 25?", answer_type="number", reference="42"),
    Example(id="unused", task="t", prompt="Not taught.", answer_type="free"),
    Example(
        id="b",
        task="t",
        prompt="Sort: é, b, a",
        answer_type="list",
        reference=("a", "b", "é"),
        meta={"licence": "mit", "difficulty": 2},
    ),
    Example(id="c", task="u", prompt="Who?", answer_type="exact", reference=("Bo", "Bob")),
    Example(id="d", task="u", prompt="Why?", answer_type="free", meta={"source": "x"}),
)


def judged(example: Example, text: str, **more: Any) -> Judged:
    attempt = Attempt(
        id=f"attempt {example.id} {text}",
        example_id=example.id,
        task=example.task,
        strategy="steps",
        model="teacher",
        messages=(
            Message(role="system", content=STEPS.system),
            Message(role="user", content=example.prompt),
        ),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
        cost_usd=0.25,
        **more,
    )
    value = None if example.reference is None else 1.0
    answer = "42" if value else None
    verdict = Verdict(attempt_id=attempt.id, verifier="v", value=value, answer=answer, reason="")
    return Judged(attempt=attempt, verdict=verdict)


def group_of(folder: Path, examples: tuple[Example, ...], traces: list[Judged]) -> TraceGroup:
    with tables.TableWriter(folder / "examples.parquet", tables.EXAMPLES) as writer:
        for example in examples:
            writer.write(tables.example_row(example, "teach"))
    with tables.TableWriter(folder / "kept.parquet", tables.JUDGED) as writer:
        for trace in traces:
            writer.write(tables.judged_row(trace))
    return TraceGroup(
        traces=folder / "kept.parquet",
        number=0,
        rows=len(traces),
        examples=folder / "examples.parquet",
        first=0,
    )


def traces_of(examples: tuple[Example, ...]) -> list[Judged]:
    a, _, b, c, d = examples
    first = judged(d, "It is so.")
    bare = replace(
        first, attempt=replace(first.attempt, id="bare", messages=first.attempt.messages[1:])
    )
    return [
        judged(a, "7 + 5 = 12, so 42.", reasoning="Let me see."),
        judged(a, "Go step\nby step,  then answer. So 42."),
        judged(b, "a, b, é"),
        refused(judged(b, "Something unsafe."), "unsafe"),
        judged(c, "Bob"),
        first,
        bare,
    ]


@pytest.mark.parametrize("content", ["explanation", "answer_only"])
@pytest.mark.parametrize(
    "config",
    [
        EraseConfig(),
        EraseConfig(mode="empty", layout="text_only"),
        EraseConfig(message="Be good."),
        EraseConfig(layout="think"),
    ],
)
@pytest.mark.parametrize("history", [False, True])
def test_columns_give_the_lessons_that_objects_give(
    content: Any,
    config: EraseConfig,
    history: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    examples = EXAMPLES
    if history:
        turns = {"history": [{"role": "user", "content": "Hello."}]}
        examples = (*EXAMPLES[:4], replace(EXAMPLES[4], meta=turns))
    eraser = Eraser(
        config=config,
        strategies={"steps": STEPS},
        content=content,
        seed=0,
        logprobs=False,
        rehearsed=None,
        numbers=(),
        words=(),
    )
    group = group_of(tmp_path, examples, traces_of(examples))
    expected = eraser.erase("teacher", group.read())
    made_alone = []
    one_by_one = Eraser.erase

    def erase(self: Eraser, role: str, traces: Any) -> Any:
        made_alone.append(role)
        return one_by_one(self, role, traces)

    monkeypatch.setattr(Eraser, "erase", erase)
    found = eraser.erase_group("teacher", group)
    assert found.lessons.equals(expected.lessons)
    assert found.lessons.schema.equals(tables.LESSONS)
    assert found.leaks == expected.leaks == (content == "explanation")
    needs_objects = history or (config.layout == "think" and content == "explanation")
    assert bool(made_alone) == needs_objects


def test_a_message_with_other_blanks_is_repeated_and_an_empty_one_is_not() -> None:
    assert plain_lessons.repeats_message("go  step by\nstep", ["I go step", "by step."])
    assert not plain_lessons.repeats_message("go step by step", ["I go by step."])
    assert not plain_lessons.repeats_message(" ", ["I go by step."])
