"""Make trial students with the steps that make the student: teach, curate, erase and train.

    teaching_of(recipe, …)  ──►  Teaching(explain=…, train=…), which the step ``trial`` calls

The step itself is in ``strategies/trial.py``, below the rooms of lessons and training. This module
gives it what those rooms can do.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from orcinus.core.types import Strategy
from orcinus.lessons import curate, erase, teach
from orcinus.models.local.config import LocalConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.runs.context import StepContext
from orcinus.strategies.prompts import requests_for
from orcinus.strategies.trial import Teaching
from orcinus.training import train
from orcinus.training.config import ObjectiveConfig, TrainConfig
from orcinus.training.counting import plan_stages
from orcinus.training.objectives.interface import MEASURED
from orcinus.training.schedule import FEW_STEPS


def teaching_of(
    recipe: Recipe,
    strategies: tuple[Strategy, ...],
    student_at: Callable[[StepContext], LocalConfig],
    base: Path,
) -> Teaching:
    """Return how a recipe's lessons and trial students are made.

    Args:
        recipe: The recipe.
        strategies: Its strategies.
        student_at: Returns the student to start from.
        base: The folder where the recipe's relative paths start.
    """
    taught = recipe.teach.model_copy(update={"share": 1.0})
    curated = recipe.curate.model_copy(update={"quality": None})
    erased = recipe.erase.model_copy(update={"few_shot": None})
    training = trial_training(recipe.train.at(base))

    async def explain(folder: Path, context: StepContext) -> Path:
        def part(name: str, inputs: Mapping[str, Path]) -> StepContext:
            (folder / name).mkdir(exist_ok=True)
            return replace(context, out=folder / name, inputs={"sample": folder, **inputs})

        told = part("teach", {"assign": folder})
        await teach.teach(taught, strategies, told, booked_as="trial")
        kept = part("curate", {"teach": told.out})
        await curate.curate(curated, strategies, kept, booked_as="trial")
        lessons = part("erase", {"curate": kept.out})
        await erase.erase(erased, strategies, lessons)
        return lessons.out

    def count_steps(lessons: Path, context: StepContext) -> int:
        (stage,) = plan_stages(training, student_at(context), lessons)
        return max(stage.steps, min(FEW_STEPS, math.ceil(stage.epochs * stage.lessons)))

    async def train_student(
        lessons: Path, steps: int, out: Path, context: StepContext
    ) -> Mapping[str, Any]:
        job = train.job_of(
            training, student_at(context), lessons, out, context.seed, context.runtime
        )
        return await train.run_job(job.model_copy(update={"steps": (steps,)}), context)

    return Teaching(
        examples=lambda context: teach.draw_examples(recipe.teach, context),
        requests=lambda example, strategy: requests_for(
            example, strategy, recipe.teach.sampling, seed=recipe.seed
        ),
        explain=explain,
        count_steps=count_steps,
        train=train_student,
    )


def trial_training(config: TrainConfig) -> TrainConfig:
    """Return how trial students are trained: as the recipe's last stage, on all their lessons."""
    stage = config.stages[-1].model_copy(
        update={
            "name": "trial",
            "teachers": (),
            "strategies": (),
            "tasks": (),
            "tokens": None,
            "replay": 0.0,
            "mix": None,
            "on_policy": None,
            "reinforce": None,
            "prefer": None,
            "invariant": None,
            "rehearse": False,
        }
    )
    needs = config.objective_of(config.stages[-1]).needs
    # Steps that make a lesson's numbers come after the choice of a strategy.
    too_early = needs.teacher or needs.anchors or set(needs.lesson_numbers) - set(MEASURED)
    objective = ObjectiveConfig() if too_early else config.objective
    trial = config.model_copy(update={"stages": (stage,), "objective": objective})
    return trial.without_numbers_of_steps().without_trackers()
