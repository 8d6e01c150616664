"""Compute the training loss of each lesson without updating the model.

[lesson, …] ──► [LessonLoss(tokens=412, response_tokens=180, loss=0.83), …]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from orcinus.core.types import Lesson
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import load
from orcinus.training.forward import head_of
from orcinus.training.loss import response_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonLoss:
    """The length and the loss of one lesson under one model."""

    tokens: int
    """Tokens of prompt and response."""
    response_tokens: int
    loss: float | None
    """Nats per response token; None when the lesson is longer than a row."""


@torch.inference_mode()
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
    head = head_of(model)
    found = []
    for lesson in lessons:
        tokens, prompt = chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
        loss = None
        first = max(1, prompt)
        if first < len(tokens) <= context:
            tokens_1T = torch.tensor([tokens], device=device)
            hidden_TD = model.model(input_ids=tokens_1T, use_cache=False).last_hidden_state[0]
            total, _ = response_loss(
                hidden_TD[first - 1 : -1],
                head.weight_VD,
                tokens_1T[0, first:],
                torch.ones(len(tokens) - first, device=device),
                softcap=head.softcap,
            )
            loss = float(total) / (len(tokens) - first)
        found.append(
            LessonLoss(tokens=len(tokens), response_tokens=len(tokens) - prompt, loss=loss)
        )
    return found
