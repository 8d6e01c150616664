"""Lectures: authored texts that become lessons without a question (phi-1)."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.tasks.authors import says
from tests.tasks.test_author import Desk, task

import orcinus
from orcinus.core.errors import ConfigError, StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Lesson, Messages, Sampling
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import load
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout, tables
from orcinus.training.lesson_loss import lesson_losses

TEXT = "A lever turns about its pivot. A long arm needs little force."
LECTURES: dict[str, Any] = {
    "name": "lectures",
    "authored": {
        "by": "writer",
        "topics": [f"topic {i}" for i in range(12)],
        "audiences": ["pupils", "engineers"],
        "constraints": ["200 words", "tell a story"],
        "kinds": ["lecture"],
        "count": 60,
    },
}
ATTEMPTS = layout.attempts("0-author")
SUMS = {"generator": "sums", "count": 60, "size": [2, 3]}


def test_a_lecture_is_written_from_its_cell(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {"writer": says(f"<lecture>{TEXT}</lecture>")})
    desk.run(task(topics=["levers"], audiences=["pupils"], kinds=["lecture"]))
    [found] = desk.kept()
    assert (found.prompt, found.reference, found.answer_type) == (TEXT, None, "free")
    assert found.meta["lecture"] == ("Write a lecture.\n\nTopic: levers\n\nIt is meant for: pupils")
    assert found.meta["source_unit"] == "levers"


def test_a_reply_without_a_lecture_is_dropped(tmp_path: Path) -> None:
    desk = Desk(tmp_path, {"writer": says(TEXT)})
    with pytest.raises(StepError, match="no <lecture>…</lecture> in the reply"):
        desk.run(task(kinds=["lecture"]))


def test_a_lesson_without_a_prompt_is_a_plain_text(tiny_student: Path) -> None:
    config = LocalConfig(path=str(tiny_student), chat_template="chatml")
    chat, model, _ = load(config, "cpu")
    tokens, prompt = chat.lesson((), TEXT)
    assert prompt == 0
    assert chat.tokenizer.decode(tokens) == TEXT + chat.tokenizer.eos_token
    lesson = Lesson(
        id="l",
        example_id="e",
        task="t",
        strategy="lecture",
        messages=(),
        completion=TEXT,
        reasoning=None,
        teacher="w",
        attempt_id="a",
        erased="lecture",
    )
    [found] = lesson_losses(config, [lesson], context=256, device="cpu")
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0]
    expected = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(tokens[1:]))
    assert found.loss == pytest.approx(expected.item(), abs=1e-5)


def writer(messages: Messages, sampling: Sampling) -> str:
    """Write lectures, of which every second one is murky."""
    asked = f"{messages[-1].content} {sampling.seed}"
    style = "because hence" if stable_fraction("clear", asked) < 0.5 else "dunno whatever"
    numbers = [str(int(1000 * stable_fraction("word", asked, str(i)))) for i in range(20)]
    return f"<lecture>{style} {' word'.join(numbers)} {style}</lecture>"


def judge(messages: Messages, sampling: Sampling) -> str:
    """Rate clear texts high."""
    text = messages[-1].content
    assert "word" not in text or "Write a lecture.\n\nTopic: topic" in text
    code = re.search(r"VERDICT (\w+):", text)
    assert code is not None
    return f"VERDICT {code[1]}: {5 if 'because' in text or 'word' not in text else 1}"


def test_lectures_are_rated_and_only_read(tmp_path: Path) -> None:
    functions = {
        name: {"kind": "function", "function": f"{__name__}:{name}"} for name in ("writer", "judge")
    }
    path = write_recipe(
        tmp_path / "r.yaml",
        tasks=[SUMS, LECTURES],
        models={"writer": functions["writer"]},
        judge=functions["judge"],
        assign={"fixed": "step_by_step"},
        curate={"quality": {"labelled": 100, "keep": 0.5}},
        evaluate={"arms": ["before", "after"]},
    )
    run = orcinus.run(path, runs=tmp_path / "runs", until="erase")
    sampled = tables.read_rows(run.steps["sample"] / layout.EXAMPLES, ["task", "split"])
    splits = {(row["task"], row["split"]) for row in sampled}
    assert {split for name, split in splits if name == "lectures"} == {"lecture"}
    lessons = list(tables.read_lessons(run.steps["erase"] / layout.LESSONS))
    read = [lesson for lesson in lessons if lesson.task == "lectures"]
    assert len(read) == 30  # the better half of its kind
    examples = tables.read_examples(run.steps["sample"] / layout.EXAMPLES, "lecture")
    clear = sum("because" in example.prompt for example in examples)
    assert sum("because" in lesson.completion for lesson in read) == min(clear, 30)
    assert {(lesson.messages, lesson.erased, lesson.teacher) for lesson in read} == {
        ((), "lecture", f"function:{__name__}:writer@1")
    }
    assert all(lesson.messages for lesson in lessons if lesson.task == "sums")
    wrote = {row["id"] for row in tables.read_rows(run.steps["author"] / ATTEMPTS)}
    assert {lesson.attempt_id for lesson in read} <= wrote


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tasks": [LECTURES]}, "add a task whose questions the student is measured on"),
        ({"tasks": [SUMS], "evaluation": [LECTURES]}, "ask nothing; put it under tasks:"),
        ({"train": {"stages": [{"name": "o", "reinforce": {}}]}}, "name the stage's tasks:"),
        (
            {"rehearse": {}, "train": {"objective": {"name": "rollout_adaptive"}}},
            "needs numbers that lectures do not have",
        ),
        (
            {"tasks": [SUMS, {"authored": {**LECTURES["authored"], "solver": "writer"}}]},
            "no answer to control or solve",
        ),
    ],
)
def test_what_asks_a_lecture_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    models = {"writer": {"kind": "function", "function": f"{__name__}:writer"}}
    settings = {"tasks": [SUMS, LECTURES], "models": models, **changes}
    with pytest.raises(ConfigError, match=said):
        load_recipe(write_recipe(tmp_path / "r.yaml", **settings))
