"""Write the messages to a judge, and read its replies; ``judge.py`` sends them.

    <<<4f1c09a2be77 answer                VERDICT 4f1c09a2be77: RIGHT
    … the judged text …            ──►    (only as the last line, and only with this request's code)
    4f1c09a2be77 answer>>>

The code is a hash of everything that is judged, chosen so that it occurs nowhere in it. A text can
therefore neither close its own block nor hold a line that would be read as its verdict. A judge
that quotes such a text, or repeats its own instructions, has given no verdict. A code cannot
prevent that a text persuades the judge; the instructions warn of that, but are only words.

The texts are in ``judge.yaml``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from typing import Any, Literal

import yaml

from orcinus.core.fingerprint import fingerprint
from orcinus.core.patterns import compile_later
from orcinus.core.types import Attempt, Example, Finish, Message, Messages, Verdict

VERSION = 1
"""Raised when the messages change, or how replies are read."""
Kind = Literal["rating", "comparison", "verdict", "groundedness"]
Facts = Sequence[tuple[str, str]]
"""Blocks of a judge's question: name and text."""
Scale = tuple[int, int]
"""Lowest and highest rating."""

BY_MODEL: Mapping[str, Kind] = {
    "judge": "verdict",
    "judge_fallback": "verdict",
    "grounded": "groundedness",
}
"""The verifiers that leave attempts to a judge, and the kind of judgement that they ask for."""
VALUES: Mapping[str, float] = {"RIGHT": 1.0, "WRONG": 0.0, "SUPPORTED": 1.0, "UNSUPPORTED": 0.0}
"""The values of the words of a verdict; any other word is None."""

