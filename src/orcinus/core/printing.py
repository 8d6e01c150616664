r"""Make text safe to show: no control character reaches a terminal or a log, and no secret.

    printable("\x1b[2J done")  →  "\\u001b[2J done"

Data sets, models and servers write the texts that commands show. A control character in them could
rewrite the screen, set the clipboard, or show another text than is there.
"""

import re

from orcinus.core.secrets import scrub

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # change the direction of the text around them
    "\u2028\u2029\ufeff"  # separate lines, mark the order of bytes
    "\ud800-\udfff"  # halves of characters, which no stream can encode
    "\U000e0000-\U000e007f"  # invisible letters
    "]"
)

_MARKDOWN = (("&", "&amp;"), ("|", "\\|"), ("[", "\\["), ("<", "&lt;"), ("`", "'"))
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")
"""A text that a spreadsheet takes for a number, which does no harm."""
_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Characters, also in full width, with which a spreadsheet's formula can begin."""
_BLANKS = ("\t", "\r", "\n")
"""Blanks at the start of a cell that some spreadsheets drop, and then read a formula."""
_BLOCKS = ("#", ">", "- ", "+ ", "* ", "---", "===", "~~~")
"""At the start of a line: a heading, a quotation, a list, a rule, a block of code."""


def printable(text: str) -> str:
    r"""Return ``text`` with control characters escaped (``\u001b``) and without secrets.

    Tabs and newlines stay. JSON keeps its meaning: such characters only stand inside its texts.
    """
    return _UNSAFE.sub(_escape, scrub(text))


def markdown_text(text: object) -> str:
    """Return text on one line, with everything escaped that Markdown or HTML would interpret."""
    plain = printable(" ".join(str(text).split())).replace("\\", "\\\\")
    for character, escaped in _MARKDOWN:
        plain = plain.replace(character, escaped)
    return f"\\{plain}" if plain.startswith(_BLOCKS) else plain


def spreadsheet_cell(value: object) -> object:
    """Return a value that no spreadsheet takes for a formula: texts like ``=1+1`` get a quote."""
    if not isinstance(value, str):
        return value
    text = printable(value)
    if _NUMBER.fullmatch(text):
        return text
    return f"'{text}" if text.lstrip().startswith(_FORMULAS) or text.startswith(_BLANKS) else text


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
