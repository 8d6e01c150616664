r"""A Draft becomes an Example, or is refused with the reason.

    Draft(prompt="Which is even?", choices=["3", "4"], reference="4")
    Example(prompt="Which is even?\\nOptions:\\n(A) 3\\n(B) 4", choices=("3", "4"), reference="B", answer_type="choice")

A right option given as text or number becomes its letter. Where two options read the same, only a letter can decide (AQuA has
such questions), so a text is then refused.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, get_args

import orjson

from orcinus.fingerprint import fingerprint
from orcinus.tasks.layouts import Draft, Unusable
from orcinus.types import AnswerType, Example

_TYPES = get_args(AnswerType)
_YES_NO = {"yes", "no", "true", "false"}
_NUMBER = re.compile(r"[-+−]?[$€£]?\s?[-+−]?(\d[\d,]*\.?\d*|\.\d+)(e[-+]?\d+)?\s?%?", re.IGNORECASE)
_LETTER = re.compile(r"\s*\(?([A-Za-z])[).:]?\s*")
_GSM8K = re.compile(r"####\s*(.+?)\s*$")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS_OF_AN_ANSWER = 12
"""A longer reference is prose, which no rule can compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the recipe and the file say for every row of a file."""

    task: str
    own_task: bool
    """A row may name its own task."""
    answer_type: AnswerType
    forced_type: bool
    """The recipe sets the answer type: rows do not."""
    prompt_layout: str
    unlabelled: bool
    meta: Mapping[str, Any]


def build(draft: Draft, defaults: Defaults) -> Example:
    """The Example of ``draft``.

    Raises:
        Unusable: Something is missing or contradicts itself; the text says what to do.
    """
    prompt = _text(draft.prompt, "prompt")
    task = _text(draft.task, "task") if defaults.own_task and draft.task not in (None, "") else defaults.task
    answer_type = _answer_type(draft, defaults)
    choices = _choices(draft.choices)
    reference = _reference(draft.reference, answer_type, choices, defaults.unlabelled)
    if answer_type == "choice" and choices is not None and not shows_options(prompt, choices):
        prompt = with_options(prompt, choices, defaults.prompt_layout)
    meta = {**_plain_meta(draft.meta), **defaults.meta}
    return Example(
        id=_identity(draft.id, task, prompt, reference),
        task=task,
        prompt=prompt,
        answer_type=answer_type,
        choices=choices,
        reference=reference,
        meta=meta,
    )


def infer_answer_type(drafts: Sequence[Draft]) -> AnswerType:
    """The answer type that all references of the first rows share, where neither rows nor recipe name one."""
    references = [draft.reference for draft in drafts if draft.reference not in (None, "", [])]
    if any(_has_options(draft.choices) for draft in drafts):
        return "choice"
    if not references:
        return "free"
    if all(
        isinstance(item, bool) or (isinstance(item, str) and item.strip().casefold() in _YES_NO) for item in references
    ):
        return "bool"
    if all(_is_number(item) for item in references):
        return "number"
    if all(isinstance(item, str) and ("\\" in item or "$" in item) for item in references):
        return "math"
    longest = max(len(str(item).split()) for item in references)
    return "free" if longest > _WORDS_OF_AN_ANSWER else "exact"


def shows_options(prompt: str, choices: Sequence[str]) -> bool:
    """Whether ``prompt`` already lists every option after its letter."""
    at = 0
    for i, choice in enumerate(choices):
        letter = chr(ord("A") + i)
        pattern = rf"(?:\({letter}\)|\b{letter}[.):])\s*{re.escape(choice.strip())}"
        match = re.compile(pattern).search(prompt, at)
        if match is None:
            return False
        at = match.end()
    return True


def with_options(prompt: str, choices: Sequence[str], layout: str) -> str:
    """``prompt`` with its options written as ``layout`` says."""
    options = "\n".join(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices))
    before, _, after = layout.partition("{prompt}")
    return (
        (before + prompt + after.replace("{options}", options))
        if "{options}" in after
        else before.replace("{options}", options) + prompt + after
    )


def _text(value: Any, what: str) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Unusable(f"the {what} is {_kind(value)}, not a text")
    if not value.strip():
        raise Unusable(f"the {what} is empty; fill it, or set skip_bad: true to leave such rows out")
    if not value.isascii() and _SURROGATE.search(value):
        raise Unusable(f"the {what} holds half a character (a lone surrogate); it was damaged when the file was made")
    return value


def _kind(value: Any) -> str:
    return "missing" if value is None else f"a {type(value).__name__}"


def _answer_type(draft: Draft, defaults: Defaults) -> AnswerType:
    own = draft.answer_type
    if defaults.forced_type or own in (None, ""):
        return defaults.answer_type
    if own not in _TYPES:
        raise Unusable(f"no answer type {own!r}; known: {', '.join(_TYPES)}")
    known: AnswerType = own
    return known


def _has_options(value: Any) -> bool:
    return value is not None and value != [] and value != "" and value != {}


def _choices(value: Any) -> tuple[str, ...] | None:
    if not _has_options(value):
        return None
    if isinstance(value, str):
        value = _choices_in_text(value)
    if isinstance(value, Mapping):
        value = value.get("text", list(value.values()))
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise Unusable(f"the choices are {value!r:.60}; they must be a list of two options or more")
    if len(value) > 26:
        raise Unusable(f"{len(value)} choices; at most 26 have letters")
    return tuple(_text(item, f"option {chr(ord('A') + i)}").strip() for i, item in enumerate(value))


def _choices_in_text(value: str) -> Any:
    """Options in one cell of a CSV file: a JSON list, or separated by newlines, ``|`` or ``;``."""
    if value.lstrip().startswith(("[", "{")):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise Unusable(f"the choices {value[:40]!r} are no JSON list ({error.msg})") from error
    separator = next((mark for mark in ("\n", "|", ";") if mark in value), None)
    parts = [part.strip() for part in value.split(separator)] if separator else [value]
    return [part for part in parts if part]


def _reference(
    value: Any, answer_type: AnswerType, choices: tuple[str, ...] | None, unlabelled: bool
) -> str | tuple[str, ...] | None:
    if value is None or value == "" or value == []:
        if unlabelled or answer_type in ("free", "program"):
            return None
        raise Unusable(
            f"no reference, but the answer type is {answer_type}; name its column with columns: {{reference: …}}, or set unlabelled: true"
        )
    if answer_type == "choice":
        many = isinstance(value, list | tuple)
        letters = tuple(_letter(item, choices) for item in (value if many else (value,)))
        return letters if many and len(letters) > 1 else letters[0]
    if isinstance(value, list | tuple):
        texts = tuple(_reference_text(item, answer_type) for item in value)
        return texts if answer_type == "list" or len(texts) > 1 else texts[0]
    if answer_type == "list" and isinstance(value, str):
        return tuple(value.split())
    return _reference_text(value, answer_type)


def _reference_text(value: Any, answer_type: AnswerType) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return orjson.dumps(value, default=str).decode()
    text = _text(value, "reference").strip()
    if answer_type == "number":
        match = _GSM8K.search(text)
        text = match.group(1) if match else text
        if not any(character.isdigit() for character in text):
            raise Unusable(
                f"the reference {text[:60]!r} holds no number, but the answer type is number; set answer_type: in the recipe"
            )
    if answer_type == "bool" and text.casefold().rstrip(".") not in _YES_NO:
        raise Unusable(f"the reference {text[:60]!r} is not yes, no, true or false; set answer_type: in the recipe")
    return text


def _letter(value: Any, choices: tuple[str, ...] | None) -> str:
    """The letter of the right option, given as letter, text, or a zero-based index (as Hugging Face data sets have it)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _letter_of_index(value, choices)
    text = _text(value, "reference").strip()
    same = [i for i, choice in enumerate(choices or ()) if choice == text]
    same = same or [i for i, choice in enumerate(choices or ()) if _loose(choice) == _loose(text)]
    if len(same) == 1:
        return chr(ord("A") + same[0])
    match = _LETTER.fullmatch(text)
    if match and not same:
        return _checked_letter(match.group(1).upper(), text, choices)
    if len(same) > 1:
        raise Unusable(f"the reference {text[:60]!r} is the text of {len(same)} options; give its letter")
    if choices is not None and text.isdigit() and int(text) < len(choices):
        return chr(ord("A") + int(text))
    raise Unusable(
        f"the reference {text[:60]!r} is not among the choices {_shown(choices)}; give a letter or an option's text"
    )


