"""Refuse a curriculum that could have no lesson, before a model is paid for one.

train: {stages: [{tasks: [sum]}]}, questions of "sums"
──►  stage 'lessons' has no lesson: no question to teach is of the task 'sum' (there are: sums)
"""

from collections.abc import Sequence
from pathlib import Path

import orjson

from orcinus.core.errors import StepError
from orcinus.runs import tables
from orcinus.training.config import TrainConfig


def check_stages(config: TrainConfig, numbers: Sequence[str], examples: Path) -> None:
    """Refuse stages of tasks that no question has, and an objective without its numbers.

    Args:
        config: How the student is to be trained.
        numbers: Columns of the tasks' rows that the objective needs.
        examples: The table of ``sample``.

    Raises:
        StepError: No question of the teach split is of a task that a stage names, or none has one
            of the numbers, or none has several wordings that a stage compares.
    """
    compared = [stage for stage in config.stages if stage.invariant is not None]
    columns = ["split", "task", *(["meta"] if numbers or compared else [])]
    known, missing, domains = set[str](), set(numbers), set[str]()
    for row in tables.read_rows(examples, columns):
        if row["split"] == "lecture":
            known.add(row["task"])
        if row["split"] == "teach":
            known.add(row["task"])
            if missing or compared:
                meta = orjson.loads(row["meta"])
                missing -= {name for name in missing if isinstance(meta.get(name), int | float)}
                domains.add(str(meta.get("domain", "")))
    if compared and len(domains) < 2:
        raise StepError(
            f"stage {compared[0].name!r} compares the wordings of questions (invariant), and all "
            "questions to teach have one; add e.g. dress: [plain, shop, clinic] to a task"
        )
    for stage in config.stages:
        sources = [("lesson", stage.tasks)]
        if stage.mix is not None:
            sources.append(("lesson of its mix.of", stage.mix.of.tasks))
        for what, named in sources:
            if unknown := sorted(set(named) - known):
                raise StepError(
                    f"stage {stage.name!r} has no {what}: no question to teach is of the task "
                    f"{unknown[0]!r} (there are: {', '.join(sorted(known))})"
                )
    if missing:
        raise StepError(
            f"objective {config.objective.name!r} needs the number {min(missing)!r} of each "
            "lesson, and no question to teach has it; add it as a column to the tasks' rows"
        )
