"""Recognise what a text denies or rules out beside its answer.

affirmed("Paris, and not London")             →  "Paris"
affirmed("not London but Paris")              →  "Paris"
is_denied("It is not deductively valid", 22)  →  True
is_doubted("12 is too small.", "12")          →  True
"""

import re
from functools import lru_cache

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import lower_case

DENIAL = (
    r"(?:\bnot|n't|\bcannot|\bnor|\bneither|\bnever|\bno\s+longer|\brather\s+than|\binstead\s+of"
    r"|\bas\s+opposed\s+to"
    r"|\banything\s+but|\bfar\s+from)"
)
"""Words that deny what follows them. "Not only" and "nothing but" affirm it."""
_DENIALS = (
    "not", "n't", "nor", "neither", "never", "longer", "rather", "instead", "opposed", "anything",
    "far",
)  # fmt: skip
"""What a denial holds, in lower case; asked first, because the patterns are expensive."""
_BEFORE = compile_later(
    DENIAL
    + r"""\s+(?:
        (?:(?!only\b)\w+ly\s+|be\s+|being\s+|been\s+|an?\s+|the\s+|option\s+|answer\s+)*
      | (?:be\s+)?(?:called|considered|deemed|regarded|say|think|believe|call|consider|conclude|mean
          |(?:the\s+case|true|correct)\s+that)\b[^.,;:\n]{0,40}\s
    )[("'*`\[]*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
_WINDOW = 80
"""Characters before a word that are searched for its denial."""
_NOT_BUT = compile_later(
    r"\A\s*(?:not|neither)\s(?!only\b|just\b|merely\b"
    r"|simply\b)[^.;\n]{1,80}?\sbut\s+(?:rather\s+)?",
    re.IGNORECASE,
)
_NOT_THEN = compile_later(
    r"\A\s*not\s[^,;\n]{1,80}[,;]\s*(?:it|that|this)(?:'s|\s+is)\s+", re.IGNORECASE
)
_RATHER_THAN = compile_later(
    r"\A\s*(?:rather\s+than|instead\s+of)\s[^,\n]{1,80},\s*", re.IGNORECASE
)
_CONTRAST = compile_later(
    r"(?:,?\s(?:and|but)\s+not|,\s*not|,\s*never|,?\srather\s+than|,?\sinstead\s+of"
    r"|,?\sas\s+opposed\s+to|\(\s*not)\s.*\Z",
    re.IGNORECASE | re.DOTALL,
)
_WORDS = ("not", "neither", "never", "rather", "instead", "opposed")


def affirmed(answer: str) -> str:
    """Remove what an answer contrasts itself with; keep the answer if nothing else is left."""
    lower = answer.casefold()
    if not any(word in lower for word in _WORDS):
        return answer
    for pattern in (_NOT_BUT, _NOT_THEN, _RATHER_THAN, _CONTRAST):
        answer = pattern.sub("", answer) or answer
    return answer


def holds_denial(text: str) -> bool:
    """Return True if a text may deny anything; this takes a tenth of the time of the patterns."""
    return any(map(lower_case(text).__contains__, _DENIALS))


def is_denied(text: str, at: int) -> bool:
    """Return True if a word before ``at``, in the same clause, denies what stands there."""
    return _BEFORE.search(text, max(0, at - _WINDOW), at) is not None


_DOUBTS_BEFORE = compile_later(
    r"""\b(?:nobody|no\s+one|hardly|scarcely|doubt\w*|unlikely|tempt\w*|avoid|exclud\w+|eliminat\w+
        |reject\w*|rul\w+\s+out|without|contrary\s+to|by\s+no\s+means|mistake\w*|(?:an|common|typical)\s+error
        |fail\w*\s+to|trap|pitfall|wrong(?:ly)?|incorrect(?:ly)?|false(?:ly)?|myth|used\s+to
        |would\s+(?:only\s+|never\s+)?have\s+(?:been|\w+(?:ed|en))|(?:would|could|might)\s+have\s+needed
        |(?:some|others|many|most|people|they)\s+(?:\w+\s+)?(?:say|think|believe|claim|argue|answer|choose|pick|guess)
        |(?:could|might|may)\s+(?:be\s+)?(?:seem|appear|look|think|say|argue|tempted|inclined|expect|assume|guess)
        |(?:teacher|examiner|grader|key|author|book|textbook|student)s?\s+(?:\w+\s+)?(?:wants?|expects?|says?|thinks?)
        |at\s+first\s+(?:sight|glance))\b[^,;:.]*\Z
      | (?:\bnot|n't|\bnever)\s+(?:(?!only)\w+ly\s+|the\s+|an?\s+)*\Z
      | (?:\bnot|n't|\bcannot|\bnever)\s+(?:\w+\s+){0,3}
          (?:be|is|was|are|say|mean|equal|answer|option)\b[^,;:.]*\Z
      | \b(?:nicht|kein\w*|weder|pas|jamais|nunca|não|non|не|niet|geen|inte|ikke
          |вряд\s+ли)\s(?:\S+\s){0,4}\Z
      | \bno\s+(?:es|era|son|fue|puede)\s(?:\S+\s){0,3}\Z|不(?:是|选|選)\s*\Z""",
    re.IGNORECASE | re.VERBOSE,
)
"""What denies, doubts or only reports what stands behind it in its clause."""
_WORD_OF_DOUBT = compile_later(
    r"\W*(?:no\b|nobody|hardly|scarcely|doubt|unlikely|tempt|avoid|exclud|eliminat|reject|rul|without"
    r"|contrary|mistake|error|fail|trap|pitfall|wrong|incorrect|false|myth|used|have\b|\w*says?\b|thinks?"
    r"|believe|claim|argue|answer|choose|pick|guess|could|might|may\b|wants?|expects?|first|not\b|\w*n't|cannot|never"
    r"|nicht|kein|weder|pas\b|jamais|nunca|não|non|не\b|niet|geen|inte|ikke|ли\b|\w*不)",
    re.IGNORECASE,
)
"""The words that one of these doubts holds at least; asked first, because that pattern is slow."""
_DOUBTS_AFTER = compile_later(
    r"""[)\]"'*%]*\s*(?:(?:which|that)\s+)?(?:
        (?:is|are|was|were|seems?|looks?|has\s+been|(?:would|could|might|may|must|should|can|cannot|can't)
           (?:\s+\w+)?\s+(?:be|have\s+been))\s+(?:(?:\w+ly|all|both|also|only|just|too|still|always|a|an|the)\s+)*
          (?:not\b|wrong|incorrect|false|mistake|error|exclud|eliminat|ruled\b|reject|refut|guess\b|trap|tempting
            |distractor|impossible|implausible|unlikely|worse|out\b|off\b|(?<=too\s)\w|second\b
            |common\s+(?:error|mistake|answer))
      | (?:isn't|wasn't|aren't|cannot|can't|won't|do(?:es)?\s*n[o']t|fails?|contradicts?|ignores?
          |forgets?          |overlooks?|misses|neglects)\b
      | (?:ist|est|es|é|è|is|—|-|–)\s+(?:nicht|pas|falsch|fausse?
          |incorrect[ao]?|fals[ao]|errad[ao]|sbagliat[ao]
          |неправ\w*|неверн\w*|fel|fout)\b
      | は(?:間違|誤|違|正しくな)|(?:是|为)?(?:错|錯|不对|不正确)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
"""What refutes or doubts what stands before it."""
_AFFIRMS = compile_later(
    r"\b(?:no|without(?:\s+an?)?|beyond)\s+doubt\b|\bno\s+mistake|\bnot\s+only\b|\bnothing\s+but\b"
    r"|\bnone\s+other\s+than\b|\bdoubtless\b",
    re.IGNORECASE,
)
"""Words of doubt that assure."""
_SUPPOSES = compile_later(r"\bwould\b[^.;]*\bif\b[^.;]*\b(?:had|were|did|could)\b", re.IGNORECASE)
"""Tells what would hold under another condition: "it would be B if it had rained"."""
_CLAUSE = compile_later(r"[;:]\s|,\s|\s(?:but|yet|so|and)\s", re.IGNORECASE)


def is_doubted(sentence: str, answer: str) -> bool:
    """Return True if a sentence names an answer, at its last place, but does not assert it."""
    start = sentence.rfind(answer)
    return start >= 0 and is_doubted_at(sentence, start, start + len(answer))


def is_doubted_at(sentence: str, start: int, end: int) -> bool:
    """Return True if a sentence does not assert what stands from ``start`` to ``end``.

    It denies, refutes or doubts it, reports it of others, or supposes another condition.
    """
    window = sentence[max(0, start - _WINDOW) : start]
    return bool(
        (any(map(_may_doubt, window.lower().split())) and _is_doubted_before(window))
        or _DOUBTS_AFTER.match(sentence, end)
        or ("would" in sentence and _SUPPOSES.search(sentence))
    )


def _is_doubted_before(text: str) -> bool:
    clause = text[max((cut.end() for cut in _CLAUSE.finditer(text)), default=0) :]
    return _DOUBTS_BEFORE.search(_AFFIRMS.sub("", clause)) is not None


@lru_cache(maxsize=8192)
def _may_doubt(word: str) -> bool:
    """Return True if a word may be one of ``_DOUBTS_BEFORE``; few words are new."""
    return _WORD_OF_DOUBT.match(word) is not None
