"""Read and lock the folder of a run and of its steps."""

import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import BusyError, ConfigError, StoreError
from orcinus.runs import layout


def finished_steps(run_dir: Path, name: str) -> list[Path]:
    """Return the folders of the finished steps of one name, the latest first.

    Args:
        run_dir: The run's folder.
        name: For example ``erase`` or ``erase-answer_only``.

    Raises:
        ConfigError: No such step is finished.
    """
    folders = [
        path.parent
        for path in run_dir.glob(f"{name}-*/{layout.DONE}")
        if path.parent.name.rpartition("-")[0] == name
    ]
    if not folders:
        raise ConfigError(f"{run_dir}: no finished {name} step; run the recipe first")
    return sorted(folders, key=finish_time, reverse=True)


def finish_time(step: Path) -> tuple[str, float]:
    """Return when a step was finished, to sort by.

    The record comes first: a copied run has new times of files.
    """
    try:
        finished = str(orjson.loads((step / layout.STEP).read_bytes())["finished"])
    except (OSError, ValueError, KeyError, TypeError):
        finished = ""
    try:
        return finished, (step / layout.DONE).stat().st_mtime
    except OSError:
        return finished, 0.0


def next_finish_time(run_dir: Path) -> str:
    """Return the time now, or one after every finished step's where the clock was set back."""
    now = datetime.now(UTC)
    done = [path.parent for path in run_dir.glob(f"*/{layout.DONE}")]
    latest = max((finish_time(step)[0] for step in done), default="")
    with suppress(ValueError, TypeError):  # none is finished, or not by this program
        now = max(now, datetime.fromisoformat(latest) + timedelta(milliseconds=1))
    return now.isoformat(timespec="milliseconds")


_REPORTED_PACKAGES = ("orcinus", "torch", "transformers", "peft", "pyarrow", "numpy")


def summary_of(folder: Path) -> dict[str, Any]:
    """Return the content of a finished step's ``step.json``.

    Raises:
        StoreError: The file is missing or damaged.
    """
    try:
        record: dict[str, Any] = orjson.loads((folder / layout.STEP).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise StoreError(
            f"{folder / layout.STEP}: cannot be read ({error}); delete the folder to run the step "
            "again"
        ) from error
    return record


def modules_folder(recipe_path: Path) -> Path:
    """Return the folder with the modules that a recipe names.

    It is the recipe's own folder. For the copy in a run's folder, it is that of the original.
    """
    try:
        return Path((recipe_path.parent / layout.ORIGIN).read_text(encoding="utf-8"))
    except OSError:
        return recipe_path.parent


def model_made_by(step: Path) -> Path:
    """Return the folder of the model that a finished step made."""
    model: str = summary_of(step)["summary"]["model"]
    return step / model


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Lock a run's folder for this process while the block runs.

    Some network file systems have no locks. There the lock is the process id in the file, which
    other machines cannot check.

    Raises:
        BusyError: Another process holds it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / layout.LOCK).open("a+", encoding="utf-8") as lock:
        lock.seek(0)
        owner = lock.read().strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (*_WITHOUT_LOCKS, *_LOCKED):
                raise StoreError(
                    f"{run_dir}: the run cannot be locked: {error.strerror}; "
                    "name a folder on a local disk with --runs"
                ) from error
            pid = owner.partition(" ")[0]
            if error.errno in _LOCKED or (is_alive(owner) and pid != str(os.getpid())):
                raise BusyError(
                    f"{run_dir}: process {pid or 'unknown'} works on this run; wait for it, or "
                    "give the run another name"
                ) from error
        lock.truncate(0)
        lock.write(name_process(os.getpid()))
        lock.flush()
        yield


_LOCKED = (errno.EAGAIN, errno.EACCES)
"""Errors of a lock that another process holds."""
_WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
"""Errors of a file system that has no locks."""


def name_process(pid: int) -> str:
    """Return a process id and, where the system tells it, the start of the process.

    Process ids are used again.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return f"{pid} {fields[_START_FIELD]}"
    except (OSError, IndexError):
        return str(pid)


_START_FIELD = 19
"""Place of the start time in ``/proc/PID/stat``, after the command's name; see proc(5)."""


def is_alive(name: str) -> bool:
    """Return whether the process with a name by ``name_process`` runs on this machine."""
    pid, _, start = name.partition(" ")
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        pass
    except (OSError, ValueError, OverflowError):
        return False
    return not start or name_process(int(pid)) in (name, pid)


def provenance() -> dict[str, Any]:
    """Return the versions of packages that affect results, and the current git commit, if any."""
    versions = {}
    for package in _REPORTED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    try:
        git = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
        commit = git.stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        commit = None
    return {"versions": versions, "commit": commit}
