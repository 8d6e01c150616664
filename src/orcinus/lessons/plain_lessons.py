"""Make the lessons of usual traces from whole columns.

    plain_lessons(traces, examples, role="teacher", …)  →  the lessons' rows, and 0 leaks

A usual trace answers one question, without earlier turns or tools, and its strategy is erased.
``erase.py`` makes the same rows, and those of all other traces, one lesson after another.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa

from orcinus.core.fingerprint import hashed
from orcinus.core.tool_calls import DEFINITIONS, SPEAKER
from orcinus.core.types import LECTURE, AnswerType
from orcinus.lessons.refusals import REPLACED
from orcinus.runs import tables
from orcinus.runs.columns import array_of, numbers_of
from orcinus.strategies.prompts import system_in

UNUSUAL = frozenset((LECTURE, "history", DEFINITIONS, SPEAKER))
"""Entries of an example's ``meta`` that change the messages of its lesson."""


def plain_lessons(
    traces: pa.Table,
    examples: pa.Table,
    *,
    role: str,
    system: str,
    erased: str,
    content: Literal["explanation", "answer_only"],
    with_reasoning: bool,
) -> tuple[pa.Table, int] | None:
    """Make the lessons of traces.

    Args:
        traces: ``JUDGED`` rows; of the messages the first one is looked at.
        examples: The ``EXAMPLES`` row of each trace.
        role: The traces' author.
        system: The system message of every lesson; empty for none.
        erased: How the strategies were erased.
        content: What the student learns to write.
        with_reasoning: Keep the traces' separate reasoning.

    Returns:
        The ``LESSONS`` rows, and the number of traces whose lesson would hold the strategy's
        message; None where an example is unusual.
    """
    metas = [orjson.loads(meta) for meta in examples["meta"].to_pylist()]
    if any(UNUSUAL & meta.keys() for meta in metas):
        return None
    ids, texts, verifiers, values, costs, answers = (
        traces[name].to_pylist()
        for name in ("id", "text", "verifier", "value", "cost_usd", "answer")
    )
    replaced = [verifier == REPLACED for verifier in verifiers]
    prompts = examples["prompt"].to_pylist()
    reasoning = pa.nulls(len(traces), pa.string())
    completions = texts
    if content == "explanation" and with_reasoning:
        reasoning = traces["reasoning"]
    elif content == "answer_only":
        references = (orjson.loads(one) for one in examples["reference"].to_pylist())
        columns = (replaced, references, examples["answer_type"].to_pylist(), answers, texts)
        completions = [
            text if is_replaced else bare_answer(reference, answer_type, answer, text)
            for is_replaced, reference, answer_type, answer, text in zip(*columns, strict=True)
        ]
    before = [{"content": system, "role": "system"}] if system else []
    rows = {
        "id": [
            lesson_id(attempt, [*before, {"content": prompt, "role": "user"}], completion)
            for attempt, prompt, completion in zip(ids, prompts, completions, strict=True)
        ],
        "completion": completions,
        "erased": [erased] * len(traces),
        "weight": [1.0] * len(traces),
        "meta": [
            orjson.dumps(
                {
                    "value": value,
                    "cost_usd": cost,
                    "licence": meta.get("licence"),
                    "difficulty": meta.get("difficulty"),
                    **({"replaced": True} if is_replaced else {}),
                    "role": role,
                }
            ).decode()
            for value, cost, meta, is_replaced in zip(values, costs, metas, replaced, strict=True)
        ],
    }
    columns_by_name: Mapping[str, Any] = {
        **{name: array_of(rows[name], tables.LESSONS.field(name).type) for name in rows},
        **{name: traces[name] for name in ("example_id", "task", "strategy")},
        "messages": tables.same_turns([system, None] if system else [None], prompts),
        "reasoning": reasoning,
        "teacher": traces["model"],
        "attempt_id": traces["id"],
    }
    lessons = pa.table([columns_by_name[name] for name in tables.LESSONS.names], tables.LESSONS)
    told = map(system_in, tables.first_turns_in(traces))
    thoughts = reasoning.to_pylist()
    is_leak = np.fromiter(
        (
            repeats_message(message, (system, prompt, thought or "", completion))
            for message, prompt, thought, completion in zip(
                told, prompts, thoughts, completions, strict=True
            )
        ),
        np.bool_,
        len(traces),
    )
    if is_leak.any():
        lessons = lessons.filter(numbers_of(~is_leak))
    return lessons, int(is_leak.sum())


def bare_answer(
    reference: str | Sequence[str] | None, answer_type: AnswerType, answer: str | None, text: str
) -> str:
    """Return the answer-only completion.

    Args:
        reference: The right answer.
        answer_type: How several references are read.
        answer: The teacher's answer, taken where there is no reference.
        text: The teacher's words, taken where it has no answer.
    """
    if reference is None:
        return f"The answer is {answer or text}."
    if isinstance(reference, str):
        return f"The answer is {reference}."
    return f"The answer is {' '.join(reference) if answer_type == 'list' else reference[0]}."


def lesson_id(attempt_id: str, turns: list[dict[str, str]], completion: str) -> str:
    """Return ``fingerprint`` of the three, in a third of its time.

    Args:
        attempt_id: Of the trace.
        turns: ``content`` and ``role`` of the messages, in this order.
        completion: What the student learns to write.
    """
    return hashed(orjson.dumps([attempt_id, turns, completion]), length=16)


def repeats_message(told: str, texts: Sequence[str]) -> bool:
    """Return whether texts hold ``told``, the teacher's system message, whatever the blanks."""
    if not told.strip():
        return False
    words, longest = _words_of(told)
    if not any(longest in text for text in texts):  # true of nearly all, and soon found
        return False
    return words in " ".join(" ".join(texts).split())


@lru_cache
def _words_of(told: str) -> tuple[str, str]:
    """Return a message with single blanks, and its longest word."""
    words = told.split()
    return " ".join(words), max(words, key=len)
