"""Assigning strategies: to groups finer than tasks, and without references."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from orcinus.core.errors import ConfigError
from orcinus.core.types import (
    AnswerType,
    Assignment,
    Attempt,
    Example,
    Judged,
    Messages,
    Sampling,
    Usage,
    Verdict,
)
from orcinus.models.function import FunctionModel
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.strategies.assign import assign
from orcinus.strategies.config import AssignConfig, ProbeConfig
from orcinus.strategies.library import built_in
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

Answered = Callable[[Example, str], tuple[str | None, float | None] | None]
"""Gives the student's (answer, verdict) for an example under a strategy; None: it was not asked."""


def judged(example: Example, strategy: str, answer: str | None, value: float | None) -> Judged:
    identity = f"{example.task}/{example.id}/{strategy}"
    return Judged(
        attempt=Attempt(
            id=identity,
            example_id=example.id,
            task=example.task,
            strategy=strategy,
            model="m",
            messages=(),
            sampling=Sampling(),
            sample=0,
            text=answer or "",
            finish="stop",
            usage=Usage(tokens_out=5 if strategy == "direct" else 40),
        ),
        verdict=Verdict(attempt_id=identity, verifier="v@1", value=value, answer=answer, reason=""),
    )


def run_assign(
    config: AssignConfig,
    examples: Sequence[Example],
    answered: Answered,
    folder: Path,
    names: Sequence[str] = ("direct", "step_by_step"),
    teacher: Callable[[Messages, Sampling], str] | None = None,
    trial: Path | None = None,
    progress: Silent | None = None,
) -> tuple[dict[str, Assignment], dict[tuple[str, str], str]]:
    """Run ``assign``; return the assignments by group, and the group of each example."""
    strategies = tuple(strategy for name, strategy in built_in().items() if name in names)
    with tables.TableWriter(folder / "sample" / "examples.parquet", tables.EXAMPLES) as writer:
        for example in examples:
            writer.write(tables.example_row(example, "probe"))
    with tables.TableWriter(folder / "probe" / "attempts.parquet", tables.JUDGED) as writer:
        for example in examples:
            for strategy in strategies:
                if (reply := answered(example, strategy.name)) is not None:
                    writer.write(tables.judged_row(judged(example, strategy.name, *reply)))
    with Ledger(folder / "ledger.sqlite") as ledger:
        context = StepContext(
            out=folder,
            inputs={
                "sample": folder / "sample",
                "probe": folder / "probe",
                **({} if trial is None else {"trial": trial}),
            },
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite"),
            progress=progress or Silent(),
            completer=lambda role, folder=None: FunctionModel(cast(Any, teacher), model=role),
        )
        asyncio.run(assign(config, strategies, ProbeConfig(), context))
    groups = {}
    if (folder / "groups.parquet").exists():
        groups = {
            (row["task"], row["example_id"]): row["group"]
            for row in tables.read_rows(folder / "groups.parquet")
        }
    return {
        item.group: item for item in tables.read_assignments(folder / "assignments.parquet")
    }, groups


def test_clusters_split_a_task_of_two_kinds_by_its_words(tmp_path: Path) -> None:
    examples, kinds = [], {}
    for kind in ("sums", "largest"):
        for number, example in enumerate(
            draw(ProceduralConfig(generator=kind, count=30, size=(3, 5)))
        ):
            made = Example(
                id=f"{kind}{number}",
                task="mixed",
                prompt=example.prompt,
                answer_type="number",
                reference="1",
            )
            examples.append(made)
            kinds[made.id] = kind

    def answered(example: Example, strategy: str) -> tuple[str, float]:
        return "1", float((kinds[example.id] == "sums") == (strategy == "step_by_step"))

    found, groups = run_assign(AssignConfig(by="cluster", confirm=0), examples, answered, tmp_path)
    for example in examples:
        strategy = found[groups["mixed", example.id]].strategy
        assert strategy == ("step_by_step" if kinds[example.id] == "sums" else "direct")
    assert all(name.startswith("cluster ") for name in found)


def test_without_references_the_majority_answer_is_the_label_and_is_named(tmp_path: Path) -> None:
    examples = [
        Example(id=str(number), task="t", prompt=f"{number}?", answer_type="number")
        for number in range(12)
    ]

    def answered(example: Example, strategy: str) -> tuple[str, None]:
        return {"direct": f"1{example.id}", "step_by_step": f"{example.id}.0"}.get(
            strategy, example.id
        ), None

    names = ("direct", "step_by_step", "explain_then_answer")
    found, _ = run_assign(AssignConfig(confirm=0), examples, answered, tmp_path / "three", names)
    assert found["t"].strategy != "direct"
    assert found["t"].proxy == "agreement"
    assert "agreement with the majority" in found["t"].reason
    assert {item.strategy: item.score.mean for item in found["t"].evidence}["direct"] == 0.0

    alone, _ = run_assign(
        AssignConfig(confirm=0, proxy="none"), examples, answered, tmp_path / "none", names
    )
    assert alone["t"].proxy is None
    two, _ = run_assign(AssignConfig(confirm=0), examples, answered, tmp_path / "two", names[:2])
    assert two["t"].proxy is None, "two answers cannot have a majority"


