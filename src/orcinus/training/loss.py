"""Cross-entropy on response tokens alone, exact, without holding all logits at once.

    loss = Σ_n w_n (log Σ_v exp z_nv − z_n,target)      z = softcap(h Wᵀ)

Only the positions that predict a response token are projected onto the vocabulary, a chunk at a
time. The gradients are formed in the same pass: three matrix products in place of four, and no
(N, V) tensor outlives its chunk.

Shapes: N response tokens, D hidden width, V vocabulary.
"""

from typing import Any

import torch

from orcinus.training.head import Head, OwnHead

CHUNK_LOGITS = 2**24
"""Logits held at once, at most: 64 MiB in float32."""


class _ResponseLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        weight_VD: torch.Tensor,
        targets_N: torch.Tensor,
        weights_N: torch.Tensor,
        softcap: float | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        grad_hidden_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        make_weight = torch.empty_like if len(hidden_ND) else torch.zeros_like
        grad_weight_VD = make_weight(weight_VD) if needs_weight else None
        losses_N = torch.empty_like(weights_N)
        chunk = max(1, CHUNK_LOGITS // weight_VD.shape[0])
        for start in range(0, hidden_ND.shape[0], chunk):
            part = slice(start, start + chunk)
            logits_NV = (hidden_ND[part] @ weight_VD.T).to(weights_N.dtype)
            if softcap is not None:
                logits_NV = softcap * torch.tanh(logits_NV / softcap)
            target_N1 = targets_N[part, None]
            logprobs_NV = logits_NV.log_softmax(1)
            losses_N[part] = -logprobs_NV.gather(1, target_N1)[:, 0]
            if not (needs_hidden or needs_weight):
                continue
            slope_NV = 1 - (logits_NV / softcap) ** 2 if softcap is not None else None
            grad_NV = logprobs_NV.exp_()  # in place: a new page of memory costs as much as exp
            grad_NV.scatter_add_(1, target_N1, -torch.ones_like(target_N1, dtype=grad_NV.dtype))
            grad_NV *= weights_N[part, None]
            if slope_NV is not None:
                grad_NV *= slope_NV
            grad_NV = grad_NV.to(hidden_ND.dtype)
            if grad_hidden_ND is not None:
                torch.mm(grad_NV, weight_VD, out=grad_hidden_ND[part])
            if grad_weight_VD is not None:
                is_first = start == 0  # it overwrites what the memory held
                grad_weight_VD.addmm_(grad_NV.T, hidden_ND[part], beta=0 if is_first else 1)
        ctx.gradients = [grad_hidden_ND, grad_weight_VD]
        ctx.mark_non_differentiable(losses_N)
        return (losses_N * weights_N).sum(), losses_N

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor, _: torch.Tensor) -> Any:
        return *_scaled_once(ctx, grad_loss), None, None, None


def _scaled_once(ctx: Any, grad_loss: torch.Tensor) -> list[torch.Tensor | None]:
    """Return the gradients times the loss's own, in place, and forget them.

    A copy of a vocabulary's gradient takes as long as a layer.

    Raises:
        RuntimeError: They were returned already.
    """
    if ctx.gradients is None:
        raise RuntimeError("the loss of a batch goes backward once; compute it again")
    gradients, ctx.gradients = ctx.gradients, None
    return [None if found is None else found.mul_(grad_loss) for found in gradients]


def response_loss(
    hidden_ND: torch.Tensor,
    weight_VD: torch.Tensor,
    targets_N: torch.Tensor,
    weights_N: torch.Tensor,
    *,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of cross-entropies, and each token's own, in nats.

    Args:
        hidden_ND: Last hidden states at the positions that predict a response token.
        weight_VD: The vocabulary projection.
        targets_N: The response tokens.
        weights_N: Weight of each token. Its dtype, float32 or wider, is the precision of the
            softmax.
        softcap: The bound that Gemma-like models put on logits with a tanh.

    Returns:
        The sum (differentiable, a scalar) and the unweighted losses (N,), for logging.
    """
    total, losses_N = _ResponseLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, targets_N, weights_N, softcap
    )
    return total, losses_N


class _OwnHeadLoss(torch.autograd.Function):
    """The same for a head that is the model's own code: autograd forms each chunk's gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: torch.Tensor,
        targets_N: torch.Tensor,
        weights_N: torch.Tensor,
        rows: int,
        head: OwnHead,
        *parameters: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        needs_hidden, needs = ctx.needs_input_grad[0], ctx.needs_input_grad[5:]
        learnt = [one for one, needed in zip(parameters, needs, strict=True) if needed]
        grad_hidden_ND = torch.empty_like(hidden_ND) if needs_hidden else None
        sums: list[torch.Tensor | None] = [None] * len(learnt)
        losses_N = torch.empty_like(weights_N)
        for start in range(0, hidden_ND.shape[0], rows):
            part = slice(start, start + rows)
            hidden_nD = hidden_ND[part].detach().requires_grad_(needs_hidden)
            with torch.set_grad_enabled(needs_hidden or bool(learnt)):
                losses_n = torch.nn.functional.cross_entropy(
                    head.logits(hidden_nD).to(weights_N.dtype), targets_N[part], reduction="none"
                )
                total = (losses_n * weights_N[part]).sum()
            losses_N[part] = losses_n.detach()
            if not total.requires_grad:
                continue
            sources = [hidden_nD, *learnt] if needs_hidden else learnt
            found = list(torch.autograd.grad(total, sources, allow_unused=True))
            if grad_hidden_ND is not None:
                grad_hidden_ND[part] = found.pop(0)
            sums = [_add(before, new) for before, new in zip(sums, found, strict=True)]
        by_parameter = iter(sums)
        ctx.gradients = [
            grad_hidden_ND,
            *(next(by_parameter) if needed else None for needed in needs),
        ]
        ctx.mark_non_differentiable(losses_N)
        return (losses_N * weights_N).sum(), losses_N

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor, _: torch.Tensor) -> Any:
        hidden, *parameters = _scaled_once(ctx, grad_loss)
        return hidden, None, None, None, None, *parameters


def _add(before: torch.Tensor | None, new: torch.Tensor | None) -> torch.Tensor | None:
    """Return the sum of two gradients; None is that of a parameter that was not used."""
    if before is None or new is None:
        return new if before is None else before
    return before.add_(new)


def head_loss(
    hidden_ND: torch.Tensor, head: Head, targets_N: torch.Tensor, weights_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weighted sum of cross-entropies under ``head``, and each token's own, in nats.

    The arguments and the result are those of ``response_loss``.
    """
    if head.own is None:
        return response_loss(hidden_ND, head.weight_VD, targets_N, weights_N, softcap=head.softcap)
    rows = max(1, CHUNK_LOGITS // head.weight_VD.shape[0])
    total, losses_N = _OwnHeadLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, targets_N, weights_N, rows, head.own, *head.own.parameters
    )
    return total, losses_N
