"""Train on pairs: two answers to a prompt stay in one row, and pairs are counted.

    pairs.parquet: chosen, rejected, chosen, rejected …
    ──whole_pairs──►  units (prompt, chosen, rejected)  ──preferred──►  mean of −log σ(margin)

    labels.parquet: right, right … wrong, wrong …
    ──whole_pairs──►  units (prompt, answer, another question's)  ──kto──►  mean of 1 − σ(± margin)

Why not TRL's DPOTrainer: design/005.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from orcinus.core.errors import StepError
from orcinus.core.types import Lesson
from orcinus.training.batches import collate
from orcinus.training.objectives.interface import PREFERRED, REFERENCE_LOGPROB, sums_by
from orcinus.training.objectives.kto import row_drifts
from orcinus.training.tokens import TokenizedLessons
from orcinus.training.trainer import LessonTrainer


def whole_pairs(lessons: TokenizedLessons, context: int) -> TokenizedLessons:
    """Return the pairs that fit into a row, each as one unit.

    Args:
        lessons: The two answers of a pair in turn, with one id. Where one of them was too long,
            the other is left out too.
        context: Tokens of a row.
    """
    ids, kept = lessons.ids.to_pylist(), list[int]()
    for first in range(len(ids) - 1):
        if ids[first] != ids[first + 1]:
            continue
        chosen, prompt = lessons.lesson(first)
        rejected, prompt_again = lessons.lesson(first + 1)
        same = np.array_equal(chosen[:prompt], rejected[:prompt_again])
        if same and len(chosen) + len(rejected) - prompt <= context:
            kept += [first, first + 1]
    places = np.array(kept, np.int64)
    return replace(
        lessons,
        index=lessons.index[places],
        weights=lessons.weights[places],
        ids=lessons.ids.take(places),
        evidence={name: numbers[places] for name, numbers in lessons.evidence.items()},
        too_long=lessons.too_long + len(ids) - len(kept),
        unit_of=np.arange(len(kept)) // 2,
    )


def with_other_answers(lessons: Iterable[Lesson]) -> Iterator[Lesson]:
    """Yield each labelled lesson, then its prompt with the answer of the lesson before.

    That one is to another question, and shows how far the student has moved (``kto``). The first
    question's lessons are left out.
    """
    before, of_question = None, None
    for lesson in lessons:
        question = lesson.task, lesson.example_id
        if of_question is not None and question != (of_question.task, of_question.example_id):
            before = of_question
        if before is not None:
            yield lesson
            yield replace(
                lesson,
                completion=before.completion,
                reasoning=before.reasoning,
                attempt_id=before.attempt_id,
                meta={**lesson.meta, PREFERRED: 0.0},
            )
        of_question = lesson


def balanced(lessons: TokenizedLessons, stage: str) -> TokenizedLessons:
    """Return the labelled lessons with weights under which both labels count the same in total.

    Raises:
        StepError: One of the labels is missing.
    """
    labels = lessons.evidence[PREFERRED]
    weights = np.zeros(len(labels), np.float32)
    for label, name in ((1, "right lesson"), (-1, "wrong answer (of the role self)")):
        chosen = labels == label
        if not chosen.any():
            raise StepError(
                f"stage {stage!r} has no {name}: its filters take none, or all are too long"
            )
        weights[chosen] = lessons.count / (2 * chosen.sum())
    return replace(lessons, weights=weights)


def collate_pairs(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what ``collate`` returns, with one label for each pair.

    The Trainer divides by the labels of a global batch, so the loss is a mean over its pairs.
    """
    batch = collate(rows)
    labels_T = torch.full_like(batch["labels"], -100)
    labels_T[0, 1 : 1 + len(batch["units"])] = 0  # it does not count the first position
    return {**batch, "labels": labels_T}


class PreferenceTrainer(LessonTrainer):
    """The Trainer of a ``prefer`` stage, which logs how the pairs are told apart."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**{**arguments, "data_collator": collate_pairs})

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean over all pairs of the global batch, however it is split."""
        count = num_items_in_batch if num_items_in_batch is not None else len(inputs["units"])
        loss, out = super().compute_loss(model, inputs, True, count)
        self._facts.append(self.describe(inputs, out["losses"]))
        return (loss, out) if return_outputs else loss

    def describe(self, batch: Mapping[str, Any], losses_N: torch.Tensor) -> dict[str, float]:
        """Return what changed since the stage began, for the log."""
        return _describe(batch, losses_N)


class LabelTrainer(PreferenceTrainer):
    """The Trainer of a ``prefer`` stage with ``loss: kto``."""

    def describe(self, batch: Mapping[str, Any], losses_N: torch.Tensor) -> dict[str, float]:
        """Return what changed since the stage began, in nats an answer.

        ``margin``: what right answers gained and wrong ones lost, as a mean over the answers;
        ``drift``: how far the student has moved on other answers.
        """
        labels_N = batch["evidence"][PREFERRED]
        moved_N = -losses_N.detach() - batch["evidence"][REFERENCE_LOGPROB]
        drift_R = row_drifts(moved_N, labels_N, batch["lesson"], batch["row"])
        margin = (labels_N * moved_N).sum() / len(batch["units"])
        return {"margin": float(margin), "drift": float(drift_R.mean())}


def _describe(batch: Mapping[str, Any], losses_N: torch.Tensor) -> dict[str, float]:
    """Return what changed since the stage began, in nats an answer, as means over the pairs.

    ``margin``: how much more the chosen answers gained than the rejected ones; ``ordered``: the
    share of pairs where they did; ``chosen``: what they gained, often less than nothing.
    """
    signs_N = batch["evidence"][PREFERRED]
    moved_N = -losses_N.detach() - batch["evidence"][REFERENCE_LOGPROB]
    margins_P = sums_by(signs_N * moved_N, batch["lesson"] // 2)
    chosen_P = sums_by(moved_N * (signs_N > 0), batch["lesson"] // 2)
    return {
        "margin": float(margins_P.mean()),
        "ordered": float((margins_P > 0).float().mean()),
        "chosen": float(chosen_P.mean()),
    }
