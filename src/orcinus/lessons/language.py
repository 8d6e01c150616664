"""Which language a text is in, by py3langid (97 languages, its model inside the package, nothing fetched).

Code, formulas and numbers say nothing of a language and are left out; of what remains a few words must be there, or nothing is said.
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
"""Fewer tell too little: names and single words look like any language."""
SURE = 0.95
"""Probability of the best language below which nothing is said."""
ENOUGH = 1000
"""Characters that are looked at."""
UNTOLD = ("la",)
"""Latin is what lists of names and filler text look like: all three texts of 39,277 taken for it were something else."""
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$[^$\n]*\$|https?://\S+|\S*[\d_=<>{}\[\]\\|/@#^*+]\S*", re.DOTALL
)


def languages(wanted: Collection[str]) -> Filter:
    """A filter for traces that are surely in another language than those ``wanted``.

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
    """The ISO 639-1 code of the text's language; None where that is not sure."""
    prose = _NOT_PROSE.sub(" ", text)[:ENOUGH]
    if sum(map(str.isalpha, prose)) < LETTERS:
        return None
    code, probability = _identifier().classify(prose)
    return str(code) if probability >= SURE and code not in UNTOLD else None


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise MissingExtraError("curate.languages", "language") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
