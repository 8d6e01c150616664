"""Models in this process: answers equal Transformers' generate and do not depend on the batch."""

import asyncio
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import CompleterError, ConfigError
from orcinus.core.requests import chat_request
from orcinus.core.types import Completion, Message, Messages, Sampling
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.slots import SlotCache
from orcinus.strategies.library import built_in

PROMPTS = ["Add 1 2.", "Add 3 4 5 6 7 8.", "Add 9 9 9.", "What?", "Add 1 2 3 4 5 6 7 8 9 1 2 3."]


def answer(
    folder: Path,
    prompts: list[str],
    sampling: Sampling,
    partial: str | None = None,
    batch_tokens: int = 32_768,
) -> list[Completion]:
    async def go() -> list[Completion]:
        config = LocalConfig(path=str(folder), chat_template="chatml", batch_tokens=batch_tokens)
        model = LocalModel(config, device="cpu")
        try:
            return await asyncio.gather(
                *(
                    model.complete(
                        chat_request((Message(role="user", content=p),), sampling, partial=partial)
                    )
                    for p in prompts
                )
            )
        finally:
            await model.aclose()

    return asyncio.run(go())


def test_greedy_answers_are_those_of_generate(tiny_student: Path) -> None:
    ours = answer(tiny_student, PROMPTS, Sampling(max_tokens=12))
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_student)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_student, dtype=torch.float32)
    chat = Chat(tokenizer, fallback="chatml")
    for prompt, found in zip(PROMPTS, ours, strict=True):
        ids = torch.tensor([chat.prompt((Message(role="user", content=prompt),))])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        expected = tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
        assert found.text == expected


