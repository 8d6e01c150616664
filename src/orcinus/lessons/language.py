"""Detect the language of a trace with py3langid, whose model for 97 languages is in its package.

    language_of("Zuerst addieren wir die beiden Zahlen, dann …")  →  "de"

Code, formulas and numbers are removed first. A text with too few other letters has no language.
"""

import re
from collections.abc import Collection
from functools import cache
from typing import Any

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.protocols import Filter
from orcinus.core.types import Attempt, Example, Verdict
from orcinus.lessons.filters import Reason

LETTERS = 60
"""Letters that a text needs: names and single words look like any language."""
SURE = 0.95
"""Lowest probability of the best language that counts as certain."""
ENOUGH = 1000
"""Characters that are classified."""
IGNORED = ("la",)
"""Languages that are not reported. Of 39,277 texts three were taken for Latin, and none was: they
were lists of names and filler text."""
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$[^$\n]*\$|https?://\S+|\S*[\d_=<>{}\[\]\\|/@#^*+]\S*", re.DOTALL
)


def languages(wanted: Collection[str]) -> Filter:
    """Return a filter that drops traces that are surely in a language not ``wanted``.

    Args:
        wanted: ISO 639-1 codes, such as ``en``.

    Raises:
        MissingExtraError: py3langid is not installed.
        ConfigError: A code is not one it knows.
    """
    known = _identifier().nb_classes
    for code in wanted:
        if code not in known:
            raise ConfigError(
                f"curate.languages: {code!r} is not known; known: {', '.join(sorted(set(known)))}"
            )

    def rule(_: Example, attempt: Attempt, __: Verdict) -> Reason:
        found = language_of(attempt.text)
        return (
            None
            if found is None or found in wanted
            else f"is in {found!r}, not in {', '.join(wanted)}"
        )

    return rule


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of the text's language; None where it is not certain."""
    prose = _NOT_PROSE.sub(" ", text)[:ENOUGH]
    if sum(map(str.isalpha, prose)) < LETTERS:
        return None
    code, probability = _identifier().classify(prose)
    return str(code) if probability >= SURE and code not in IGNORED else None


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingExtraError("curate.languages", "language") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
