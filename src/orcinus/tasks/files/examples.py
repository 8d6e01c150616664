r"""Turn the draft of a row into an Example, or refuse it with the reason.

    RowDraft(prompt="Which is even?", choices=["3", "4"], reference="4") Example(prompt="Which is
    even?\\nOptions:\\n(A) 3\\n(B) 4", choices=("3", "4"), reference="B", …)

A right option given as text or number becomes its letter. If two options have the same text, as in
some questions of AQuA, only a letter is accepted.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, get_args

import orjson

from orcinus.core.fingerprint import fingerprint
from orcinus.core.types import AnswerType, Example
from orcinus.tasks.config import MAX_CHOICES
from orcinus.tasks.files.drafts import RowDraft, Unusable, names_of, text_of
from orcinus.tasks.files.rows import kind_of
from orcinus.verifiers.answers.solutions import after_hashes, reference_piece

_TYPES = get_args(AnswerType)
_YES_NO = {"yes", "no", "true", "false"}
_TRUTHS = {"correct": "yes", "right": "yes", "1": "yes", "y": "yes", "t": "yes", "valid": "yes"} | {
    "incorrect": "no", "wrong": "no", "0": "no", "n": "no", "f": "no", "invalid": "no"
}  # fmt: skip
"""Other words for yes and no in data sets, and what they become."""
_NUMBER = re.compile(
    r"[-+−]?[$€£]?\s?[-+−]?(\d[\d,]*(\.\d*)?|\.\d+)(e[-+]?\d+)?\s?%?", re.IGNORECASE
)
_LETTER = re.compile(r"\s*\(?([A-Za-z])[).:]?\s*")
_LETTER_AND_TEXT = re.compile(r"\(?([A-Za-z])(?:\)[.:]?|[.:])\s*(.+)", re.DOTALL)
"""An option's letter with its text: (B) Paris."""
_DEEPEST = 32
"""Levels of objects and lists in ``meta``; orjson can write 254."""
_OPTIONS = tuple(f"option {chr(ord('A') + i)}" for i in range(MAX_CHOICES))
"""What messages call the options."""
_WORDS_OF_AN_ANSWER = 12
"""Words. A longer reference is prose, which no rule can compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """Settings that apply to every row of a file, from the recipe and the file."""

    task: str
    own_task: bool
    """True if a row may name its own task."""
    answer_type: AnswerType
    forced_type: bool
    """True if the recipe sets the answer type, whatever the rows say."""
    prompt_layout: str
    unlabelled: bool
    meta: Mapping[str, Any]
    choices: tuple[str, ...] | None = None
    """The options of every row, from the recipe; None takes them from the rows."""
    instruction: str | None = None
    """Put before every question."""
    first_index: int = 0
    """What the rows call the first option, where they give the number of the right one."""


def build(draft: RowDraft, defaults: Defaults) -> Example:
    """Return the Example of ``draft``.

    Raises:
        Unusable: Something is missing or contradictory; the message says what to do.
    """
    prompt = text_of(draft.prompt, "prompt")
    if defaults.instruction is not None:
        prompt = f"{defaults.instruction}\n\n{prompt}"
    task = (
        text_of(draft.task, "task")
        if defaults.own_task and draft.task not in (None, "")
        else defaults.task
    )
    answer_type = _answer_type(draft, defaults)
    choices, reference = read_answer(
        answer_type,
        draft.choices if defaults.choices is None else defaults.choices,
        draft.reference,
        first_index=defaults.first_index,
        unlabelled=defaults.unlabelled,
    )
    if answer_type == "choice" and choices is not None and not shows_options(prompt, choices):
        prompt = with_options(prompt, choices, defaults.prompt_layout)
    meta = {**_plain_object(draft.meta, "meta"), **defaults.meta}
    example = Example(
        id=_identity(draft.id, task, prompt, reference),
        task=task,
        prompt=prompt,
        answer_type=answer_type,
        choices=choices,
        reference=reference,
        meta=meta,
    )
    if "history" in meta:
        return replace(example, id=_identity(draft.id, task, example.whole_prompt, reference))
    return example


def plain_reference(value: Any) -> Any:
    """Return the right answers in an object, as TriviaQA and SQuAD write them; else ``value``.

    ``{"value": "Paris", "aliases": ["City of Light"]}`` gives both texts; any of them is right.
    """
    if not isinstance(value, Mapping):
        return value
    found: list[Any] = []
    for name in ("value", "text", "aliases", "Aliases"):
        part = value.get(name)
        found += part if isinstance(part, list) else [] if part is None else [part]
    texts = list(dict.fromkeys(text for text in found if isinstance(text, str) and text.strip()))
    if not texts:
        return value
    return texts if len(texts) > 1 else texts[0]


def first_index_of(drafts: Sequence[RowDraft], choices: Sequence[str] | None) -> int:
    """Return what rows call the first option: 1 where they count from one, as MedMCQA does.

    They count from one if all give numbers, none of which is 0, and one is the number of its
    options.
    """
    found: list[tuple[int, int]] = []
    for draft in drafts:
        options = choices if choices is not None else _plain_options(draft.choices)
        if draft.reference in (None, "") or str(draft.reference).strip() in options:
            continue
        if not options or not _is_index(draft.reference):
            return 0
        found.append((int(draft.reference), len(options)))
    counts_from_one = all(index >= 1 for index, _ in found) and any(
        index == size for index, size in found
    )
    return 1 if counts_from_one else 0


def _is_index(value: Any) -> bool:
    if isinstance(value, str):
        return len(value.strip()) <= 2 and value.strip().isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _plain_options(value: Any) -> Sequence[str]:
    """Return the options of a row without labels of their own; none where they cannot be read."""
    try:
        choices, labels = _choices(value)
    except Unusable:
        return ()
    return () if labels else choices or ()


def _from_zero(value: Any, given: Any, choices: tuple[str, ...] | None, first_index: int) -> Any:
    """Return the number of an option as counted from zero; any other reference as it is."""
    if not first_index or value is not given or not _is_index(value) or choices is None:
        return value
    if str(value).strip() in choices:
        return value
    return int(value) - first_index


def read_answer(
    answer_type: AnswerType,
    choices: Any,
    reference: Any,
    *,
    first_index: int = 0,
    unlabelled: bool = False,
) -> tuple[tuple[str, ...] | None, str | tuple[str, ...] | None]:
    """Return the options and the reference of a row as an Example holds them.

    Args:
        answer_type: It decides how the reference is read.
        choices: The options as the row has them, with or without labels.
        reference: The right answer: a letter, an option's text or index, a value, a solution.
        first_index: What the rows call the first option, 0 or 1.
        unlabelled: True if a row may have no reference.

    Raises:
        Unusable: There is no such option, or no value in the reference.
    """
    options, labels = _choices(choices)
    given = reference if answer_type == "json" else plain_reference(reference)
    if given is reference:
        given = _from_zero(_by_label(given, labels), given, options, first_index)
    return options, _reference(given, answer_type, options, unlabelled)


def infer_answer_type(drafts: Sequence[RowDraft]) -> AnswerType:
    """Return the answer type that fits all references of the first rows."""
    references = [
        plain_reference(draft.reference)
        for draft in drafts
        if draft.reference not in (None, "", [])
    ]
    if any(_has_options(draft.choices) for draft in drafts):
        return "choice"
    if not references:
        return "free"
    if all(
        isinstance(item, bool) or (isinstance(item, str) and item.strip().casefold() in _YES_NO)
        for item in references
    ):
        return "bool"
    if all(_is_number(item) for item in references):
        return "number"
    if all(isinstance(item, str) and ("\\" in item or "$" in item) for item in references):
        return "math"
    longest = max(len(str(item).split()) for item in references)
    return "free" if longest > _WORDS_OF_AN_ANSWER else "exact"


def shows_options(prompt: str, choices: Sequence[str]) -> bool:
    """Return True if ``prompt`` already lists every option after its letter."""
    at = 0
    for i, choice in enumerate(choices):
        if choice not in prompt:  # decides most rows, at a twentieth of the pattern's cost
            return False
        letter = chr(ord("A") + i)
        pattern = rf"(?:\({letter}\)|\b{letter}[.):])\s*{re.escape(choice)}"
        match = re.compile(pattern).search(prompt, at)
        if match is None:
            return False
        at = match.end()
    return True


def with_options(prompt: str, choices: Sequence[str], layout: str) -> str:
    """Return ``prompt`` with its options, written as ``layout`` says."""
    options = "\n".join(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(choices))
    before, _, after = layout.partition("{prompt}")
    return (
        (before + prompt + after.replace("{options}", options))
        if "{options}" in after
        else before.replace("{options}", options) + prompt + after
    )


def _answer_type(draft: RowDraft, defaults: Defaults) -> AnswerType:
    own = draft.answer_type
    if defaults.forced_type or own in (None, ""):
        return defaults.answer_type
    if own not in _TYPES:
        raise Unusable(f"no answer type {own!r:.60}; known: {', '.join(_TYPES)}")
    known: AnswerType = own
    return known


def _has_options(value: Any) -> bool:
    return value is not None and value != [] and value != "" and value != {}


def _choices(value: Any) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return the options, and the labels that the row itself gives them.

    Labels come from ``{"text": […], "label": ["1", "2"]}`` or ``{"A": …, "B": …}``.
    """
    labels: Any = ()
    if not _has_options(value):
        return None, ()
    if isinstance(value, str):
        value = _choices_in_text(value)
    if isinstance(value, Mapping):
        labels, value = (
            (value.get("label", ()), value["text"])
            if "text" in value
            else (list(value), list(value.values()))
        )
    if not isinstance(value, list | tuple) or len(value) < 2:
        raise Unusable(f"the choices are {value!r:.60}; they must be a list of two or more options")
    if len(value) > MAX_CHOICES:
        raise Unusable(f"{len(value)} choices; at most {MAX_CHOICES} have letters")
    pairs = zip(value, _OPTIONS, strict=False)  # there are as many names as there may be options
    choices = tuple([text_of(item, name).strip() for item, name in pairs])
    if not isinstance(labels, list | tuple) or len(labels) not in (0, len(choices)):
        raise Unusable(
            f"the labels of the {len(choices)} choices are {labels!r:.60}; give one for each"
        )
    return choices, tuple(text_of(label, "label of a choice") for label in labels)


