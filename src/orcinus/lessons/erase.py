"""Erase the prompt: the teacher saw a strategy, the student does not (Orca 2, section 3).

    in:   system "Work through the problem …"         user "What is 17 + 25?"   "1. 17 + 25 = 42 …"
    out:  system "You are a careful AI assistant …"   user "What is 17 + 25?"   "1. 17 + 25 = 42 …"

Kept traces go in, lessons come out. The same step makes the answer-only lessons of the baseline:
the same questions and system message, but the completion is only the answer. (Orca 2:
arXiv:2311.11045.)
"""

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa

from orcinus.core.collector import relax_garbage_collection
from orcinus.core.errors import ConfigError, StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.token_bytes import bytes_within, reply_tokens
from orcinus.core.types import LECTURE, Example, Judged, Lesson, Strategy
from orcinus.lessons.config import EraseConfig, Layout, generic_text
from orcinus.lessons.few_shot import FewShotPool
from orcinus.lessons.plain_lessons import bare_answer, lesson_id, plain_lessons, repeats_message
from orcinus.lessons.preferences import preference_pairs
from orcinus.lessons.refusals import is_replaced
from orcinus.lessons.rehearse import Rehearsals, own_answers
from orcinus.runs import layout, tables
from orcinus.runs.columns import table_of
from orcinus.runs.context import StepContext
from orcinus.runs.row_groups import TraceGroup, map_trace_groups, trace_groups, warm_up_workers
from orcinus.strategies.library import by_name, generic_messages
from orcinus.strategies.prompts import conversation, system_in
from orcinus.tasks.duplicates.overlap import batched

ERASED = Strategy(name="erased", system="")
"""Stands for the strategy of the student's own answers, which it gave under the erased message."""
DIRECT = "direct"
"""The strategy whose lessons have an empty think block under ``layout: adaptive``."""


def erased_system(config: EraseConfig, told: str, key: str, seed: int) -> tuple[str, str]:
    """Return the system message of one lesson, and how it was erased.

    Args:
        config: How to erase.
        told: The system message that the teacher saw.
        key: Identity of the trace, so that a draw does not depend on the order of lessons.
        seed: Another seed makes other draws.

    Returns:
        The message, and its origin: ``kept``, the name of a paraphrase, or ``config.mode``.
    """
    keep = config.keep_probability
    if config.mode == "kept" or (keep and stable_fraction("keep", str(seed), key) < keep):
        return told, "kept"
    if config.mode == "paraphrase":
        names = sorted(generic_messages())
        name = names[int(stable_fraction("paraphrase", str(seed), key) * len(names))]
        return generic_messages()[name], name
    return generic_text(config), config.mode


def answer_only(example: Example, judged: Judged) -> str:
    """Return the answer-only completion: the reference, or without one the teacher's answer.

    A refusal in place of an unsafe trace stays whole.
    """
    if is_replaced(judged):
        return judged.attempt.text
    return bare_answer(
        example.reference, example.answer_type, judged.verdict.answer, judged.attempt.text
    )


def split_reasoning(judged: Judged, layout: Layout) -> tuple[str | None, str]:
    """Split a trace into its separate reasoning (None without any) and its visible answer."""
    text, reasoning = judged.attempt.text, judged.attempt.reasoning
    if layout == "text_only":
        return None, text
    if layout == "adaptive" and judged.attempt.strategy == DIRECT:
        return "", text
    if layout == "as_written" or reasoning is not None or judged.verdict.answer is None:
        return reasoning, text
    explanation, cue, answer = text.rpartition("The answer is")
    if cue and explanation.strip() and "\n" not in answer.strip():
        return explanation.strip(), cue + answer.rstrip()
    return text.strip(), f"The answer is {judged.verdict.answer}."


