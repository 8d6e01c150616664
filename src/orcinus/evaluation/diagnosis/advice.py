"""What to do about lessons that a student still fails: for each cause the words, the edit of the recipe, the command."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from orcinus.evaluation.diagnosis.causes import Cause, Failure, Surroundings, Taught
from orcinus.training.config import StageConfig, TrainConfig

NEARLY_THE_SAME = 0.8
"""Share of runs of five words that two questions have in common."""
ADVICE = 3
FEW_STEPS = 100
"""Optimizer steps of a training under which smaller batches help before more of the same does."""
Remedy = tuple[str, str]
"""Words, and the edit of the recipe; empty where it stays as it is."""
Known = Mapping[str, Taught]
"""By lesson."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What was done, and how to go on with it."""

    run: str
    command: str
    """That goes on with the recipe."""
    config: TrainConfig
    optimizer_steps: int
    """Over all stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do next."""

    failures: int
    """That it is for."""
    words: str
    edit: str
    """Of the recipe, as YAML; empty where it stays as it is."""
    command: str


def stage_names(train: TrainConfig) -> list[str]:
    """The stages' names, numbered where several have the same or one is called like the untrained student."""
    names = [stage.name for stage in train.stages]
    return [
        f"{n} {i}" if names.count(n) > 1 or n == "before" else n for i, n in enumerate(names, 1)
    ]


def advise(
    training: Training, failures: Sequence[Failure], taught: Sequence[Taught], around: Surroundings
) -> Iterator[Advice]:
    """For the causes that explain most failures, what mends them: at most three pieces of advice.

    Args:
        training: What was done.
        failures: Lessons that the student still fails, each with its causes, the first that applies counting.
        taught: All lessons that were asked again.
        around: What the causes were judged by.
    """
    by_cause: dict[Cause, list[Failure]] = {}
    for failure in failures:
        by_cause.setdefault(failure.causes[0], []).append(failure)
    ranked = sorted(by_cause.items(), key=lambda pair: (pair[0] == "unexplained", -len(pair[1])))
    known = {item.lesson.id: item for item in taught}
    for cause, items in ranked[:ADVICE]:
        words, edit = _REMEDIES[cause](training, items, known, around)
        look = f"orcinus trace {items[0].lesson} --run {training.run}"
        yield Advice(
            failures=len(items), words=words, edit=edit, command=training.command if edit else look
        )


def _teach_all(
    training: Training, items: Sequence[Failure], known: Known, _: Surroundings
) -> Remedy:
    longest = max(known[item.lesson].tokens for item in items)
    if longest > training.config.context_length:
        return (
            "These lessons were too long for a row of training and were never learnt: make rows longer.",
            f"train: {{context_length: {-(-longest // 64) * 64}}}",
        )
    if any(stage.offers(known[items[0].lesson].lesson) for stage in training.config.stages):
        return (
            "The share of a stage's mix leaves these lessons out; another single share would bring them in.",
            "",
        )
    return (
        "No stage takes these lessons: widen the filters of train.stages, or add a stage that takes all.",
        _stages([*training.config.stages, StageConfig(name="all")]),
    )


def _agree(training: Training, items: Sequence[Failure], *_: Any) -> Remedy:
    faults = Counter(item.details["lesson"] for item in items)
    if faults["wrong"] >= max(faults["unjudged"], faults[""]):
        return (
            "These lessons teach wrong answers: keep only traces that are right.",
            "curate: {keep: correct}",
        )
    if faults["unjudged"] >= faults[""]:
        return (
            "Nobody knows whether these lessons are right: leave out what cannot be judged.",
            "curate: {unjudged: drop}",
        )
    return (
        "The same questions are taught with different answers: keep the best trace of each, and drop near repetitions.",
        f"curate: {{keep: best}}\nsample: {{near_duplicates: {NEARLY_THE_SAME}}}",
    )


def _one_way(
    training: Training, items: Sequence[Failure], known: Known, around: Surroundings
) -> Remedy:
    ways = around.ways[known[items[0].lesson].group]
    strategies = {strategy for strategy, _ in ways}
    if len(strategies) > 1:
        return (
            "Groups are taught with several strategies: teach each task with one.",
            "assign: {by: task}",
        )
    return (
        "Lessons of one group write their answers in several forms: let the strategy ask for one.",
        'strategies: [{name: …, system: "… Finish with one line: The answer is …"}]',
    )


