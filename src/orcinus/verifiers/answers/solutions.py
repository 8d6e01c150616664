r"""Find the answer that a worked solution marks: in boxes, or behind ``####``.

reference_piece(r"x is \boxed{3} or \boxed{-3}.")  →  "3, -3"
reference_piece("18 + 24 = 42\n#### 42")           →  "42"
"""

import re
from dataclasses import dataclass

from orcinus.core.patterns import compile_later

_BOX_OR_BRACE = compile_later(r"(?P<box>\\(?:f?boxed|fbox)(?![a-zA-Z])\s*)(?P<opens>\{)?|\{|\}")
_BARE = compile_later(r"[^\s${}](?:\{[^{}$]*\}|[^\s${}])*")
r"""What a box without braces holds: ``\boxed 5``, ``\boxed \frac{1}{2}``."""
_BETWEEN_BOXES = compile_later(
    r"(?:[\s$,;.]|\\q?quad|\\[,;:! ()\[\]]|\b(?:and|or)\b|\\text\s*\{\s*(?:and|or)\s*\})*"
)
"""All that may stand between two boxes that are one answer."""
_SEPARATOR = compile_later(r",|;|quad|\b(?:and|or)\b")
"""What must: without it the second box replaces the first."""
_HASH = compile_later(
    r"####(?<!#####)[ \t]*(?!\s*(?:final\s+)?answer)(\S.*)$", re.MULTILINE | re.IGNORECASE
)


@dataclass(slots=True)
class Box:
    r"""A ``\boxed{…}``, ``\fbox{…}`` or ``\boxed x`` in a text, and where it stands."""

    text: str
    start: int
    inside: int
    inside_end: int = 0
    end: int = 0
    """0 if the box never closes."""

    @property
    def content(self) -> str:
        """Return the contents of the box."""
        return self.text[self.inside : self.inside_end].strip()


def boxes(text: str) -> list[Box]:
    """Return the boxes of a text in order, also those that never close."""
    found: list[Box] = []
    opened: list[Box | None] = []
    for mark in _BOX_OR_BRACE.finditer(text):
        if mark["opens"]:
            found.append(Box(text, mark.start(), mark.end()))
            opened.append(found[-1])
        elif mark["box"]:
            bare = None if "\n" in mark["box"] else _BARE.match(text, mark.end())
            if bare and (content := bare[0].rstrip(".,;:")):
                end = bare.start() + len(content)
                found.append(Box(text, mark.start(), bare.start(), end, end))
        elif mark[0] == "{":
            opened.append(None)
        elif opened and (box := opened.pop()) is not None:
            box.inside_end, box.end = mark.start(), mark.end()
    return found


def last_box(text: str) -> Box | None:
    """Return the last box; None without one, or if it never closes."""
    found = boxes(text) if "\\boxed" in text or "\\fbox" in text else []
    return found[-1] if found and found[-1].end else None


def last_boxes(text: str) -> list[str]:
    """Return the contents of the last box and of those before it with only "and" between."""
    run: list[str] = []
    start = 0
    for box in reversed([box for box in boxes(text) if box.end]):
        gap = text[box.end : start]
        if run and not (_BETWEEN_BOXES.fullmatch(gap) and _SEPARATOR.search(gap)):
            break
        run.append(box.content)
        start = box.start
    return run[::-1]


def last_hash(text: str) -> re.Match[str] | None:
    """Return the last line behind ``####`` that holds an answer, as in GSM8K."""
    return max(_HASH.finditer(text), key=re.Match.start, default=None) if "####" in text else None


def reference_piece(reference: str) -> str:
    """Return the answer in a reference that is a whole solution; any other one as it is."""
    if "\\boxed" in reference or "\\fbox" in reference:
        return ", ".join(last_boxes(reference)) or reference
    return after_hashes(reference)


def after_hashes(reference: str) -> str:
    """Return what follows the last ``####`` of a solution; without one, ``reference``."""
    line = last_hash(reference)
    return reference if line is None else line[1].strip()
