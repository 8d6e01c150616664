"""Find the fastest way in which a model can learn exactly, before anything is paid for.

    choose_path(model)  ──►  Path(packed=True)      or a ConfigError: orcinus cannot train it

Two short lessons that share a prompt, and one of another prompt, go through the model's own forward
pass one by one. Then they go along each path of ``paths.py``. The first path with the same losses
and the same gradients is taken.

Shapes: N response tokens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from orcinus.core.errors import ConfigError
from orcinus.training import attention
from orcinus.training.batches import collate, on_device
from orcinus.training.loss import head_loss
from orcinus.training.paths import PATHS, Path, use_attention

TOLERANCE = {torch.float64: 1e-3, torch.float32: 1e-3, torch.bfloat16: 5e-2, torch.float16: 5e-2}
"""Relative difference of losses, and of gradients, by the precision of the weights. Two exact ways
in float32 differ by about 1e-6; 1e-3 is far above that and far below any fault that was seen, the
smallest of which was 2e-2. Half precision rounds at 4e-3, and a few layers add up."""
SMALL_GRADIENT = 1e-3
"""A gradient below this part of the whole counts as this part: some are zero but for rounding."""
LESSONS = ((7, 5, 9), (4, 6))
"""Tokens of each prompt and of its responses. Few, so that a check costs less than loading."""


_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""The errors of a model that does not fit a path. Memory that runs out is not one of them."""


@dataclass(frozen=True, slots=True)
class _Learnt:
    """The losses (N,) of the check's lessons, and the gradient of each parameter."""

    losses_N: torch.Tensor
    gradients: Sequence[torch.Tensor | None]


def path_of(model: Any) -> Path:
    """Return the path that was chosen for ``model``; choose one at the first call."""
    chosen: Path | None = getattr(model, "_orcinus_path", None)
    return choose_path(model) if chosen is None else chosen


def choose_path(model: Any, *, longest: int | None = None) -> Path:
    """Choose the fastest exact path for ``model`` and give it the attention that the path needs.

    Args:
        model: A causal language model. Its gradients stay as they are.
        longest: Tokens of the longest lesson; None for any length.

    Raises:
        ConfigError: No path agrees with the model's own forward pass.
    """
    training = model.training
    model.eval()  # dropout would differ from call to call
    try:
        with torch.enable_grad():
            path = _first_exact_path(model, longest)
    finally:
        model.train(training)
    model._orcinus_path = path
    use_attention(model, path)
    return path


def _first_exact_path(model: Any, longest: int | None) -> Path:
    batch = _check_batch(model)
    own_way = Path(packed=False, own_head=True)
    use_attention(model, own_way)
    try:
        causal, expected = _is_causal(model, batch), _learn_plainly(model, batch)
    except _FAULTS as error:
        raise _refusal(model, _first_line(error)) from error
    if not causal:
        raise _refusal(model, "its positions see tokens that come later")
    why = ""
    for path in PATHS:
        try:
            use_attention(model, path)
            found = _learn(model, batch, path)
        except _FAULTS as error:
            why = _first_line(error)
            continue
        difference = _difference(found, expected)
        if difference <= TOLERANCE[model.dtype] and (
            not path.packed or attention.keeps_masks(longest)
        ):
            return path
        why = f"its loss or gradient differs by {difference:.1g} of its size"
    raise _refusal(model, why)


def _refusal(model: Any, why: str) -> ConfigError:
    return ConfigError(
        f"{model.config.name_or_path or 'student'}: a model of type {model.config.model_type!r} "
        f"cannot be trained ({why}); choose a student of another family, see docs/models.md"
    )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@torch.no_grad()
def _is_causal(model: Any, batch: Mapping[str, Any]) -> bool:
    """Return True if a later token changes nothing at the positions before it."""
    prompt, response, *_ = LESSONS[0]
    tokens_1T = batch["input_ids"][:, : prompt + response]
    whole, start = (
        model(input_ids=tokens_1T[:, :length], use_cache=False).logits[0, :prompt].float()
        for length in (prompt + response, prompt)
    )
    return float((whole - start).norm()) <= TOLERANCE[model.dtype] * float(start.norm())


def _check_batch(model: Any) -> dict[str, Any]:
    """Return the check's lessons as a packed batch of ordinary tokens, on the model's device."""
    config = model.config.get_text_config()
    special = {
        value
        for settings in (model.config, config)
        for name, value in settings.to_dict().items()
        if name.endswith(("token_id", "token_index"))
        for value in (value if isinstance(value, list) else [value])
    }
    rows = model.get_input_embeddings().weight.shape[0]
    ordinary = [token for token in range(min(rows, 1024)) if token not in special]
    draw = np.random.default_rng(0)
    tokens = draw.choice(ordinary, sum(map(sum, LESSONS)))
    row = {
        "tokens": tokens.astype(np.int64),
        "units": list(LESSONS),
        "weights": [1.0] * sum(len(responses) for _, *responses in LESSONS),
        "evidence": {},
    }
    return on_device(collate([row]), model.device)


def _learn_plainly(model: Any, batch: Mapping[str, Any]) -> _Learnt:
    """Read each lesson alone through the model's forward pass, with all logits."""
    tokens_T, start, losses = batch["input_ids"][0], 0, []
    for prompt, *responses in LESSONS:
        shared = tokens_T[start : start + prompt]
        start += prompt
        for length in responses:
            lesson = torch.cat([shared, tokens_T[start : start + length]])
            start += length
            logits_TV = model(input_ids=lesson[None], use_cache=False).logits[0]
            wide = torch.promote_types(logits_TV.dtype, torch.float32)
            losses.append(
                torch.nn.functional.cross_entropy(
                    logits_TV[prompt - 1 : -1].to(wide), lesson[prompt:], reduction="none"
                )
            )
    losses_N = torch.cat(losses)
    return _Learnt(losses_N.detach(), _gradients(model, losses_N.sum()))


def _learn(model: Any, batch: Mapping[str, Any], path: Path) -> _Learnt:
    states_ND = path.states(model, batch)
    weights_N = batch["weights"].to(torch.promote_types(states_ND.dtype, torch.float32))
    targets_N = batch["input_ids"][0, batch["response"]]
    total, losses_N = head_loss(states_ND, path.head(model), targets_N, weights_N)
    return _Learnt(losses_N.detach(), _gradients(model, total))


def _gradients(model: Any, loss: torch.Tensor) -> Sequence[torch.Tensor | None]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.autograd.grad(loss, trained, allow_unused=True) if trained else ()


def _difference(found: _Learnt, expected: _Learnt) -> float:
    """Return the largest relative difference, of the losses or of any parameter's gradient."""
    losses = found.losses_N.to(expected.losses_N.dtype) - expected.losses_N
    largest = float(losses.norm() / expected.losses_N.norm())
    whole = sum(float(g.float().norm()) ** 2 for g in expected.gradients if g is not None) ** 0.5
    for mine, own in zip(found.gradients, expected.gradients, strict=True):
        present = mine if own is None else own
        if present is None:
            continue
        zero = torch.zeros_like(present, dtype=torch.float32)
        a, b = (zero if gradient is None else gradient.float() for gradient in (mine, own))
        size = max(float(b.norm()), SMALL_GRADIENT * whole)
        largest = max(largest, float((a - b).norm()) / size if size else 0.0)
    return largest if math.isfinite(largest) else math.inf
