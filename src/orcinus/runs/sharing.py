"""Share finished steps between machines through a store such as ``s3://bucket/runs``.

    share = Share("s3://bucket/runs")
    share.give(Path("runs/demo/sample-1f0c25d3"))  →  …/runs/demo/sample-1f0c25d3/ in the store
    share.take(Path("runs/demo/sample-1f0c25d3"), fingerprint)  →  True where it was there

A step's folder never changes once it is done, and its name says what it is, so nothing is merged.
``_done`` is copied last, so that nobody takes half a step. The ledger is no part of it: SQLite
needs a disk.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError, StoreError
from orcinus.core.urls import fsspec_module, remote_errors, shown
from orcinus.runs import layout

_STORE = re.compile(r"[a-z][a-z0-9+]+:/")
"""The beginning of a URL. ``Path`` makes one slash of two."""


def refuse_store(option: str, value: str | Path | None) -> None:
    """Refuse a URL where a folder or file on a disk is needed.

    Raises:
        ConfigError: It is a URL.
    """
    if _STORE.match(str(value or "")):
        raise ConfigError(
            f"--{option} {shown(str(value))}: runs and their ledger (SQLite) need a disk; keep "
            "them on one, and share finished steps with --share s3://bucket/folder"
        )


@dataclass(frozen=True, slots=True)
class Share:
    """A place that several machines see. It holds settings and no connection, so it pickles."""

    url: str
    """``s3://bucket/folder`` or another URL that fsspec knows, or a folder on a shared disk."""

    def __post_init__(self) -> None:
        is_url = "://" in self.url
        is_misspelt = not self.url.strip() or (not is_url and _STORE.match(self.url))
        if is_misspelt or self.url.startswith(("http://", "https://")):
            raise ConfigError(
                f"--share {shown(self.url)!r}: nothing can be written there; name a store such as "
                "s3://bucket/folder, or a folder on a shared disk"
            )
        where = self.url if is_url else str(Path(self.url).expanduser().absolute())
        object.__setattr__(self, "url", where.rstrip("/"))

    def __str__(self) -> str:
        return shown(self.url)

    def place_of(self, path: Path) -> str:
        """Return where a file of a step is in the store; ``path`` ends in RUN/STEP/FILE."""
        return f"{self.url}/{'/'.join(path.parts[-3:])}"

    def check(self, run_dir: Path) -> None:
        """Write the run's recipe to the store, so that a wrong address or key shows at once.

        Raises:
            ConfigError: It cannot be written.
        """
        with self._open(run_dir.name, what="cannot be written") as (store, there):
            store.put_file(str(run_dir / layout.RECIPE), f"{there}/{layout.RECIPE}")

    def take(self, step: Path, fingerprint: str) -> bool:
        """Copy a finished step from the store, and return True; False where it has none.

        Args:
            step: The step's folder here, RUN/STEP.
            fingerprint: The step's whole fingerprint, which the store's must equal.

        Raises:
            ConfigError: The store cannot be read.
        """
        with self._open(step.parent.name, step.name, what="cannot be read") as (store, there):
            done = f"{there}/{layout.DONE}"
            if not store.exists(done) or store.cat_file(done) != fingerprint.encode():
                return False
            files = sorted(store.find(there), key=lambda path: (path.endswith(done), path))
            for path in files:
                here = step / path[path.index(there) + len(there) + 1 :]
                if ".." in here.parts:
                    raise StoreError(f"{shown(path)}: leads out of the step's folder; delete it")
                here.parent.mkdir(parents=True, exist_ok=True)
                store.get_file(path, str(here))
        return True

    def give(self, step: Path) -> None:
        """Copy a finished step to the store, unless it is there.

        Raises:
            ConfigError: The store cannot be read or written.
            StoreError: Another machine gave other results of the same step.
        """
        with self._open(step.parent.name, step.name, what="cannot be written") as (store, there):
            if store.exists(f"{there}/{layout.DONE}"):
                if store.cat_file(f"{there}/{layout.STEP}") != (step / layout.STEP).read_bytes():
                    raise StoreError(
                        f"{shown(self.url)}: another machine has finished {step.parent.name}/"
                        f"{step.name} with results of its own; delete {step} to take those, or "
                        "share this run under another name"
                    )
                return
            files = (path for path in step.rglob("*") if path.is_file())
            for path in sorted(files, key=lambda path: (path == step / layout.DONE, path)):
                store.put_file(str(path), f"{there}/{path.relative_to(step).as_posix()}")

    @contextmanager
    def _open(self, *names: str, what: str) -> Iterator[tuple[Any, str]]:
        """Open the store for the block, with a folder in it; an error says ``what`` failed."""
        url = "/".join((self.url, *names))
        with remote_errors(url, what):
            options = {} if "://" in url else {"auto_mkdir": True}
            store, there = fsspec_module().core.url_to_fs(url, **options)
            store.invalidate_cache()  # another machine may have written since
            yield store, there