def _by_label(reference: Any, labels: Sequence[str]) -> Any:
    """Return the letter of the option labelled ``reference``: ARC labels some options 1 to 4."""
    if isinstance(reference, str | int) and labels.count(label := str(reference).strip()) == 1:
        return chr(ord("A") + labels.index(label))
    return reference


def _choices_in_text(value: str) -> Any:
    """Split one cell of options: a JSON list, or separated by newlines, ``|`` or ``;``."""
    if value.lstrip().startswith(("[", "{")):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise Unusable(
                f"the choices {value[:40]!r} are not a JSON list ({error.msg})"
            ) from error
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
            f"no reference, but the answer type is {answer_type}",
            "name its column with columns: {reference: …}, or set unlabelled: true",
        )
    if answer_type == "json" and not isinstance(value, str):
        return orjson.dumps(_plain_value(value, "the reference")).decode()
    if answer_type == "choice":
        many = isinstance(value, list | tuple)
        letters = tuple(_letter(item, choices) for item in (value if many else (value,)))
        return letters if many and len(letters) > 1 else letters[0]
    if isinstance(value, list | tuple):
        texts = tuple(reference_text(item, answer_type) for item in value)
        return texts if answer_type == "list" or len(texts) > 1 else texts[0]
    if answer_type == "list" and isinstance(value, str):
        return tuple(text_of(value, "reference").split())
    return reference_text(value, answer_type)