def _letter_of_index(index: int, choices: tuple[str, ...] | None) -> str:
    if choices is not None and str(index) in choices:
        return chr(ord("A") + choices.index(str(index)))
    if choices is None or not 0 <= index < len(choices):
        raise Unusable(f"the reference {index} is no index of the choices {_shown(choices)}; the first option is 0")
    return chr(ord("A") + index)


def _checked_letter(letter: str, text: str, choices: tuple[str, ...] | None) -> str:
    if choices is not None and ord(letter) - ord("A") >= len(choices):
        raise Unusable(
            f"the reference {text!r} is not among the choices {_shown(choices)}; give a letter or an option's text"
        )
    return letter


def _shown(choices: tuple[str, ...] | None) -> str:
    if choices is None:
        return "(none given)"
    last = chr(ord("A") + len(choices) - 1)
    return f"A–{last} ({', '.join(choice[:20] for choice in choices[:3])}{', …' if len(choices) > 3 else ''})"


def _loose(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, int | float):
        return math.isfinite(value)
    if not isinstance(value, str):
        return False
    match = _GSM8K.search(value)
    return _NUMBER.fullmatch((match.group(1) if match else value).strip()) is not None


def _identity(given: Any, task: str, prompt: str, reference: str | tuple[str, ...] | None) -> str:
    if given is None or given == "":
        return fingerprint([task, prompt, reference], length=16)
    return _text(given, "id")


def _plain_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """``meta`` with JSON values only: dates and the like as text."""
    return {str(key): _plain_value(value) for key, value in meta.items()}


def _plain_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return _plain_meta(value)
    if isinstance(value, list | tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise Unusable(f"meta holds a {type(value).__name__}, which has no place in JSON")
