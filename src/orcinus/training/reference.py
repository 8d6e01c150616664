"""Measure each lesson under the student as a stage finds it, before the stage changes it.

    lessons ──student, no update──►  mean log-probability of each one's response tokens: −0.83, …

The numbers stand beside the tokens, so that a resumed stage does not measure a half-trained
student.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from orcinus.runs import layout
from orcinus.training.batches import collate, on_device
from orcinus.training.distributed import processes
from orcinus.training.forward import head_of, predictor_states
from orcinus.training.objectives.interface import REFERENCE_LOGPROB, Objective, Predictions
from orcinus.training.tokens import TokenizedLessons

F32 = npt.NDArray[np.float32]
TOKENS_AT_ONCE = 4096
"""Tokens of one forward pass, at least one lesson. A small batch by today's measures: without
gradients it fits wherever training does."""


def with_reference(
    lessons: TokenizedLessons, objective: Objective, model: Any, device: str, folder: Path
) -> TokenizedLessons:
    """Return the lessons with the numbers that ``objective`` needs of the stage's first student.

    Args:
        lessons: As tokens.
        objective: Says whether it needs them.
        model: The student before the stage, on any device.
        device: Where to measure.
        folder: Of the tokens. The first process writes the numbers there, the others wait.
    """
    name = REFERENCE_LOGPROB
    if name not in objective.needs.lesson_numbers:
        return lessons
    path = folder / layout.REFERENCE
    if processes.is_first() and not path.exists():
        measured = mean_logprobs(model.to(device), lessons)
        part = path.with_suffix(".part.npy")
        np.save(part, measured)
        part.replace(path)
    processes.wait_for(path)
    return replace(lessons, evidence={**lessons.evidence, name: np.load(path)})


@torch.no_grad()
def mean_logprobs(model: Any, lessons: TokenizedLessons) -> F32:
    """Return the mean log-probability of each lesson's response tokens, in nats."""
    means = np.empty(len(lessons), np.float32)
    training = model.training
    model.eval()  # without dropout
    try:
        for numbers in _batches(lessons):
            batch = on_device(collate([_row(lessons, number) for number in numbers]), model.device)
            predictions = Predictions(predictor_states(model, batch), head_of(model))
            logprobs_N = predictions.logprobs(batch["input_ids"][0, batch["response"]])
            sums = logprobs_N.new_zeros(len(numbers)).index_add_(0, batch["lesson"], logprobs_N)
            counts = torch.bincount(batch["lesson"], minlength=len(numbers))
            means[numbers] = (sums / counts).cpu().numpy()
    finally:
        model.train(training)
    return means


def _batches(lessons: TokenizedLessons) -> Iterator[list[int]]:
    """Yield the numbers of lessons that are read together."""
    batch, tokens = list[int](), 0
    for number, length in enumerate(lessons.lengths.tolist()):
        if batch and tokens + length > TOKENS_AT_ONCE:
            yield batch
            batch, tokens = [], 0
        batch.append(number)
        tokens += length
    if batch:
        yield batch


def _row(lessons: TokenizedLessons, number: int) -> dict[str, Any]:
    tokens, prompt = lessons.lesson(number)
    units = [(prompt, len(tokens) - prompt)]
    return {"tokens": tokens.astype(np.int64), "units": units, "weights": [1.0], "evidence": {}}
