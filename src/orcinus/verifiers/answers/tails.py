r"""Recognise what stands behind an answer and is no part of it.

without_tail("Paris.\n\nI hope this helps!")        →  "Paris."
without_tail("36 days.\nConfidence: 95%")            →  "36 days."
without_tail("No.\n\nThe answer is correct.")        →  "No."
"""

import re

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import lower_case

_COURTESY = (
    r"(?:i\s+)?(?:really\s+|do\s+)?hope\s+(?:this|that|it|the|my|you)\b",
    r"(?:please\s+)?(?:let\s+me\s+know|feel\s+free|do\s?n[o']?t\s+hesitate|don't\s+hesitate)\b",
    r"(?:please\s+)?(?:ask|reach\s+out|contact)\b",
    r"(?:and\s+)?if\s+(?:you|there)(?:'d|'re|\s+(?:have|has|need|want|would|are|is|'d\s+like"
    r"|wish|like))"
    r"\b",
    r"(?:is|was)\s+there\s+any",
    r"if\s+(?:this|that|it|any\w*|my\s+\w+|the\s+(?:answer|explanation|solution))\s+(?:has\s+|have\s+)?(?:"
    r"helps?|helped|answers?|answered|solves?|solved|clarif\w+|(?:is|was|seems)\s+(?:helpful|useful|unclear"
    r"|still|not\s+clear)|works?\s+for\s+you)\b",
    r"(?:please|kindly)\s+(?:consider|rate|leave|like|share|up-?vote|vote|subscribe|support|mark|accept|give"
    r"|follow|verify|double|tell\s+me)\b",
    r"(?:would|do|did|can|shall|should)\s+(?:you|i|we)\s+(?:like|want|need|help|explain|have)\b",
    r"good\s+luck|best\s+(?:of\s+luck|regards|wishes)|all\s+the\s+best|kind\s+regards|cheers\b",
    r"have\s+(?:a|an)\s+\w+(?:\s+\w+)?\s*[.!]|enjoy\b|happy\s+\w+ing\b|keep\s+up\b"
    r"|great\s+question",
    r"thank(?:s|\s+you)\b|you(?:'re|\s+are)\s+(?:very\s+|most\s+)?welcome|(?:i(?:'m|\s+am)\s+)?"
    r"(?:happy|glad|here)\s+to\s+(?:help|assist|explain|answer|clarify)",
    r"(?:any|more|further|other)\s+(?:\w+\s+)?questions?\b|anything\s+else\b|(?:that"
    r"|this)\s+is\s+all\b",
    r"(?:i(?:'m|\s+am)\s+)?always\s+happy\b|take\s+care\b|stay\s+safe\b|see\s+you\b",
)
_DOUBT = (
    r"(?:my\s+|the\s+|overall\s+|estimated\s+)?(?:confidence|certainty)\b",
    r"(?:i(?:'m|\s+am)|we\s+are|with)\s+(?:\w+\s+){0,2}?(?:about\s+)?(?:\d+\s*%\s+)?"
    r"(?:confident|confidence|certain\b|sure\s+(?:of|about|that\s+this)|positive\b)",
    r"(?:probability|likelihood|chance)\s+(?:of\s+being|that\s+(?:this|i)\b)",
    r"(?:level|degree)\s+of\s+confidence",
)
_REMARK = (
    r"(?:please\s+)?(?:note|n\.?b|p\.?\s?s|disclaimer|caveat|remark|sources?|references?"
    r"|fun\s+fact|tip|"
    r"explanation|rationale|justification|reasoning|why|comment|footnote|see\s+also|reminder|hint)"
    r"(?:\s*\d*\s*:|\s+that\b|\s+also\b)",
    r"(?:it\s+is\s+(?:worth|important)|keep\s+in\s+mind|remember\s+that|bear\s+in\s+mind)\b",
    r"(?:see|check|visit|consult)\s+(?:also|https?:|the\s+\w+\s+(?:for|above|below))",
)
_ASSURANCE = (
    r"(?:so\s+|thus\s+|and\s+)?(?:the|this|that|my|our)\s+(?:(?:final|above|given|calculated"
    r"|same)\s+)*"
    r"(?:answer|result|solution|response|calculation|value|choice|option|conclusion|reasoning)s?\s+"
    r"(?:above\s+)?(?:is|was|are|looks?|seems?|has\s+been|checks?|makes?|matches|agrees|holds?"
    r"|stands?)"
    r"\s*(?:indeed\s+|therefore\s+|clearly\s+|all\s+|also\s+|now\s+)?(?:correct|right|verified"
    r"|checked|"
    r"final|confirmed|sensible|reasonable|sense|good|fine|consistent|out|up|with\b[^.!?\n]*)?"
    r"\s*[.!]*\s*\Z",
    r"(?:so\s+|and\s+)?(?:this|that|it|which|everything|all)\s*(?:'s|\s+is"
    r"|\s+are)\s+(?:indeed\s+|also\s+|"
    r"therefore\s+)?(?:the\s+)?(?:correct|right|final|verified|confirmed"
    r"|my)(?:\s+(?:final\s+)?(?:answer|"
    r"result|solution|choice))?\s*[.!]*\s*\Z",
    r"(?:this|that|it)\s+(?!\w+\s+(?:\w+\s+){0,2}(?:option|choice|answer|\(?[a-z]\))\b)(?:matches|agrees|is\s+consistent|confirms|checks\s+out|makes\s+sense|"
    r"satisfies|fits\s+the|completes)\b",
    r"(?:verified|done|finished|q\.?e\.?d|task\s+complete[d]?|end\s+of\s+(?:answer|response"
    r"|solution))"
    r"\s*[.!]*\s*\Z",
)
_TAIL = compile_later(
    r"[\s*_#>~(\[\-]*(?=[a-z])(?:" + "|".join((*_COURTESY, *_DOUBT, *_REMARK, *_ASSURANCE)) + ")"
)
"""A line or sentence, in lower case, that begins so says nothing of the answer: a courtesy, how
sure the writer is, a remark, or that the answer is right."""
_MARKS_ALONE = compile_later(
    r"[\s*_#`~=|.\-\u2010-\u2015\u25a0\u220e\u2600-\u27bf\U0001f000-\U0001faff]*\Z"
)
_PICTURES = compile_later("[\\s\u263a\u2764\u2728\u2b50\U0001f000-\U0001faff]+\\Z")
_PREAMBLE = compile_later(
    r"(?=[soacgyh])(?:(?:sure|okay|ok|alright|certainly|of\s+course|absolutely|great|great\s+question"
    r"|yes)[!,.]\s+)?"
    r"here(?:'s|\s+is|\s+are)\s[^\n:]{0,80}?[.!]\s+|(?=[soag])(?:sure|okay|ok|alright"
    r"|great\s+question)[!.]\s+",
    re.IGNORECASE,
)
_LONGEST_TAIL = 1_000
"""Characters. A longer last line is read as it stands."""
_MOST_TAILS = 6
_LAST_CHARACTERS = 100
"""Characters at the end of a line that are searched first for its last sentence."""
_STOP = compile_later(
    "(?:[.!?][\"')\\]*]*|[\u263a\u2764\u2728\u2b50\U0001f000-\U0001faff]+)\\s+(?=\\S)"
)
"""The end of a sentence: a stop, or a picture."""