def test_a_shared_prefix_is_read_once_and_changes_no_answer(
    tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = [strategy.system for strategy in built_in().values() if len(strategy.system) > 60][:2]
    conversations: list[Messages] = [
        (Message(role="system", content=system), Message(role="user", content=prompt))
        for prompt in PROMPTS
        for system in systems
    ]
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_student)
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_student, dtype=torch.float32)
    chat = Chat(tokenizer, fallback="chatml")
    read = 0
    forward = SlotCache._forward

    def counted(self: SlotCache, tokens: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        nonlocal read
        read += tokens.numel() if tokens.shape[1] > 1 else 0
        return forward(self, tokens, *rest, **named)

    monkeypatch.setattr(SlotCache, "_forward", counted)

    async def go() -> list[Completion]:
        asked = LocalModel(
            LocalConfig(path=str(tiny_student), chat_template="chatml"), device="cpu"
        )
        try:
            return await asyncio.gather(
                *(asked.complete(chat_request(c, Sampling(max_tokens=12))) for c in conversations)
            )
        finally:
            await asked.aclose()

    found = asyncio.run(go())
    for conversation, answered in zip(conversations, found, strict=True):
        ids = torch.tensor([chat.prompt(conversation)])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        assert (
            answered.text
            == tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
        )
    assert read < 0.7 * sum(len(chat.prompt(conversation)) for conversation in conversations)


def test_a_copied_prefix_leaves_the_same_keys_and_values(
    tiny_student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_student, dtype=torch.float64).eval()
    draw = torch.Generator().manual_seed(0)
    beginning = torch.randint(5, 200, (40,), generator=draw).tolist()
    prompts = [
        beginning + torch.randint(5, 200, (n,), generator=draw).tolist() for n in (3, 9, 10, 30)
    ]
    caches = []
    with torch.inference_mode():
        for longest_apart in (16, 10_000):
            monkeypatch.setattr("orcinus.models.local.slots.MIN_SHARED", longest_apart)
            caches.append(SlotCache(model, len(prompts), 80))
            caches[-1].read(range(len(prompts)), prompts)
    assert caches[0]._kept
    assert not caches[1]._kept
    for slot, prompt in enumerate(prompts):
        for mine, plain in (
            (caches[0].keys_LSHWD, caches[1].keys_LSHWD),
            (caches[0].values_LSHWD, caches[1].values_LSHWD),
        ):
            used = slice(len(prompt) - 1)
            torch.testing.assert_close(
                mine[:, slot, :, used], plain[:, slot, :, used], rtol=1e-6, atol=1e-6
            )


def test_a_prompt_that_stands_in_a_slot_is_copied_and_not_read_again(tiny_student: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_student, dtype=torch.float64).eval()
    draw = torch.Generator().manual_seed(0)
    first, second = (torch.randint(5, 200, (n,), generator=draw).tolist() for n in (30, 12))
    read: list[torch.Size] = []
    model.get_input_embeddings().register_forward_hook(
        lambda _, args, __: read.append(args[0].shape)
    )
    logits: list[torch.Size] = []
    model.get_output_embeddings().register_forward_hook(lambda *got: logits.append(got[2].shape))
    with torch.inference_mode():
        cache, alone = SlotCache(model, 5, 40), SlotCache(model, 1, 40)
        cache.read([0, 1, 2], [first, second, first])
        assert sorted(tuple(shape) for shape in read) == [(1, 11), (1, 29)]
        cache.step([first[-1], second[-1], first[-1]], [29, 11, 29])
        read.clear()
        cache.move(2, 1)  # the second row has ended, and the last one takes its place
        cache.read([2, 3], [second, first])
        assert [tuple(shape) for shape in read] == [(1, 11)]
        assert sum(shape.numel() for shape in logits) == 3 * model.config.vocab_size
        for slot, prompt in ((1, first), (2, second), (3, first)):
            alone.read([0], [prompt])
            used = slice(len(prompt) - 1)
            for mine, plain in (
                (cache.keys_LSHWD, alone.keys_LSHWD),
                (cache.values_LSHWD, alone.values_LSHWD),
            ):
                torch.testing.assert_close(
                    mine[:, slot, :, used], plain[:, 0, :, used], rtol=1e-6, atol=1e-6
                )


def test_answers_do_not_depend_on_the_rest_of_the_batch(tiny_student: Path) -> None:
    for sampling in (
        Sampling(max_tokens=10),
        Sampling(max_tokens=10, temperature=1.0, top_p=0.9, seed=3),
    ):
        together = answer(tiny_student, PROMPTS, sampling)
        alone = [answer(tiny_student, [prompt], sampling)[0] for prompt in PROMPTS]
        small = answer(tiny_student, PROMPTS, sampling, batch_tokens=80)
        assert [c.text for c in together] == [c.text for c in alone] == [c.text for c in small]


def test_each_seed_draws_its_own_answer_every_time(tiny_student: Path) -> None:
    def drawn(seed: int) -> str:
        return answer(
            tiny_student, PROMPTS[:1], Sampling(max_tokens=16, temperature=1.0, seed=seed)
        )[0].text

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_tokens_and_logprobs_are_counted(tiny_student: Path) -> None:
    (found,) = answer(tiny_student, PROMPTS[:1], Sampling(max_tokens=5, logprobs=True))
    assert found.usage.tokens_out <= 5
    assert found.finish in ("stop", "length")
    assert found.logprobs is not None
    assert all(value <= 0 for value in found.logprobs)
    assert found.token_bytes is not None
    assert len(found.token_bytes) == len(found.logprobs)
    assert sum(found.token_bytes) == len(found.text.encode())


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not a model folder: it has no config\.json"):
        LocalModel(LocalConfig(path=str(tmp_path)), device="cpu")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be loaded as a causal language model"):
        answer(tmp_path, PROMPTS[:1], Sampling())


def test_a_continued_partial_reply_equals_a_reply_written_at_once(
    tiny_student: Path,
) -> None:
    question = (Message(role="user", content=PROMPTS[1]),)

    async def go() -> tuple[Completion, list[Completion]]:
        model = LocalModel(
            LocalConfig(path=str(tiny_student), chat_template="chatml"), device="cpu"
        )
        try:
            straight = await model.complete(
                chat_request(question, Sampling(max_tokens=24), partial="")
            )
            parts: list[Completion] = []
            for _ in range(3):
                partial = "".join(part.text for part in parts)
                parts.append(
                    await model.complete(
                        chat_request(question, Sampling(max_tokens=8), partial=partial)
                    )
                )
            return straight, parts
        finally:
            await model.aclose()

    straight, parts = asyncio.run(go())
    assert "".join(part.text for part in parts) == straight.text
    assert parts[1].usage.tokens_in == parts[0].usage.tokens_in + 8


def test_a_part_of_a_reply_keeps_its_stop_text(tiny_student: Path) -> None:
    [free] = answer(tiny_student, PROMPTS[:1], Sampling(max_tokens=12), partial="")
    stop = free.text[3:5]
    [cut] = answer(tiny_student, PROMPTS[:1], Sampling(max_tokens=12, stop=(stop,)))
    [kept] = answer(tiny_student, PROMPTS[:1], Sampling(max_tokens=12, stop=(stop,)), partial="")
    end = free.text.index(stop) + len(stop)
    assert (kept.text, cut.text) == (free.text[:end], free.text[: end - len(stop)].strip())


def test_a_cancelled_request_leaves_its_slot_and_disturbs_no_other(tiny_student: Path) -> None:
    """The tiny student never ends an answer: the cancelled one would hold its slot for hours."""

    async def go() -> tuple[str, float]:
        config = LocalConfig(path=str(tiny_student), chat_template="chatml")
        model = LocalModel(config, device="cpu")
        question = (Message(role="user", content="Add 1 2."),)
        endless = chat_request(question, Sampling(max_tokens=20_000, stop=("never",)))
        left = asyncio.create_task(model.complete(endless))
        await asyncio.sleep(0.1)
        stays = asyncio.create_task(model.complete(chat_request(question, Sampling(max_tokens=8))))
        await asyncio.sleep(0.1)
        left.cancel()
        found = await stays
        started = time.monotonic()
        await model.aclose()
        return found.text, time.monotonic() - started

    text, seconds = asyncio.run(go())
    assert text == answer(tiny_student, ["Add 1 2."], Sampling(max_tokens=8))[0].text
    assert seconds < 10


def test_a_question_beyond_the_context_is_refused_where_any_client_may_ask(
    tiny_student: Path,
) -> None:
    async def go() -> Completion:
        model = LocalModel(LocalConfig(path=str(tiny_student), chat_template="chatml"))
        model.stay_within_context()
        assert model.traits.context == 512
        try:
            long = (Message(role="user", content="Add 1. " * 600),)
            with pytest.raises(CompleterError, match="the model reads at most 512"):
                await model.complete(chat_request(long, Sampling(max_tokens=4)))
            short = (Message(role="user", content="Add 1 2."),)
            return await model.complete(chat_request(short, Sampling(max_tokens=10**9)))
        finally:
            await model.aclose()

    found = asyncio.run(go())
    assert found.usage.tokens_in + found.usage.tokens_out <= 512


def test_weights_are_read_once_for_all_requests_and_again_after_a_failure(
    tiny_student: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_student, folder)
    weights, away = folder / "model.safetensors", tmp_path / "away"
    weights.rename(away)
    request = chat_request((Message(role="user", content="Add 1 2."),), Sampling(max_tokens=2))

    async def go() -> tuple[list[Any], list[Any], int]:
        model = LocalModel(LocalConfig(path=str(folder), chat_template="chatml"), device="cpu")
        before = threading.active_count()
        opening = [asyncio.create_task(model.complete(request)) for _ in range(3)]
        for _ in range(4):  # until the thread is started
            await asyncio.sleep(0)
        threads = threading.active_count() - before
        failed = await asyncio.gather(*opening, return_exceptions=True)
        away.rename(weights)
        answered = await asyncio.gather(*(model.complete(request) for _ in range(2)))
        await model.aclose()
        return failed, answered, threads

    failed, answered, threads = asyncio.run(go())
    assert [type(error) for error in failed] == [ConfigError] * 3
    assert answered[0].text == answered[1].text
    assert threads == 1
