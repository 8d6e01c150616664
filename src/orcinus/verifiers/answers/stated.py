"""Tell whether a sentence states a text as its subject or at its end.

states("The author was George Orwell.", "George Orwell")   →  True
states("Canberra is the capital of Australia.", "Canberra")  →  True
states("It is not Canberra but Sydney.", "Canberra")         →  False

Answers of free words often come as a sentence. Which of its words answer the question cannot be
read from the sentence alone, so the reference is looked for, and only where a statement puts it.
"""

import re
from collections.abc import Iterator

from orcinus.verifiers.answers.denials import DENIAL
from orcinus.verifiers.answers.text import sentences

_STOPS = re.compile(r"(?<=\b[ap])\.m\b\.?", re.IGNORECASE)

_LAST_CLAUSE = re.compile(
    r"[,;:]?\s+(?:but|yet|however|so|therefore|thus|hence|instead|rather)\b,?|;", re.IGNORECASE
)
"""A sentence says behind the last of these what it arrives at."""
_CONCESSION = re.compile(
    r"\A\W*(?:although|though|even\s+though|while|whereas|if|unlike|despite|contrary)\b[^,]*,",
    re.IGNORECASE,
)
_LEADS_TO = re.compile(
    r"""(?:\A|[\s:"'(]|(?=(?<=\bit)'s\s|(?<=\bthat)'s\s|(?<=\bhe)'s\s))(?:
        (?:is|are|was|were|be|been|being|'s|called|named|termed|dubbed|known\s+as|none\s+other\s+than|namely|as|by|say|says
          |said|guess|think|believe|pick|picked|choose|chose|chosen|get|gets|gives|give|becomes
          |became|equals|means|meant|through|via|in|on|at|into|onto|to|with|from|within|near
          |symbol|word|term|name|author|named\s+after|reads|spells|makes|won\s+by
          |ist|sind|war|heißt|lautet|es|son|era|fue|est|sont|était|è|sono|é|são|foi|är|is\s+het
        )(?:\s+(?:likely|probably|definitely|simply|actually|really|indeed|clearly|therefore|thus|in
          |most\s+likely|the\s+(?:word|term|name|city|number|letter|colou?r|year)(?:\s+of)?))*
        |:)\s*(?:the\s|an?\s|der\s|die\s|das\s|la\s|le\s|el\s|il\s|l')?["'(*]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""The words before the answer at the end of a statement."""
_GOES_ON = re.compile(
    r"""["')*]*(?:[\s.!]*\Z|\s*\(|,\s+(?!or\b|and\b|but\b|not\b)|\.\s
        |\s+(?:because|since|which|who|that|where|when|as|for|after|before|during)\b
        |\s+(?:in|on|around|about)\s+(?:the\s+)?(?:\d|[A-Z][a-z]+\s\d))""",
    re.IGNORECASE | re.VERBOSE,
)
"""What may follow the answer at the end of a statement."""
_OPENS = re.compile(
    r"\A[\s\"'(*]*(?:(?:so|thus|therefore|hence|then|and|yes|well|clearly|obviously|i\s+(?:think"
    r"|believe|guess)|that|answer\s*:)[\s,]+)*(?:the\s|an?\s|it(?:'s|\s+(?:is|was))\s)?[\"'(*]*\Z",
    re.IGNORECASE,
)
"""What may stand before the subject of a statement."""
_VERB = re.compile(
    r"""["')*]*(?:\s*\([^()]*\))?\s+(?:(?:also|first|then|actually|really|probably|likely)\s+)?
        (?:(?:is|are|was|were|has|have|had|will|would|can|does|did|do|ist|war|est|es|era|fue|è|é)(?!\s*(?:n't|n’t)|\s+(?:not|never
            |wrong|incorrect|false|out|my\s+first|often|sometimes|also)\b)
          |wrote|won|made|built|led|sang|took|gave|became|began|found|ran|came|went|said|kept|held
          |beat|threw|caught|got|knew|taught|drew|shot|fell|lost|makes|wins|leads|has|means|fits
          |lives|works|comes|[a-z]{2,}ed)\b""",
    re.IGNORECASE | re.VERBOSE,
)
"""The verb of a statement behind its subject."""
_ALTERNATIVE = re.compile(
    r"\b(?:either|or|nor|(?<!other\s)than|unlike|except|not)\s+(?:the\s|an?\s)?\Z", re.I
)
_DENIED = re.compile(rf"{DENIAL}\s[^,;:]{{0,60}}\Z", re.IGNORECASE)
_APPOSITION = re.compile(r",\s+(?:the|an?|which|who|where|whose|located|also|in)\b", re.IGNORECASE)
_ANOTHER = re.compile(r"\s*(?:,\s*)?(?:or|and|/|&|nor)\b", re.IGNORECASE)
_BEGINS_WITH_PRONOUN = re.compile(r"\W*(?:it|he|she|they|this|that|these|its|his|her)\b", re.I)
_IDEOGRAM = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
_IS, _END = (
    "(?:は|是|为|為|叫|就是|이|는|은)\\s*",
    "(?:です|でした|だ|である|입니다)?[\\s.。!！]*\\Z",
)
"""What stands before and behind the answer in scripts without blanks."""
_LONGEST = 400
"""Characters. A longer sentence is an argument, and states nothing that can be read."""


def states(text: str, reference: str) -> bool:
    """Return True if the last sentence of ``text`` states the reference; see the module."""
    if _IDEOGRAM.match(reference) and (
        said := re.search(rf"{_IS}{re.escape(reference)}{_END}", text)
    ):
        return not text[: said.start()].endswith(("不", "不是"))
    wanted = _STOPS.sub("m", reference).strip(" .\"'").casefold()
    parts = sentences(_STOPS.sub("m", text))
    while len(parts) > 1 and _BEGINS_WITH_PRONOUN.match(parts[-1]):
        parts.pop()
    if not parts or len(wanted) < 2 or len(parts[-1]) > _LONGEST or parts[-1].endswith("?"):
        return False
    clause = _LAST_CLAUSE.split(_CONCESSION.sub("", parts[-1]))[-1]
    return any(_is_stated(clause, start, end) for start, end in _places(clause, wanted))


def _places(clause: str, wanted: str) -> Iterator[tuple[int, int]]:
    """Yield where a clause holds the words."""
    words = r"\s+".join(map(re.escape, wanted.split()))
    for match in re.finditer(rf"(?<![\w-]){words}(?![\w-])", clause, re.IGNORECASE):
        yield match.span()


def _is_stated(clause: str, start: int, end: int) -> bool:
    before = clause[:start]
    if _DENIED.search(before) or _ALTERNATIVE.search(before) or _ANOTHER.match(clause, end):
        return False
    if _OPENS.match(before) and (_VERB.match(clause, end) or _APPOSITION.match(clause, end)):
        return True
    return _LEADS_TO.search(before) is not None and _GOES_ON.match(clause, end) is not None
