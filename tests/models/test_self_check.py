"""The decoding self-check: a model is decoded as its own ``generate`` does, or refused."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import CompleterError, ConfigError
from orcinus.core.requests import chat_request
from orcinus.core.types import Completion, Message, Sampling
from orcinus.models.local import self_check
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.decoding import Decoder
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.self_check import difference_from_generate
from orcinus.models.roles import Models
from orcinus.pipeline.doctor import examine
from orcinus.pipeline.recipe_file import parse_recipe
from orcinus.runs.context import Runtime

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 2,
}
STATES = {"layer_types": ["conv", "full_attention"], "num_key_value_heads": 2}
FAMILIES: dict[str, tuple[dict[str, Any], str]] = {
    "llama": ({}, ""),
    "gemma2": ({"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 16}, ""),
    "lfm2": (STATES, ""),
    "falcon": ({"alibi": True}, "decoding in slots fails"),
    "mamba": ({"state_size": 8}, "decoding in batch is not exact"),
    "openai-gpt": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}, "in batch fails"),
    "gpt2": ({}, ""),
}
"""Settings of each family, and what the user is told: slots, windows, recurrent states, ALiBi, a
cache of its own name, no cache at all, learned positions."""


def build(family: str, tokens: Path, folder: Path, **changes: Any) -> Path:
    """Write a tiny model of a family with weights large enough for errors to show."""
    tokenizer = AutoTokenizer.from_pretrained(tokens)
    settings = {**SMALL, **FAMILIES[family][0], "vocab_size": len(tokenizer), **changes}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "A_log" not in name:
                parameter.normal_(0, 0.25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def answer(
    folder: Path, prompts: list[str], limits: list[int], dtype: Any = "auto"
) -> tuple[list[Completion], list[str]]:
    """Return the answers to all prompts at once, and the lines for the user."""
    notes: list[str] = []

    async def go() -> list[Completion]:
        config = LocalConfig(path=str(folder), chat_template="chatml", dtype=dtype)
        model = LocalModel(config, device="cpu", note=notes.append)
        try:
            asked = [
                chat_request((Message(role="user", content=prompt),), Sampling(max_tokens=limit))
                for prompt, limit in zip(prompts, limits, strict=True)
            ]
            return await asyncio.gather(*map(model.complete, asked))
        finally:
            await model.aclose()

    return asyncio.run(go()), notes


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_unequal_length_are_those_of_generate(
    family: str, tiny_student: Path, tmp_path: Path
) -> None:
    folder = build(family, tiny_student, tmp_path)
    prompts = ["Add 1 2.", "Add 3 4 5 6 7 8 9 1 2 3.", "What?", "Add 9 9 9."]
    limits = [9, 3, 6, 4]
    found, notes = answer(folder, prompts, limits)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    chat = Chat(tokenizer, fallback="chatml")
    for prompt, limit, got in zip(prompts, limits, found, strict=True):
        ids = torch.tensor([chat.prompt((Message(role="user", content=prompt),))])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False
        )
        text = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
        assert got.text == text.strip()
    told = FAMILIES[family][1]
    assert [told in note and str(folder) in note for note in notes] == ([True] if told else [])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_wrong_cache_is_found(
    dtype: str, tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build("llama", tiny_student, tmp_path, rope_theta=9_000.0)
    monkeypatch.setattr("orcinus.models.local.slots.SlotCache.move", lambda *_: None)
    _, notes = answer(folder, ["Add 1 2.", "What?"], [5, 3], dtype)
    assert "decoding in slots is not exact" in notes[0]


def test_rounding_of_16_bits_is_no_fault(tiny_student: Path, tmp_path: Path) -> None:
    folder = build("llama", tiny_student, tmp_path, num_hidden_layers=6)
    _, notes = answer(folder, ["Add 1 2.", "What?"], [5, 3], "bfloat16")
    slower = "only imitates bfloat16"  # what this processor may do
    assert [note for note in notes if slower not in note] == []


def test_sampling_settings_of_the_folder_do_not_count(tiny_student: Path, tmp_path: Path) -> None:
    folder = build("mamba", tiny_student, tmp_path)
    [plain], _ = answer(folder, ["Add 1 2."], [12])
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model.generation_config.repetition_penalty = 5.0
    model.save_pretrained(folder)
    [penalised], _ = answer(folder, ["Add 1 2."], [12])
    assert penalised.text == plain.text


def test_a_model_that_cannot_write_is_refused_in_one_line(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build("llama", tiny_student, tmp_path, rope_theta=8_000.0)

    def broken(*_: Any, **__: Any) -> None:
        raise AttributeError("no such layer\nsecond line")

    monkeypatch.setattr("transformers.LlamaForCausalLM.forward", broken)
    with pytest.raises(ConfigError, match=r"type llama cannot answer.*no such layer\)") as refused:
        answer(folder, ["What?"], [2])
    assert "\n" not in str(refused.value)


def test_learned_positions_end_an_answer_and_refuse_a_longer_question(
    tiny_student: Path, tmp_path: Path
) -> None:
    folder = build("gpt2", tiny_student, tmp_path, max_position_embeddings=64)
    [cut], _ = answer(folder, ["What?"], [500])
    assert cut.finish in ("length", "stop")
    assert cut.usage.tokens_in + cut.usage.tokens_out <= 64
    with pytest.raises(CompleterError, match="the model reads at most 64"):
        answer(folder, ["Add 1 2 3." * 30], [5])


def test_rotary_positions_go_on_and_say_so(tiny_student: Path, tmp_path: Path) -> None:
    folder = build("llama", tiny_student, tmp_path, max_position_embeddings=64)
    _, notes = answer(folder, ["What?", "Why?"], [70, 70])
    assert len(notes) == 1
    assert "beyond the 64 tokens" in notes[0]


def test_the_check_is_done_once_for_a_kind_of_model(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build("llama", tiny_student, tmp_path, rope_theta=7_000.0)
    done: list[str] = []
    compare = self_check.compare_ways

    def counted(*arguments: Any) -> Any:
        done.append("")
        return compare(*arguments)

    monkeypatch.setattr(self_check, "compare_ways", counted)
    answer(folder, ["What?"], [1])
    answer(folder, ["What?"], [1])
    assert len(done) == 1


def test_right_decoding_differs_by_rounding_alone(tiny_student: Path, tmp_path: Path) -> None:
    folder = build("llama", tiny_student, tmp_path)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    chat = Chat(AutoTokenizer.from_pretrained(folder), fallback="chatml")
    decoder = Decoder(chat, model, frozenset(), 1000)
    assert difference_from_generate(decoder, chat, "slots") < 1e-5


def test_the_doctor_says_how_a_local_model_answers(tiny_student: Path, tmp_path: Path) -> None:
    build("mamba", tiny_student, tmp_path / "mamba")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}", encoding="utf-8")
    found = {}
    for path in (str(tiny_student), "mamba", "broken"):
        recipe = parse_recipe(
            {
                "name": "r",
                "tasks": [{"path": "x.jsonl"}],
                "student": {"kind": "local", "path": path},
                "teacher": {"kind": "self"},
                "train": {"stages": [{"epochs": 1}]},
            }
        )
        findings = asyncio.run(examine(tmp_path, recipe, {}, tmp_path))
        [found[path]] = [finding for finding in findings if finding.what == f"model {path}"]
    assert found[str(tiny_student)].detail == "answers as its own generate does"
    assert "generate writes one answer at a time" in found["mamba"].detail
    assert found["broken"].state == "problem"
    assert "cannot be loaded" in found["broken"].detail


def test_a_line_of_a_model_is_shown_once_in_a_run(tiny_student: Path, tmp_path: Path) -> None:
    build("mamba", tiny_student, tmp_path / "mamba")
    recipe = parse_recipe(
        {
            "name": "r",
            "tasks": [{"path": "x.jsonl"}],
            "student": {"kind": "local", "path": str(tmp_path / "mamba")},
            "teacher": {"kind": "self"},
            "train": {"stages": [{"epochs": 1}]},
        }
    )
    runtime = Runtime(workspace=tmp_path, ledger_path=tmp_path / "l.sqlite", device="cpu")
    notes: list[str] = []

    async def go() -> None:
        models = Models(recipe.roles(tmp_path), runtime, notes.append)
        for _ in range(2):
            await models.open("student").complete(
                chat_request((Message(role="user", content="?"),), Sampling(max_tokens=1))
            )
            await models.aclose()

    asyncio.run(go())
    assert len(notes) == 1
