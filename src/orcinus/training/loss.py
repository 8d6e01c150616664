"""Cross-entropy on response tokens alone, exact, without holding all logits at once.

    loss = Σ_n w_n (log Σ_v exp z_nv − z_n,target)      z = softcap(h Wᵀ)

Only the positions that predict a response token are projected onto the vocabulary, a chunk at a
time. The gradients are formed in the same pass: three matrix products in place of four, and no
(N, V) tensor outlives its chunk.

Shapes: N response tokens, D hidden width, V vocabulary.
"""

from typing import Any

import torch

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
        grad_weight_VD = torch.zeros_like(weight_VD) if needs_weight else None
        losses_N = torch.empty_like(weights_N)
        chunk = max(1, CHUNK_LOGITS // weight_VD.shape[0])
        for start in range(0, hidden_ND.shape[0], chunk):
            part = slice(start, start + chunk)
            logits_NV = (hidden_ND[part] @ weight_VD.T).to(weights_N.dtype)
            if softcap is not None:
                logits_NV = softcap * torch.tanh(logits_NV / softcap)
            target_N1 = targets_N[part, None]
            losses_N[part] = logits_NV.logsumexp(1) - logits_NV.gather(1, target_N1)[:, 0]
            if not (needs_hidden or needs_weight):
                continue
            slope_NV = 1 - (logits_NV / softcap) ** 2 if softcap is not None else None
            grad_NV = logits_NV.softmax(1)
            grad_NV.scatter_add_(1, target_N1, -torch.ones_like(target_N1, dtype=grad_NV.dtype))
            grad_NV *= weights_N[part, None]
            if slope_NV is not None:
                grad_NV *= slope_NV
            grad_NV = grad_NV.to(hidden_ND.dtype)
            if grad_hidden_ND is not None:
                torch.mm(grad_NV, weight_VD, out=grad_hidden_ND[part])
            if grad_weight_VD is not None:
                grad_weight_VD.addmm_(grad_NV.T, hidden_ND[part])
        ctx.save_for_backward(grad_hidden_ND, grad_weight_VD)
        ctx.mark_non_differentiable(losses_N)
        return (losses_N * weights_N).sum(), losses_N

    @staticmethod
    def backward(ctx: Any, grad_loss: torch.Tensor, _: torch.Tensor) -> Any:
        grad_hidden_ND, grad_weight_VD = ctx.saved_tensors
        return (
            None if grad_hidden_ND is None else grad_hidden_ND * grad_loss,
            None if grad_weight_VD is None else grad_weight_VD * grad_loss,
            None,
            None,
            None,
        )


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
