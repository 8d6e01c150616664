"""Replace the linear layers of a student by smaller factors, calibrated on its lessons.

    compress_model(student, lessons, ratio=0.2, method="dictionary", …)
      ──► a model folder that loads anywhere, with ``factors.safetensors`` beside the weights

The folder holds the dense products, so that its files are as large as before: what is small are the
factors. Embeddings and the output layer stay as they are.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from orcinus.core.errors import ConfigError
from orcinus.core.types import Lesson
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import load
from orcinus.training.factors import (
    F64,
    Factors,
    Method,
    TooSmallError,
    factorise,
    relative_error,
)

FACTORS = "factors.safetensors"
"""The factors of each layer: ``NAME.left`` (in, k) and ``NAME.right`` (k, out)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """The size of a student's linear layers before and after, and what it costs their outputs."""

    layers: int
    numbers_before: int
    """Weights of these layers."""
    numbers_after: int
    """Numbers of their factors, indices included."""
    error: float
    """Mean over layers of the relative error of the outputs, on the calibration lessons."""


def compress_model(
    student: LocalConfig,
    lessons: Sequence[Lesson],
    *,
    ratio: float,
    method: Method,
    context: int,
    out: Path,
) -> Compressed:
    """Write the compressed student to ``out``.

    Args:
        student: The model.
        lessons: Their texts are the calibration inputs; longer ones than ``context`` are cut.
        ratio: Share of the layers' numbers to save.
        method: How.
        context: Tokens of a lesson, at most.
        out: A folder; an earlier one is replaced.

    Raises:
        ConfigError: A layer cannot be made that small, or the model has no linear layers. Nothing
            is written then.
    """
    chat, model, _ = load(student, "cpu")
    layers = _linear_layers(model)
    if not layers:
        raise ConfigError(f"{student.path}: has no linear layers that could be compressed")
    grams = _measure_inputs(model, chat, layers, lessons, context)
    found: dict[str, Factors] = {}
    errors = []
    for name, layer in layers.items():
        matrix = layer.weight.detach().double().numpy().T
        try:
            found[name] = factorise(matrix, grams[name], ratio, method=method)
        except TooSmallError as error:
            raise ConfigError(
                f"--ratio {ratio:g} cannot be met: {error} ({name}); give a smaller ratio"
            ) from error
        errors.append(relative_error(matrix, found[name], grams[name]))
    for name, layer in layers.items():
        layer.weight.data = torch.from_numpy(found[name].product.T).to(layer.weight.dtype)
    _save(model, chat, found, out)
    return Compressed(
        layers=len(layers),
        numbers_before=sum(layer.weight.numel() for layer in layers.values()),
        numbers_after=sum(factors.size for factors in found.values()),
        error=float(np.mean(errors)),
    )


def _linear_layers(model: Any) -> dict[str, torch.nn.Linear]:
    """Return the linear layers by name, without the one that projects onto the vocabulary."""
    head = model.get_output_embeddings()
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    }


@torch.inference_mode()
def _measure_inputs(
    model: Any,
    chat: Chat,
    layers: dict[str, torch.nn.Linear],
    lessons: Sequence[Lesson],
    context: int,
) -> dict[str, F64]:
    """Return for each layer the mean of xᵀx over its inputs x."""
    sums: dict[str, F64] = {
        name: np.zeros((layer.in_features, layer.in_features)) for name, layer in layers.items()
    }
    rows = 0

    def hook_of(name: str) -> Any:
        def hook(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
            x = inputs[0].reshape(-1, inputs[0].shape[-1]).double()
            sums[name] += (x.T @ x).numpy()

        return hook

    hooks = [layer.register_forward_pre_hook(hook_of(name)) for name, layer in layers.items()]
    for lesson in lessons:
        tokens, _ = chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
        tokens = tokens[:context]
        rows += len(tokens)
        model(input_ids=torch.tensor([tokens]))
    for hook in hooks:
        hook.remove()
    return {name: total / max(1, rows) for name, total in sums.items()}


def _save(model: Any, chat: Chat, found: dict[str, Factors], out: Path) -> None:
    from safetensors.torch import save_file

    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    model.save_pretrained(part)
    chat.tokenizer.save_pretrained(part)
    tensors = {
        f"{name}.{side}": torch.from_numpy(np.ascontiguousarray(matrix)).float()
        for name, factors in found.items()
        for side, matrix in (("left", factors.left), ("right", factors.right))
    }
    save_file(tensors, part / FACTORS)
    shutil.rmtree(out, ignore_errors=True)
    part.replace(out)
