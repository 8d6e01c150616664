"""The divergence from a teacher, computed exactly, without holding all logits at once.

    reverse KL_n = Σ_v p_student(v) (log p_student(v) − log p_teacher(v))   at each of N positions
    forward KL_n = Σ_v p_teacher(v) (log p_teacher(v) − log p_student(v))

Shapes: N response tokens, n those of a chunk, D hidden width, V vocabulary.
"""

import torch

from orcinus.training.head import Head
from orcinus.training.loss import CHUNK_LOGITS
from orcinus.training.objectives.interface import Predictions


def reverse_kl(student: Predictions, teacher: Predictions) -> torch.Tensor:
    """Return KL(student ‖ teacher) at each of N positions, in nats.

    The arguments are those of ``mixed_kl``.
    """
    return mixed_kl(student, teacher, beta=1.0)


def mixed_kl(student: Predictions, teacher: Predictions, *, beta: float) -> torch.Tensor:
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
        parts.append(
            torch.utils.checkpoint.checkpoint(
                _chunk_kl,
                student.hidden_ND[part],
                student.head,
                teacher.hidden_ND[part],
                teacher.head,
                beta,
                use_reentrant=False,
            )
        )
    return torch.cat(parts)


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