def _remember(training: Training, items: Sequence[Failure], *_: Any) -> Remedy:
    stages = list(training.config.stages)
    lost = Counter(item.details["lost"] for item in items).most_common(1)[0][0]
    if lost == "before":
        halved = [
            stage.model_copy(update={"learning_rate": stage.learning_rate / 2}) for stage in stages
        ]
        return (
            "The student knew these before training: halve the learning rate, or train adapters (train.lora) in place of all weights.",
            _stages(halved),
        )
    place = stage_names(training.config).index(lost)
    again = [
        s.model_copy(update={"replay": max(0.2, s.replay)}) if i > place else s
        for i, s in enumerate(stages)
    ]
    return (
        f"The student had these right after stage {lost} and lost them later: show later stages a share of earlier lessons again.",
        _stages(again),
    )


def _room(
    training: Training, items: Sequence[Failure], known: Known, around: Surroundings
) -> Remedy:
    longest = max(max(known[item.lesson].response_tokens for item in items), around.max_tokens)
    return (
        "Answers are cut off: let the student write twice as much, or keep shorter traces only (curate.max_tokens).",
        f"evaluate: {{sampling: {{max_tokens: {2 * longest}}}}}",
    )


def _longer(training: Training, items: Sequence[Failure], *_: Any) -> Remedy:
    more = [
        stage.model_copy(update={"epochs": 2 * stage.epochs}) for stage in training.config.stages
    ]
    if training.optimizer_steps >= FEW_STEPS:
        return "These lessons are not learnt yet: train twice as long.", _stages(more)
    batch = max(training.config.context_length, training.config.batch_tokens // 4)
    smaller = f"  batch_tokens: {batch}" if batch < training.config.batch_tokens else ""
    return (
        f"These lessons are not learnt yet: training had only {training.optimizer_steps:,} optimizer steps; take smaller batches and more passes.",
        "\n".join(part for part in (_stages(more), smaller) if part),
    )


def _form(training: Training, items: Sequence[Failure], *_: Any) -> Remedy:
    outcome = Counter(item.outcome for item in items).most_common(1)[0][0]
    return (
        f"The student knows the lessons' words but does not answer (mostly: {outcome}): let every lesson end in the same line.",
        'strategies: [{name: …, system: "… Finish with one line: The answer is …"}]',
    )


def _easier(training: Training, items: Sequence[Failure], known: Known, _: Surroundings) -> Remedy:
    task = Counter(item.task for item in items).most_common(1)[0][0]
    easier = StageConfig(
        name="easier", tasks=(f"{task}-easier",), epochs=training.config.stages[0].epochs
    )
    first = easier.model_copy(update={"learning_rate": training.config.stages[0].learning_rate})
    return (
        f"The student lacks what these questions rest on: add easier questions of {task} (the steps of its working on their own, or smaller "
        "sizes) as a task of its own, and learn it first.",
        f"tasks: [… , {{path: easier.jsonl, name: {orjson.dumps(first.tasks[0]).decode()}}}]\n{_stages([first, *training.config.stages])}",
    )


def _convince(training: Training, *_: Any) -> Remedy:
    return (
        "The student holds on to wrong answers that it gave before: show it several explanations of each question.",
        "teach: {sampling: {samples: 4, temperature: 0.7}}\ncurate: {keep: correct, per_example: 4}",
    )


def _look(training: Training, items: Sequence[Failure], *_: Any) -> Remedy:
    return f"No rule explains {len(items)} failures: look at some of them.", ""


_REMEDIES: Mapping[Cause, Callable[..., Remedy]] = {
    "untaught": _teach_all,
    "contradiction": _agree,
    "conflict": _one_way,
    "forgetting": _remember,
    "truncation": _room,
    "optimisation": _longer,
    "format": _form,
    "prerequisite": _easier,
    "belief": _convince,
    "unexplained": _look,
}


def _stages(stages: Sequence[StageConfig]) -> str:
    """``train.stages`` as YAML, defaults left out."""
    rows = [
        {"name": stage.name} | stage.model_dump(mode="json", exclude_defaults=True)
        for stage in stages
    ]
    lines = [
        yaml.safe_dump(row, default_flow_style=True, width=10_000, sort_keys=False).strip()
        for row in rows
    ]
    return "\n".join(["train:", "  stages:", *(f"    - {line}" for line in lines)])
