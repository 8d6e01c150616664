"""Advise what to do about lessons that a student fails: the words, the edit and the command.

40 failures by "forgetting"  ──►  "… show later stages a share of earlier lessons again."
train: {stages: [{name: …, replay: 0.2}]}
orcinus run recipe.yaml
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
import yaml

from orcinus.evaluation.diagnosis.causes import Cause, Failure, RunFacts, TaughtLesson
from orcinus.evaluation.diagnosis.contradictions import NEAR_DUPLICATE
from orcinus.evaluation.diagnosis.run import stage_names
from orcinus.training.config import StageConfig, TrainConfig
from orcinus.training.schedule import LARGEST_BATCH, learning_rate

MAX_ADVICE = 3
FEW_STEPS = 100
"""Optimizer steps. With fewer, smaller batches help more than further epochs."""
MIN_REPLAY = 0.2
"""Share of earlier lessons that is advised against forgetting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """The student's training, and the command that trains it again."""

    run: str
    command: str
    """Command that runs the recipe again."""
    config: TrainConfig
    optimizer_steps: int
    """Over all stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One thing to do next."""

    failures: int
    """Number of failures that it addresses."""
    words: str
    edit: str
    """Change of the recipe, as YAML; empty when it stays as it is."""
    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """The failures with one first cause."""

    training: Training
    failures: Sequence[Failure]
    lessons: Sequence[TaughtLesson]
    """Their lessons, in the same order."""
    run: RunFacts

    @property
    def stages(self) -> tuple[StageConfig, ...]:
        return self.training.config.stages


Remedy = tuple[str, str]
"""Words, and the change of the recipe as YAML (empty when it stays as it is)."""


def advise(
    training: Training,
    failures: Sequence[Failure],
    lessons: Sequence[TaughtLesson],
    run: RunFacts,
) -> Iterator[Advice]:
    """Yield advice for the most frequent causes, at most ``MAX_ADVICE`` pieces.

    Args:
        training: How the student was trained.
        failures: The lessons that it fails, with their causes.
        lessons: All lessons that were asked again.
        run: Facts of the whole run.
    """
    by_cause: dict[Cause, list[Failure]] = {}
    for failure in failures:
        by_cause.setdefault(failure.causes[0], []).append(failure)
    ranked = sorted(by_cause.items(), key=lambda pair: (pair[0] == "unexplained", -len(pair[1])))
    known = {item.lesson.id: item for item in lessons}
    for cause, items in ranked[:MAX_ADVICE]:
        case = _Case(
            training=training,
            failures=items,
            lessons=[known[item.lesson] for item in items],
            run=run,
        )
        words, edit = _REMEDIES[cause](case)
        look = f"orcinus show {items[0].lesson} --run {training.run}"
        yield Advice(
            failures=len(items), words=words, edit=edit, command=training.command if edit else look
        )


def _include_lessons(case: _Case) -> Remedy:
    longest = max(lesson.tokens for lesson in case.lessons)
    if longest > case.training.config.context_length:
        return (
            "These lessons were too long for a row and were dropped: make rows longer.",
            f"train: {{context_length: {-(-longest // 64) * 64}}}",
        )
    if any(stage.offers(case.lessons[0].lesson) for stage in case.stages):
        return (
            "The share of a stage's mix leaves these lessons out; another single share would "
            "include them.",
            "",
        )
    return (
        "No stage uses these lessons: widen the filters of train.stages, or add a stage without "
        "filters.",
        _stages_yaml([*case.stages, StageConfig(name="all")]),
    )


def _remove_contradictions(case: _Case) -> Remedy:
    faults = Counter(failure.details.lesson for failure in case.failures)
    if faults["wrong"] >= max(faults["unjudged"], faults[""]):
        return (
            "These lessons teach wrong answers: keep only traces that are right.",
            "curate: {keep: correct}",
        )
    if faults["unjudged"] >= faults[""]:
        return (
            "These lessons could not be judged and may be wrong: drop traces without a verdict.",
            "curate: {unjudged: drop}",
        )
    return (
        "The same questions are taught with different answers: keep the best trace of each, and "
        "drop near-duplicates.",
        f"curate: {{keep: best}}\nsample: {{near_duplicates: {NEAR_DUPLICATE}}}",
    )


def _use_one_style(case: _Case) -> Remedy:
    styles = case.run.styles[case.lessons[0].group]
    if len({style.strategy for style in styles}) > 1:
        return (
            "Groups are taught with several strategies: teach each task with one.",
            "assign: {by: task}",
        )
    return (
        "Lessons of one group write their answers in several formats: ask for one format in the "
        "strategy.",
        _ANSWER_LINE,
    )


