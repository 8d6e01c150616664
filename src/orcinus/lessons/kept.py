"""Test whether ``curate`` keeps traces by their length or source instead of by being right.

runs/demo ──associations──► length: r -0.02, 0.001 bits, p 0.61
task:   0.03 bits, p 0.001   flagged
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson

from orcinus.core.draw import draw
from orcinus.core.errors import ConfigError
from orcinus.core.stats.association import (
    Association,
    associate_name,
    associate_number,
    efficiency,
)
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps, summary_of

Feature = Literal["length", "collection", "strategy", "teacher"]
MOST_TRACES = 20_000
"""Traces that are compared, drawn by hash: at this number the tests find r = 0.03."""
CHANCE = 0.01
"""p-value below which a feature is flagged, if it is also strong."""
STRONG_R = 0.2
"""Correlation with the length from which on it is flagged."""
STRONG_BITS = 0.02
"""Information from which on a feature is flagged: a choice of half the traces holds 1 bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBy:
    """The association of being kept with one feature of a trace."""

    feature: Feature
    association: Association
    among_right: Association | None
    """The same among the traces with a right answer; None where all or none of them is kept."""
    detail: str
    """Which are kept, in words."""

    @property
    def flagged(self) -> bool:
        """True when the association is strong and no chance."""
        return is_flagged(self.association)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The features of traces that go with being kept, for one run."""

    traces: int
    """Traces that were compared."""
    kept: int
    """Those of them that were kept."""
    efficiency: float | None
    """Share of the information in being kept that is about being right; None where no verdict
    tells right from wrong."""
    features: tuple[KeptBy, ...]


def is_flagged(found: Association) -> bool:
    """Return True when an association is strong and no chance."""
    strong = found.bits > STRONG_BITS or abs(found.r or 0.0) > STRONG_R
    return strong and found.p_value < CHANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trace:
    id: str
    key: tuple[str, str]
    kept: bool
    right: bool | None
    words: int
    strategy: str
    teacher: str


def kept_by(run_dir: Path, *, seed: int = 0) -> Kept:
    """Compare the kept traces of a run, of teacher and assistant, with the dropped ones.

    Args:
        run_dir: The run's folder.
        seed: Of the shuffles.

    Raises:
        ConfigError: No ``curate`` step is finished.
        StoreError: A table cannot be read.
    """
    folders = [finished_steps(run_dir, "curate")[0]]
    with suppress(ConfigError):  # the recipe has no assistant
        folders.append(finished_steps(run_dir, "curate-assistant")[0])
    traces = [trace for folder in folders for trace in _drawn(run_dir, folder)]
    sampled = run_dir / summary_of(folders[0])["inputs"]["sample"]
    collections = _collections(sampled, {trace.key for trace in traces})
    kept = np.array([trace.kept for trace in traces], bool)
    right = np.array([trace.right is True for trace in traces], bool)
    named: dict[Feature, list[str]] = {
        "collection": [collections.get(trace.key, trace.key[0]) for trace in traces],
        "strategy": [trace.strategy for trace in traces],
        "teacher": [trace.teacher for trace in traces],
    }
    words = np.array([trace.words for trace in traces], float)
    features = [
        KeptBy(
            feature="length",
            association=associate_number(kept, words, seed=seed),
            among_right=associate_number(kept[right], words[right], seed=seed)
            if _differ(kept[right])
            else None,
            detail=_mean_lengths(kept, words),
        )
    ]
    for feature, names in named.items():
        if len(set(names)) < 2:
            continue
        among = [name for name, is_right in zip(names, right, strict=True) if is_right]
        features.append(
            KeptBy(
                feature=feature,
                association=associate_name(kept, names, seed=seed),
                among_right=associate_name(kept[right], among, seed=seed)
                if _differ(kept[right])
                else None,
                detail=_shares_kept(kept, names),
            )
        )
    return Kept(
        traces=len(traces),
        kept=int(kept.sum()),
        efficiency=_efficiency(traces),
        features=tuple(features),
    )


def _drawn(run_dir: Path, folder: Path) -> list[_Trace]:
    """Draw traces of one ``curate`` step by hash, each with whether it was kept."""
    taught = run_dir / summary_of(folder)["inputs"]["teach"] / layout.ATTEMPTS
    columns = ["id", "task", "example_id", "strategy", "model", "text", "value", "finish"]
    traces = (
        _Trace(
            id=row["id"],
            key=(row["task"], row["example_id"]),
            kept=False,
            right=None if row["value"] is None else row["value"] == 1.0,
            words=len(row["text"].split()),
            strategy=row["strategy"],
            teacher=row["model"],
        )
        for row in tables.read_rows(taught, columns)
        if row["finish"] != "error"
    )
    drawn = draw(traces, lambda trace: ("kept", trace.id), MOST_TRACES)
    ids = {trace.id for trace in drawn}
    rows = tables.read_rows(folder / layout.KEPT, ["id"])
    kept = {row["id"] for row in rows if row["id"] in ids}
    return [replace(trace, kept=trace.id in kept) for trace in drawn]


def _collections(sampled: Path, keys: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the collection of each question that has one."""
    found = {}
    for row in tables.read_rows(sampled / layout.EXAMPLES, ["task", "id", "meta"]):
        if (key := (row["task"], row["id"])) in keys:
            meta: dict[str, Any] = orjson.loads(row["meta"])
            if meta.get("collection"):
                found[key] = str(meta["collection"])
    return found


def _differ(marks: np.ndarray) -> bool:
    return bool(marks.any()) and not bool(marks.all())


def _efficiency(traces: list[_Trace]) -> float | None:
    """Return how much of being kept is about being right, over the traces with a verdict."""
    judged = [trace for trace in traces if trace.right is not None]
    if not _differ(np.array([trace.right for trace in judged], bool)):
        return None
    table = np.zeros((2, 2))
    for trace in judged:
        table[int(trace.kept), int(bool(trace.right))] += 1
    return efficiency(table)


def _mean_lengths(kept: np.ndarray, words: np.ndarray) -> str:
    if not _differ(kept):
        return "all or none are kept"
    return f"kept ones have {words[kept].mean():.0f} words, dropped ones {words[~kept].mean():.0f}"


def _shares_kept(kept: np.ndarray, names: list[str]) -> str:
    shares = {
        name: float(kept[np.array([other == name for other in names])].mean())
        for name in sorted(set(names))
    }
    low, high = min(shares, key=lambda n: shares[n]), max(shares, key=lambda n: shares[n])
    return f"kept of {high} {shares[high]:.0%}, of {low} {shares[low]:.0%}"
