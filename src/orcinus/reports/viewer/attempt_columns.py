"""Hold what a list shows of a run's attempts: columns to filter and sort by, and where each row is.

finished tables ──sources_of──► Source of each ──► AttemptColumns: 1–2 bytes a value, texts on disk
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]

Order = Literal["first", "longest", "shortest", "costliest"]
FILTERS = ("step", "role", "task", "strategy", "finish", "verdict")
"""The columns with few values, of which a reader picks one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One finished table of attempts."""

    path: Path
    step: str
    role: str
    """``student``, ``teacher``, or the arm of an evaluation."""
    stamp: int
    """Time of the last change in nanoseconds: differs when the file was replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Consecutive rows of one table."""

    source: Source
    first: int
    """Number of the first row among all attempts."""
    row: int
    """Number of the first row in its table."""
    shown: pa.RecordBatch
    """What a list shows of each row; mapped from a file."""


class AttemptColumns:
    """The columns of all attempts together; replaced as a whole when a table is added."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.starts = np.array([part.first for part in parts], dtype=np.int64)
        self.total = parts[-1].first + len(parts[-1].shown) if parts else 0
        self._codes: dict[str, NDArray[np.uint16]] = {}
        self.values: dict[str, list[tuple[str, int]]] = {}
        """(value, number of attempts) by filter."""
        self._code_of: dict[str, dict[str, int]] = {}
        for name in FILTERS:
            self._encode(name)
        tokens = np.concatenate(
            [np.array([], np.int64), *(part.shown["tokens_out"].to_numpy() for part in parts)]
        )
        cost = np.concatenate(
            [np.array([]), *(part.shown["cost_usd"].to_numpy() for part in parts)]
        )
        # Sorting a million numbers takes longer than a page may, so it is done once.
        self._orders: Mapping[Order, I64] = {
            "longest": np.argsort(-tokens, kind="stable"),
            "shortest": np.argsort(tokens, kind="stable"),
            "costliest": np.argsort(-cost, kind="stable"),
        }

    def _encode(self, name: str) -> None:
        columns = [_column(part, name) for part in self.parts]
        encoded = pa.chunked_array(columns, pa.string()).dictionary_encode().unify_dictionaries()
        names: list[str] = encoded.chunk(0).dictionary.to_pylist() if columns else []
        codes = np.concatenate(
            [
                np.array([], np.uint16),
                *(c.indices.to_numpy().astype(np.uint16) for c in encoded.chunks),
            ]
        )
        counts = np.bincount(codes, minlength=len(names)).tolist()
        self._codes[name] = codes
        self._code_of[name] = {value: code for code, value in enumerate(names)}
        self.values[name] = sorted(zip(names, counts, strict=True))

    def with_value(self, name: str, value: str) -> Flags:
        """Return a flag for each attempt: whether it has this value in one of ``FILTERS``."""
        code = self._code_of[name].get(value)
        return np.zeros(self.total, bool) if code is None else self._codes[name] == code

    def sort(self, wanted: Flags | None, order: Order) -> I64:
        """Return the numbers of the wanted attempts in order; None wants all."""
        if order == "first":
            return np.arange(self.total) if wanted is None else np.flatnonzero(wanted)
        numbers = self._orders[order]
        return numbers if wanted is None else numbers[wanted[numbers]]

    def with_identity(self, identity: str) -> Flags:
        """Return a flag for each attempt: whether its id or its example's begins like this."""
        found = [
            pc.or_(
                pc.starts_with(part.shown["id"], identity),
                pc.starts_with(part.shown["example_id"], identity),
            )
            for part in self.parts
        ]
        return np.concatenate(
            [np.array([], bool), *(flags.to_numpy(zero_copy_only=False) for flags in found)]
        )

    def of_example(self, task: str, example_id: str) -> list[int]:
        """Return the numbers of the attempts at an example."""
        found: list[int] = []
        for part in self.parts:
            at_it = np.flatnonzero(
                pc.equal(part.shown["example_id"], example_id).to_numpy(zero_copy_only=False)
            )
            found += [
                part.first + i for i in at_it.tolist() if part.shown["task"][i].as_py() == task
            ]
        return found

    def row(self, number: int) -> dict[str, Any]:
        """Return what a list shows of an attempt."""
        part = self.parts[int(np.searchsorted(self.starts, number, "right")) - 1]
        place, source = number - part.first, part.source
        return {
            "folder": source.path.parent.name,
            "file": source.path.stem,
            "row": part.row + place,
            "step": source.step,
            "role": source.role,
            **part.shown.slice(place, 1).to_pylist()[0],
        }


def _column(part: Part, name: str) -> pa.Array:
    if name in ("step", "role"):
        return pa.repeat(pa.scalar(getattr(part.source, name), pa.string()), len(part.shown))
    return pc.fill_null(part.shown[name].cast(pa.string()), "")


def sources_of(run_dir: Path) -> tuple[Source, ...]:
    """Return a run's finished tables of attempts: the latest of each step, the oldest first."""
    latest: dict[str, Path] = {}
    for folder in sorted(
        (path for path in run_dir.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
    ):
        name = folder.name.rpartition("-")[0]
        if name in ("probe", "trial", "assign", "teach", "rehearse", "evaluate"):
            latest[name] = folder
    found = []
    for step, folder in latest.items():
        for path in folder.glob("*.parquet"):
            if path.stem in ("attempts", "confirm") or path.stem.startswith("attempts-"):
                found.append(
                    Source(
                        path=path, step=step, role=_role(step, path), stamp=path.stat().st_mtime_ns
                    )
                )
    return tuple(sorted(found, key=lambda source: (source.stamp, source.path)))


def _role(step: str, path: Path) -> str:
    if step == "evaluate":
        return path.stem.removeprefix("attempts-")
    return "teacher" if step == "teach" else "student"
