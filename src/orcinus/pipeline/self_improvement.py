"""Self-improvement in rounds: the student's own right answers under its best strategy, the instruction erased, are what it learns next.

    student ─probe─► best strategies ─sample k─► right ones kept ─erase, train─► student of the next round …   while held-out accuracy rises

What is right is said from outside, by references or a verifier: a recipe without such a signal is refused (see ``recipe.SelfConfig``).
Each round is a run of its own in the workspace, and the held-out items are the same in all. They decide when to stop, so that the
last round's score is a little flattered; the report says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.files import write_atomically
from orcinus.core.types import Score
from orcinus.evaluation.scores import read_scores
from orcinus.models.configs import SelfConfig
from orcinus.models.local.config import LocalConfig
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs.context import Progress, Runtime
from orcinus.runs.folders import finished_steps, model_made_by, summary_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round gave."""

    round: int
    run: str
    """Name of its run."""
    sampled: int
    right: int
    """Of the student's own answers to the questions it learns from."""
    lessons: int
    before: Score
    after: Score
    """Scores on the held-out items."""
    p_value: float | None
    """Paired test of after against before."""


async def improve(
    recipe: Recipe, recipe_path: Path, runtime: Runtime, progress: Progress, *, rounds: int
) -> tuple[Round, ...]:
    """Let the student of ``recipe`` teach itself, as long as it gets better.

    Args:
        recipe: Its teacher, whatever it is, stands aside.
        recipe_path: Its file, where relative paths start.
        runtime: Where and how fast.
        progress: Is told how far it is.
        rounds: At most so many.

    Returns:
        The rounds, the last one without a gain included; also in ``NAME-improved.json`` and ``.md`` in the workspace.

    Raises:
        OrcinusError: A round cannot be done; what is done is kept, and the same command goes on.
    """
    found: list[Round] = []
    student = recipe.student
    for number in range(1, rounds + 1):
        made = Recipe.model_validate(
            {
                **dict(recipe),
                "name": f"{recipe.name}-round-{number}",
                "teacher": SelfConfig(),
                "student": student,
                "evaluate": recipe.evaluate.model_copy(update={"arms": ("before", "after")}),
            }
        )
        progress.note(f"round {number} of at most {rounds}")
        run_dir = await run_recipe(made, recipe_path, runtime, progress, until="evaluate")
        found.append(_round(number, run_dir))
        _write(recipe, found, runtime)
        if (found[-1].after.mean or 0.0) <= (found[-1].before.mean or 0.0):
            break
        student = _trained(run_dir, student)
    return tuple(found)


def _round(number: int, run_dir: Path) -> Round:
    scores = read_scores(finished_steps(run_dir, "evaluate")[0])
    taught = summary_of(finished_steps(run_dir, "teach")[0])["summary"]
    curated = summary_of(finished_steps(run_dir, "curate")[0])["summary"]
    paired = [row for row in scores.comparisons if row.task is None and row.b == "before"]
    return Round(
        round=number,
        run=run_dir.name,
        sampled=taught["attempts"],
        right=taught["right"],
        lessons=curated["kept"],
        before=scores.arms["before"].accuracy.micro,
        after=scores.arms["after"].accuracy.micro,
        p_value=paired[0].p_value if paired else None,
    )


def _trained(run_dir: Path, student: Any) -> LocalConfig:
    """The student that a round made, asked as the one before."""
    settings = student.local() if isinstance(student, ScratchConfig) else student
    folder = finished_steps(run_dir, "train")[0]
    path = str(model_made_by(folder).resolve())
    trained: LocalConfig = settings.model_copy(
        update={"path": path, "revision": None, "adapter": None}
    )
    return trained


def _write(recipe: Recipe, rounds: Iterable[Round], runtime: Runtime) -> None:
    found = tuple(rounds)
    stem = runtime.workspace / f"{recipe.name}-improved"
    write_atomically(stem.with_suffix(".json"), orjson.dumps(found, option=orjson.OPT_INDENT_2))
    write_atomically(stem.with_suffix(".md"), markdown(found).encode())


def markdown(rounds: Iterable[Round]) -> str:
    """The rounds as a table."""
    from orcinus.reports.words import chance, percent

    lines = [
        "| round | own answers right | lessons | held out before | after | 95 % interval | n | p |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {item.round} | {item.right:,} of {item.sampled:,} | {item.lessons:,} | {percent(item.before.mean)} | "
        f"{percent(item.after.mean)} | {percent(item.after.low)} – {percent(item.after.high)} | {item.after.n:,} | "
        f"{chance(item.p_value)} |"
        for item in rounds
    ]
    return (
        "\n".join(
            [
                *lines,
                "",
                "The held-out items decide when to stop: the best of the rounds looks a little better than it is.",
            ]
        )
        + "\n"
    )
