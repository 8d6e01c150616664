"""Open files behind URLs such as ``s3://bucket/tasks.jsonl``, with errors of one line.

    with open_url("s3://bucket/tasks.jsonl") as file: …

fsspec and its stores are imported only when a URL is used.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from orcinus.core.errors import ConfigError, MissingExtraError, OrcinusError, one_line

BUFFER = 1 << 20
"""Bytes read at once, at least. A store's answer takes milliseconds, however short."""


def open_url(source: str) -> io.BufferedReader:
    """Open a remote file for reading.

    Raises:
        ConfigError: It cannot be opened; later, it cannot be read.
    """
    with remote_errors(source, "cannot be opened"):
        remote = fsspec_module().open(source, "rb").open()
    return io.BufferedReader(cast(Any, _Remote(remote, source)), BUFFER)


@contextmanager
def remote_errors(source: str, what: str) -> Iterator[None]:
    """Turn whatever a store's library raises, often no OSError, into one line.

    Raises:
        ConfigError: In place of any other exception.
    """
    try:
        yield
    except OrcinusError:
        raise
    except ImportError as error:
        raise ConfigError(f"{shown(source)}: {what}: {reason(error)}") from error
    except Exception as error:
        raise ConfigError(f"{shown(source)}: {what}: {_explained(error, source, what)}") from error


def _explained(error: BaseException, source: str, what: str) -> str:
    """Return a library's message without secrets, and with what to do."""
    kinds = [type(error).__name__]
    cause = error.__cause__
    while cause is not None:
        kinds.append(type(cause).__name__)
        cause = cause.__cause__
    text = reason(error).replace(source, shown(source))
    hint = next((hint for part, hint in _HINTS if any(part in kind for kind in kinds)), None)
    if hint is not None and what == "cannot be written":
        hint = hint.replace("read", "write")
    said = kinds[0] if text in (shown(source), kinds[0]) else f"{kinds[0]}: {text}"
    return f"{said}; {hint}" if hint else said


_HINTS = (
    ("Connect", "is the address right, and can it be reached from here?"),
    (
        "NoCredentials",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile in AWS_PROFILE",
    ),
    ("PermissionError", "may this key read it?"),
    ("FileNotFound", "there is no such file"),
)
"""(part of an exception's name, what to do)."""


def shown(source: str) -> str:
    """Return ``source`` for messages: a URL loses its password and its query, often a signature."""
    scheme, mark, rest = source.partition("://")
    if not mark:
        return source
    host, slash, path = (rest.partition("?")[0] if scheme in ("http", "https") else rest).partition(
        "/"
    )
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def fsspec_module() -> Any:
    """Return fsspec.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("reading and writing at a URL", "hub") from error
    return fsspec


def reason(error: BaseException) -> str:
    """Return a library's error message in one line."""
    return one_line(str(error), 300) or type(error).__name__


class _Remote(io.RawIOBase):
    """A remote file that raises our own errors instead of its library's."""

    def __init__(self, file: Any, source: str) -> None:
        self._file = file
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any) -> int:
        with remote_errors(self._source, "cannot be read"):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with remote_errors(self._source, "cannot be read"):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
