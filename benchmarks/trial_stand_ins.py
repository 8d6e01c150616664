"""Ask whether something cheaper than a trial student ranks the strategies as well.

    python -m benchmarks.trial_stand_ins runs/learned-choice-best--erased-0 … [--json]

Each run has a finished ``trial`` step, whose lessons are kept. For every task and strategy, the
untrained student and the lessons of the first wave give

    loss_token     its loss on the teacher's traces, in nats per token
    loss_trace     the same, per trace
    in_context     its accuracy on probe examples, with two traces of the task before the question
    given          how often it writes the answer itself, given the teacher's explanation before it
    loss_drop      how much the loss on unseen traces falls after one epoch on 24 lessons a task

and each is compared with the accuracy of the trial students: by the mean over tasks of Spearman's
rank correlation over strategies, and by what choosing with it would lose (the best trial student's
accuracy less that of the chosen one, in points).
"""

import argparse
import asyncio
import copy
import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from orcinus.core.types import Attempt, Example, Lesson, Message, Request, Sampling
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.loading import load
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps, modules_folder
from orcinus.strategies.trial_results import TrialResults
from orcinus.verifiers.verify import verify

SHOWN = 2
"""Traces in context."""
ASKED = 20
"""Probe examples of a task that are asked with traces in context."""
LEARNT = 24
"""Lessons of a task and strategy in the one epoch."""
PER_STEP = 8
"""Lessons of one optimizer step of that epoch."""
LIKE_LOSS = frozenset({"loss_token", "loss_trace"})
"""Measures of which less is better."""
ANNOUNCED = "The answer is"
"""What the demo's teacher writes before its answer."""

Table = dict[str, dict[str, float]]
"""A figure by task and strategy."""
Taught = Mapping[str, Mapping[str, Sequence[Lesson]]]
"""Lessons by task and strategy."""


def measure(run_dir: Path) -> tuple[dict[str, Table], Table]:
    """Return the stand-ins of a run by name, and the accuracy of its trial students."""
    recipe = load_recipe(run_dir / layout.RECIPE)
    assert isinstance(recipe.student, LocalConfig), "the student must be a local model"
    student = recipe.student.at(modules_folder(run_dir / layout.RECIPE))
    folder = finished_steps(run_dir, "trial")[0]
    results = TrialResults.read(folder)
    fresh = set(results.fresh)
    answers: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for item in results.answers:
        if (item.attempt.task, item.attempt.example_id) not in fresh:
            right = float(item.verdict.value == 1.0)
            answers[item.attempt.task][item.attempt.strategy].append(right)
    accuracy = {
        task: {strategy: float(np.mean(values)) for strategy, values in of.items()}
        for task, of in answers.items()
    }
    taught = _lessons(folder, [strategy.name for strategy in recipe.resolved_strategies()])
    chat, model, _ = load(student, "cpu")
    before = _each(taught, lambda lessons: _losses(chat, model, lessons))
    found = {
        "loss_token": _mean(before, lambda rows: sum(r[0] for r in rows) / sum(r[1] for r in rows)),
        "loss_trace": _mean(before, lambda rows: np.mean([row[0] for row in rows])),
        "given": _mean(before, lambda rows: np.mean([row[2] for row in rows])),
        "loss_drop": _loss_drop(chat, model, taught, recipe),
        "in_context": asyncio.run(_in_context(recipe, student, run_dir, taught)),
    }
    return found, accuracy


def _lessons(folder: Path, strategies: Sequence[str]) -> Taught:
    found: dict[str, dict[str, list[Lesson]]] = defaultdict(lambda: defaultdict(list))
    for number, strategy in enumerate(strategies):
        path = folder / layout.TRIALS / layout.trial(1, number) / "equal" / layout.LESSONS
        if path.exists():
            for lesson in tables.read_lessons(path):
                found[lesson.task][strategy].append(lesson)
    return found


def _each(taught: Taught, of: Any) -> dict[str, dict[str, Any]]:
    return {
        task: {strategy: of(lessons) for strategy, lessons in by_strategy.items()}
        for task, by_strategy in taught.items()
    }


def _mean(rows: Mapping[str, Mapping[str, Any]], of: Any) -> Table:
    return {task: {name: float(of(r)) for name, r in by.items()} for task, by in rows.items()}


@torch.inference_mode()
def _losses(chat: Chat, model: Any, lessons: Sequence[Lesson]) -> list[tuple[float, int, float]]:
    """Return for each lesson: its loss in nats, its tokens, and whether the answer is foreseen.

    The answer is foreseen when every token of the sentence that gives it is the likeliest one,
    after the explanation that the teacher wrote before it.
    """
    found = []
    for lesson in lessons:
        tokens, prompt = chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
        logits_TV = model(torch.tensor([tokens])).logits[0, :-1].float()
        target_T = torch.tensor(tokens[1:])
        losses_T = torch.nn.functional.cross_entropy(logits_TV, target_T, reduction="none")
        right_T = logits_TV.argmax(-1) == target_T
        start = len(tokens) - _tail(chat, lesson.completion)
        found.append(
            (
                float(losses_T[prompt - 1 :].sum()),
                len(tokens) - prompt,
                float(right_T[start - 1 :].all()),
            )
        )
    return found


def _tail(chat: Chat, completion: str) -> int:
    """Return about how many tokens the sentence with the answer has, with the end of the turn."""
    sentence = completion[max(completion.rfind(ANNOUNCED), 0) :]
    return len(chat.tokenizer(sentence, add_special_tokens=False)["input_ids"]) + 1