FACTS = "judge_facts"
"""Where ``meta`` of an example holds the facts that the judge is shown, and the student never."""
_FACTS_ARE_TRUE = (
    "Each block whose name begins with `fact` holds something that is known to be true about the "
    "question. An answer that contradicts it is wrong on that point."
)
_CODE_LENGTH = 12
_VERDICT = compile_later(
    r"[\s*_`]*VERDICT +([0-9a-f]+) *: *([A-Za-z]+|[0-9]+(?:\.[0-9]+)?)[\s*_`.]*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """One question to a judge."""

    kind: Kind
    messages: Messages
    code: str
    """Part of the fences and of the verdict's line; it occurs nowhere in what is judged."""
    scale: Scale | None = None
    """The scale of a rating."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The verdict in a judge's reply."""

    word: str | None
    """One of the kind's words, or a number in decimal digits; None without a verdict."""
    reason: str
    """Why there is no verdict; empty if there is one."""


@cache
def _texts() -> dict[str, Any]:
    text = files("orcinus.verifiers").joinpath("judge.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return data


def prompts_identity() -> str:
    """Return a hash of what decides a judge's instructions and how its replies are read."""
    return fingerprint([VERSION, _texts()])


def rating(
    question: str,
    answer: str,
    reference: str | None = None,
    *,
    scale: Scale = (1, 10),
    task: str | None = None,
    facts: Facts = (),
) -> Inquiry:
    """Return the inquiry how good one answer is.

    Args:
        question: What was asked.
        answer: What is judged.
        reference: The right answer, if it is known.
        scale: Lowest and highest rating.
        task: An instruction in place of the default one.
        facts: What is known about the question, from ``facts_of``.
    """
    return _inquiry(
        "rating",
        [("question", question), ("reference", reference), *facts, ("answer", answer)],
        task=task,
        scale=scale,
    )


def comparison(
    question: str,
    first: str,
    second: str,
    reference: str | None = None,
    *,
    task: str | None = None,
    facts: Facts = (),
) -> Inquiry:
    """Return the inquiry which of two answers is better; ``judge.compare`` asks both orders."""
    blocks = [
        ("question", question),
        ("reference", reference),
        *facts,
        ("first answer", first),
        ("second answer", second),
    ]
    return _inquiry("comparison", blocks, task=task)


def verdict(
    question: str,
    answer: str,
    reference: str | None = None,
    *,
    task: str | None = None,
    facts: Facts = (),
) -> Inquiry:
    """Return the inquiry whether an answer is right."""
    blocks = [("question", question), ("reference", reference), *facts, ("answer", answer)]
    return _inquiry("verdict", blocks, task=task)


def facts_of(example: Example) -> Facts:
    """Return the facts of an example (``judging.facts``) as blocks of a judge's question."""
    known: Mapping[str, str] = example.meta.get(FACTS) or {}
    return tuple((f"fact: {name}", text) for name, text in known.items())


def groundedness(text: str, answer: str, *, task: str | None = None) -> Inquiry:
    """Return the inquiry whether ``text`` supports everything that ``answer`` claims."""
    return _inquiry("groundedness", [("text", text), ("answer", answer)], task=task)


def inquiry_about(example: Example, answer: str, kind: Kind, tasks: Mapping[str, str]) -> Inquiry:
    """Return the inquiry about an answer to an example.

    Args:
        example: A grounded task has its text in ``meta.context``, or in the question without one.
        answer: The text that is judged.
        kind: ``verdict`` or ``groundedness``.
        tasks: Instructions in place of the default ones, by kind.
    """
    if kind == "groundedness":
        return groundedness(
            str(example.meta.get("context") or example.whole_prompt), answer, task=tasks.get(kind)
        )
    task = tasks.get(kind)
    if task is None and example.answer_type == "free" and example.reference is None:
        task = str(_texts()["kinds"]["verdict"]["task_open"])
    return verdict(
        example.whole_prompt, answer, reference_text(example), task=task, facts=facts_of(example)
    )


def reference_text(example: Example) -> str | None:
    """Return the right answer in words: for an option its letter and its text."""
    reference = example.reference
    if isinstance(reference, tuple):
        between = " " if example.answer_type == "list" else "\nor: "
        return between.join(reference)
    if reference is not None and example.choices is not None:
        place = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".find(reference.strip("() .").upper() or "?")
        if 0 <= place < len(example.choices):
            return f"({reference.strip('() .').upper()}) {example.choices[place]}"
    return reference


def _inquiry(
    kind: Kind,
    blocks: Sequence[tuple[str, str | None]],
    *,
    task: str | None = None,
    scale: Scale | None = None,
) -> Inquiry:
    texts = _texts()
    known = [(name, text) for name, text in blocks if text is not None]
    code = next(
        code
        for code in _codes(kind, known)
        if not any(code in text.casefold() for _, text in known)
    )
    low, high = scale or (0, 0)
    own = texts["kinds"][kind]
    if task is None:
        referenced = any(name == "reference" for name, _ in known)
        task = own["task"] if referenced else own.get("task_without_reference", own["task"])
        task = task.replace("{low}", str(low)).replace("{high}", str(high))
    if any(name.startswith("fact: ") for name, _ in known):
        task = f"{task}\n\n{_FACTS_ARE_TRUE}"
    shown = "\n\n".join(f"<<<{code} {name}\n{text}\n{code} {name}>>>" for name, text in known)
    line = texts["line"].format(code=code, form=own["form"].format(low=low, high=high))
    return Inquiry(
        kind=kind,
        messages=(
            Message(role="system", content=f"{task}\n\n{texts['material']}"),
            Message(role="user", content=f"{shown}\n\n{texts['closing']}\n\n{line}"),
        ),
        code=code,
        scale=scale,
    )


def _codes(kind: Kind, blocks: list[tuple[str, str]]) -> Iterator[str]:
    for salt in count():
        yield fingerprint([VERSION, salt, kind, blocks]).removeprefix("b2")[:_CODE_LENGTH]


def read(inquiry: Inquiry, reply: str, finish: Finish = "stop") -> Reading:
    """Read the verdict in a judge's reply.

    It must be the last line, with the inquiry's code and nothing else.
    """
    if finish != "stop":
        why = {
            "length": "the reply was cut off",
            "refusal": "the judge refused",
            "error": "no reply came",
        }
        return Reading(None, why[finish])
    lines = reply.rstrip().splitlines()
    found = _VERDICT.fullmatch(lines[-1]) if lines else None
    if found is None:
        return Reading(None, "the last line of the reply is no verdict")
    code, word = found[1], found[2].upper()
    if code != inquiry.code:
        return Reading(None, "the verdict has another request's code")
    if inquiry.scale is not None:
        low, high = inquiry.scale
        if word.isalpha() or not low <= float(word) <= high:
            return Reading(None, f"{word} is not on the scale from {low} to {high}")
    elif word not in _texts()["kinds"][inquiry.kind]["words"]:
        return Reading(None, f"{word} is no verdict of the kind {inquiry.kind}")
    return Reading(word, "")


def is_open(example: Example, attempt: Attempt, found: Verdict) -> bool:
    """Return True if a judge is to be asked about an attempt.

    Its task must say so, the rules must have no verdict, and the answer must be complete.
    """
    return (
        found.value is None
        and example.meta.get("verifier") in BY_MODEL
        and attempt.finish == "stop"
        and bool(attempt.text.strip())
    )


async def left_to_judge(example: Example, attempt: Attempt) -> Verdict:
    """Return no verdict, for a task whose answers only a judge decides."""
    why = {
        "stop": "left to the judge",
        "length": "cut off",
        "refusal": "refused",
        "error": "no answer came",
    }
    reason = (
        why[attempt.finish]
        if attempt.text.strip() or attempt.finish != "stop"
        else "the answer is empty"
    )
    return Verdict(
        attempt_id=attempt.id,
        verifier=f"left_to_judge@{VERSION}",
        value=None,
        answer=None,
        reason=reason,
    )