def shortest(items: Sequence[Judged]) -> Assignment:
    """Choose the strategy that writes least, as a user's rule might."""
    by_length = sorted(items, key=lambda item: item.attempt.usage.tokens_out)
    return Assignment(
        group="",
        strategy=by_length[0].attempt.strategy,
        evidence=(),
        runner_up=None,
        p_value=None,
        reason="shortest",
    )


def unheard_of(items: Sequence[Judged]) -> Assignment:
    """Choose a strategy that the recipe does not have."""
    return replace(shortest(items), strategy="telepathy")


def test_a_users_rule_chooses_and_orcinus_adds_the_evidence(tmp_path: Path) -> None:
    examples = list(draw(ProceduralConfig(generator="sums", count=8, size=(2, 3))))

    def answered(example: Example, strategy: str) -> tuple[str, float]:
        return "1", float(strategy == "step_by_step")

    found, _ = run_assign(
        AssignConfig(confirm=0, chooser=f"{__name__}:shortest"),
        examples,
        answered,
        tmp_path / "own",
    )
    assert (found["sums"].strategy, found["sums"].reason) == ("direct", "shortest")
    assert [(e.strategy, e.score.mean) for e in found["sums"].evidence] == [
        ("direct", 0.0),
        ("step_by_step", 1.0),
    ]
    with pytest.raises(
        ConfigError,
        match="gave 'telepathy' for 'sums'; it must give an Assignment of one of direct",
    ):
        run_assign(
            AssignConfig(confirm=0, chooser=f"{__name__}:unheard_of"),
            examples,
            answered,
            tmp_path / "none",
        )


def test_a_chooser_that_is_not_there_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="no chooser named 'nobody'"):
        AssignConfig(chooser="nobody")
    with pytest.raises(ValueError, match="exclude each other"):
        AssignConfig(chooser=f"{__name__}:shortest", fixed="direct")


def test_the_longest_strategy_is_the_one_under_which_most_is_written(tmp_path: Path) -> None:
    examples = list(draw(ProceduralConfig(generator="sums", count=8, size=(2, 3))))

    def answered(example: Example, strategy: str) -> tuple[str, float]:
        return "1", float(strategy == "direct")

    measured, _ = run_assign(AssignConfig(confirm=0), examples, answered, tmp_path / "measured")
    longest, _ = run_assign(
        AssignConfig(confirm=0, fixed="longest"), examples, answered, tmp_path / "longest"
    )
    assert measured["sums"].strategy == "direct"
    assert longest["sums"].strategy == "step_by_step"


def test_without_references_the_teachers_answer_can_be_the_label(tmp_path: Path) -> None:
    """The teacher agrees with the one strategy that the majority contradicts."""
    examples = [
        Example(id=str(number), task="t", prompt=f"{number}?", answer_type="number")
        for number in range(12)
    ]
    names = ("direct", "explain_then_answer", "step_by_step")

    def answered(example: Example, strategy: str) -> tuple[str, None]:
        return (f"1{example.id}" if strategy == "step_by_step" else example.id), None

    def teacher(messages: Messages, sampling: Sampling) -> str:
        return f"The answer is 1{messages[-1].content.rstrip('?')}."

    majority, _ = run_assign(
        AssignConfig(confirm=0), examples, answered, tmp_path / "majority", names
    )
    assert majority["t"].strategy != "step_by_step"
    found, _ = run_assign(
        AssignConfig(confirm=0, proxy="teacher"),
        examples,
        answered,
        tmp_path / "teacher",
        names,
        teacher,
    )
    assert (found["t"].strategy, found["t"].proxy) == ("step_by_step", "teacher")
    assert found["t"].evidence[0].score.mean == 1.0
    assert "agreement with the teacher" in found["t"].reason


@pytest.mark.parametrize("keys", [{"by": "example"}, {"sure": 0.9}, {"each": {"samples": 2}}])
def test_the_removed_choice_by_example_names_its_replacements(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"was removed.*use `by: cluster` or `by: category`"):
        AssignConfig.model_validate(keys)


