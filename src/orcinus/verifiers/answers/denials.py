"""Recognise what a text denies or rules out beside its answer.

affirmed("Paris, and not London")             →  "Paris"
affirmed("not London but Paris")              →  "Paris"
is_denied("It is not deductively valid", 22)  →  True
"""

import re

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
