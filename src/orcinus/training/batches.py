"""Pack tokenized lessons into rows, and collate rows into a batch.

lessons ──PackedRows──► {tokens, units, weights, evidence …} a row ──collate──► tensors of a batch
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from orcinus.training.packing import Groups, best_fit
from orcinus.training.tokens import TokenizedLessons


class PackedRows(Dataset[dict[str, Any]]):
    """The rows of all epochs in training order. Each epoch is packed and shuffled anew."""

    def __init__(
        self,
        lessons: TokenizedLessons,
        *,
        context: int,
        epochs: float,
        seed: int,
        share_prompts: bool = True,
        rows: int | None = None,
    ) -> None:
        """Pack the lessons.

        Args:
            lessons: As the model's tokens.
            context: Tokens of a row, at most.
            epochs: Passes over the lessons; a fraction is part of a pass.
            seed: Of the packing and the order.
            share_prompts: Put several responses to the same prompt behind one copy of it.
            rows: Exactly so many rows, in place of ``epochs``.
        """
        self._lessons = lessons
        share_prompts = share_prompts and lessons.set_of is None
        self._units = lessons.fixed_units or (
            lessons.units(context) if share_prompts else Groups.of(np.arange(len(lessons)))
        )
        """The lessons that share one copy of a prompt."""
        lengths = lessons.lengths_of(self._units)
        sets = lessons.sets
        if lessons.set_of is not None:  # without shared prompts a unit is a lesson
            lengths = np.bincount(lessons.set_of, lengths).astype(np.int64)
        packed: list[Groups] = []
        self.passes = 0.0
        """Passes over the lessons; a fraction is part of a pass."""
        left = rows
        while len(packed) < math.ceil(epochs) if left is None else left > 0:
            all_rows = best_fit(lengths, context, seed=seed * 1009 + len(packed))
            if left is None:
                share = min(1.0, epochs - len(packed))
                taken = math.ceil(share * len(all_rows))
            else:
                taken = min(left, len(all_rows))
                left -= taken
            packed.append(all_rows.first(taken))
            self.passes += taken / len(all_rows)
        rows_of_sets = Groups.joined(packed)
        self._rows = rows_of_sets if sets is None else rows_of_sets.unfolded(sets)
        """Units of each row."""

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        parts, units, weights = [], [], []
        evidence: dict[str, list[float]] = {name: [] for name in self._lessons.evidence}
        of_tokens: dict[str, list[Any]] = {name: [] for name in self._lessons.token_evidence}
        for unit in map(self._units.__getitem__, self._rows[number]):
            lessons = [self._lessons.lesson(i) for i in unit]
            first, prompt = lessons[0]
            parts += [first, *(tokens[prompt:] for tokens, _ in lessons[1:])]
            units.append((prompt, *(len(tokens) - prompt for tokens, _ in lessons)))
            weights += [float(self._lessons.weights[i]) for i in unit]
            for name, values in evidence.items():
                values += [float(self._lessons.evidence[name][i]) for i in unit]
            for name, numbers in of_tokens.items():
                numbers += [self._lessons.token_numbers(name, i) for i in unit]
        return {
            "tokens": np.concatenate(parts).astype(np.int64),
            "units": units,
            "weights": weights,
            "evidence": evidence,
            "token_evidence": of_tokens,
        }

    def response_tokens(self) -> int:
        """Return the number of response tokens in all rows."""
        of_lesson = self._lessons.index[:, 1] - self._lessons.index[:, 2]
        of_unit = np.add.reduceat(of_lesson[self._units.members], self._units.offsets[:-1])
        return int(of_unit[self._rows.members].sum())

    def numbers(self, first: int, last: int) -> list[int]:
        """Return the numbers of the lessons in a range of rows."""
        rows = (self._rows[row] for row in range(first, min(last, len(self))))
        return [number for row in rows for unit in row for number in self._units[unit]]

    def ids(self, first: int, last: int) -> list[str]:
        """Return the ids of the lessons in a range of rows."""
        return [self._lessons.ids[number].as_py() for number in self.numbers(first, last)]


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collate packed rows into one long row.

    Returns:
        A dictionary of tensors, and ``units``.

        * ``input_ids`` (1, T).
        * ``position_ids`` (1, T): restart with every unit.
        * ``labels`` (1, T): -100 outside responses. The Trainer counts tokens by them.
        * ``units``: the lengths of each prompt and its responses.
        * ``response`` (N,): positions of the response tokens.
        * ``predictors`` (N,): positions that predict them.
        * ``weights`` (N,): the weight of each token's lesson.
        * ``lesson`` (N,): the number of each token's lesson in the micro-batch.
        * ``row`` (N,): the number of each token's row in the micro-batch.
        * ``evidence``: by name (N,) each.
    """
    tokens_T = torch.from_numpy(np.concatenate([row["tokens"] for row in rows]))
    units = [unit for row in rows for unit in row["units"]]
    lesson_weights = [weight for row in rows for weight in row["weights"]]
    of_lessons = {
        name: np.array([value for row in rows for value in row["evidence"][name]], np.float32)
        for name in rows[0].get("evidence", {})
    }
    of_tokens = {
        name: [numbers for row in rows for numbers in row["token_evidence"][name]]
        for name in rows[0].get("token_evidence", {})
    }
    positions, response, predictors, sizes, from_end = [], [], [], [], []
    start = 0
    for prompt, *lengths in units:
        positions.append(np.arange(prompt))
        last_of_prompt = start + prompt - 1
        start += prompt
        for length in lengths:
            places = np.arange(start, start + length)
            positions.append(np.arange(prompt, prompt + length))
            # Without a prompt nothing predicts the first token.
            learnt = places if prompt else places[1:]
            before = learnt - 1
            if prompt and length:
                before[0] = last_of_prompt
            response.append(learnt)
            predictors.append(before)
            sizes.append(len(learnt))
            from_end.append(np.arange(len(learnt), 0, -1))
            start += length
    response_N = torch.from_numpy(np.concatenate(response))
    lesson = np.repeat(np.arange(len(sizes)), sizes)
    rows_of = [sum(len(lengths) for _, *lengths in row["units"]) for row in rows]
    evidence = {name: values[lesson] for name, values in of_lessons.items()}
    if "answer" in evidence:
        evidence["answer"] = (np.concatenate(from_end) <= evidence["answer"]).astype(np.float32)
    for name, of_lesson in of_tokens.items():
        # Where nothing predicts a lesson's first token, its number is not needed either.
        learnt_numbers = [
            numbers[len(numbers) - size :] for numbers, size in zip(of_lesson, sizes, strict=True)
        ]
        evidence[name] = np.concatenate(learnt_numbers).astype(np.float32)
    labels_T = torch.full_like(tokens_T, -100)
    labels_T[response_N] = tokens_T[response_N]
    return {
        "input_ids": tokens_T[None],
        "position_ids": torch.from_numpy(np.concatenate(positions))[None],
        "labels": labels_T[None],
        "units": units,
        "response": response_N,
        "predictors": torch.from_numpy(np.concatenate(predictors)),
        "weights": torch.from_numpy(np.array(lesson_weights, np.float32)[lesson]),
        "lesson": torch.from_numpy(lesson),
        "row": torch.from_numpy(np.repeat(np.arange(len(rows)), rows_of)[lesson]),
        "evidence": {name: torch.from_numpy(values) for name, values in evidence.items()},
    }


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return ``batch`` with its tensors on ``device``."""
    return {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }
