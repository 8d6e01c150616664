r"""Find where a text takes back an answer, and what it says instead.

correction("#### 20\n\nWait, that is wrong. The answer is 27.")  →  rest ". The answer is 27."
restated("It should be Lima.")                                   →  "Lima."
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import lower_case

_SHORT = 200
"""Characters. In a text as short as this, its words are looked up; a longer one is searched."""
NEAR_THE_END = 800
"""Characters at the end of a text that are searched for a correction."""


@dataclass(slots=True)
class Correction:
    """The words of a text after it took back an answer."""

    rest: str
    """What follows the words that take it back."""
    strong: bool
    """True if the text says that it was wrong; without, it only hesitates or checks itself."""


_START = r"(?:\A|(?<=[.!?;:,\n)\]\"'*])|(?<=\s-)|(?<=\bbut))\s*[\"'(*_]*"
_FILLER = r"(?:(?:oh|hmm+|hm|ah|uh|um|so|but|and|ok|okay|well|no|yes|wait|actually)\b[ ,…-]*){0,3}"
_WORDS_OF_REGRET = (
    r"hold\s+on",
    r"hang\s+on",
    r"(?:oops|whoops|err(?=,))",
    r"(?:scratch|strike)\s+that",
    r"correction",
    r"erratum",
    r"(?:edit|update|revised|amendment)\s*:",
    r"my\s+(?:bad|mistake|apologies)",
    r"apologies",
    r"sorry(?!\s+to\b|\s+(?:for|about)\s+(?:the|any|that|this|my)\s+[\w\s]{1,30}[.!]?\s*\Z)",
    r"i(?:'m|\s+am)\s+sorry\s*(?:,|\.|!|for\s+the|about\s+that|i\s+(?:mis|made|meant))",
    r"i\s+apologi[sz]e",
    r"(?:on|upon)\s+(?:second\s+thought|reflection|(?:a\s+)?(?:closer|another"
    r"|re-?\w+ing)[\w\s]{0,20}?"
    r"(?:look|inspection|reading|examination|check)|re-?\w+ing|further\s+\w+)",
)
"""Strong at the start of a sentence or clause."""
_HESITATION = (
    r"wait(?=\s*[,.!?:…-]|\s+(?:no|actually|that|this|i|it|let|maybe|a)\b)",
    r"actually",
    r"(?<=[.!?…\n\s])(?<![:,;]\s)no(?=[,!]\s*[(*\"']*\w|\.\s+\w|\s+wait\b)",
    r"(?<=,\s)no(?=,\s*[(*\"']*\w)",
    r"hmm+",
    r"(?:double[\s-]?)?check\*{0,2}:\*{0,2}(?=[^\n]{0,200}?\bthe\s+(?:correct|actual|true|real|right)\s\w+\s)",
    r"let\s+me\s+(?:double[\s-]?|re-?)?(?:check|verify|confirm|think)(?:\s+(?:that|this|it"
    r"|again))?",
)
"""Weak at the start of a sentence or clause: only what clearly states a new answer counts."""
_ADMISSION = (
    r"i(?:'ve|\s+have|\s+had)?\s+made\s+(?:an?|some|the|another|one)\s+[\w\s-]{0,30}?(?:mistake"
    r"|error|slip|"
    r"miscalculation|typo|blunder|oversight)s?",
    r"there\s+(?:is|was)\s+(?:a|an)\s+(?:\w+\s+){0,2}(?:mistake|error|slip|typo)\s+(?:in|above"
    r"|with)",
    r"i\s+(?:was|am)\s+(?:wrong|mistaken|incorrect|too\s+(?:hasty|quick))",
    r"i\s+(?:just\s+)?(?:mis(?:read|counted|calculated|remembered|took|stated|spoke|understood"
    r"|wrote|added|"
    r"applied)|miscomputed|forgot|overlooked|mixed\s+up|take\s+that\s+back|stand\s+corrected"
    r"|retract|meant|"
    r"mean\b|mistyped|should\s+have\s+(?:said|written|used|added|taken))",
    r"i\s+(?:need|have|want|must|should|would\s+like)\s+to\s+(?:correct|revise|change|amend|redo"
    r"|fix)"
    r"(?:\s+(?:myself|that|this|it|my\s+\w+))?",
    r"i(?:'m|\s+am|'ll|\s+will|\s+have\s+to|\s+must)?\s+(?:chang(?:e|ed|ing)|switch(?:ed|ing)?|revis(?:e|ed|ing))"
    r"\s+my\s+(?:\w+\s+)?(?:answer|choice|mind)\s+(?:from\s+[^\s.]+(?:\s+[^\s.]+)?\s+)?to",
    r"let\s+(?:me|us|'s)\s+(?:re-?do|correct|fix|re-?calculate|re-?compute|re-?think"
    r"|re-?consider|revise|"
    r"re-?count|re-?work|re-?visit|re-?evaluate|re-?examine|re-?read|re-?check|try\s+(?:again"
    r"|that\s+again|"
    r"once\s+more)|start\s+(?:over|again)|go\s+(?:back|over)|rephrase|amend|update)"
    r"(?:\s+(?:that|this|it|everything|myself|my\s+\w+))?",
    r"(?:checking|thinking|looking|reading|counting|considering|going|calculating|computing"
    r"|adding)\s+"
    r"(?:(?:it|this|that|about|at|through|over|back|more|the\s+\w+)\s+){0,4}(?:over|again|twice"
    r"|carefully|more|harder|"
    r"closely)",
    r"after\s+(?:re-?(?:check|read|count|consider|think|calculat|examin|view|comput|evaluat"
    r"|visit)\w+"
    r"|(?:another|a\s+second|a\s+closer)\s+\w+|double[\s-]?checking|thinking\s+(?:again|more))",
)
"""Strong anywhere in a sentence."""
_WRONG = (
    r"(?:not\s+(?:quite\s+|entirely\s+|really\s+)?(?:right|correct|possible|it)|wrong|incorrect|"
    r"mistaken|inaccurate|off\b|a\s+mistake|an\s+error)"
)
_JUDGED = (
    rf"(?:that|this|it|(?:my|the)\s+(?:\w+\s+){{0,2}}(?:answer|result|calculation|value|total"
    rf"|response|"
    rf"reasoning|conclusion|choice))(?:\s+above)?(?:'s|\s+(?:is|was|were|looks?"
    rf"|seems?))\s+(?:\w+ly\s+|"
    rf"just\s+|also\s+)?{_WRONG}(?!\s+(?:to|that)\b)|(?:that|this|it)\s*(?:isn't|wasn't|can't\s+be|"
    r"cannot\s+be|does(?:n't|\s+not)\s+(?:look|seem|sound)"
    r"|couldn't\s+be)\s+(?:quite\s+)?(?:right|correct|"
    r"true|it)"
)
_PATTERN = compile_later(
    r"(?:(?<!\w)|(?<=\bbut))"  # where all alternatives begin; most places are ruled out at once
    rf"(?:(?P<strong>{_START}{_FILLER}(?:{'|'.join(_WORDS_OF_REGRET)})(?:(?<=\W)|\b)"
    rf"|(?<!\w)(?:{'|'.join(_ADMISSION)})\b"
    rf"|{_START}(?:no|wait|hmm+|oh|hold\s+on|actually|but|oops|sorry|my)\b[\s,.!…-]*(?:{_JUDGED})"
    rf"|\bmy\s+(?:\w+\s+){{0,2}}(?:answer|result|calculation|response)(?:\s+above)?\s+(?:is|was)\s+"
    rf"{_WRONG})"
    rf"|(?P<weak>{_START}{_FILLER}(?:{'|'.join(_HESITATION)})(?!\w)|{_START}(?:{_JUDGED})))"
)
"""Takes an answer back, in lower case."""
_HINTS = (
    "wait",
    "actually",
    "hold on",
    "hang on",
    "oops",
    "err,",
    "hmm",
    "no,",
    "no.",
    "no!",
    "scratch",
    "strike",
    "erratum",
    "edit",
    "update",
    "revis",
    "amend",
    "mistake",
    "my bad",
    "apolog",
    "sorry",
    "second thought",
    "reflection",
    "close",
    "thinking",
    "on re",
    "on further",
    "after re",
    "after another",
    "after thinking",
    "again",
    "twice",
    "careful",
    "check",
    "i mis",
    "i mean",
    "i forgot",
    "i overlooked",
    "i should",
    "wrong",
    "correct",
    "right",
    "error",
    "slip",
    "let me",
    "let us re",
    "let's re",
    "start over",
    "go back",
    "go over",
    "ing my",
    "e my",
    "ed my",
    "switch my",
)
"""What a correction holds, in lower case; asked first, because the pattern is expensive."""
_BARE_STATEMENT = compile_later(
    r"(?:nswer|ption|hoice|###|boxed\{)(?: is|:)?[^a-z]*(?:\b[a-z]\W*)?"
)
"""An announcement without its first letter, then a number or one letter: it holds no hint."""
_CONFIRMED = compile_later(
    r"\b(?:(?:answer|result|that|it|this|which)(?:'s|\s+is|\s+was|\s+still"
    r"|\s+indeed)?\s+(?:still\s+|indeed\s+"
    r"|in\s+fact\s+|actually\s+)?(?:stands|holds|right|correct|fine|ok(?:ay)?|confirmed"
    r"|checks\s+out|"
    r"consistent|the\s+same|good)\b"
    r"|same\s+(?:answer|result)|confirm(?:s|ed)?\b|no\s+(?:mistake|error)|not\s+wrong)",
    re.IGNORECASE,
)
"""What confirms an answer after a check."""
_ADMITS = compile_later(
    r"mistake|error|slip|typo|wrong|incorrect|inaccurate|\bmis\w|forgot|overlooked|mixed|oops"
    r"|stand\s+corrected|take\s+that|retract|scratch|strike|erratum|my\s+bad|apolog|sorry"
    r"|correct(?:ion|\s+(?:that|this|it|my))|not\s+(?:\w+\s+)?(?:right|correct)|n't|cannot",
    re.IGNORECASE,
)
"""What makes a correction the admission of a mistake; the others may only check the answer."""
_OLD_CONFIRMED = compile_later(r"\A(?!that|it|this|which)|still|stands|holds|same", re.IGNORECASE)
"""A confirmation of the first answer in spite of a mistake: "the answer still stands"."""
_BEFORE_CONFIRMED = compile_later(
    r"[\s,;]*(?:\b(?P<but>but|though|yet)|\b(?:and|so|yes))?[\s,]*\Z", re.IGNORECASE
)
"""What leads to a confirmation; behind "but" it confirms the first answer."""
_CUE = compile_later(
    r"""(?:\b(?:it|that|this|there|(?:the|my)\s+(?:\w+\s+){0,3}?\w+
              (?:\s+(?:here|then|instead))?)
          (?:'s|\s+(?:(?:should|must|would|has\s+to|ought\s+to|will|can\s+only)\s+(?:actually\s+|
              really\s+|instead\s+|rather\s+)?(?:be|have\s+been|read|say)
              |is|was|are|were|comes?\s+(?:out\s+)?(?:to|as|at)|equals|becomes|makes|gives|reads|amounts\s+to))
        |\bi\s+(?:now\s+|do\s+|would\s+|should\s+have\s+|will\s+)?(?:get|got|choose|chose|pick|meant?|say|said|
              have|find|obtain|arrive\s+at|end\s+up\s+with|go\s+(?:with|for)|select|written|count)
        |\b(?:so|thus|hence|therefore|make\s+(?:it|that)|change\s+(?:it|that|my\s+answer)\s+to|rather|instead)
        |(?:new|corrected|right|correct|proper|revised|fixed|final|updated|total|sum|result)(?:\s+\w+)?\s*(?=:)
        |(?:(?<=[.!?]\s)|(?<=\n))[^\W\d]\w+(?:\s\w+){0,2}(?=:\s)
        |[→⇒]|=>|->)
        (?!\w)(?:[\s,]*(?:actually|really|in\s+fact|instead|therefore|thus|now|indeed|then|rather|simply|
              just|in\s+all)\b)*[\s,:]*""",
    re.IGNORECASE | re.VERBOSE,
)
"""What states an answer behind a correction: "it should be", "I get", "the real total comes to"."""
_INSTEAD = compile_later(r"\s+(?:instead|after\s+all|then|now)\s*[.!]*\s*\Z", re.IGNORECASE)
_NO_ANSWER = compile_later(
    r"\s*(?:wrong|right|correct|incorrect|not\b|clear|because|why|how|what|still|also|very|too"
    r"|[\s.,:;!?]*\Z)",
    re.IGNORECASE,
)
_LABEL = compile_later(r"\A(?:\w+ing(?:\s+\w+){0,2}|[Ii]\s+\w+(?:\s+\w+){0,4}):\s+(?=\S)")
"""What introduces the answer behind a correction: "Redoing it: 5"."""
_CONFIRMS = compile_later(
    r"(?:(?<=[.!?]\s)|(?<=\n))(?:(?:so|yes|right|ok(?:ay)?|indeed|thus|hence|therefore|still)[,:]?\s+)+"
    r"([^\s.!?\n][^.!?\n]*)[.!]?\s*\Z",
    re.IGNORECASE,
)
_GIVES_A_REASON = compile_later(r"(?:since|because|as|for|but)\s", re.IGNORECASE)
_WORDS_OF_A_BARE_ANSWER = 4
"""Words. After a hesitation, so short a sentence is an answer: "No wait, B."."""


def may_correct(text: str) -> bool:
    """Return True if a text holds the hint of a correction; this costs less than the patterns."""
    near = lower_case(text).rstrip(" .!\n")
    return (
        not _BARE_STATEMENT.fullmatch(near)
        and (len(near) > _SHORT or any(map(_may_begin_hint, near.split())))
        and any(map(near.__contains__, _HINTS))
    )


@lru_cache(maxsize=8192)
def _may_begin_hint(word: str) -> bool:
    """Return True if a hint may stand in a word or begin with it; few words are new."""
    return any(
        word.endswith(hint.partition(" ")[0]) if " " in hint else hint in word for hint in _HINTS
    )


def correction(text: str, since: int = 0) -> Correction | None:
    """Return the last place after ``since`` where a text takes back its answer, if any."""
    since = max(since, len(text) - NEAR_THE_END)
    if not may_correct(text[since:]):
        return None
    lower = lower_case(text)
    last: re.Match[str] | None = None
    strong = admits = False
    for match in _PATTERN.finditer(lower, since):
        if since == 0 and not text[: match.start()].strip():  # nothing is said before it
            continue
        admits = admits or _ADMITS.search(match[0]) is not None
        if match["strong"] is None and strong:
            continue
        last, strong = match, match["strong"] is not None
    if last is None:
        return None
    rest: str | None = text[last.end() :]
    if rest and (confirmed := _CONFIRMED.search(rest)) is not None:
        rest = _restated_before(rest, confirmed) if admits else None
    return Correction(rest, strong) if rest and rest.strip(" .!?,:") else None


def _restated_before(rest: str, confirmed: re.Match[str]) -> str | None:
    """Return what an admitted mistake is replaced by, if that is what the text confirms."""
    before = rest[: confirmed.start()]
    end = _BEFORE_CONFIRMED.search(before)
    if end is None or end["but"] or _OLD_CONFIRMED.search(confirmed[0]) or not restated(before):
        return None
    return before[: end.start()]


def restated(rest: str) -> str | None:
    """Return what follows the last words of ``rest`` that state an answer; None without them."""
    stated = None
    for match in _CUE.finditer(rest):
        if not _NO_ANSWER.match(rest, match.end()):
            stated = rest[match.end() :]
    return None if stated is None else _INSTEAD.sub("", stated)


def concluding_answer(rest: str) -> str | None:
    """Return the answer of a last sentence that only confirms it, "Yes, C."; None without one."""
    last = _CONFIRMS.search(rest)
    return last[1] if last and len(last[1].split()) <= _WORDS_OF_A_BARE_ANSWER else None


def bare_answer(rest: str) -> str | None:
    """Return ``rest`` if its first sentence is so short that it can only be an answer."""
    rest = _LABEL.sub("", rest.strip(" ,.:!-\n"))
    first = re.split(r"[.!?;:\n](?:\s|\Z)", rest, maxsplit=1)[0]
    asks = rest[len(first) :].startswith("?")
    if asks or _GIVES_A_REASON.match(first):
        return None
    return first if 0 < len(first.split()) <= _WORDS_OF_A_BARE_ANSWER else None