@pytest.mark.parametrize(
    ("below_floor", "strategy", "says"),
    [
        ("best", "direct", "taught with direct anyway"),
        ("skip", None, "left out"),
        ("step_by_step", "step_by_step", "taught with step_by_step"),
    ],
)
def test_a_group_under_the_floor_is_not_learnable_and_the_reason_says_how_it_is_taught(
    tmp_path: Path, below_floor: str, strategy: str | None, says: str
) -> None:
    examples = list(draw(ProceduralConfig(generator="sums", count=8, size=(2, 3))))
    config = AssignConfig(confirm=0, floor=0.5, below_floor=below_floor)
    found, _ = run_assign(config, examples, lambda example, strategy: ("1", 0.0), tmp_path)
    assert found["sums"].strategy == strategy
    assert not found["sums"].learnable
    assert f"under the floor of 50%: not yet learnable, {says}; " in found["sums"].reason
    assert found["sums"].reason.endswith("nothing tells the strategies apart")


def test_a_reason_names_only_strategies_that_were_asked_in_the_group(tmp_path: Path) -> None:
    """Every strategy is meant for two groups; ``decompose``, the best, not for the sums."""
    examples = [
        example
        for kind in ("sums", "largest", "parity")
        for example in draw(ProceduralConfig(generator=kind, count=20, size=(2, 3)))
    ]

    def answered(example: Example, strategy: str) -> tuple[str, float] | None:
        missing = {"sums": "decompose", "largest": "direct", "parity": "step_by_step"}
        if strategy == missing[example.task]:
            return None
        best = "direct" if example.task == "sums" else "decompose"
        return "1", float(strategy == best)

    names = ("direct", "step_by_step", "decompose")
    found, _ = run_assign(AssignConfig(confirm=0), examples, answered, tmp_path, names)
    assert found["sums"].strategy == "direct"
    assert "decompose" not in found["sums"].reason
    assert "against" in found["sums"].reason


def test_by_default_a_group_is_learnable_from_five_points_above_guessing(tmp_path: Path) -> None:
    kinds: dict[str, AnswerType] = {"floor": "number", "guessed": "bool", "known": "bool"}
    examples = [
        Example(id=str(n), task=task, prompt=f"{n}?", answer_type=kind, reference="1")
        for task, kind in kinds.items()
        for n in range(40)
    ]

    def answered(example: Example, strategy: str) -> tuple[str, float]:
        share = {"floor": 0, "guessed": 20, "known": 34}[example.task]
        return "1", float(int(example.id) < share)

    found, _ = run_assign(AssignConfig(confirm=0), examples, answered, tmp_path)
    assert {task: item.learnable for task, item in found.items()} == {
        "floor": False,
        "guessed": False,
        "known": True,
    }
    assert "under the floor of 55%" in found["guessed"].reason


def test_only_near_the_floor_is_the_student_asked_again(tmp_path: Path) -> None:
    examples = [
        Example(id=f"{task}{number}", task=task, prompt=f"{task} {number}?", answer_type="number")
        for task in ("sure", "doubtful")
        for number in range(30)
    ]

    def answered(example: Example, strategy: str) -> tuple[str, float] | None:
        number = int(example.id.removeprefix(example.task))
        if number >= 20:
            return None  # was not asked
        right = strategy == "direct" and number < (18 if example.task == "sure" else 2)
        return "1", float(right)

    def student(messages: Messages, sampling: Sampling) -> str:
        return "The answer is 1."

    found, _ = run_assign(AssignConfig(), examples, answered, tmp_path, teacher=student)
    again = {task: found[task].evidence[0].held_out for task in ("sure", "doubtful")}
    assert again["sure"] is None, "18 of 20 are far above the floor"
    assert again["doubtful"] is not None, "2 of 20 may lie under it"
    assert again["doubtful"].n == 10


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def categories(count: int, *names: str) -> list[Example]:
    return [
        Example(
            id=f"{name}{number}",
            task="t",
            prompt=f"{name} {number}",
            answer_type="number",
            reference="1",
            meta={"category": name} if name else {},
        )
        for name in names
        for number in range(count)
    ]


def test_the_choice_is_said_by_group(tmp_path: Path) -> None:
    notes = Notes()

    def answered(example: Example, strategy: str) -> tuple[str, float]:
        return "1", float((example.meta["category"] == "long") == (strategy == "step_by_step"))

    config = AssignConfig(by="category", confirm=0)
    run_assign(config, categories(20, "long", "short"), answered, tmp_path, progress=notes)
    assert notes.said == ["chosen: step_by_step for t/long", "chosen: direct for t/short"]


def test_a_choice_by_category_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no question has one.*columns: \{meta: \[category\]\}"):
        run_assign(AssignConfig(by="category"), categories(5, ""), lambda *_: ("1", 1.0), tmp_path)
