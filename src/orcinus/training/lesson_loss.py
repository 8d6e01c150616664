"""Compute the training loss of each lesson without updating the model.

[lesson, …] ──► [LessonLoss(tokens=412, response_tokens=180, loss=0.83, hesitation=…), …]
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orcinus.core.types import Lesson
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import load
from orcinus.training.batches import collate, on_device
from orcinus.training.hesitation import Hesitation, add_up, hesitation_of
from orcinus.training.loss import CHUNK_LOGITS, head_loss
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
    hesitation: Hesitation | None
    """Where the model hesitates over the visible answer; None like ``loss``."""
    state: npt.NDArray[np.float32] | None
    """The last hidden state before the response, which the question decides; None like ``loss``."""


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
        visible = len(tokens) - _start_of_answer(lesson, chat, tokens, prompt)
        loss, hesitation, state = (
            _measure(model, path, tokens, prompt, visible) if fits else (None, None, None)
        )
        found.append(
            LessonLoss(
                tokens=len(tokens),
                response_tokens=len(tokens) - prompt,
                loss=loss,
                hesitation=hesitation,
                state=state,
            )
        )
    return found


def _start_of_answer(lesson: Lesson, chat: Chat, tokens: Sequence[int], prompt: int) -> int:
    """Return the place of the first token after the reasoning, which the model does not show."""
    if not lesson.reasoning or not lesson.completion:
        return prompt
    hidden, _ = chat.lesson(lesson.messages, "", lesson.reasoning)
    pairs = enumerate(zip(tokens, hidden, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(tokens), len(hidden)))
    return max(prompt, same)


@torch.inference_mode()
def _measure(
    model: Any, path: Path, tokens: Sequence[int], prompt: int, visible: int
) -> tuple[float, Hesitation, npt.NDArray[np.float32]]:
    """Return the mean loss of a response, where the model hesitates, and its state before it.

    Args:
        model: The model.
        path: How its states are computed.
        tokens: Prompt and response.
        prompt: Tokens of the prompt.
        visible: The last tokens, which are the visible answer.
    """
    units = [(prompt, len(tokens) - prompt)]
    row = {"tokens": np.array(tokens), "units": units, "weights": [1.0], "evidence": {}}
    batch = on_device(collate([row]), model.device)
    states_ND, head = path.states(model, batch), path.head(model)
    targets_N = batch["input_ids"][0, batch["response"]]
    total, losses_N = head_loss(states_ND, head, targets_N, batch["weights"])
    rows = max(1, CHUNK_LOGITS // head.weight_VD.shape[0])
    parts = (
        hesitation_of(head.logits(states), targets)
        for states, targets in zip(
            torch.split(states_ND[-visible:], rows),
            torch.split(targets_N[-visible:], rows),
            strict=True,
        )
    )
    state = states_ND[0].float().cpu().numpy()
    return float(total) / len(losses_N), add_up(parts), state
