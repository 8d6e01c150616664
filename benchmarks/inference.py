"""Decoding a local student against Transformers: the same questions, the same texts.

    python -m benchmarks.inference [--quick] [--json] [--model FOLDER]

A Llama-like model with random weights answers under three strategies in turn. Questions and answers
have the lengths that a probe has. Random weights do not end by themselves, so the limit of each
answer is drawn from a lognormal distribution. Beside ours stand ``generate`` in batches, in the
given order and sorted by the limits of the answers, Transformers' continuous batching, and
llama.cpp (``server: llama.cpp``).
Figures are written tokens per CPU second on one thread, medians of rounds. The full form has a
model of 19 million parameters, 128 questions and three rounds; ``generate`` in the given order, the
slowest, runs in the first round alone. That is about 15 CPU minutes. A peer that does not run is
named.
"""

import argparse
import asyncio
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ContinuousBatchingConfig,
    GenerationConfig,
)

from orcinus.core.errors import ConfigError
from orcinus.core.requests import chat_request
from orcinus.core.types import Completion, Message, Messages, Sampling
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.open import open_completer
from orcinus.models.scratch import ScratchConfig
from orcinus.strategies.library import built_in
from orcinus.training.scratch_model import make_student

BATCH = 32
"""Questions of a batch of ``generate``."""
FULL, QUICK = (128, 3), (64, 1)
"""Questions and rounds of the full form and of ``--quick``."""
READ_AT_ONCE = 1024
"""Most tokens that continuous batching reads in one step."""
WORDS = """the small student reads a question and writes an answer word by word
until it is done with it""".split()  # noqa: SIM905


def questions(count: int) -> list[tuple[Messages, int]]:
    """Yield conversations and tokens to write: 10 to 200 words, 8 to 256 tokens."""
    strategies = [
        built_in()[name].system for name in ("direct", "explain_then_answer", "step_by_step")
    ]
    draw = random.Random(3)
    asked: list[tuple[Messages, int]] = []
    for number in range(count):
        words = int(min(200, max(10, draw.lognormvariate(math.log(40), 0.7))))
        question = Message(role="user", content=" ".join(draw.choice(WORDS) for _ in range(words)))
        system = Message(role="system", content=strategies[number % len(strategies)])
        asked.append(
            ((system, question), int(min(256, max(8, draw.lognormvariate(math.log(48), 0.9)))))
        )
    return asked


class Peer:
    """Transformers with the model in ``folder``, and the prompts as tokens."""

    def __init__(self, folder: Path, asked: list[tuple[Messages, int]]) -> None:
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        # Continuous batching changes a model's attention, so it has one of its own.
        self._paged: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        chat = Chat(AutoTokenizer.from_pretrained(folder), fallback="chatml")
        self._prompts = [chat.prompt(messages) for messages, _ in asked]
        self._bounds = [bound for _, bound in asked]

    def generate(self, order: list[int]) -> list[list[int]]:
        """Return what ``generate`` writes, asked in ``order``; the answers are not reordered."""
        written: list[list[int]] = [[] for _ in order]
        for at in range(0, len(order), BATCH):
            numbers = order[at : at + BATCH]
            part = [self._prompts[number] for number in numbers]
            width = max(map(len, part))
            ids = torch.zeros(len(part), width, dtype=torch.long)
            mask = torch.zeros(len(part), width, dtype=torch.long)
            for i, prompt in enumerate(part):
                ids[i, width - len(prompt) :] = torch.tensor(prompt)
                mask[i, width - len(prompt) :] = 1
            longest = max(self._bounds[number] for number in numbers)
            out = self._model.generate(
                ids, attention_mask=mask, max_new_tokens=longest, do_sample=False, eos_token_id=[]
            )
            for number, row in zip(numbers, out, strict=True):
                written[number] = row[width : width + self._bounds[number]].tolist()
        return written

    def in_order(self) -> list[list[int]]:
        """Return what ``generate`` writes in the given order."""
        return self.generate(list(range(len(self._prompts))))

    def sorted(self) -> list[list[int]]:
        """Return what ``generate`` writes where answers of like limits share a batch.

        A user knows less: answers end before their limits.
        """
        lengths = [
            (bound, len(prompt)) for bound, prompt in zip(self._bounds, self._prompts, strict=True)
        ]
        return self.generate(sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True))

    def continuous(self) -> list[list[int]]:
        """Return what Transformers' continuous batching writes."""
        settings = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)  # type: ignore[no-untyped-call]
        # Left to itself it sizes its cache for a GPU.
        room = ContinuousBatchingConfig(num_blocks=2 * BATCH, max_batch_tokens=READ_AT_ONCE)
        written: dict[str, list[int]] = {}
        with self._paged.continuous_batching_context_manager(
            generation_config=settings, continuous_batching_config=room, warmup=False
        ) as manager:
            for number, (prompt, bound) in enumerate(zip(self._prompts, self._bounds, strict=True)):
                manager.add_request(prompt, request_id=str(number), max_new_tokens=bound)
            while len(written) < len(self._prompts):
                found = manager.get_result(timeout=1)
                if found is None and not manager.is_running():
                    raise RuntimeError("continuous batching stopped by itself")
                if found is not None and found.is_finished():
                    written[found.request_id] = found.generated_tokens
        return [written[str(number)] for number in range(len(self._prompts))]


def timed(
    write: Callable[[], list[list[int]]], asked: list[tuple[Messages, int]]
) -> tuple[float, list[list[int]]]:
    """Return written tokens per CPU second, and the tokens in question order."""
    start = time.process_time()
    written = write()
    took = time.process_time() - start
    return sum(bound for _, bound in asked) / took, written


