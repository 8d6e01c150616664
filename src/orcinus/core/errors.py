"""The errors that orcinus raises on purpose.

    OrcinusError
    ├── ConfigError (ValueError)        the recipe or a flag is wrong; nothing was spent
    ├── DataError (ValueError)          a user's file is wrong; names file and line
    ├── MissingExtraError (ImportError) an optional dependency is missing; shows the pip command
    ├── BudgetError                     the budget is used up; everything paid for is kept
    ├── BusyError                       another process works on this run
    ├── StoreError (OSError)            the ledger or a table cannot be read or written
    ├── StepError (RuntimeError)        a step cannot continue (no lessons, training diverged)
    └── CompleterError                  one call failed; models/attempts.py records it as data

The command line shows any of these as one line and exits with code 2.
"""

import json
from contextlib import suppress
from typing import Any, Literal
from urllib.parse import unquote

ErrorClass = Literal[
    "connection",
    "timeout",
    "rate_limit",
    "server",
    "bad_request",
    "auth",
    "forbidden",
    "quota",
    "not_found",
    "content_filter",
    "bad_reply",
]


def one_line(text: str, longest: int = 2000) -> str:
    """Return ``text`` as one printable line of at most ``longest`` characters.

    Blanks are joined, and unprintable characters are escaped.
    """
    line = " ".join(text.split())
    if len(line) > longest:
        line = line[: longest - 1] + "…"
    return (
        line
        if line.isprintable()
        else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    )


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this installation, from any folder.

    A clone is named by its path: the package index has another package of the name ``orcinus``.
    """
    from importlib.metadata import PackageNotFoundError, distribution  # takes 0.1 s

    origin: dict[str, Any] = {}
    with suppress(PackageNotFoundError):
        origin = json.loads(distribution("orcinus").read_text("direct_url.json") or "{}")
    folder = unquote(origin.get("url", "")).removeprefix("file://")
    if "dir_info" not in origin or not folder:
        return f"pip install 'orcinus[{extra}]'"
    edit = "-e " if origin["dir_info"].get("editable") else ""
    return f"pip install {edit}'{folder}[{extra}]'"


class OrcinusError(Exception):
    """Base of all errors that a user can fix."""


class ConfigError(OrcinusError, ValueError):
    """The recipe, a flag or a name is wrong."""


class DataError(OrcinusError, ValueError):
    """A file from outside cannot be used."""


class MissingExtraError(OrcinusError, ImportError):
    """A feature needs an extra that is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs more packages: {install_command(extra)}")


class BudgetError(OrcinusError):
    """The next call could pass the budget."""


class BusyError(OrcinusError):
    """Another process holds the run's lock."""


class StoreError(OrcinusError, OSError):
    """The ledger or a table cannot be read or written."""


class StepError(OrcinusError, RuntimeError):
    """A step cannot continue."""


class CompleterError(OrcinusError):
    """One call to a model failed.

    Args:
        kind: The class of the failure, for counting.
        message: One line, without secrets.
        permanent: A retry of the same request cannot help.
        fatal: No call to this model can succeed (wrong key, unknown model); the step stops.
        retry_after_s: Seconds that the server asked to wait; None when it named none.
        cost_unknown: The server may have charged for the try; its worst case is booked.
    """

    def __init__(
        self,
        kind: ErrorClass,
        message: str,
        *,
        permanent: bool = False,
        fatal: bool = False,
        retry_after_s: float | None = None,
        cost_unknown: bool = False,
    ) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind: ErrorClass = kind
        self.permanent = permanent
        self.fatal = fatal
        self.retry_after_s = retry_after_s
        self.cost_unknown = cost_unknown
