"""Students of every family of Transformers learn what their own forward pass says, or are refused.

Tiny random models, in float32. The fast tests take one family of each kind.
"""

import re
import runpy
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from orcinus.core.errors import ConfigError
from orcinus.training.batches import collate
from orcinus.training.forward import response_only_forward
from orcinus.training.objectives import find_objective
from orcinus.training.paths import Path as Way
from orcinus.training.paths import own_attention
from orcinus.training.self_check import choose_path

ROOT = Path(__file__).parents[2]
PACKED, OWN_HEAD, APART = Way(), Way(own_head=True), Way(packed=False, own_head=True)
KINDS = {
    "llama": PACKED,
    "gemma4": PACKED,  # its soft cap stands in text_config
    "gpt_oss": PACKED,  # sinks in the softmax of attention
    "deepseek_v3": PACKED,  # keys are wider than values
    "stablelm": PACKED,  # its layers hand no arguments on to attention
    "qwen2_moe": PACKED,  # its masks name a window of 0
    "phi": OWN_HEAD,  # a bias
    "granite": OWN_HEAD,  # a scale
    "gpt_neo": APART,  # attention of its own
    "lfm2": APART,  # convolutions run over the boundaries of lessons
    "llama4_text": APART,  # attends within chunks
    "doge": APART,  # learns its mask
    "mamba": APART,  # no attention
}


@pytest.fixture(scope="module")
def tiny_model() -> Any:
    return runpy.run_path(str(ROOT / "scripts" / "model_families.py"))["tiny_model"]


def lessons() -> Iterator[tuple[list[int], list[list[int]]]]:
    """Yield prompts, each with two responses; the longest lessons pass the windows of 16."""
    draw = np.random.default_rng(1)
    for length in (9, 14, 23):
        responses = [draw.integers(3, 300, size).tolist() for size in (5, 16)]
        yield draw.integers(3, 300, length).tolist(), responses


def learn_packed(model: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    tokens: list[int] = []
    units = []
    for prompt, responses in lessons():
        tokens += [*prompt, *chain.from_iterable(responses)]
        units.append((len(prompt), *map(len, responses)))
    row = {"tokens": np.array(tokens), "units": units, "weights": [1.0] * 6, "evidence": {}}
    out = response_only_forward(model, collate([row]), find_objective("lesson_weight"))
    return out["losses"].tolist(), gradients(model, out["loss"])


def learn_plainly(model: Any) -> tuple[list[float], dict[str, torch.Tensor]]:
    """Read each lesson alone, with the model's own loss from its own logits."""
    model.set_attn_implementation(own_attention(model))
    losses = []
    for prompt, responses in lessons():
        for response in responses:
            ids = torch.tensor([prompt + response])
            logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
            losses.append(
                torch.nn.functional.cross_entropy(logits, torch.tensor(response), reduction="none")
            )
    each = torch.cat(losses)
    return each.tolist(), gradients(model, each.sum())


def gradients(model: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def check_exact(model: Any) -> None:
    losses, found = learn_packed(model)
    expected_losses, expected = learn_plainly(model)
    assert losses == pytest.approx(expected_losses, abs=1e-5, rel=0)
    whole = sum(float(gradient.norm()) ** 2 for gradient in expected.values()) ** 0.5
    for name, gradient in expected.items():
        error = float((found.get(name, 0) - gradient).norm())
        assert error <= 1e-3 * max(float(gradient.norm()), 1e-3 * whole), name


@pytest.mark.parametrize("family", KINDS)
def test_a_family_of_each_kind_learns_exactly(tiny_model: Any, family: str) -> None:
    model = tiny_model(family)
    assert choose_path(model) == KINDS[family]
    check_exact(model)


def test_a_model_that_sees_later_tokens_is_refused(tiny_model: Any) -> None:
    with pytest.raises(ConfigError, match=r"'bert' cannot be trained .*tokens that come later"):
        choose_path(tiny_model("bert"))


def test_a_chunk_that_no_lesson_reaches_does_not_stop_packing(tiny_model: Any) -> None:
    assert choose_path(tiny_model("llama4_text"), longest=16) == PACKED


def test_the_check_leaves_the_model_as_it_was(tiny_model: Any) -> None:
    model = tiny_model("phi").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    choose_path(model)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


PAGE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
ROWS = PAGE.partition("## Families")[2]
TABLE = dict(re.findall(r"^\| ([\w.-]+) \| (.+?) \|", ROWS, re.MULTILINE))
"""How each family is trained, as docs/models.md says."""
del TABLE["family"]
WAYS = {"packed": PACKED, "packed, own head": OWN_HEAD, "one lesson at a time": APART}
same_transformers = pytest.mark.skipif(
    f"## Families of Transformers {transformers.__version__}\n" not in PAGE,
    reason="docs/models.md is of another version of Transformers",
)


@same_transformers
def test_the_table_names_every_family_and_none_has_moved_to_a_worse_row() -> None:
    assert set(TABLE) == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert Counter(said.partition(":")[0] for said in TABLE.values()) == {
        "packed": 91,
        "packed, own head": 13,
        "one lesson at a time": 48,
        "refused": 32,
        "not tried": 12,
    }
    assert {family: WAYS[TABLE[family]] for family in KINDS} == KINDS


@same_transformers
@pytest.mark.slow
@pytest.mark.parametrize("family", MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
def test_every_family_learns_exactly_as_the_table_says(tiny_model: Any, family: str) -> None:
    said, model, fault = TABLE[family], None, ""
    try:
        model = tiny_model(family)
    except Exception as error:  # noqa: BLE001 (a few need packages or sizes of their own)
        fault = f"{type(error).__name__}: {error}"
    if model is None:
        assert said.startswith("not tried: "), fault
    elif said in WAYS:
        assert choose_path(model) == WAYS[said]
        check_exact(model)
    else:
        assert said.startswith("refused: ")
        with pytest.raises(ConfigError, match="cannot be trained"):
            choose_path(model)