def reference_text(value: Any, answer_type: AnswerType) -> str:
    """Return one right answer as text.

    Raises:
        Unusable: It does not fit the answer type.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        if answer_type != "json":
            raise Unusable(
                f"the reference is an object with {names_of(value)}",
                "name the part that is right with columns: {reference: COLUMN.PART}, "
                "or set answer_type: json",
            )
        return orjson.dumps(_plain_value(value, "the reference")).decode()
    text = text_of(value, "reference").strip()
    if answer_type == "math":
        text = reference_piece(text)
    if answer_type == "number":
        text = after_hashes(text)
        if not any(character.isdigit() for character in text):
            raise Unusable(
                f"the reference {text[:60]!r} holds no number, but the answer type is number",
                "set answer_type: in the recipe",
            )
    if answer_type == "bool" and text.casefold().rstrip(".") not in _YES_NO:
        if (meaning := _TRUTHS.get(text.casefold().rstrip("."))) is not None:
            return meaning
        raise Unusable(
            f"the reference {text[:60]!r} is not yes, no, true or false",
            "set answer_type: in the recipe",
        )
    return text


def _letter(value: Any, choices: tuple[str, ...] | None) -> str:
    """Return the letter of the right option.

    It may be given as a letter, as the option's text, or as an index from 0, as in Hugging Face
    data sets.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return _letter_of_index(value, choices)
    text = text_of(value, "reference").strip()
    same = [i for i, choice in enumerate(choices or ()) if choice == text]
    same = same or _alike(text, choices or ())
    if not same and choices is not None and (found := _LETTER_AND_TEXT.fullmatch(text)):
        same = _alike(found[2], choices)
        if same and chr(ord("A") + same[0]) != found[1].upper():
            raise Unusable(f"the reference {text[:60]!r} names one option's letter, another's text")
    if len(same) == 1:
        return chr(ord("A") + same[0])
    match = _LETTER.fullmatch(text)
    if match and not same:
        return _checked_letter(match.group(1).upper(), text, choices)
    if len(same) > 1:
        raise Unusable(
            f"the reference {text[:60]!r} is the text of {len(same)} options; give its letter"
        )
    if choices is not None and len(text) <= 2 and text.isdecimal() and int(text) < len(choices):
        return chr(ord("A") + int(text))
    raise Unusable(
        f"the reference {text[:60]!r} is not among the choices {_shown(choices)}; "
        "give a letter or an option's text"
    )


