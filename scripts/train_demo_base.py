r"""Train the demo's base student, a model that has seen easy questions of its kinds.

    python scripts/train_demo_base.py src/orcinus/pipeline/demo/base --minutes 7 8
    python scripts/train_demo_base.py runs/bbh-base --recipe docs/experiments/bbh.yaml \
        --minutes 25 25 --layers 4 --vocabulary 900

First it learns to work step by step, then to follow the strategy's message. All strategies at once
do not work: answers that it cannot give directly are noise, and with 24,000 examples of each kind
it learned none (LOG.md has the figures). Without a strategy (no system message, or a generic one)
it answers at once, as small instruction-tuned models tend to do. Every question of the recipe's
tasks and evaluation sets is left out, and sizes end one below the recipe's.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.types import Message, Messages
from orcinus.models.local.chat_format import Chat
from orcinus.models.scratch import ScratchConfig
from orcinus.strategies.library import built_in, generic_messages
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.generators.procedural import GENERATORS, ProceduralConfig, draw, explain
from orcinus.tasks.open import open_task
from orcinus.training.scratch_model import make_student

DEMO = Path(__file__).parents[1] / "src/orcinus/pipeline/demo/demo.yaml"
STRATEGIES = {"direct": 1, "explain_then_answer": 1, "step_by_step": 3, "decompose": 3}
"""The strategies it knows, and how often each is met."""
WITHOUT_STRATEGY = 0.2
"""Share of examples without a strategy's message."""
BATCH = 48
BUFFER = 32
"""Batches that are drawn at once and sorted by length, so that little is padded."""

Sequence = tuple[list[int], int]
"""Tokens, and how many of them are the prompt."""


def asked_by(recipe: Path) -> tuple[dict[str, tuple[int, int]], set[str]]:
    """Return the sizes to train on by family, and all questions of a recipe."""
    content = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    tasks = [ProceduralConfig(**task) for task in content["tasks"]]
    left_out = {example.prompt for task in tasks for example in draw(task)}
    for source in content.get("evaluation", []):
        left_out |= {
            example.prompt for example in open_task(RecordsConfig(**source), recipe.parent)[1]()
        }
    # The demo's sizes are 3 … 6, and its base has met 2 … 5.
    return {
        task.generator: (min(2, task.size[0]), max(2, task.size[1] - 1)) for task in tasks
    }, left_out


def examples(random: Random, recipe: Path, *, full: bool) -> Iterator[tuple[Messages, str]]:
    """Yield conversations without end: all strategies if ``full``, else steps only."""
    sizes, left_out = asked_by(recipe)
    families = sorted(sizes)
    generic = ["", *generic_messages().values()]
    number = random.randrange(10**9)
    while True:
        number += 1
        family = random.choice(families)
        example = GENERATORS[family].make(number, task="base", seed=1000, size=sizes[family])
        if example.prompt in left_out:
            continue
        strategy, system = "step_by_step", ""
        if full:
            (strategy,) = random.choices(list(STRATEGIES), list(STRATEGIES.values()))
            system = built_in()[strategy].system
            if random.random() < WITHOUT_STRATEGY:
                strategy, system = "direct", random.choice(generic)
        turns = [Message(role="system", content=system)] if system else []
        yield (
            (*turns, Message(role="user", content=example.prompt)),
            explain(example.prompt, strategy),
        )


def texts(recipe: Path) -> Iterator[str]:
    """Yield the tokenizer's training texts: every message often, and the questions."""
    for _ in range(200):
        yield from (built_in()[name].system for name in STRATEGIES)
        yield from generic_messages().values()
    source = examples(Random(1), recipe, full=False)
    for _ in range(4000):
        messages, completion = next(source)
        yield messages[-1].content
        yield completion


def batches(
    chat: Chat, recipe: Path, seed: int, *, full: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield padded batches (B, T) of tokens and labels in random order, questions masked."""
    random = Random(seed)
    source = examples(random, recipe, full=full)
    while True:
        drawn = []
        for _ in range(BATCH * BUFFER):
            messages, text = next(source)
            drawn.append(chat.lesson(messages, text))
        drawn.sort(key=lambda item: len(item[0]))
        groups = [drawn[i : i + BATCH] for i in range(0, len(drawn), BATCH)]
        random.shuffle(groups)
        yield from map(padded, groups)


def padded(group: list[Sequence]) -> dict[str, torch.Tensor]:
    width = max(len(tokens) for tokens, _ in group)
    tokens_BT = torch.zeros(len(group), width, dtype=torch.long)
    labels_BT = torch.full((len(group), width), -100)
    for i, (tokens, prompt) in enumerate(group):
        tokens_BT[i, : len(tokens)] = torch.tensor(tokens)
        labels_BT[i, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
    return {"input_ids": tokens_BT, "labels": labels_BT}


def optimizers(model: Any, rate: float) -> list[torch.optim.Optimizer]:
    """Make Muon for the inner matrices, AdamW for embeddings and norms."""
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(inside, lr=rate, weight_decay=0.0),
        torch.optim.AdamW(others, lr=0.15 * rate, weight_decay=0.0),
    ]


def train(
    model: Any, stream: Iterator[dict[str, torch.Tensor]], minutes: float, rate: float
) -> None:
    """Train for a time; rates fall linearly to a twentieth after the first 30 %."""
    optimizer_list, decay_from = optimizers(model, rate), 0.3
    base = [group["lr"] for optimizer in optimizer_list for group in optimizer.param_groups]
    start, step, recent = time.monotonic(), 0, []
    while (share := (time.monotonic() - start) / (60 * minutes)) < 1:
        factor = min(1.0, (step + 1) / 50) * (
            1.0 if share < decay_from else 1 - 0.95 * (share - decay_from) / (1 - decay_from)
        )
        groups = [group for optimizer in optimizer_list for group in optimizer.param_groups]
        for group, rate in zip(groups, base, strict=True):
            group["lr"] = rate * factor
        loss = model(**next(stream)).loss
        loss.backward()
        for optimizer in optimizer_list:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        recent.append(loss.item())
        if step % 200 == 0:
            print(
                f"{step} steps, {step * BATCH} examples, loss {sum(recent[-200:]) / 200:.4f}",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, nargs=2, default=(7, 8))
    parser.add_argument("--recipe", type=Path, default=DEMO)
    parser.add_argument("--vocabulary", type=int, default=640)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    size = ScratchConfig(
        layers=arguments.layers,
        hidden=arguments.hidden,
        heads=4,
        vocabulary=arguments.vocabulary,
        context=512,
    )
    print(json.dumps(make_student(size, texts(arguments.recipe), arguments.out)), flush=True)
    model: Any = AutoModelForCausalLM.from_pretrained(arguments.out, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(arguments.out)
    chat = Chat(tokenizer, fallback="chatml")
    train(model, batches(chat, arguments.recipe, 1, full=False), arguments.minutes[0], 0.02)
    train(model, batches(chat, arguments.recipe, 2, full=True), arguments.minutes[1], 0.006)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
