r"""Read plain endings, "The answer is 42.", without the text before them, to the same effect.

find_plainly("We get 7 x 6.\nThe answer is 42 days.", …)  →  FoundAnswer("42", …)

Most responses end so. Then the ending decides alone, because each stage of ``final_answer`` leaves
it as it is: no tag or token before it changes the channel, no next question cuts it off, it is no
tail, it is the last announcement, and what it says takes nothing back.
"""

import re

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.abroad import leaves_english
from orcinus.verifiers.answers.cleaning import JUDGING, RUN_ON, RUN_ON_SIGNS
from orcinus.verifiers.answers.corrections import may_correct
from orcinus.verifiers.answers.final_answer import ends_in_formula, explicit
from orcinus.verifiers.answers.statements import (
    BEFORE_MARKER,
    MARKER_WORDS,
    announcements,
    announces_another,
)
from orcinus.verifiers.answers.tails import is_tail
from orcinus.verifiers.answers.text import FoundAnswer, Reader, Statement

_NUMBER = r"-?\$?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?%?"
_BARE = compile_later(
    r" *(?:(?:(?:so|therefore|thus|hence),? )?(?:the )?(?:final |correct )?(?P<word>answer)"
    r"(?: \((?:yes or no|arabic numerals)\))?(?: is:?|:) |(?P<label>a: )|(?P<hash>#### ?))?"
    rf"(?P<said>{_NUMBER}\.?|\(?[a-z]\)?\.?"
    r"|(?:yes|no|true|false)\.?)",
    re.IGNORECASE,
)
"""A last sentence that announces a number, a letter or a truth value; or nothing but one."""
_LONGEST_PLAIN = 5_000
"""Characters of a response with a plain ending. In a longer one, tags may be too many to search."""
_TAG = compile_later(r"<[a-z/|!]|\[(?: |//|comment|/?(?:think|inst))\]", re.IGNORECASE)
"""What every tag or token in ASCII begins with; or an empty box of a list."""


_WORDED = compile_later(
    r"(?=.*[A-Za-z0-9])(?!.*(?:through|mong|etween|\(\s*(?:answer|with|yes|no|true|false)\b))"
    r"[A-Za-z0-9 $.,;:%'\"()+=/-]{1,150}(?<!:)",
    re.IGNORECASE,
)
"""An announced answer with words that no stage rewrites."""
_BOXED = compile_later(rf"\\boxed\{{(?P<said>{_NUMBER})\}}(?P<rest>[A-Za-z0-9 $.,%'-]{{0,150}})")
"""A number in a box at the end of a text, maybe with words behind it."""
_REWRITTEN = ("*", "`", "_", "phantom")
"""What a last sentence holds that is rewritten."""
_STOP = compile_later(r"[.!?][\"')\]*]*\s+\S")


def find_plainly(response: str, read: Reader, *, cut_off: bool) -> FoundAnswer | None:
    """Return what ``cleaned`` and ``find_final`` would find, in a part of the time, or None.

    The test of this compares both ways on texts of all kinds.

    Args:
        response: What the model wrote.
        read: Reads one place. What it says of a plain ending depends on that place alone.
        cut_off: True if the response stopped at the token limit.
    """
    if len(response) > _LONGEST_PLAIN:
        return None
    text = response.strip()
    line = text.rfind("\n") + 1
    start = max(line, text.rfind(". ") + 1)
    if not text.isascii() or "\r" in text:
        return None
    place = _bare_place(text, line, start) or _worded_place(text, line, start)
    if (
        place is None
        or (place.rule == "text" and cut_off)
        or text.startswith(("analysis", "commentary"))
        or (("<" in text or "[" in text) and _TAG.search(text))
        or ("&" in text and ";" in text)
        or (line and any(map(text.__contains__, RUN_ON_SIGNS)) and RUN_ON.search(text))
    ):
        return None
    found = read(place, text)
    if found is None or place.rule == "text":
        return found
    return explicit(found, place.rule)


def _bare_place(text: str, line: int, start: int) -> Statement | None:
    """Return the place of a number, a letter or a truth value that ends a text or is all of it."""
    ending = _BARE.fullmatch(text, start)
    if ending is None and (comma := text.rfind(", ", start)) > 0:
        ending = _BARE.fullmatch(text, comma + 2)
        if ending is not None and not ending["word"]:
            return None
    if ending is None or (ending.start() > line > 0 and is_tail(text[line:])):
        return None
    said = ending["said"]
    if ending["word"]:
        at = ending.start("word")
        near = text[max(0, at - 2 * BEFORE_MARKER) : at].lower()
        another = announces_another(near, len(near))
        return None if another else Statement(said, "marker", ending.start())
    if ending["label"]:
        if start != line or said.strip("().").isalpha() or "\nb:" in f"\n{text}".lower():
            return None  # it may be the label of an option
        return Statement(said, "marker", start)
    if ending["hash"]:
        return Statement(said, "hash", ending.start())
    return None if start else Statement(text, "text")


def _worded_place(text: str, line: int, start: int) -> Statement | None:
    """Return the place in the last sentence that announces an answer in words, or a box.

    A line of its own may announce what the last line says.
    """
    last = text[start:]
    if any(map(last.__contains__, _REWRITTEN)) or _STOP.search(last):
        return None
    if "\\" in last:
        place = _box_at_end(text, start)
    else:
        if start == line > 0 and not any(map(last.lower().__contains__, MARKER_WORDS)):
            start = text.rfind("\n", 0, len(text[:line].rstrip())) + 1
        place = _announced_since(text, start)
    if (
        place is None
        or may_correct(text[place.start + 1 :])
        or not leaves_english(text)
        or any(map(text.__contains__, JUDGING))
        or (start > line and is_tail(last))
        or (line and is_tail(text[line:]))
    ):
        return None
    return place


def _box_at_end(text: str, start: int) -> Statement | None:
    box = _BOXED.fullmatch(text, max(0, text.rfind("\\boxed{", start)))
    if box is None or any(map(box["rest"].lower().__contains__, MARKER_WORDS)):
        return None
    return Statement(box["said"], "boxed", box.start())


def _announced_since(text: str, start: int) -> Statement | None:
    """Return the place behind the last announcement since ``start``, if no stage rewrites it."""
    begin = max(0, start - BEFORE_MARKER)
    near = text[begin:]
    if "would" in near and "if" in near.lower():
        return None  # it may announce under a condition
    place = next(announcements(near), None)
    if (
        place is None
        or place.rule != "marker"
        or begin + place.start < start
        or near[place.start :].lstrip()[:2] in ("A:", "a:")
        or not _WORDED.fullmatch(place.text)
        or ends_in_formula(place.text)
    ):
        return None
    place.start += begin
    return place
