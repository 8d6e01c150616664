"""Packing, isolated attention, shared prompts and the response-only loss change only speed.

They are compared with the plain, padded computation in float64.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    PretrainedConfig,
    Qwen3Config,
)
from transformers.masking_utils import eager_mask

from orcinus.runs.context import Silent
from orcinus.training import attention
from orcinus.training.batches import PackedRows, collate
from orcinus.training.forward import response_only_forward
from orcinus.training.objectives import find_objective
from orcinus.training.tokens import TokenizedLessons
from orcinus.training.trainer import StageSettings, train_stage

SIZES: Mapping[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
CONFIGS: Mapping[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES, tie_word_embeddings=False),
    "llama, tied": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SIZES, head_dim=8, tie_word_embeddings=True),
    "gemma2": Gemma2Config(
        **SIZES,
        head_dim=8,
        sliding_window=16,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=3.0,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
}


def plain_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attend by the definition, in the model's own precision: Transformers' eager attention takes
    its softmax in float32."""
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * (query.shape[3] ** -0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + attention_mask[..., : key.shape[2]]
    return (scores.softmax(3) @ value).transpose(1, 2).contiguous(), None


def model_of(config: PretrainedConfig) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    for parameter in model.parameters():  # fresh norms are all ones, which would hide what they do
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def lessons_of(*, samples: int) -> TokenizedLessons:
    """Make lessons of 12 prompts with ``samples`` responses each, shuffled, of unequal weights."""
    draw = np.random.default_rng(1)
    prompts = [draw.integers(3, 97, length).tolist() for length in draw.integers(1, 30, 12)]
    made = [
        (prompt, draw.integers(3, 97, draw.integers(1, 25)).tolist())
        for prompt in prompts
        for _ in range(samples)
    ]
    draw.shuffle(made)
    lengths = np.array([len(prompt) + len(response) for prompt, response in made])
    return TokenizedLessons(
        tokens=np.array(
            [token for prompt, response in made for token in (*prompt, *response)], np.uint32
        ),
        index=np.stack(
            [np.cumsum(lengths) - lengths, lengths, [len(prompt) for prompt, _ in made]], axis=1
        ),
        weights=draw.uniform(0.5, 2, len(made)).astype(np.float32),
        ids=pa.chunked_array([list(map(str, range(len(made))))]),
        too_long=0,
    )


def padded(model: Any, lessons: TokenizedLessons) -> torch.Tensor:
    """Return the weighted sum of losses, all lessons in one padded batch."""
    AttentionInterface.register("plain", plain_attention)
    AttentionMaskInterface.register("plain", eager_mask)
    model.set_attn_implementation("plain")
    width = int(lessons.lengths.max())
    ids = torch.zeros(len(lessons), width, dtype=torch.long)
    labels = torch.full((len(lessons), width), -100)
    for i in range(len(lessons)):
        tokens, prompt = lessons.lesson(i)
        ids[i, : len(tokens)] = torch.from_numpy(tokens.astype(np.int64))
        labels[i, prompt : len(tokens)] = ids[i, prompt : len(tokens)]
    mask = torch.arange(width) < torch.from_numpy(lessons.lengths.copy())[:, None]
    logits = model(input_ids=ids, attention_mask=mask.long()).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels[:, 1:], reduction="none"
    )
    return (losses.sum(1) * torch.from_numpy(lessons.weights).double()).sum()


def packed(model: Any, lessons: TokenizedLessons, *, share_prompts: bool) -> torch.Tensor:
    """Return the same sum as the trainer computes it."""
    attention.install()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation(attention.NAME)
    rows = PackedRows(lessons, context=128, epochs=1, seed=0, share_prompts=share_prompts)
    assert len(rows) < len(lessons)
    batch = collate([rows[i] for i in range(len(rows))])
    return response_only_forward(base, batch, find_objective("lesson_weight"))["loss"]


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("samples", "share_prompts"), [(1, False), (4, False), (4, True)])
def test_loss_and_gradients_are_those_of_padded_batches(
    name: str, lora: bool, samples: int, share_prompts: bool
) -> None:
    model, lessons = model_of(CONFIGS[name]), lessons_of(samples=samples)
    if lora:
        model = get_peft_model(
            model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        )
        model = model.double()
    base = model.get_base_model() if lora else model
    expected_loss = padded(base, lessons)
    expected = gradients(model, expected_loss)
    loss = packed(model, lessons, share_prompts=share_prompts)
    found = gradients(model, loss)
    assert float(loss.detach()) == pytest.approx(float(expected_loss.detach()), rel=1e-6)
    assert set(found) == set(expected)
    assert found
    for key, gradient in found.items():
        error = (gradient - expected[key]).abs().max() / expected[key].abs().max()
        assert float(error) < 1e-6, key


def test_responses_to_one_prompt_share_it_as_far_as_a_row_reaches() -> None:
    lessons = lessons_of(samples=6)
    units = lessons.units(128)
    assert sorted(i for unit in units for i in unit) == list(range(len(lessons)))
    for unit in units:
        prompts = {bytes(tokens[:prompt].tobytes()) for tokens, prompt in map(lessons.lesson, unit)}
        assert len(prompts) == 1
    assert max(lessons.lengths_of(units)) <= 128
    assert len(units) < 30
    rows = PackedRows(lessons, context=128, epochs=1, seed=0)
    assert sorted(rows.ids(0, len(rows)), key=int) == [str(i) for i in range(len(lessons))]


@pytest.mark.parametrize("micro_batch", [1, 2, 4])
def test_accumulation_weighs_tokens_and_not_batches(micro_batch: int, tmp_path: Path) -> None:
    trained = [_trained(size, tmp_path / str(size)) for size in (4, micro_batch)]
    for one, other in zip(*trained, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def _trained(micro_batch: int, folder: Path) -> list[torch.Tensor]:
    """Return the weights after a few steps of plain gradient descent, which hides no scale."""
    folder.mkdir(exist_ok=True)
    model = model_of(CONFIGS["llama"])
    stage = StageSettings(
        name="s",
        context=64,
        rows_per_step=4,
        micro_batch=micro_batch,
        epochs=1,
        seed=0,
        arguments={
            "learning_rate": 1e-2,
            "use_cpu": True,
            "optim": "sgd",
            "save_strategy": "no",
            "max_grad_norm": 0,
        },
    )
    train_stage(model, lessons_of(samples=3), stage, folder / "stage", Silent())
    return [parameter.detach().clone() for parameter in model.parameters()]
