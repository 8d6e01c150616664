"""The map from hidden states to logits, as losses take it.

Shapes: N tokens, D hidden width, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class OwnHead:
    """A model's own code from hidden states to logits."""

    logits: Callable[["torch.Tensor"], "torch.Tensor"]
    """From hidden states (N, D) to logits (N, V); with graph."""
    parameters: tuple["torch.Tensor", ...]
    """The parameters that it uses."""


@dataclass(frozen=True, slots=True)
class Head:
    """The map from hidden states to logits: ``softcap(h Wᵀ)``, or the model's own code."""

    weight_VD: "torch.Tensor"
    """The vocabulary projection."""
    softcap: float | None = None
    """The bound that Gemma-like models put on logits with a tanh."""
    own: OwnHead | None = None
    """The model's own code, where the head has more to it: a bias, a scale."""

    def logits(self, hidden_ND: "torch.Tensor") -> "torch.Tensor":
        """Return the logits (N, V), in float32 or wider; with graph."""
        import torch

        dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
        if self.own is not None:
            return self.own.logits(hidden_ND).to(dtype)
        logits_NV = (hidden_ND @ self.weight_VD.T).to(dtype)
        if self.softcap is not None:
            logits_NV = self.softcap * torch.tanh(logits_NV / self.softcap)
        return logits_NV