def without_preamble(text: str) -> str:
    """Remove "Sure!" and "Here is my solution." before an answer."""
    match = _PREAMBLE.match(text)
    return text[match.end() :] if match and text[match.end() :].strip() else text


def without_tail(text: str) -> str:
    """Remove the last lines and sentences that are no part of an answer, but never everything."""
    if not text.isascii():
        bare = _PICTURES.sub("", text)
        text = text if not bare or bare.endswith(":") else bare
    for _ in range(_MOST_TAILS):
        before, _, line = text.rpartition("\n")
        if len(line) > _LONGEST_TAIL:
            break
        if before.strip() and is_tail(line):
            text = before.rstrip()
            continue
        last = _start_of_last_sentence(line)
        if not last or not _TAIL.match(lower_case(line), last):
            break
        text = text[: len(text) - len(line) + last].rstrip()
    return text


def is_tail(line: str) -> bool:
    """Return True if a line below others is no part of an answer."""
    return bool(_TAIL.match(lower_case(line)) or _MARKS_ALONE.match(line))


def _start_of_last_sentence(line: str) -> int:
    """Return where the last sentence begins that has another before it; 0 without one."""
    begins = [stop.end() for stop in _STOP.finditer(line, max(0, len(line) - _LAST_CHARACTERS))]
    if not begins and len(line) > _LAST_CHARACTERS:
        begins = [stop.end() for stop in _STOP.finditer(line)]
    return begins[-1] if begins else 0
