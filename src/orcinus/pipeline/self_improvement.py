"""Let a student teach itself in rounds.

    student ─probe─► best strategies ─sample k─► right answers kept ─erase, train─► next student

The student's own right answers under its best strategy, with the instruction erased, are what it
learns next. References or a verifier say what is right; a recipe without such a signal is refused.

Each round is a run of its own in the workspace, with the same held-out items. They decide when to
stop, so the last round's score is slightly optimistic; the table says so.
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
    """The result of one round."""

    round: int
    """Counted from 1."""
    run: str
    """Name of the round's run."""
    sampled: int
    """The student's own answers to the questions that it learns from."""
    right: int
    """Those of them that are right."""
    lessons: int
    """Right answers that were kept as lessons."""
    before: Score
    after: Score
    """Scores on the held-out items."""
    p_value: float | None
    """Paired test of after against before."""


async def improve(
    recipe: Recipe, recipe_path: Path, runtime: Runtime, progress: Progress, *, rounds: int
) -> tuple[Round, ...]:
    """Let the student of ``recipe`` teach itself until it no longer improves.

    Args:
        recipe: The recipe; its teacher is ignored.
        recipe_path: Its file; the recipe's relative paths start in its folder.
        runtime: Where and how fast.
        progress: Receives how far it is.
        rounds: Maximum number of rounds.

    Returns:
        The rounds, including the last one without a gain. They are also written to
        ``NAME-improved.json`` and ``.md`` in the workspace.

    Raises:
        OrcinusError: A round cannot be done. What is done is kept; the same call resumes.
    """
    found: list[Round] = []
    student, base = recipe.student, recipe_path.resolve().parent
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
        run_dir = await run_recipe(made, None, runtime, progress, base=base, until="evaluate")
        found.append(_read_round(number, run_dir))
        _write(recipe, found, runtime)
        if (found[-1].after.mean or 0.0) <= (found[-1].before.mean or 0.0):
            break
        student = trained_student(run_dir, student)
    return tuple(found)


def _read_round(number: int, run_dir: Path) -> Round:
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
        before=scores.arms["before"].accuracy.macro,
        after=scores.arms["after"].accuracy.macro,
        p_value=paired[0].p_value if paired else None,
    )


def trained_student(run_dir: Path, student: Any) -> LocalConfig:
    """Return the student that a round has trained, with the settings of the one before."""
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
    """Return the rounds as a Markdown table."""
    from orcinus.reports.words import chance, percent

    lines = [
        "| round | own answers right | lessons | held out before | after | 95 % interval | n | p |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {item.round} | {item.right:,} of {item.sampled:,} | {item.lessons:,} "
        f"| {percent(item.before.mean)} | {percent(item.after.mean)} "
        f"| {percent(item.after.low)} – {percent(item.after.high)} | {item.after.n:,} "
        f"| {chance(item.p_value)} |"
        for item in rounds
    ]
    warning = (
        "The held-out items decide when to stop, so the score of the best round is slightly "
        "optimistic."
    )
    return "\n".join([*lines, "", warning, ""])
