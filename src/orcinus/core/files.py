"""Write files and links so that a reader never finds half of one."""

import os
import shutil
from pathlib import Path

from orcinus.core.errors import StoreError
from orcinus.core.secrets import scrub_bytes


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is either complete or unchanged, also after a loss of power.

    Secrets are left out; see ``secrets.py``.

    Raises:
        StoreError: The file cannot be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(scrub_bytes(content))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error


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
