"""The parts of an example as a row gives them, and how they are found in the row's columns.

    first_of({"uid": 7, "answer": "42"}, ID)   →  7
    text_of(42, "answer")                      →  "42"

Each layout converts its rows to a RowDraft (``layouts.py``), and ``examples.py`` makes an Example
of it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orcinus.core.records import quick_init
from orcinus.tasks.files.rows import kind_of

PROMPT = ("prompt", "question", "instruction", "query", "problem", "input", "inputs", "text")
CONTEXT = ("context", "passage", "article")
"""A text that a question is about. It comes before a question that does not hold it already."""
WHOLE_PROMPT = "prompt"
"""A column of this name holds all that is asked: no context is put before it."""
REFERENCE = (
    "reference",
    "answer",
    "answers",
    "target",
    "label",
    "answerKey",
    "gold",
    "solution",
    "output",
    "targets",
    "response",
    "completion",
    "chosen",
)
RESPONSE = ("response", "completion", "chosen")
CHAT_REFERENCE = (
    "reference",
    "answer",
    "expected_answer",
    "final_answer",
    "gold",
    "target",
    "label",
    "solution",
)
"""Columns beside a conversation that hold the right answer, as in NuminaMath and OpenR1-Math."""
CHOICES = ("choices", "options", "endings", "candidates")
ID = ("id", "uid", "qid", "question_id", "example_id", "idx")
TASK = ("task", "task_name", "subject", "_task_name")
CARRIED = (
    "licence",
    "license",
    "collection",
    "difficulty",
    "level",
    "subject",
    "category",
    "tags",
    "passage_id",
    "source_unit",
    "formula",
    "verbosity",
    "source",
)
"""Fields that are kept in ``meta``, in every layout."""


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class RowDraft:
    """The parts of an example as a row gives them, unchecked."""

    prompt: Any
    id: Any = None
    task: Any = None
    choices: Any = None
    reference: Any = None
    answer_type: Any = None
    system: str | None = None
    """The system message of a row that already has an answer."""
    response: str | None = None
    """A model's answer, in a row that already has one."""
    meta: Mapping[str, Any] = field(default_factory=dict)


class Unusable(ValueError):
    """A row cannot be used; the message says why and what to do."""

    def __init__(self, problem: str, in_recipe: str = "") -> None:
        """Take what is wrong, and what to change in the recipe where that is a cure."""
        super().__init__(f"{problem}; {in_recipe}" if in_recipe else problem)
        self.problem = problem


class NoPrompt(Unusable):
    """No column has one of the names under which prompts are found."""


_SURROGATE = re.compile("[\ud800-\udfff]")
_EXACT_UP_TO = 2**53
"""Above this a float cannot hold every whole number."""


def text_of(value: Any, what: str) -> str:
    """Return ``value``, a text or a number, as text.

    Args:
        value: As the row has it.
        what: Its part in an example, for the message.

    Raises:
        Unusable: It is neither, or empty, or damaged.
    """
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = _digits(value, what)
    else:
        found = "missing" if value is None else f"{kind_of(value)}, not a text"
        raise Unusable(
            f"the {what} is {found}", "give a text, or name another column with columns:"
        )
    if not text.strip():
        raise Unusable(f"the {what} is empty", "fill it, or set skip_bad: true to skip such rows")
    if not text.isascii() and _SURROGATE.search(text):
        raise Unusable(
            f"the {what} holds half a character (a lone surrogate); "
            "it was damaged when the file was made"
        )
    return text


def _digits(value: float, what: str) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unusable(
                f"the {what} is {value}, which is no number; leave it out, or write what is meant"
            )
        if abs(value) >= _EXACT_UP_TO:
            raise Unusable(
                f"the {what} is {value}, a number too large to be read exactly; write it in quotes"
            )
    return str(value)


def optional_text(value: Any, what: str) -> str:
    """Return ``text_of`` the value, or an empty text if it is missing."""
    return "" if value is None or value == "" else text_of(value, what)


def names_of(fields: Mapping[str, Any]) -> str:
    """Return the columns of a row, for messages."""
    names = [str(name)[:40] for name in fields]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def first_of(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return the value of the first column that a row has; None where it has none of them."""
    for name in names:
        if (value := fields.get(name)) is not None:
            return value
    return None


def carried_in(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row's example keeps in ``meta``: its own ``meta``, and the columns CARRIED."""
    own = fields.get("meta")
    meta = {name: fields[name] for name in CARRIED if fields.get(name) is not None}
    if "license" in meta:
        meta.setdefault("licence", meta.pop("license"))
    return {**meta, **(own if isinstance(own, Mapping) else {})}


_OPTION_LINE = re.compile(r"\s*\(?([A-Z])[).:](.*)")
_OPTIONS_CUE = re.compile(
    r"^[^\S\n]*(?:options|answer choices|choices|choose from)[^\S\n]*[-:]?[^\S\n]*$",
    re.IGNORECASE | re.MULTILINE,
)


def options_in(prompt: str) -> list[str] | None:
    """Return the lettered options at the end of a prompt, in order; None if there are none."""
    cues = list(_OPTIONS_CUE.finditer(prompt))
    lines = prompt[cues[-1].end() :].strip("\n").splitlines() if cues else []
    found = [match for line in lines if (match := _OPTION_LINE.match(line))]
    letters = [match.group(1) for match in found]
    if len(found) < 2 or letters != [chr(ord("A") + i) for i in range(len(found))]:
        return None
    return [match.group(2).strip() for match in found]