def _add_replay(case: _Case) -> Remedy:
    lost = Counter(failure.details.lost for failure in case.failures).most_common(1)[0][0]
    if lost == "before":
        config = case.training.config
        halved = [
            stage.model_copy(update={"learning_rate": learning_rate(config, stage) / 2})
            for stage in case.stages
        ]
        return (
            "The student had these right before training: halve the learning rate, or train "
            "adapters (train.lora) instead of all weights.",
            _stages_yaml(halved),
        )
    place = stage_names(case.training.config).index(lost)
    replayed = [
        stage.model_copy(update={"replay": max(MIN_REPLAY, stage.replay)}) if i > place else stage
        for i, stage in enumerate(case.stages)
    ]
    return (
        f"The student had these right after stage {lost} and lost them later: show later stages a "
        "share of earlier lessons again.",
        _stages_yaml(replayed),
    )


def _allow_longer_answers(case: _Case) -> Remedy:
    longest = max(*(lesson.response_tokens for lesson in case.lessons), case.run.max_tokens)
    return (
        "Answers are cut off: let the student write twice as much, or keep only shorter traces "
        "(curate.max_tokens).",
        f"evaluate: {{sampling: {{max_tokens: {2 * longest}}}}}",
    )


def _train_longer(case: _Case) -> Remedy:
    more = [stage.model_copy(update={"epochs": 2 * stage.epochs}) for stage in case.stages]
    steps, config = case.training.optimizer_steps, case.training.config
    if steps >= FEW_STEPS:
        return "These lessons are not learnt yet: train twice as long.", _stages_yaml(more)
    now = config.batch_tokens or LARGEST_BATCH
    batch = max(config.context_length, now // 4)
    smaller = f"  batch_tokens: {batch}" if config.batch_tokens and batch < now else ""
    return (
        f"These lessons are not learnt yet: training had only {steps:,} optimizer steps; use "
        "smaller batches and more epochs.",
        "\n".join(part for part in (_stages_yaml(more), smaller) if part),
    )


def _ask_for_answer_line(case: _Case) -> Remedy:
    outcome = Counter(failure.outcome for failure in case.failures).most_common(1)[0][0]
    return (
        f"The student has learnt the lessons but gives no answer (most often: {outcome}): let "
        "every lesson end in the same line.",
        _ANSWER_LINE,
    )


def _add_easier_task(case: _Case) -> Remedy:
    task = Counter(failure.task for failure in case.failures).most_common(1)[0][0]
    first = StageConfig(
        name="easier",
        tasks=(f"{task}-easier",),
        epochs=case.stages[0].epochs,
        learning_rate=learning_rate(case.training.config, case.stages[0]),
    )
    name = orjson.dumps(first.tasks[0]).decode()
    return (
        f"The student lacks what these questions build on: add easier questions of {task} (single "
        "steps of the solution, or smaller sizes) as a task, and train on it first.",
        f"tasks: [… , {{path: easier.jsonl, name: {name}}}]\n"
        + _stages_yaml([first, *case.stages]),
    )


def _add_explanations(_: _Case) -> Remedy:
    return (
        "The student still gives wrong answers that it gave before training: teach several "
        "explanations of each question.",
        "teach: {sampling: {samples: 4, temperature: 0.7}}\n"
        "curate: {keep: correct, per_example: 4}",
    )


def _look_at_failures(case: _Case) -> Remedy:
    return f"No rule explains {len(case.failures)} failures: look at some of them.", ""


_ANSWER_LINE = 'strategies: [{name: …, system: "… Finish with one line: The answer is …"}]'
_REMEDIES: Mapping[Cause, Callable[[_Case], Remedy]] = {
    "untaught": _include_lessons,
    "contradiction": _remove_contradictions,
    "conflict": _use_one_style,
    "forgetting": _add_replay,
    "truncation": _allow_longer_answers,
    "optimisation": _train_longer,
    "format": _ask_for_answer_line,
    "prerequisite": _add_easier_task,
    "belief": _add_explanations,
    "unexplained": _look_at_failures,
}


def _stages_yaml(stages: Sequence[StageConfig]) -> str:
    """Write ``train.stages`` as YAML without defaults."""
    rows = [
        {"name": stage.name} | stage.model_dump(mode="json", exclude_defaults=True)
        for stage in stages
    ]
    lines = [
        yaml.safe_dump(row, default_flow_style=True, width=10_000, sort_keys=False).strip()
        for row in rows
    ]
    return "\n".join(["train:", "  stages:", *(f"    - {line}" for line in lines)])
