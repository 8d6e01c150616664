"""Hold what is found in a text, and divide texts into lines and sentences.

sentences("It is 5. So (B).")  →  ["It is 5.", "So (B)."]
"""

from collections.abc import Callable
from dataclasses import dataclass

from orcinus.core.patterns import compile_later
from orcinus.core.types import Confidence


# Not frozen: some are made for every verdict, and a frozen one takes three times as long.
@dataclass(slots=True)
class Statement:
    """The part of a text that should hold the answer."""

    text: str
    rule: str
    """How it was found: ``tag``, ``boxed``, ``json``, ``hash``, ``marker``, ``heading`` (a line of
    its own announces what follows), or ``text`` if nothing announced an answer."""
    start: int = 0
    """Where the announcement begins."""


@dataclass(slots=True)
class FoundAnswer:
    """The answer that a finder understood, or why there is none."""

    answer: str | None
    rule: str
    """The rule that found the answer, or why there is none."""
    several: bool = False
    """True if two or more different answers were given, which counts as a wrong answer."""
    confidence: Confidence = "explicit"
    whole: str | None = None
    """The whole line, where ``answer`` is a part of it; a reference may equal either."""


@dataclass(slots=True)
class Outcome:
    """A verdict before it belongs to an attempt."""

    value: float | None
    answer: str | None
    """The final answer as it was understood; None if none was found."""
    reason: str
    confidence: Confidence | None = None
    """How the answer was found; None without one."""


Reader = Callable[[Statement, str], FoundAnswer | None]
"""Reads one place of a text: (place, text) → answer, or why there is none.

It returns None if the place holds nothing that it can read, so that an earlier place may."""
_ITALICS = compile_later(r"\*(?<![\w*]\*)(?=[^\s*])([^*\n]+)(?<!\s)\*(?![\w*])")
_EMPHASIS = compile_later(r"[*_`](?:(?<=\*)\*(?!(?<=\d\*\*)-?\d)|(?<=_)_+|(?<=`)`*)")
"""Marks of emphasis and of code; between two numbers, 10**8, they raise to a power."""


def first_line(text: str) -> str:
    """Return the first line that is not blank."""
    return text.strip().partition("\n")[0].strip()


def last_line(text: str) -> str:
    """Return the last line that is not blank."""
    return text.strip().rpartition("\n")[2].strip()


_SENTENCE = compile_later(r"[.!?\n](?:(?<=\n)\n*|(?<!\n)[\"')\]]*\s+(?=\S))")
"""Begins with one set of characters, to which the search can jump."""


def sentences(text: str) -> list[str]:
    """Split a text roughly into sentences: at full stops before a blank, and at line ends."""
    parts, start = [], 0
    for cut in _SENTENCE.finditer(text):
        end = cut.start() + (text[cut.start()] != "\n")
        parts.append(text[start:end])
        start = cut.end()
    parts.append(text[start:])
    return [part for part in parts if part and part.strip()]


def without_emphasis(text: str) -> str:
    """Remove Markdown's marks of emphasis and of code."""
    if "**" in text or "`" in text or "__" in text:
        text = _EMPHASIS.sub("", text)
    return _ITALICS.sub(r"\1", text) if "*" in text else text


def without_latex_text(text: str) -> str:
    r"""Replace ``\\text{B}`` by ``B``."""
    return _LATEX_TEXT.sub(r"\1", text) if "\\" in text else text


_LATEX_TEXT = compile_later(r"\\(?:text|textbf|mathrm|mathbf|mbox|textit)\s*\{([^{}]*)\}")
