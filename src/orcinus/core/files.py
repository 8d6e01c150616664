"""Files that are whole or not there."""

import os
from pathlib import Path

from orcinus.core.errors import StoreError


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that a reader, or a machine that lost power, finds all of it or the file as it was.

    Raises:
        StoreError: It cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
