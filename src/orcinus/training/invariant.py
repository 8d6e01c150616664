"""Learn what the wordings of a question agree on: an optimizer step masks its mean gradient (IGA).

    g_d   the gradient of the lessons of domain d, a mean over their response tokens
    μ, V  mean and population variance of g over the domains, for each parameter by itself
    r     = V / (μ² + V)           0 where all domains agree, near 1 where they cancel
    step  with exp(−tau r) · μ

Of the paper (IGA) only exp(−tau V) is known. Unscaled, V is far too small to do anything, so the
relative r is ours; ``scale: none`` is the paper's letter. A plain stage steps with μ.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from orcinus.core.errors import StepError
from orcinus.core.types import Lesson
from orcinus.training.config import InvariantConfig
from orcinus.training.tokens import TokenizedLessons
from orcinus.training.trainer import LessonTrainer

DOMAIN = "domain"
"""The number of a lesson's domain among those of the stage, in their alphabetical order."""
SMALLEST = 1e-12
"""Is added to a sum of squares, so that nothing is divided by 0."""


def agreed(gradients_D: torch.Tensor, *, tau: float, scale: str = "relative") -> torch.Tensor:
    """Return the mean gradient over domains, masked where they disagree.

    Args:
        gradients_D: (D, …), one of each domain.
        tau: How strongly disagreement is masked; 0 returns the mean.
        scale: How the variance V is scaled. relative: V / (μ² + V); mean: V / its mean over the
            tensor; none: V itself.
    """
    mean, variance = gradients_D.mean(0), gradients_D.var(0, correction=0)
    if scale == "relative":
        variance = variance / (mean**2 + variance + SMALLEST)
    elif scale == "mean":
        variance = variance / (variance.mean() + SMALLEST)
    return torch.exp(-tau * variance) * mean


def with_domains(
    lessons: TokenizedLessons, stage: str, read: Iterable[Lesson], context: int
) -> TokenizedLessons:
    """Return the lessons with their domains, and with the wordings of a question as one set.

    Args:
        lessons: As tokens.
        stage: Name of the stage, for messages.
        read: The same lessons, and maybe others. ``meta`` has ``domain`` and ``isomer``.
        context: Tokens of a row; the lessons of a longer set are not kept together.

    Raises:
        StepError: They are of fewer than two domains.
    """
    known = {one.id: (str(one.meta.get(DOMAIN, "")), one.meta.get("isomer")) for one in read}
    ids = lessons.ids.to_pylist()
    names = sorted({known[identity][0] for identity in ids})
    if len(names) < 2:
        raise StepError(
            f"stage {stage!r} compares the wordings of questions, and its lessons have "
            f"{len(names)} (meta.domain); add e.g. dress: [plain, shop, clinic] to a task"
        )
    codes = np.array([names.index(known[identity][0]) for identity in ids], np.float32)
    sets: dict[str, list[int]] = {}
    for number, identity in enumerate(ids):
        sets.setdefault(str(known[identity][1] or identity), []).append(number)
    set_of, count = np.zeros(len(ids), np.int64), 0
    for members in sets.values():
        fits = lessons.lengths[members].sum() <= context
        set_of[members] = count + (0 if fits else np.arange(len(members)))
        count += 1 if fits else len(members)
    return replace(lessons, evidence={**lessons.evidence, DOMAIN: codes}, set_of=set_of)


def invariant_trainer(config: InvariantConfig) -> Callable[..., LessonTrainer]:
    """Return what makes the Trainer of an ``invariant`` stage."""
    return partial(InvariantTrainer, config=config)


class InvariantTrainer(LessonTrainer):
    """The Trainer that takes one gradient for each domain, and steps where they agree."""

    def __init__(self, *, config: InvariantConfig, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._config = config
        self._sums: dict[int, list[torch.Tensor | None]] = {}
        """By domain, its gradient of this optimizer step so far, summed over response tokens."""
        self._tokens: dict[int, int] = {}

    def training_step(
        self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Add the gradients of a micro-batch's domains; after the last one, set the masked mean."""
        model.train()
        batch: dict[str, Any] = self._prepare_inputs(inputs)
        domain_N = batch["evidence"][DOMAIN]
        total = torch.zeros((), device=self.args.device)
        for domain in map(int, domain_N.unique().tolist()):
            mine_N = domain_N == domain
            with self.compute_loss_context_manager():
                out = self.objective_loss(model, {**batch, "weights": batch["weights"] * mine_N})
            loss = out["loss"]
            loss.backward()  # type: ignore[no-untyped-call]
            self._collect(model, domain, int(mine_N.sum()))
            total += loss.detach()
        if self.accelerator.sync_gradients:
            self._set_agreed(model)
        count = num_items_in_batch if num_items_in_batch is not None else len(domain_N)
        return total / count

    def _collect(self, model: Any, domain: int, tokens: int) -> None:
        """Move the gradients of a domain from the model to its sums."""
        parameters = list(model.parameters())
        sums = self._sums.setdefault(domain, [None] * len(parameters))
        for place, parameter in enumerate(parameters):
            if parameter.grad is not None:
                before = sums[place]
                sums[place] = parameter.grad if before is None else before.add_(parameter.grad)
                parameter.grad = None
        self._tokens[domain] = self._tokens.get(domain, 0) + tokens

    def _set_agreed(self, model: Any) -> None:
        """Give the model the masked mean of the domains' gradients, and forget them."""
        kept = whole = 0.0
        for place, parameter in enumerate(model.parameters()):
            found = [
                (domain, gradient)
                for domain, sums in self._sums.items()
                if (gradient := sums[place]) is not None
            ]
            if not found:
                continue
            by_domain = torch.stack([part / self._tokens[domain] for domain, part in found])
            parameter.grad = agreed(by_domain, tau=self._config.tau, scale=self._config.scale)
            kept += float((parameter.grad**2).sum())
            whole += float((by_domain.mean(0) ** 2).sum())
        share = (kept / whole) ** 0.5 if whole else 0.0
        self._facts.append({"domains": len(self._tokens), "kept": share})
        self._sums, self._tokens = {}, {}
