"""Write files and links so that a reader never finds half of one."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import orjson

from orcinus.core.errors import StoreError
from orcinus.core.secrets import scrub_bytes

SEAL = "sealed.json"
"""In a sealed folder: the size in bytes of each of its files, by its path."""
_UNWRITABLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
)
"""Why the system writes no file."""
_SHORT_WRITES = ("PytorchStreamWriter failed writing", "unexpected pos", " requested and ")
"""How PyTorch (two) and NumPy say that a disk took a part of a file. They do not say why."""


def why_unwritable(error: BaseException) -> str | None:
    """Return why a file could not be written; None for an error of another kind.

    safetensors, PyTorch and NumPy raise errors that are no ``OSError``, or one without a number.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in _UNWRITABLE else None
    text, full = str(error), os.strerror(errno.ENOSPC)
    for code in _UNWRITABLE:
        if f"(os error {code})" in text:  # as Rust says it
            return os.strerror(code)
    return full if any(mark in text for mark in (full, *_SHORT_WRITES)) else None


def seal_folder(folder: Path) -> None:
    """Note the size of each file of a folder, so that ``is_whole`` sees one that is cut or gone.

    Raises:
        StoreError: The note cannot be written.
    """
    (folder / SEAL).unlink(missing_ok=True)  # of an earlier time: its size would be another one
    sizes = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and path != _part_of(folder / SEAL)
    }
    write_atomically(folder / SEAL, orjson.dumps(sizes, option=orjson.OPT_SORT_KEYS))


def is_whole(folder: Path) -> bool:
    """Return whether a folder is sealed, and each file still has the size that it had then."""
    try:
        sealed = orjson.loads((folder / SEAL).read_bytes())
        return all((folder / path).stat().st_size == size for path, size in sealed.items())
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return False


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of ``path`` when the block ends, also if power is lost then.

    Where the block fails, ``path`` is unchanged and nothing else is left.

    Raises:
        StoreError: The file cannot be written.
    """
    part = _part_of(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if isinstance(error, StoreError) or error.filename not in (None, str(part)):
            raise  # of what the block reads
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either complete or unchanged, also after a loss of power.

    Secrets are left out; see ``secrets.py``.

    Raises:
        StoreError: The file cannot be written.
    """
    with replacing(path) as file:
        file.write(scrub_bytes(content))


def link_folder(link: Path, target: Path) -> None:
    """Make ``link`` a relative symbolic link to a folder, in place of what was there.

    A reader finds the old folder or the new one. The link stays valid when a folder that contains
    both is moved. Where links are not possible, the folder is copied.

    Raises:
        StoreError: Neither a link nor a copy can be made.
    """
    relative = Path(os.path.relpath(target, link.parent))
    if link.is_symlink() and link.readlink() == relative:
        return
    if link.is_dir() and not link.is_symlink() and _files_of(link) == _files_of(target):
        return
    part = link.with_name(link.name + ".part")
    try:
        _remove(part)
        try:
            part.symlink_to(relative, target_is_directory=True)
        except (OSError, NotImplementedError):
            shutil.copytree(target, part)
        if link.is_dir() and not link.is_symlink():
            shutil.rmtree(link)
        part.replace(link)
    except OSError as error:
        raise StoreError(f"{link}: cannot be written: {error.strerror}") from error


def _files_of(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the size and the time of change of each file, by its path in the folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder): (path.stat().st_size, path.stat().st_mtime_ns) for path in files
    }


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
