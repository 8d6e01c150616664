"""Measure where a model hesitates over an answer, and how probable the right token is there.

    logits (N, V), targets (N,) ──► Hesitation(tokens=180, hesitant=9, …).he_snr    0.17

HE-SNR, a number for a checkpoint: at each token of the visible answer take the ten most probable
tokens, renormalise them and compute their entropy H. Where H is above ``THRESHOLD`` and the right
token is among the ten, the model hesitates; HE-SNR is the mean of p(right token) / H there. It says
what further training could bring, not how accurate the model is, and compares only models with the
same tokenizer. It needs a vocabulary far above ten.

Shapes: N tokens, V vocabulary.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

TOP = 10
"""Tokens whose probabilities are renormalised."""
THRESHOLD = (math.log(3) + math.log(4)) / 2
"""Nats: 1.2425, between three and four tokens that are equally probable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hesitation:
    """Sums over the tokens of some answers under one model."""

    tokens: int = 0
    """Tokens of the visible answers."""
    hesitant: int = 0
    """Those at which the model hesitates."""
    ratios: float = 0.0
    """Sum of p(right token) / H over them."""
    losses: float = 0.0
    """Sum of -ln p(right token) over them."""

    @property
    def he_snr(self) -> float | None:
        """HE-SNR; None where the model hesitates nowhere."""
        return self.ratios / self.hesitant if self.hesitant else None

    @property
    def loss(self) -> float | None:
        """Mean loss where the model hesitates, in nats; None where it hesitates nowhere."""
        return self.losses / self.hesitant if self.hesitant else None


def hesitation_of(
    logits_NV: torch.Tensor, targets_N: torch.Tensor, *, threshold: float = THRESHOLD
) -> Hesitation:
    """Return where a model hesitates.

    Args:
        logits_NV: Its logits at the positions that predict the targets.
        targets_N: The right tokens.
        threshold: Entropy, in nats, above which it hesitates.
    """
    logprobs_NV = logits_NV.double().log_softmax(1)
    best_Nk, tokens_Nk = logprobs_NV.topk(min(TOP, logprobs_NV.shape[1]), dim=1)
    shares_Nk = best_Nk.softmax(1)
    entropy_N = torch.special.entr(shares_Nk).sum(1)
    chosen_N = (tokens_Nk == targets_N[:, None]).any(1) & (entropy_N > threshold)
    right_N = logprobs_NV.gather(1, targets_N[:, None])[chosen_N, 0]
    return Hesitation(
        tokens=len(targets_N),
        hesitant=int(chosen_N.sum()),
        ratios=float((right_N.exp() / entropy_N[chosen_N]).sum()),
        losses=float(-right_N.sum()),
    )


def add_up(parts: Iterable[Hesitation]) -> Hesitation:
    """Return the sums of several answers together."""
    found = list(parts)
    return Hesitation(
        tokens=sum(part.tokens for part in found),
        hesitant=sum(part.hesitant for part in found),
        ratios=sum(part.ratios for part in found),
        losses=sum(part.losses for part in found),
    )
