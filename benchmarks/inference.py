"""Decoding a local student against ``generate`` in batches: the same questions, the same texts.

    python -m benchmarks.inference [--quick] [--json]

A Llama-like model with random weights answers under three strategies in turn. Questions and answers
have the lengths that a probe has. Random weights do not end by themselves, so the limit of each
answer is drawn from a lognormal distribution. Figures are written tokens per second, medians of
pairs.
"""

import argparse
import asyncio
import json
import math
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.requests import chat_request
from orcinus.core.types import Message, Messages, Sampling
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.scratch import ScratchConfig
from orcinus.strategies.library import built_in
from orcinus.training.scratch_model import make_student

BATCH = 32
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


def generated(folder: Path, asked: list[tuple[Messages, int]]) -> tuple[float, list[list[int]]]:
    """Return tokens per second of batched ``generate``, and the tokens in question order."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    chat = Chat(tokenizer, fallback="chatml")
    prompts = [chat.prompt(messages) for messages, _ in asked]
    written: list[list[int]] = []
    start = time.perf_counter()
    for at in range(0, len(asked), BATCH):
        part, bounds = prompts[at : at + BATCH], [bound for _, bound in asked[at : at + BATCH]]
        width = max(map(len, part))
        ids = torch.zeros(len(part), width, dtype=torch.long)
        mask = torch.zeros(len(part), width, dtype=torch.long)
        for i, prompt in enumerate(part):
            ids[i, width - len(prompt) :] = torch.tensor(prompt)
            mask[i, width - len(prompt) :] = 1
        out = model.generate(
            ids, attention_mask=mask, max_new_tokens=max(bounds), do_sample=False, eos_token_id=[]
        )
        written += [
            row[width : width + bound].tolist() for row, bound in zip(out, bounds, strict=True)
        ]
    took = time.perf_counter() - start
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
        start = time.perf_counter()
        found = await asyncio.gather(
            *(
                model.complete(chat_request(messages, Sampling(max_tokens=bound)))
                for messages, bound in asked
            )
        )
        took = time.perf_counter() - start
        await model.aclose()
        return sum(item.usage.tokens_out for item in found) / took, [item.text for item in found]

    return asyncio.run(go())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    count, pairs = (64, 1) if arguments.quick else (256, 3)
    asked = questions(count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        hidden, layers = (256, 4) if arguments.quick else (512, 6)
        size = ScratchConfig(layers=layers, hidden=hidden, heads=8, vocabulary=4096, context=1024)
        facts = make_student(
            size, [message.content for messages, _ in asked for message in messages], folder
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        rows = []
        for _ in range(pairs):
            theirs, expected = generated(folder, asked)
            mine, texts = ours(folder, asked)
            same = [
                tokenizer.decode(ids, skip_special_tokens=True).strip() == text
                for ids, text in zip(expected, texts, strict=True)
            ]
            rows.append((theirs, mine, sum(same) / len(same)))
    figures = {
        "parameters": facts["parameters"],
        "questions": count,
        "generate_tokens_per_s": statistics.median(row[0] for row in rows),
        "tokens_per_s": statistics.median(row[1] for row in rows),
        "vs_generate": statistics.median(row[1] / row[0] for row in rows),
        "same_texts": min(row[2] for row in rows),
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    print(
        f"{figures['tokens_per_s']:,.0f} written tokens a second, {figures['vs_generate']:.1f} "
        "times batched generate; "
        f"{figures['same_texts']:.1%} of the texts are the same"
    )


if __name__ == "__main__":
    main()
