r"""Compile regular expressions when they are first used.

    _YEAR = compile_later(r"\b\d{4}\b")  →  nothing is compiled yet
    _YEAR.search("in 1969")              →  compiled now, and once

The rules of verdicts hold some 350 patterns. Compiling all of them took half a second of every
start of a command, and a command needs few of them or none.
"""

import re
from typing import Any, cast


class _Later:
    """Stands for a pattern, and becomes as fast as one with its first use.

    The attributes of the compiled pattern become its own. So ``__getattr__`` runs once for each
    method that is used, and a call later costs no more than one of the pattern itself.
    """

    def __init__(self, text: str, flags: int) -> None:
        self._text = text
        self._flags = flags

    def __getattr__(self, name: str) -> Any:
        if "_compiled" not in self.__dict__:
            self._compiled = re.compile(self._text, self._flags)
        attribute = getattr(self._compiled, name)
        self.__dict__[name] = attribute
        return attribute


def compile_later(text: str, flags: int = 0) -> "re.Pattern[str]":
    """Return what behaves like ``re.compile(text, flags)`` and compiles at its first use.

    An invalid expression raises ``re.error`` only then. A match's ``re`` is the compiled pattern
    and not this one, so compare the text of the two.
    """
    return cast("re.Pattern[str]", _Later(text, flags))
