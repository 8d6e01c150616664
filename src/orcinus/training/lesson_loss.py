"""Compute the training loss of each lesson without updating the model.

[lesson, …] ──► [LessonLoss(tokens=412, response_tokens=180, loss=0.83), …]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from orcinus.core.types import Lesson
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import load
from orcinus.training.batches import collate, on_device
from orcinus.training.loss import head_loss
from orcinus.training.paths import Path
from orcinus.training.self_check import choose_path


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonLoss:
    """The length and the loss of one lesson under one model."""

    tokens: int
    """Tokens of prompt and response."""
    response_tokens: int
    loss: float | None
    """Nats per response token; None when the lesson is longer than a row."""


def lesson_losses(
    student: LocalConfig, lessons: Sequence[Lesson], *, context: int, device: str
) -> list[LessonLoss]:
    """Return the loss of each lesson, in order.

    Args:
        student: The model.
        lessons: A few hundred at most: each takes a forward pass of its own.
        context: Tokens of a packed row.
        device: ``auto``, ``cpu``, ``cuda`` …
    """
    device = (
        "cuda" if device == "auto" and torch.cuda.is_available() else device.replace("auto", "cpu")
    )
    chat, model, _ = load(student, device)
    path = choose_path(model)
    found = []
    for lesson in lessons:
        tokens, prompt = chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
        fits = max(1, prompt) < len(tokens) <= context
        found.append(
            LessonLoss(
                tokens=len(tokens),
                response_tokens=len(tokens) - prompt,
                loss=_mean_loss(model, path, tokens, prompt) if fits else None,
            )
        )
    return found


@torch.inference_mode()
def _mean_loss(model: Any, path: Path, tokens: Sequence[int], prompt: int) -> float:
    """Return the mean loss of a response, in nats per token."""
    units = [(prompt, len(tokens) - prompt)]
    row = {"tokens": np.array(tokens), "units": units, "weights": [1.0], "evidence": {}}
    batch = on_device(collate([row]), model.device)
    total, losses_N = head_loss(
        path.states(model, batch),
        path.head(model),
        batch["input_ids"][0, batch["response"]],
        batch["weights"],
    )
    return float(total) / len(losses_N)