def _alike(text: str, choices: Sequence[str]) -> list[int]:
    """Return which options are a text but for case, blanks and a full stop at the end."""
    first = text[:1].casefold()[:1]
    some = [i for i, choice in enumerate(choices) if choice[:1].casefold()[:1] == first]
    folded = _folded(text) if some else ""
    return [i for i in some if _folded(choices[i]) == folded]


def _letter_of_index(index: int, choices: tuple[str, ...] | None) -> str:
    if choices is not None and str(index) in choices:
        return chr(ord("A") + choices.index(str(index)))
    if choices is None or not 0 <= index < len(choices):
        raise Unusable(
            f"the reference {index} is not an index of the choices {_shown(choices)}; "
            "the first option is 0"
        )
    return chr(ord("A") + index)


def _checked_letter(letter: str, text: str, choices: tuple[str, ...] | None) -> str:
    if choices is not None and ord(letter) - ord("A") >= len(choices):
        raise Unusable(
            f"the reference {text!r} is not among the choices {_shown(choices)}; "
            "give a letter or an option's text"
        )
    return letter


def _shown(choices: tuple[str, ...] | None) -> str:
    if choices is None:
        return "(none given)"
    last = chr(ord("A") + len(choices) - 1)
    more = ", …" if len(choices) > 3 else ""
    return f"A–{last} ({', '.join(choice[:20] for choice in choices[:3])}{more})"


def _folded(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, str):
        return isinstance(value, int)
    return _NUMBER.fullmatch(after_hashes(value).strip()) is not None


def _identity(given: Any, task: str, prompt: str, reference: str | tuple[str, ...] | None) -> str:
    if given is None or given == "":
        return fingerprint([task, prompt, reference], length=16)
    return text_of(given, "id")


def _plain_object(value: Mapping[str, Any], what: str, depth: int = 0) -> dict[str, Any]:
    """Return ``value`` with JSON values only: dates and the like become text."""
    return {str(key): _plain_value(item, what, depth + 1) for key, item in value.items()}


def _plain_value(value: Any, what: str, depth: int = 0) -> Any:
    if isinstance(value, str):
        return value if not value or value.isspace() else text_of(value, f"text in {what}")
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value.bit_length() < 64 else str(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _DEEPEST:
        raise Unusable(f"{what} is nested more than {_DEEPEST} deep; leave it out, or make it flat")
    if isinstance(value, Mapping):
        return _plain_object(value, what, depth)
    if isinstance(value, list | tuple):
        return [_plain_value(item, what, depth + 1) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise Unusable(f"{what} holds {kind_of(value)}, which JSON cannot hold; leave the column out")
