r"""Keep what a response says of its question: no turns behind it, no tails, no boxes left empty.

cleaned("> **5**\n\nI hope this helps!")  →  "**5**"
"""

import re
from itertools import islice

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.abroad import in_english
from orcinus.verifiers.answers.channels import final_channel, plain_text
from orcinus.verifiers.answers.statements import statements
from orcinus.verifiers.answers.tails import without_preamble, without_tail
from orcinus.verifiers.answers.text import last_line

RUN_ON = compile_later(
    r"\n[ \t#*_]*(?=[qhunafscept\[i])(?:(?:Q|Question|Human|User):|\[Question\]"
    r"|(?:(?<=###)|(?<=### ))(?:Question|Instruction)"
    r"|(?:Next|Another|New|Follow-up)\s(?:question|exercise|problem|task)\b"
    r"|(?:Student|Customer|Asker):[^\n]*\?"
    r"|(?P<numbered>Exercise|Problem|Example|Task|Question|Q)\s?(?:[2-9]|\d\d)[*_]*(?:[:.)]|\s*\n))",
    re.IGNORECASE,
)
"""A next question, or a turn of someone else. A numbered one is none where the first has its
number as well, or where nothing is answered before."""
RUN_ON_SIGNS = (":", "#", "[", "uestion", "xercise", "roblem", "xample", "ask", "\nQ")
"""What a next question holds; asked first."""
_MOST_QUESTIONS = 10
"""Next questions that are looked at. A text with more is a loop."""
_WORDS_OF_AN_ANSWER = 4
"""Words. A text as short as this before a next question is an answer."""
_REPLIES = compile_later(r"\s*(?:so|thus|therefore|hence|that|it|this|the|we)\b", re.IGNORECASE)
_UNCHECKED = compile_later(r"^[ \t]*(?:[-*+]\s*)?(?:\[ ?\]|☐|⬜|◯|○)\s.*$", re.MULTILINE)
"""A row of a list whose box is left empty."""
_CHECKED = compile_later(r"^([ \t]*(?:[-*+]\s*)?)(?:\[[xX✓✔]\]|[☑☒✅◉●])\s+", re.MULTILINE)
JUDGING = ("rader", "rading", "ubric", "reference")
"""What a sentence to a judge holds; asked first, because the pattern is expensive."""
_TO_THE_JUDGE = compile_later(
    r"(?:^|(?<=[.!?]\s))(?![^.!?\n]*\b(?:answer|option)\s*(?:is\b|:))[^.!?\n]*"
    r"\b(?:the\s+grader|graders?(?=:)|grading|rubric|the\s+reference(?:\s+answer)?\s+(?:is|was|says))\b[^\n!?]*?"
    r"(?:[.!?](?=\s|\Z)|$)",
    re.IGNORECASE | re.MULTILINE,
)
"""A sentence that speaks to a judge, or of what it holds, and announces no answer."""
_QUOTE_MARK = compile_later(r"^(?:>[ \t]?)+(?=[\w*\\$])", re.MULTILINE)
"""Before each line of a quotation in Markdown."""
_STRUCK = compile_later(r"~~(?=[^\s~])[^~\n]{0,200}?(?<=[^\s~])~~")
"""Struck through in Markdown: what a text takes back."""
_CALCULATOR = compile_later(r"<<[^<>\n]*>>")


def cleaned(response: str) -> tuple[str, str]:
    """Return the text to search for an answer; if it is empty, also the reason."""
    text = final_channel(response)
    if not text or text.isspace():
        return "", "the reasoning never ended" if response.strip() else "the response is empty"
    text = plain_text(text)
    if "<<" in text:
        text = _CALCULATOR.sub("", text)
    if "~~" in text:
        text = _STRUCK.sub("", text)
    text = in_english(text)
    if "[ ]" in text or "☐" in text:
        text = _without_unchecked(text)
    if text.startswith(">") or "\n>" in text:
        text = _QUOTE_MARK.sub("", text)
    if any(map(text.__contains__, JUDGING)):
        text = _TO_THE_JUDGE.sub("", text)
    text = text.strip()
    if any(map(text.__contains__, RUN_ON_SIGNS)):
        text = _without_next(text)
    if text.endswith(":"):
        text = _without_open_repetition(text)
    return without_preamble(without_tail(text)), "" if text else "the response is empty"


def _without_next(text: str) -> str:
    """Cut a text before the first question that it goes on to after its answer."""
    for run_on in islice(RUN_ON.finditer(text), _MOST_QUESTIONS):
        before = text[: run_on.start()].rstrip()
        if before and not (run_on["numbered"] and not _ends_one(before, run_on["numbered"])):
            return text if _asks_itself(text, run_on) else before
    return text


def _ends_one(before: str, kind: str) -> bool:
    """Return True if a text before "Exercise 2" holds an answer, and no "Exercise 1"."""
    short = len(before.split()) <= _WORDS_OF_AN_ANSWER
    answered = short or next(statements(before), None) is not None
    return answered and re.search(rf"\b{kind}\s?1\b", before, re.IGNORECASE) is None


def _asks_itself(text: str, run_on: re.Match[str]) -> bool:
    """Return True if a last line repeats the question and answers it, after no answer yet."""
    rest = text[run_on.end() :]
    _, _, reply = rest.partition("?")
    return (
        "\n" not in rest.strip()
        and _REPLIES.match(reply) is not None
        and next(statements(text[: run_on.start()]), None) is None
    )


def _without_open_repetition(text: str) -> str:
    """Remove a last line "Answer:" that only begins to repeat the line before it."""
    before, _, last = text.rpartition("\n")
    head = last.strip()
    if head.endswith(":") and last_line(before).startswith(head) and last_line(before) != head:
        return before.rstrip()
    return text


def _without_unchecked(text: str) -> str:
    """Keep the checked rows of a list with boxes: "[x] Yes", "[ ] No"."""
    checked, boxes = _CHECKED.subn(r"\1", text)
    return _UNCHECKED.sub("", checked) if boxes else text
