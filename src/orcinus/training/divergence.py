"""The divergence from a teacher, computed exactly, without holding all logits at once.

    reverse KL_n = Σ_v p_student(v) (log p_student(v) − log p_teacher(v))   at each of N positions
    forward KL_n = Σ_v p_teacher(v) (log p_teacher(v) − log p_student(v))

Where only some tokens of the teacher are known (``TopLogprobs``), all others are one: the sums go
over the known tokens and over the rest. That is at most the divergence over all tokens, and equal
to it where all are known.

Shapes: N response tokens, n those of a chunk, D hidden width, V vocabulary, K known tokens.
"""

import math

import torch

from orcinus.training.head import Head
from orcinus.training.loss import CHUNK_LOGITS
from orcinus.training.objectives.interface import Predictions, TopLogprobs

LEAST_REST = 1e-4
"""Probability of the rest, at least, for student and teacher alike. A server's numbers are rounded,
so a smaller rest is noise."""


def reverse_kl(student: Predictions, teacher: Predictions | TopLogprobs) -> torch.Tensor:
    """Return KL(student ‖ teacher) at each of N positions, in nats.

    The arguments are those of ``mixed_kl``.
    """
    return mixed_kl(student, teacher, beta=1.0)


def mixed_kl(
    student: Predictions, teacher: Predictions | TopLogprobs, *, beta: float
) -> torch.Tensor:
    """Return beta · KL(student ‖ teacher) + (1 − beta) · KL(teacher ‖ student) at N positions.

    In nats. It is differentiable in the student's hidden states and head. One chunk of positions is
    computed at a time, and again in the backward pass, so that no (N, V) tensor outlives its chunk.

    Args:
        student: With graph.
        teacher: At the same positions; its width D may differ, its vocabulary not.
        beta: Share of the reverse divergence, 0 to 1.
    """
    chunk = max(1, CHUNK_LOGITS // student.head.weight_VD.shape[0])
    parts = []
    for start in range(0, len(student.hidden_ND), chunk):
        part = slice(start, start + chunk)
        kl, *of_teacher = (
            (_chunk_top_kl, teacher.tokens_NK[part], teacher.logprobs_NK[part])
            if isinstance(teacher, TopLogprobs)
            else (_chunk_kl, teacher.hidden_ND[part], teacher.head)
        )
        parts.append(
            torch.utils.checkpoint.checkpoint(
                kl, student.hidden_ND[part], student.head, *of_teacher, beta, use_reentrant=False
            )
        )
    return torch.cat(parts)


def _chunk_top_kl(
    student_nD: torch.Tensor,
    student: Head,
    tokens_nK: torch.Tensor,
    teacher_nK: torch.Tensor,
    beta: float,
) -> torch.Tensor:
    logprobs_nV = student.logits(student_nD).log_softmax(1)
    unknown_nK = teacher_nK == -math.inf
    teacher_nK = teacher_nK.to(logprobs_nV.dtype)
    # Places without a token point at the first one, which every position has.
    places_nK = torch.where(unknown_nK, tokens_nK[:, :1], tokens_nK)
    student_nK = logprobs_nV.gather(1, places_nK).masked_fill(unknown_nK, -math.inf)
    parts_nK1 = [
        torch.cat([known_nK, _log_rest(known_nK)], dim=1) for known_nK in (student_nK, teacher_nK)
    ]
    # A place without a token counts as one that both find equally likely.
    empty_nK1 = torch.nn.functional.pad(unknown_nK, (0, 1))
    student_nK1, teacher_nK1 = (part.masked_fill(empty_nK1, -1e4) for part in parts_nK1)
    mixed_nK1 = beta * student_nK1.exp() - (1 - beta) * teacher_nK1.exp()
    return (mixed_nK1 * (student_nK1 - teacher_nK1)).sum(1)


def _log_rest(logprobs_nK: torch.Tensor) -> torch.Tensor:
    """Return the log-probability (n, 1) of all tokens that are not known."""
    return (1 - logprobs_nK.exp().sum(1, keepdim=True)).clamp(min=LEAST_REST).log()


def top_logprobs(teacher: Predictions, targets_N: torch.Tensor, top_k: int) -> TopLogprobs:
    """Return the targets and the ``top_k`` likeliest tokens of each position, without graph."""
    chunk = max(1, CHUNK_LOGITS // teacher.head.weight_VD.shape[0])
    tokens, values = [], []
    with torch.no_grad():
        for start in range(0, len(targets_N), chunk):
            part = slice(start, start + chunk)
            logprobs_nV = teacher.head.logits(teacher.hidden_ND[part]).log_softmax(1)
            likeliest = logprobs_nV.topk(min(top_k, logprobs_nV.shape[1]), dim=1)
            own_n1 = targets_N[part][:, None]
            again_nK = likeliest.indices == own_n1
            tokens.append(torch.cat([own_n1, likeliest.indices], dim=1))
            others_nK = likeliest.values.masked_fill(again_nK, -math.inf)
            values.append(torch.cat([logprobs_nV.gather(1, own_n1), others_nK], dim=1))
    return TopLogprobs(torch.cat(tokens), torch.cat(values))


def _chunk_kl(
    student_nD: torch.Tensor, student: Head, teacher_nD: torch.Tensor, teacher: Head, beta: float
) -> torch.Tensor:
    student_nV = student.logits(student_nD).log_softmax(1)
    with torch.no_grad():
        teacher_nV = teacher.logits(teacher_nD).log_softmax(1)
    if beta == 1:
        return (student_nV.exp() * (student_nV - teacher_nV)).sum(1)
    mixed_nV = beta * student_nV.exp() - (1 - beta) * teacher_nV.exp()
    return (mixed_nV * (student_nV - teacher_nV)).sum(1)
