"""Skills: a teacher's instructions are kept only where they help on fresh examples."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.conftest import write_recipe

from orcinus.core import registry
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import (
    Assignment,
    Attempt,
    Evidence,
    Example,
    Judged,
    Messages,
    Sampling,
    Score,
    Verdict,
)
from orcinus.models.function import FunctionModel
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.assigned import Assigned
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.folders import finished_steps
from orcinus.runs.ledger import Ledger
from orcinus.strategies.config import SkillsConfig
from orcinus.strategies.library import built_in
from orcinus.strategies.skill_front import (
    candidates_paid_by,
    front_of,
    pair_to_merge,
    parent_of,
)
from orcinus.strategies.skills import instruction_in, read_skills, skills
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

DIRECT = built_in()["direct"]
GROUPS = ("helped", "harmed", "unmoved")


def examples(group: str) -> list[Example]:
    return [
        Example(
            id=str(i), task=group, prompt=f"{group} {i}", answer_type="number", reference=str(i)
        )
        for i in range(140)
    ]


def student(messages: Messages, sampling: Sampling) -> str:
    """Answer half right; instructed, all of ``helped`` right and a quarter of ``harmed``."""
    group, number = messages[-1].content.split()
    right = int(number) % 2 == 0
    if "carry" in messages[0].content:
        right = {"helped": True, "harmed": int(number) % 4 == 0, "unmoved": right}[group]
    return f"The answer is {number if right else -1}."


class Teacher:
    def __init__(self) -> None:
        self.prompts: list[str] = []

    def __call__(self, messages: Messages, sampling: Sampling) -> str:
        self.prompts.append(messages[-1].content)
        return "<instruction>Add from the right and\ncarry.</instruction>"


def run(
    folder: Path, teacher: Any, config: SkillsConfig, calls: list[str] | None = None
) -> dict[str, Any]:
    zero = Score(
        mean=0.5, n=20, n_none=0, n_error=0, low=0.3, high=0.7, format_ok=1.0, mean_given_ok=0.5
    )
    with tables.TableWriter(folder / "sample" / "examples.parquet", tables.EXAMPLES) as writer:
        for group in GROUPS:
            for i, example in enumerate(examples(group)):
                writer.write(tables.example_row(example, "probe" if i < 20 else "teach"))
    with tables.TableWriter(folder / "probe" / "attempts.parquet", tables.JUDGED) as writer:
        for group in GROUPS:
            for i, example in enumerate(examples(group)[:20]):
                writer.write(tables.judged_row(probed(example, float(i % 2 == 0))))
    with tables.TableWriter(
        folder / "assign" / "assignments.parquet", tables.ASSIGNMENTS
    ) as writer:
        for group in GROUPS:
            evidence = Evidence(strategy="direct", score=zero, tokens_out=4.0)
            assignment = Assignment(
                group=group,
                strategy="direct",
                evidence=(evidence,),
                runner_up=None,
                p_value=None,
                reason="best",
            )
            writer.write(tables.assignment_row(assignment))

    def counted(messages: Messages, sampling: Sampling) -> str:
        if calls is not None:
            calls.append(messages[-1].content)
        return student(messages, sampling)

    models = {
        "student": FunctionModel(counted, model="student"),
        "teacher": FunctionModel(teacher, model="teacher"),
    }
    with Ledger(folder / "ledger.sqlite") as ledger:
        context = StepContext(
            out=folder / "out",
            inputs={name: folder / name for name in ("sample", "probe", "assign")},
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite"),
            progress=Silent(),
            completer=lambda role, folder=None: models[role],
        )
        (folder / "out").mkdir(exist_ok=True)
        return asyncio.run(skills(config, (DIRECT,), SamplingConfig(), context))


def probed(example: Example, value: float) -> Judged:
    identity = f"{example.task}/{example.id}"
    attempt = Attempt(
        id=identity,
        example_id=example.id,
        task=example.task,
        strategy="direct",
        model="student",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=f"The answer is {example.id if value else -1}.",
        finish="stop",
    )
    return Judged(
        attempt=attempt,
        verdict=Verdict(attempt_id=identity, verifier="v", value=value, answer="1", reason=""),
    )


def test_an_instruction_is_kept_only_where_it_helps(tmp_path: Path) -> None:
    summary = run(tmp_path, Teacher(), SkillsConfig())
    assigned = Assigned.read(tmp_path / "out")
    assert [assigned.strategy_of(group, "0") for group in GROUPS] == [
        "skill for helped",
        "direct",
        "direct",
    ]
    [skill] = read_skills(tmp_path / "out")
    assert skill.system.startswith("Add from the right and carry. Finish with one line")
    assert (summary["drafts"], summary["accepted"], summary["regressions"]) == (5, 1, 0)
    mine = assigned.by_group["helped"]
    assert mine.evidence[0].score.n == 60
    assert mine.evidence[1].strategy == "direct"
    assert f"{summary['repairs']} repairs and 0 regressions" in mine.reason


def test_the_teacher_sees_right_and_wrong_answers_and_then_what_changed(tmp_path: Path) -> None:
    teacher = Teacher()
    run(tmp_path, teacher, SkillsConfig(shown=2))
    first, second = teacher.prompts[0], next(p for p in teacher.prompts if "Now wrong" in p)
    assert first.count("--- Right\n") == first.count("--- Wrong\n") == 2
    assert "Right answer: " in first
    assert "Your instruction: Add from the right and carry." in second


def test_every_test_uses_new_examples_and_none_of_the_probes(tmp_path: Path) -> None:
    calls: list[str] = []
    run(tmp_path, Teacher(), SkillsConfig(test=40), calls)
    harmed = [call for call in calls if call.startswith("harmed")]
    assert len(harmed) == 2 * 2 * 40
    assert len(set(harmed)) == 2 * 40
    assert not {f"harmed {i}" for i in range(20)} & set(harmed)


def test_a_second_run_asks_no_model(tmp_path: Path) -> None:
    run(tmp_path, Teacher(), SkillsConfig())
    calls: list[str] = []
    teacher = Teacher()
    run(tmp_path, teacher, SkillsConfig(), calls)
    assert calls == teacher.prompts == []


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("<instruction> Do\nthis. </instruction>", "Do this."),
        ("I think. <instruction>Do this.</instruction> Done.", "Do this."),
        ("Do this.", None),
        ("<instruction></instruction>", None),
        (f"<instruction>{'do this ' * 400}</instruction>", None),
    ],
)
def test_an_instruction_is_read_from_its_tags(text: str, instruction: str | None) -> None:
    assert instruction_in(text) == instruction


def test_the_front_holds_what_is_best_somewhere() -> None:
    a, b, worse, same = (True, True, False), (False, True, True), (False, True, False), (True,) * 2
    assert front_of([worse, a, b]) == [1, 2]
    assert front_of([same, same]) == [0]
    assert pair_to_merge([worse, a, b]) == (1, 2)
    assert pair_to_merge([a, worse]) is None
    assert {parent_of([worse, a, b], "group", str(n)) for n in range(20)} == {1, 2}
    assert candidates_paid_by(test=60, rounds=2, tried=30) == 3
    assert candidates_paid_by(test=60, rounds=1, tried=30) == 0
    with pytest.raises(ValueError, match="rounds: 1 saves none; take rounds: 2 or more"):
        SkillsConfig(growth="front", rounds=1)


def test_growing_tells_reasons_makes_no_more_calls_and_passes_the_same_gate(
    tmp_path: Path,
) -> None:
    used: dict[str, int] = {}
    accepted = {}
    teacher = Teacher()
    for growth in ("revise", "front"):
        teacher, calls = Teacher(), list[str]()
        folder = tmp_path / growth
        folder.mkdir()
        summary = run(folder, teacher, SkillsConfig(growth=growth), calls)
        used[growth] = len(calls) + len(teacher.prompts)
        accepted[growth] = [skill.name for skill in read_skills(folder / "out")]
        assert summary["accepted"] == 1
    assert accepted["front"] == accepted["revise"] == ["skill for helped"]
    assert used["front"] <= used["revise"]
    assert "Why it counts as wrong: " in teacher.prompts[0]


async def _right_when_instructed(example: Example, attempt: Attempt) -> Verdict:
    """Count an answer as right exactly when the student was told to carry."""
    told = attempt.messages[0].role == "system" and "carry" in attempt.messages[0].content
    value = float(
        told
        or attempt.model.startswith("tests.")
        or attempt.text.endswith(f"is {example.reference}.")
    )
    return Verdict(
        attempt_id=attempt.id, verifier="instructed@1", value=value, answer=attempt.text, reason=""
    )


def teacher_for_a_run(messages: Messages, sampling: Sampling) -> str:
    """Write an instruction when asked for one, else explain."""
    if "instruction" in messages[0].content:
        return "<instruction>Add from the right and carry.</instruction>"
    return "We add from the right. The answer is 7."


@pytest.mark.usefixtures("own_extensions")
def test_in_a_run_the_teacher_explains_with_the_instruction_and_the_student_never_sees_it(
    tmp_path: Path,
) -> None:
    registry.register("verifier", "instructed")(_right_when_instructed)
    drawn = draw(ProceduralConfig(generator="sums", count=120, size=(2, 3)))
    rows = [
        orjson.dumps({"prompt": e.prompt, "reference": e.reference, "answer_type": "number"})
        for e in drawn
    ]
    (tmp_path / "sums.jsonl").write_bytes(b"\n".join(rows))
    path = write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"path": "sums.jsonl", "verifier": "instructed"}],
        teacher={"kind": "function", "function": f"{__name__}:teacher_for_a_run"},
        skills={"test": 20, "rounds": 1},
        evaluate={"per_task": 4, "sampling": {"max_tokens": 4}, "arms": ["prompted", "after"]},
    )
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "runs" / "ledger.sqlite")
    run_dir = asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent(), until="report"))
    taught = list(tables.read_judged(finished_steps(run_dir, "teach")[0] / "attempts.parquet"))
    assert {judged.attempt.strategy for judged in taught} == {"skill for sums"}
    assert all("carry" in judged.attempt.messages[0].content for judged in taught)
    lessons = list(tables.read_lessons(finished_steps(run_dir, "erase")[0] / "lessons.parquet"))
    assert lessons
    assert not any("carry" in message.content for lesson in lessons for message in lesson.messages)
    prompted = list(
        tables.read_judged(finished_steps(run_dir, "evaluate")[0] / "attempts-prompted.parquet")
    )
    assert all("carry" in judged.attempt.messages[0].content for judged in prompted)
    assert "Add from the right and carry." in (run_dir / "report.html").read_text(encoding="utf-8")