def lesson_of(
    judged: Judged,
    example: Example,
    strategy: Strategy,
    *,
    config: EraseConfig,
    content: Literal["explanation", "answer_only"],
    seed: int,
    logprobs: bool = False,
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Lesson:
    """Make a lesson of a kept trace. That of a lecture has no prompt.

    Args:
        judged: The trace.
        example: Its example.
        strategy: The strategy that the teacher used.
        config: How to erase.
        content: What the student learns to write.
        seed: Of the draws.
        logprobs: Keep the teacher's log-probabilities of the lesson's text in ``meta``.
        more: Further entries of ``meta``.
    """
    attempt = judged.attempt
    system, erased = erased_system(config, system_in(attempt.messages), attempt.id, seed)
    kept = erased == "kept"
    messages = conversation(system, example, strategy.demonstrations if kept else ())
    if LECTURE in example.meta:
        messages, erased, reasoning, completion = (), LECTURE, None, attempt.text
    elif content == "explanation":
        reasoning, completion = split_reasoning(judged, config.layout)
    else:
        reasoning, completion = None, answer_only(example, judged)
    return Lesson(
        id=lesson_id(
            attempt.id,
            [{"content": message.content, "role": message.role} for message in messages],
            completion,
        ),
        example_id=attempt.example_id,
        task=attempt.task,
        strategy=attempt.strategy,
        messages=messages,
        completion=completion,
        reasoning=reasoning,
        teacher=attempt.model,
        attempt_id=attempt.id,
        erased=erased,
        meta={
            "value": judged.verdict.value,
            "cost_usd": attempt.cost_usd,
            "licence": example.meta.get("licence"),
            "difficulty": example.meta.get("difficulty"),
            **({"replaced": True} if is_replaced(judged) else {}),
            **(teacher_logprobs(judged, reasoning, completion) if logprobs else {}),
            **more,
        },
    )


def teacher_logprobs(judged: Judged, reasoning: str | None, completion: str) -> dict[str, Any]:
    """Return the teacher's log-probabilities of a lesson's text, as ``meta`` keeps them.

    A text that is not in the reply, because it was edited, has none.

    Returns:
        ``teacher_logprob``: ``bytes``, the lengths of the text's parts; ``values``, the
        log-probability of each or None. Nothing where the reply came without log-probabilities.
    """
    attempt = judged.attempt
    tokens = reply_tokens(attempt.token_bytes, attempt.reasoning, attempt.text)
    if attempt.logprobs is None or tokens is None or len(tokens) != len(attempt.logprobs):
        return {}
    lengths: list[int] = []
    values: list[float | None] = []
    for text in filter(None, (reasoning, completion)):
        found = bytes_within(tokens, text)
        if found is None:
            lengths.append(len(text.encode()))
            values.append(None)
            continue
        for length, value in zip(found, attempt.logprobs, strict=True):
            if length:
                lengths.append(length)
                values.append(value)
    return {"teacher_logprob": {"bytes": lengths, "values": values}}


def leaks_strategy(lesson: Lesson, told: str) -> bool:
    """Return whether an erased lesson still holds ``told``, the teacher's system message."""
    texts = (message.content for message in lesson.messages)
    return lesson.erased != "kept" and repeats_message(
        told, (*texts, lesson.reasoning or "", lesson.completion)
    )


async def erase(
    config: EraseConfig,
    strategies: tuple[Strategy, ...],
    context: StepContext,
    *,
    content: Literal["explanation", "answer_only"] = "explanation",
    own: bool = False,
    numbers: Sequence[str] = (),
    logprobs: bool = False,
    pairs: bool = False,
    labels: bool = False,
    wordings: bool = False,
) -> dict[str, Any]:
    """Turn ``curate``'s kept traces into ``lessons.parquet``.

    Args:
        config: How.
        strategies: The recipe's strategies, and the skills that were written for it.
        context: With the inputs ``sample``, ``curate`` and, where the recipe has them,
            ``curate_assistant`` and ``rehearse``. A rehearsed lesson's ``meta`` has the numbers
            ``right`` and ``came`` of its question, and ``own``: 1 for an answer of the student's.
        content: The teacher's explanation, or its answer alone.
        own: Add the right answers of ``rehearse``, as lessons of the role ``self``.
        numbers: Columns of the questions' rows that the objective needs, copied into ``meta``.
        logprobs: Keep the teacher's log-probabilities of a lesson's text in ``meta``.
        pairs: Write ``pairs.parquet`` too: each right lesson, then a wrong answer of ``rehearse``.
        labels: Write ``labels.parquet`` too: each right lesson, then all wrong answers of
            ``rehearse`` as lessons of the role ``self``.
        wordings: Keep ``isomer`` and ``domain`` of the questions in ``meta``.

    Returns:
        ``lessons``, ``leaks`` and ``few_shot``, their numbers; ``own``, that of the student's own
        where there may be any; ``pairs`` and ``wrong``, those of pairs and of wrong answers where
        they are asked for; ``task``, ``strategy`` and ``erased``, the lessons by each.

    Raises:
        ConfigError: ``keep_probability`` is not a probability.
        StepError: No trace was kept, or no question has one of the ``numbers``.
    """
    from asyncio import sleep  # here, as workers import this module and start sooner without it

    if not 0 <= config.keep_probability <= 1:
        raise ConfigError(
            f"erase.keep_probability is {config.keep_probability}, but a probability is from 0 to 1"
        )
    rehearsed = Rehearsals(context.inputs["rehearse"]) if "rehearse" in context.inputs else None
    eraser = Eraser(
        config=config,
        strategies=by_name(strategies),
        content=content,
        seed=context.seed,
        logprobs=logprobs,
        rehearsed=rehearsed,
        numbers=tuple(numbers),
        words=("isomer", "domain") if wordings else (),
    )
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("task", "strategy", "erased")}
    leaks = few_shot = 0
    pool = FewShotPool(config.few_shot, context.seed) if config.few_shot else None
    by_role: Counter[str] = Counter()
    missing = set(numbers)
    with (
        relax_garbage_collection(),
        tables.TableWriter(context.out / layout.LESSONS, tables.LESSONS) as writer,
        closing(_erase_all(eraser, context, own=own)) as parts,
    ):
        for role, erased in parts:
            await sleep(0)  # here Ctrl-C ends the step
            by_role[role] += len(erased.lessons)
            leaks += erased.leaks
            missing -= erased.numbers
            for name, counter in counts.items():
                counter.update(erased.lessons[name].to_pylist())
            if pool is None or role == "self":
                writer.write_rows(erased.lessons)
                continue
            for lesson in tables.lessons_in(erased.lessons):
                writer.write(tables.lesson_row(lesson))
                if (more := pool.make_lesson(lesson)) is not None:
                    writer.write(tables.lesson_row(more))
                    few_shot += 1
    if writer.rows == by_role["self"]:
        raise StepError(
            "no trace was kept, so there is nothing to learn from; "
            "see the drops in the curate step's folder"
        )
    if missing:
        raise StepError(
            f"train.objective needs the number {min(missing)!r} of each lesson, and no taught "
            "question has it; add it as a column to the tasks' rows"
        )
    students = {"own": by_role["self"]} if own else {}
    paired = {"pairs": _write_pairs(config, context)} if pairs else {}
    labelled = {"wrong": _write_labels(config, context)} if labels else {}
    return {
        "lessons": writer.rows,
        "leaks": leaks,
        "few_shot": few_shot,
        **students,
        **paired,
        **labelled,
        **{name: dict(counter) for name, counter in counts.items()},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The lessons of some traces."""

    lessons: pa.Table
    leaks: int
    """Traces whose lesson would hold the strategy's message."""
    numbers: frozenset[str]
    """The names of the numbers that questions have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eraser:
    """What makes lessons of kept traces. Workers run it on row groups."""

    config: EraseConfig
    strategies: Mapping[str, Strategy]
    content: Literal["explanation", "answer_only"]
    seed: int
    logprobs: bool
    rehearsed: Rehearsals | None
    numbers: tuple[str, ...]
    """The numbers of a question that are kept in ``meta``."""
    words: tuple[str, ...]
    """The texts of a question that are kept in ``meta``."""

    def erase_group(self, role: str, group: TraceGroup) -> Erased:
        """Make the lessons of a row group of an author's traces."""
        table = group.table(_LOGPROBS_TOO if self.logprobs else _NEEDED)
        examples = group.examples_of(table)
        if self._is_plain and set(table.column_names) >= set(_NEEDED):
            found = plain_lessons(
                table,
                examples,
                role=role,
                system=generic_text(self.config),
                erased=self.config.mode,
                content=self.content,
                with_reasoning=self.config.layout == "as_written",
            )
            if found is not None:
                return Erased(lessons=found[0], leaks=found[1], numbers=frozenset())
        traces = tables.judged_in(table, first_turns=True)
        return self.erase(role, zip(tables.examples_in(examples), traces, strict=True))

    @property
    def _is_plain(self) -> bool:
        """True where all lessons have one system message, and nothing that a trace lacks."""
        config = self.config
        has_more = self.logprobs or self.rehearsed is not None or self.numbers or self.words
        is_whole = self.content == "answer_only" or config.layout in ("as_written", "text_only")
        is_one = config.mode in ("generic", "empty") and not config.keep_probability
        return is_whole and is_one and not has_more

    def erase(self, role: str, traces: Iterable[tuple[Example, Judged]]) -> Erased:
        """Make the lessons of an author's traces, each with its example."""
        rows, leaks, names = [], 0, set[str]()
        for example, judged in traces:
            found = _numbers(role, example, self.rehearsed, self.numbers)
            words = {name: example.meta.get(name) for name in self.words}
            names |= found.keys()
            lesson = lesson_of(
                judged,
                example,
                self._strategy_of(role, example, judged),
                config=self.config,
                content=self.content,
                seed=self.seed,
                logprobs=self.logprobs,
                more={"role": role, **found, **words},
            )
            if role != "self" and leaks_strategy(lesson, system_in(judged.attempt.messages)):
                leaks += 1
            else:
                rows.append(tables.lesson_row(lesson))
        lessons = table_of(rows, tables.LESSONS)
        return Erased(lessons=lessons, leaks=leaks, numbers=frozenset(names))

    def _strategy_of(self, role: str, example: Example, judged: Judged) -> Strategy:
        """Return the strategy of a trace; neither a student's own nor a lecture has one."""
        is_named = role != "self" and LECTURE not in example.meta
        return self.strategies[judged.attempt.strategy] if is_named else ERASED


_NEEDED = (
    "id",
    "example_id",
    "task",
    "strategy",
    "model",
    "messages",
    "text",
    "reasoning",
    "cost_usd",
    "verifier",
    "value",
    "answer",
)
"""Columns of a trace that its lesson is made of."""
_LOGPROBS_TOO = (*_NEEDED, "logprobs", "token_bytes")


def _erase_all(eraser: Eraser, context: StepContext, *, own: bool) -> Generator[tuple[str, Erased]]:
    """Yield an author's role and its lessons: the assistant's, the teacher's, the student's."""
    examples = context.inputs["sample"] / layout.EXAMPLES
    for role, step in (("assistant", "curate_assistant"), ("teacher", "curate")):
        if step in context.inputs:
            kept = context.inputs[step] / layout.KEPT
            warm_up_workers(kept, context, __name__)
            groups = trace_groups(kept, examples)
            work = partial(eraser.erase_group, role)
            yield from ((role, found) for _, found in map_trace_groups(work, groups, context))
    if own:
        for traces in batched(
            own_answers(context.inputs["rehearse"], examples), tables.ROWS_PER_BATCH
        ):
            yield "self", eraser.erase("self", traces)


def _write_pairs(config: EraseConfig, context: StepContext) -> int:
    """Write the lessons' pairs and return their number.

    Raises:
        StepError: There is none.
    """
    found = preference_pairs(
        context.out / layout.LESSONS,
        [context.inputs["rehearse"] / layout.ATTEMPTS],
        lambda judged: split_reasoning(judged, config.layout),
    )
    with tables.TableWriter(context.out / layout.PAIRS, tables.LESSONS) as writer:
        for pair in found:
            for lesson, preferred in zip(pair, (1.0, -1.0), strict=True):
                meta = {**lesson.meta, "preferred": preferred}
                writer.write(tables.lesson_row(replace(lesson, meta=meta)))
    if not writer.rows:
        raise StepError(
            "no pair to learn from: the student gave no wrong answer to the question of a right "
            "lesson; raise rehearse.sampling.samples, or leave the prefer stage out"
        )
    return writer.rows // 2


def _write_labels(config: EraseConfig, context: StepContext) -> int:
    """Write the right lessons and the student's wrong answers; return the number of the latter.

    Raises:
        StepError: One of the two sides is empty.
    """
    answers = own_answers(
        context.inputs["rehearse"], context.inputs["sample"] / layout.EXAMPLES, right=False
    )
    with tables.TableWriter(context.out / layout.LABELS, tables.LESSONS) as writer:
        for lesson in tables.read_lessons(context.out / layout.LESSONS):
            if lesson.meta.get("value") == 1.0:
                meta = {**lesson.meta, "preferred": 1.0}
                writer.write(tables.lesson_row(replace(lesson, meta=meta)))
        right = writer.rows
        for example, judged in answers:
            wrong = lesson_of(
                judged,
                example,
                ERASED,
                config=config,
                content="explanation",
                seed=context.seed,
                more={"role": "self", "preferred": -1.0},
            )
            writer.write(tables.lesson_row(wrong))
    if not right:
        raise StepError(
            "no lesson was judged right, so no answer can be preferred (prefer: {loss: kto}); give "
            "the tasks references or a judge, or leave the stage out"
        )
    if writer.rows == right:
        raise StepError(
            "the student gave no wrong answer to learn from (prefer: {loss: kto}); raise "
            "rehearse.sampling.samples, or leave the stage out"
        )
    return writer.rows - right


def _numbers(
    role: str, example: Example, rehearsed: Rehearsals | None, names: Sequence[str]
) -> dict[str, float]:
    """Return the numbers of a lesson that an objective may need."""
    found = {name: example.meta.get(name) for name in names}
    numbers = {
        name: float(value) for name, value in found.items() if isinstance(value, int | float)
    }
    if rehearsed is None:
        return numbers
    return {**numbers, **rehearsed.numbers_of(example), "own": float(role == "self")}
