"""Train on lessons beside a frozen student that reads their questions under the strategy's message.

    a row's lessons ──student, erased message──────────► states ┐
                    ──frozen student, strategy's───────► states ┴─► objective

The responses are the lessons' own: nothing is written, and the frozen student costs a forward pass.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from orcinus.models.local.config import LocalConfig
from orcinus.training.batches import collate, on_device
from orcinus.training.checkpoints import load_for_training
from orcinus.training.forward import head_of, predictor_states
from orcinus.training.objectives.interface import Predictions, TopLogprobs
from orcinus.training.questions import prompt_key
from orcinus.training.trainer import LessonTrainer


def prompted_trainer(
    source: LocalConfig, told: Mapping[bytes, list[int]]
) -> Callable[..., LessonTrainer]:
    """Return what makes the Trainer of a stage whose objective needs prompted states.

    Args:
        source: The student before the stage.
        told: By the tokens of a prompt those of the prompt under the strategy's message.
    """
    frozen, _ = load_for_training(source, frozen=True)
    return partial(PromptedTrainer, frozen=frozen, told=told)


class PromptedTrainer(LessonTrainer):
    """The Trainer whose objective sees a frozen student's states under the strategies' messages."""

    def __init__(self, *, frozen: Any, told: Mapping[bytes, list[int]], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._frozen = frozen.to(self.args.device).eval().requires_grad_(False)
        self._told = told

    def objective_loss(
        self, model: Any, batch: Mapping[str, Any], teacher: Predictions | TopLogprobs | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the objective's sum for one micro-batch, with the frozen student as teacher."""
        seen = on_device(collate([prompted_row(batch, self._told)]), self.args.device)
        with torch.no_grad():
            states_ND = predictor_states(self._frozen, seen)
        return super().objective_loss(model, batch, Predictions(states_ND, head_of(self._frozen)))


def prompted_row(batch: Mapping[str, Any], told: Mapping[bytes, list[int]]) -> dict[str, Any]:
    """Return the responses of a packed batch behind other prompts, as one row.

    Args:
        batch: What ``collate`` returns.
        told: By the tokens of a prompt those of the other one.
    """
    tokens_T = batch["input_ids"][0].cpu()
    parts, units, start = [], [], 0
    for prompt, *responses in batch["units"]:
        middle, end = start + prompt, start + prompt + sum(responses)
        other = np.array(told[prompt_key(tokens_T[start:middle])], np.int64)
        parts += [other, tokens_T[middle:end].numpy()]
        units.append((len(other), *responses))
        start = end
    count = sum(len(responses) for _, *responses in units)
    return {"tokens": np.concatenate(parts), "units": units, "weights": [1.0] * count}
