"""Guess which column of an unknown file holds what, as a ``columns:`` mapping for a recipe.

    {"Question Text": "Which is even?", "Option A": "3", "Option B": "4", "Correct Answer": "B"}
    columns: {prompt: Question Text, choices: [Option A, Option B], reference: Correct Answer}

The names of the columns decide, or the longest text if no name says anything. A guess is only
shown: no file is read by it unless the user puts it into the recipe.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

Guess = dict[str, str | tuple[str, ...]]

_PROMPT = [
    "question",
    "prompt",
    "problem",
    "query",
    "instruction",
    "instructions",
    "q",
    "input",
    "task",
    "goal",
    "ctx",
    "text",
]
_PAIRED = ("sentence", "text", "premise", "passage", "paragraph", "input", "question")
"""Numbered columns with these names are parts of one question, not options."""
_REFERENCE = [
    "reference",
    "gold",
    "answer",
    "answers",
    "solution",
    "target",
    "label",
    "correct",
    "truth",
    "key",
    "expected",
    "output",
    "result",
    "cop",
]
_CHOICES = ("choices", "options", "candidates", "alternatives", "endings", "choice", "option")
_ID = ("id", "uid", "qid", "uuid")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_NUMBERED = re.compile(r"(.*?)[ _-]*([A-Za-z]|\d{1,2})")
_LIKE_A_VALUE = re.compile(r"[\d.,+-]+|.{61,}|.*\?", re.DOTALL)
_DEEPEST = 3


def guess(
    fields: Mapping[str, Any], parts: Iterable[str] = ("prompt", "choices", "reference", "id")
) -> Guess:
    """Return for each of ``parts`` the columns that seem to hold it.

    Args:
        fields: A row. The columns of an object in it are called ``outer.inner``.
        parts: Parts of an example; a column is used for one of them.
    """
    values = dict(_leaves(fields))
    wanted = set(parts)
    found: Guess = {}
    left = list(values)

    def take(part: str, columns: Sequence[str] | str | None) -> None:
        if columns and part in wanted:
            names = (columns,) if isinstance(columns, str) else tuple(columns)
            found[part] = names[0] if len(names) == 1 else names
            left[:] = [name for name in left if name not in names]

    runs = list(_numbered(left))
    take("prompt", next((run for stem, run in runs if stem in _PAIRED), None))
    listed = [name for name in left if _is_list(values[name])]
    take(
        "choices",
        _named(listed, _CHOICES) or next((run for stem, run in runs if stem not in _PAIRED), None),
    )
    take("id", _named(left, _ID, whole=True))
    take("reference", _named(left, _REFERENCE))
    if "prompt" not in found:
        texts = [name for name in left if isinstance(values[name], str)]
        take(
            "prompt",
            _named(texts, _PROMPT) or max(texts, key=lambda name: len(values[name]), default=None),
        )
    if "reference" not in found and "prompt" in found and len(left) == 1:
        take("reference", left[0])
    return {part: found[part] for part in ("prompt", "choices", "reference", "id") if part in found}


def as_yaml(columns: Guess) -> str:
    """Return the mapping as one line of a recipe."""
    plain = {
        part: source if isinstance(source, str) else list(source)
        for part, source in columns.items()
    }
    line = yaml.safe_dump(
        plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf")
    )
    return f"columns: {line.strip()}"


def advice(fields: Mapping[str, Any]) -> str:
    """Return what to write in the recipe for a row in which no prompt was found."""
    if any(_LIKE_A_VALUE.fullmatch(name.strip()) for name in fields):
        return "these look like a row and not like names: put a line with the columns' names on top"
    found = guess(fields)
    if "prompt" not in found:
        return "none of them holds a text to ask; name the right one with columns: {prompt: …}"
    return f"write beside the task's path, if this is what they hold: {as_yaml(found)}"


def _leaves(
    fields: Mapping[str, Any], before: str = "", depth: int = 1
) -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        inner = isinstance(value, Mapping) and value and "text" not in value and depth < _DEEPEST
        if inner and isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.", depth + 1)
        else:
            yield f"{before}{name}", value


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _named(names: Sequence[str], known: Sequence[str], *, whole: bool = False) -> str | None:
    """Return the first name that holds a known word, the first known words before later ones."""
    for word in known:
        for name in names:
            words = _words(name)
            if words == [word] or (word in words and not whole):
                return name
    return None


def _is_list(value: Any) -> bool:
    many = value.get("text") if isinstance(value, Mapping) else value
    return (
        isinstance(many, list)
        and len(many) > 1
        and all(isinstance(item, str | int | float) for item in many)
    )


def _numbered(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield runs of columns that differ only in a last letter or number, from A, 0 or 1 on.

    Each comes as the last word of their common name, and the columns.
    """
    stems: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        if match := _NUMBERED.fullmatch(name):
            stems.setdefault(match[1].lower(), []).append((match[2].lower(), name))
    for stem, members in stems.items():
        marks = [mark for mark, _ in members]
        if len(marks) > 1 and any(marks == list(series[: len(marks)]) for series in _SERIES):
            yield (_words(stem) or [""])[-1], [name for _, name in members]


_SERIES = (
    tuple("abcdefghijklmnopqrstuvwxyz"),
    tuple(str(number) for number in range(1, 27)),
    tuple(str(number) for number in range(26)),
)