def ours(folder: Path, asked: list[tuple[Messages, int]]) -> tuple[float, list[str]]:
    async def go() -> tuple[float, list[str]]:
        model = LocalModel(
            LocalConfig(path=str(folder), chat_template="chatml", dtype="float32"), device="cpu"
        )
        await model.complete(
            chat_request((Message(role="user", content="warm"),), Sampling(max_tokens=2))
        )
        model._decoder._stops = frozenset()
        start = time.process_time()
        found = await asyncio.gather(
            *(
                model.complete(chat_request(messages, Sampling(max_tokens=bound)))
                for messages, bound in asked
            )
        )
        took = time.process_time() - start
        await model.aclose()
        return sum(item.usage.tokens_out for item in found) / took, [item.text for item in found]

    return asyncio.run(go())


def llama(folder: Path, asked: list[tuple[Messages, int]]) -> tuple[float, list[str]]:
    """Return written tokens per CPU second of llama.cpp, with its server's, and the texts."""

    async def go(config: LocalConfig, part: list[tuple[Messages, int]]) -> list[Completion]:
        model = open_completer(config, base=Path(), device="cpu", secrets={})
        try:
            return await asyncio.gather(
                *(
                    model.complete(
                        chat_request(
                            messages, Sampling(max_tokens=bound, extra={"ignore_eos": True})
                        )
                    )
                    for messages, bound in part
                )
            )
        finally:
            await model.aclose()

    config = LocalConfig(path=str(folder), chat_template="chatml", server="llama.cpp")
    before = cpu_with_children()
    asyncio.run(go(config, [(asked[0][0], 1)]))
    starting = cpu_with_children() - before
    before = cpu_with_children()
    found = asyncio.run(go(config, asked))
    took = cpu_with_children() - before - starting
    return sum(item.usage.tokens_out for item in found) / took, [item.text for item in found]


def cpu_with_children() -> float:
    """Return the CPU seconds of this process and of those that it started and that have ended."""
    return sum(os.times()[:4])


def share_equal(tokenizer: Any, written: list[list[int]], texts: list[str]) -> float:
    """Return the share of questions whose text is ours."""
    theirs = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]
    return statistics.fmean(a == b for a, b in zip(theirs, texts, strict=True))


def measure(
    folder: Path, asked: list[tuple[Messages, int]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str]]:
    """Return rates by decoder, the shares of texts equal to ours, and why peers do not run."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    peer = Peer(folder, asked)
    peers = {"generate": peer.in_order, "sorted": peer.sorted, "continuous": peer.continuous}
    rates: dict[str, list[float]] = {}
    same: dict[str, float] = {}
    missing: dict[str, str] = {}
    for number in range(rounds):
        rate, texts = ours(folder, asked)
        rates.setdefault("ours", []).append(rate)
        for name, write in peers.items():
            if name in missing or (number and name == "generate"):
                continue
            try:
                rate, written = timed(write, asked)
            except Exception as failure:  # noqa: BLE001  # a peer's errors are many
                missing[name] = f"{type(failure).__name__}: {failure}"
                continue
            rates.setdefault(name, []).append(rate)
            same[name] = min(same.get(name, 1.0), share_equal(tokenizer, written, texts))
        if "llama_cpp" not in missing:
            try:
                rate, found = llama(folder, asked)
            except ConfigError as failure:
                missing["llama_cpp"] = str(failure)
                continue
            rates.setdefault("llama_cpp", []).append(rate)
            equal = statistics.fmean(a == b for a, b in zip(found, texts, strict=True))
            same["llama_cpp"] = min(same.get("llama_cpp", 1.0), equal)
    return rates, same, missing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", type=Path, help="a model's folder in place of random weights")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # threads that wait for each other spin, and spinning is CPU too
    count, rounds = QUICK if arguments.quick else FULL
    asked = questions(count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        hidden, layers = (256, 4) if arguments.quick else (512, 6)
        size = ScratchConfig(layers=layers, hidden=hidden, heads=8, vocabulary=4096, context=1024)
        if arguments.model is None:
            texts = [message.content for messages, _ in asked for message in messages]
            make_student(size, texts, folder)
        else:
            folder.symlink_to(arguments.model.resolve())
        parameters = AutoModelForCausalLM.from_pretrained(folder).num_parameters()
        rates, same, missing = measure(folder, asked, rounds)
    mine = rates["ours"]
    figures: dict[str, Any] = {
        "parameters": parameters,
        "questions": count,
        "tokens_per_s": statistics.median(mine),
    }
    for peer in same:
        theirs = rates[peer]
        figures[f"{peer}_tokens_per_s"] = statistics.median(theirs)
        figures[f"vs_{peer}"] = statistics.median(a / b for a, b in zip(mine, theirs, strict=False))
        figures[f"same_texts_{peer}"] = same[peer]
    figures["same_texts"] = same.get("generate")
    figures["missing"] = missing
    if arguments.json:
        print(json.dumps(figures))
        return
    print(f"{figures['tokens_per_s']:,.0f} written tokens a CPU second")
    for peer in same:
        print(
            f"{peer}: {figures[f'{peer}_tokens_per_s']:,.0f}; ours is {figures[f'vs_{peer}']:.1f} "
            f"times that, and {same[peer]:.1%} of the texts are the same"
        )
    for peer, reason in missing.items():
        print(f"{peer} does not run here: {reason}")


if __name__ == "__main__":
    main()
