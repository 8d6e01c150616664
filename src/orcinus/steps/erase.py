"""Prompt erasing: the teacher saw a strategy, the student will not (Orca 2, arXiv:2311.11045, section 3).

    in:   system "Work through the problem in small numbered steps …"   user "What is 17 + 25?"   assistant "1. 17 + 25 = 42 …"
    out:  system "You are a careful AI assistant …"                     user "What is 17 + 25?"   assistant "1. 17 + 25 = 42 …"

Kept traces go in, lessons come out. The same step makes the answer-only lessons of the baseline: same questions, same
system message, but the completion is the bare answer.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from orcinus.config import Config
from orcinus.errors import ConfigError, StepError
from orcinus.fingerprint import fingerprint, stable_fraction
from orcinus.runtime import StepContext
from orcinus.store import tables
from orcinus.strategies import by_name, conversation, generic_messages
from orcinus.types import Example, Judged, Lesson, Strategy

VERSION = 1
Mode = Literal["generic", "empty", "paraphrase", "kept"]


class EraseConfig(Config):
    """What the student is given where the teacher was given a strategy."""

    mode: Mode = "generic"
    """generic: one message for all; empty: no system message; paraphrase: one of several generic messages, drawn for each
    lesson; kept: the strategy stays (the ablation, not the method)."""
    message: str = "cautious"
    """Name of a built-in generic message, or the text of your own."""
    keep_probability: float = 0.0
    """Share of lessons whose strategy is kept, so that the student can still be steered by one. 0 … 1."""


def generic_text(config: EraseConfig) -> str:
    """The system message a student meets at evaluation: what ``config`` puts in most lessons."""
    if config.mode in ("empty", "kept"):
        return ""
    return generic_messages().get(config.message, config.message)


def erased_system(config: EraseConfig, strategy: Strategy, key: str, seed: int) -> tuple[str, str]:
    """The system message of one lesson and the name of how it came about.

    Args:
        config: How to erase.
        strategy: What the teacher was given.
        key: Identity of the trace, so that a draw never depends on the order of lessons.
        seed: Another seed draws anew.
    """
    if config.mode == "kept" or stable_fraction("keep", str(seed), key) < config.keep_probability:
        return strategy.system, "kept"
    if config.mode == "paraphrase":
        names = sorted(generic_messages())
        name = names[int(stable_fraction("paraphrase", str(seed), key) * len(names))]
        return generic_messages()[name], name
    return generic_text(config), config.mode


def answer_only(example: Example, judged: Judged) -> str:
    """The completion of the answer-only baseline: the reference, or the teacher's own answer where there is none."""
    reference = example.reference
    if isinstance(reference, tuple):
        answer = " ".join(reference) if example.answer_type == "list" else reference[0]
    else:
        answer = reference if reference is not None else (judged.verdict.answer or judged.attempt.text)
    return f"The answer is {answer}."


def lesson_of(
    judged: Judged,
    example: Example,
    strategy: Strategy,
    *,
    config: EraseConfig,
    content: Literal["explanation", "answer_only"],
    seed: int,
) -> Lesson:
    """The lesson that ``judged``, a kept trace, becomes."""
    attempt = judged.attempt
    system, erased = erased_system(config, strategy, attempt.id, seed)
    kept = erased == "kept"
    messages = conversation(system, example, strategy.demonstrations if kept else ())
    completion = attempt.text if content == "explanation" else answer_only(example, judged)
    return Lesson(
        id=fingerprint([attempt.id, messages, completion], length=16),
        example_id=attempt.example_id,
        task=attempt.task,
        strategy=attempt.strategy,
        messages=messages,
        completion=completion,
        reasoning=attempt.reasoning if content == "explanation" else None,
        teacher=attempt.model,
        attempt_id=attempt.id,
        erased=erased,
        meta={
            "value": judged.verdict.value,
            "cost_usd": attempt.cost_usd,
            "licence": example.meta.get("licence"),
            "difficulty": example.meta.get("difficulty"),
        },
    )


def leaked_strategy(lesson: Lesson, strategy: Strategy) -> bool:
    """Whether the student could still read the strategy's own words in a lesson whose prompt is erased."""
    words = " ".join(strategy.system.split())
    seen = " ".join(" ".join(m.content for m in lesson.messages).split() + lesson.completion.split())
    return lesson.erased != "kept" and len(words) > 0 and words in seen


async def erase(
    config: EraseConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    content: Literal["explanation", "answer_only"] = "explanation",
) -> dict[str, Any]:
    """Turn ``curate``'s kept traces into ``lessons.parquet``.

    Returns:
        Counts of lessons by task, strategy and way of erasing.

    Raises:
        ConfigError: The configuration cannot erase anything.
        StepError: There is no trace to make a lesson of.
    """
    if not 0 <= config.keep_probability <= 1:
        raise ConfigError(f"erase.keep_probability is {config.keep_probability}, but a probability lies in 0 … 1")
    known = by_name(strategies)
    counts: dict[str, dict[str, int]] = {"task": {}, "strategy": {}, "erased": {}}
    leaks = 0
    with tables.TableWriter(context.out / "lessons.parquet", tables.LESSONS) as writer:
        for judged, example in _traces(context.inputs):
            strategy = known[judged.attempt.strategy]
            lesson = lesson_of(judged, example, strategy, config=config, content=content, seed=context.seed)
            if leaked_strategy(lesson, strategy):
                leaks += 1
                continue
            writer.write(tables.lesson_row(lesson))
            for kind, value in (("task", lesson.task), ("strategy", lesson.strategy), ("erased", lesson.erased)):
                counts[kind][value] = counts[kind].get(value, 0) + 1
    if writer.rows == 0:
        raise StepError(
            "no trace was kept, so there is nothing to learn from; see the drops in the curate step's folder"
        )
    return {"lessons": writer.rows, "leaks": leaks, **counts}


def _traces(inputs: Mapping[str, Any]) -> Iterator[tuple[Judged, Example]]:
    examples = {
        (example.task, example.id): example
        for example in tables.read_examples(inputs["sample"] / "examples.parquet", "teach")
    }
    for judged in tables.read_judged(inputs["curate"] / "kept.parquet"):
        yield judged, examples[judged.attempt.task, judged.attempt.example_id]