def _loss_drop(chat: Chat, model: Any, taught: Taught, recipe: Recipe) -> Table:
    """Return how much the loss per token on unseen traces falls after one epoch, per strategy."""
    found: Table = defaultdict(dict)
    for strategy in sorted({name for by in taught.values() for name in by}):
        learning = [item for by in taught.values() for item in by.get(strategy, ())[:LEARNT]]
        unseen = {task: list(by.get(strategy, ()))[LEARNT:] for task, by in taught.items()}
        before = _each({t: {strategy: u} for t, u in unseen.items() if u}, _losser(chat, model))
        student = copy.deepcopy(model).train()
        _one_epoch(chat, student, learning, recipe.train.stages[0].learning_rate or 2e-5)
        student.eval()
        after = _each({t: {strategy: u} for t, u in unseen.items() if u}, _losser(chat, student))
        for task in before:
            found[task][strategy] = before[task][strategy] - after[task][strategy]
    return found


def _losser(chat: Chat, model: Any) -> Any:
    def of(lessons: Sequence[Lesson]) -> float:
        rows = _losses(chat, model, lessons)
        return sum(row[0] for row in rows) / sum(row[1] for row in rows)

    return of


def _one_epoch(chat: Chat, model: Any, lessons: list[Lesson], rate: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    random.Random(0).shuffle(lessons)
    for start in range(0, len(lessons), PER_STEP):
        batch = lessons[start : start + PER_STEP]
        for lesson in batch:
            tokens, prompt = chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
            labels = torch.tensor([[-100] * prompt + tokens[prompt:]])
            (model(torch.tensor([tokens]), labels=labels).loss / len(batch)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


async def _in_context(recipe: Recipe, student: LocalConfig, run_dir: Path, taught: Taught) -> Table:
    """Return the untrained student's accuracy with two traces of the task before the question."""
    sample = finished_steps(run_dir, "sample")[0]
    examples: dict[str, list[Example]] = defaultdict(list)
    for example in tables.read_examples(sample / layout.EXAMPLES, split="probe"):
        if len(examples[example.task]) < ASKED:
            examples[example.task].append(example)
    completer = LocalModel(student, device="cpu")

    async def right(example: Example, lessons: Sequence[Lesson]) -> float:
        sampling = Sampling(max_tokens=recipe.probe.sampling.max_tokens, temperature=0.0)
        request = Request(
            example=example,
            strategy="shown",
            messages=tuple(_shown(example, lessons)),
            sampling=sampling,
        )
        completion = await completer.complete(request)
        attempt = Attempt(
            id="",
            example_id=example.id,
            task=example.task,
            strategy="shown",
            model="untrained",
            messages=request.messages,
            sampling=sampling,
            sample=0,
            text=completion.text,
            reasoning=completion.reasoning,
            finish=completion.finish,
            usage=completion.usage,
            cost_usd=0.0,
            latency_s=0.0,
        )
        return float((await verify(example, attempt)).value == 1.0)

    found: Table = defaultdict(dict)
    for task, by_strategy in taught.items():
        for strategy, lessons in by_strategy.items():
            answers = await asyncio.gather(*(right(e, lessons) for e in examples[task]))
            found[task][strategy] = float(np.mean(answers))
    await completer.aclose()
    return found


def _shown(example: Example, lessons: Sequence[Lesson]) -> Iterator[Message]:
    """Yield a system message, traces as earlier turns, and the question."""
    first = lessons[0].messages
    yield from (message for message in first if message.role == "system")
    for lesson in lessons[:SHOWN]:
        yield Message(role="user", content=lesson.messages[-1].content)
        yield Message(role="assistant", content=lesson.completion)
    yield Message(role="user", content=example.prompt)


def compare(
    runs: Sequence[tuple[dict[str, Table], Table]], splits: int = 2000
) -> dict[str, dict[str, float]]:
    """Return how well each stand-in ranks strategies as trial students do.

    Returns:
        By stand-in: ``spearman``, the mean over tasks and runs, with ``low`` and ``high``, its 95 %
        bootstrap interval over tasks; ``regret``, in points; ``tasks``, how many count. A task
        whose strategies are all alike in one of the two has no rank correlation.
    """
    rng = np.random.default_rng(0)
    figures = {}
    for name in sorted({name for found, _ in runs for name in found}):
        by_task: dict[str, list[float]] = defaultdict(list)
        regrets = []
        for found, accuracy in runs:
            for task, mine in found[name].items():
                names = sorted(mine.keys() & accuracy.get(task, {}).keys())
                sign = -1.0 if name in LIKE_LOSS else 1.0
                a = np.array([sign * mine[s] for s in names])
                b = np.array([accuracy[task][s] for s in names])
                regrets.append(100 * float(b.max() - b[a.argmax()]))
                if np.ptp(a) > 0 and np.ptp(b) > 0:
                    by_task[task].append(float(spearmanr(a, b).statistic))
        means = np.array([np.mean(values) for values in by_task.values()])
        drawn = rng.choice(means, (splits, len(means))).mean(1)
        figures[name] = {
            "spearman": float(means.mean()),
            "low": float(np.quantile(drawn, 0.025)),
            "high": float(np.quantile(drawn, 0.975)),
            "regret": float(np.mean(regrets)),
            "tasks": len(means),
        }
    return figures


def main() -> None:
    """Measure the runs that are named, and print one table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = compare([measure(run) for run in arguments.runs])
    if arguments.json:
        print(json.dumps(figures, indent=2))
        return
    for name, row in figures.items():
        print(
            f"{name:12} rank correlation {row['spearman']:+.2f} ({row['low']:+.2f} … "
            f"{row['high']:+.2f}, {row['tasks']:.0f} tasks), choosing by it loses "
            f"{row['regret']:.1f} points"
        )


if __name__ == "__main__":
    main()
