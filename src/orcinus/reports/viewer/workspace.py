"""What there is to look at: the runs, how far each is, what each found, and two of them beside each other."""

import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orcinus.core import stats
from orcinus.core.errors import ConfigError
from orcinus.core.types import Judged
from orcinus.reports.viewer.index import AttemptIndex, sources_of
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps, scores_of
from orcinus.runs.ledger import Ledger, SpendRow
from orcinus.runs.progress import Live, RunState, live, state_of
from orcinus.runs.status import RunStatus, run_status

LESSONS_PER_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One run in the list of runs."""

    name: str
    state: RunState
    live: Live | None
    scores: Mapping[str, Any] | None
    """What its latest evaluation found; None before there was one."""
    steps: int
    """How many steps are done."""
    cost_usd: float
    calls: int
    changed: float
    """When a step last ended, in seconds since the epoch; 0 before that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """One run against another on the held-out questions that both were asked, for one arm."""

    arm: str
    n: int
    first: float
    """Accuracy of the one on these questions, of several samples their mean."""
    second: float
    difference: float
    """Second minus first."""
    low: float
    high: float
    p_value: float
    repairs: int
    """Questions where the second does better."""
    regressions: int
    outcome: stats.Outcome
    """Of this arm alone."""


class Workspace:
    """The runs that are shown. Use as a context manager: what it made beside them is deleted at its end."""

    def __init__(self, runs: Path, chosen: Sequence[Path] = (), ledger: Path | None = None) -> None:
        """Show the runs in ``chosen``, or all that ``runs`` has at the time of looking.

        Raises:
            ConfigError: Two chosen runs have the same name.
        """
        self._runs, self._chosen, self._ledger = (
            runs,
            tuple(path.resolve() for path in chosen),
            ledger,
        )
        if len({path.name for path in self._chosen}) < len(set(self._chosen)):
            raise ConfigError("two of the runs have the same name; look at them one after another")
        self._made = Path(tempfile.mkdtemp(prefix="orcinus-view-"))
        self._indexes: dict[str, AttemptIndex] = {}
        self._versions = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *_: object) -> None:
        for index in self._indexes.values():
            index.close()
        shutil.rmtree(self._made, ignore_errors=True)

    def folders(self) -> dict[str, Path]:
        """The runs' folders by name, the latest first."""
        found = self._chosen or [path.parent for path in self._runs.glob("*/recipe.yaml")]
        return {path.name: path for path in sorted(found, key=_changed, reverse=True)}

    def folder(self, run: str) -> Path:
        """A run's folder.

        Raises:
            ConfigError: There is no such run.
        """
        folders = self.folders()
        if run not in folders:
            raise ConfigError(f"there is no run named {run!r} here")
        return folders[run]

    def overview(self, run_dir: Path) -> Overview:
        """One run as the list shows it."""
        spend = self._spend(run_dir)
        return Overview(
            name=run_dir.name,
            state=state_of(run_dir),
            live=live(run_dir),
            scores=_scores(run_dir),
            steps=sum(1 for _ in run_dir.glob(f"*/{layout.DONE}")),
            cost_usd=sum(row.cost_usd for row in spend),
            calls=sum(row.calls for row in spend),
            changed=_changed(run_dir),
        )

    def status(self, run_dir: Path) -> RunStatus:
        """A run's steps and what it spent."""
        return run_status(run_dir, self._ledger_of(run_dir))

    def index(self, run_dir: Path) -> AttemptIndex:
        """The attempts of all steps that the run has finished by now."""
        sources = sources_of(run_dir)
        with self._lock:
            index = self._indexes.get(run_dir.name)
            if index is None or not index.grows_to(sources):
                if index is not None:
                    index.close()
                self._versions += 1
                index = self._indexes[run_dir.name] = AttemptIndex(self._made / str(self._versions))
                index.grows_to(sources)
        return index

    def _spend(self, run_dir: Path) -> list[SpendRow]:
        ledger = self._ledger_of(run_dir)
        if not ledger.exists():
            return []
        with Ledger(ledger, read_only=True) as opened:
            return opened.spend(run_dir.name)

    def _ledger_of(self, run_dir: Path) -> Path:
        return self._ledger or run_dir.parent / layout.LEDGER


def _scores(run_dir: Path) -> dict[str, Any] | None:
    """What the run's latest evaluation found. A run that cannot be read must not keep the others from being listed."""
    try:
        return scores_of(run_dir)
    except (OSError, ValueError):
        return None


def _changed(run_dir: Path) -> float:
    return max((path.stat().st_mtime for path in run_dir.glob(f"*/{layout.DONE}")), default=0.0)


def attempt_at(run_dir: Path, folder: str, file: str, row: int) -> Judged:
    """The attempt that a link names, with its verdict.

    Raises:
        ConfigError: The run has no such table, or the table no such row.
    """
    for source in sources_of(run_dir):
        if (source.path.parent.name, source.path.stem) == (
            folder,
            file,
        ) and row < tables.count_rows(source.path):
            return tables.judged_of(next(tables.rows_at(source.path, [row])))
    raise ConfigError(
        f"{run_dir.name}: there is no row {row} of {folder}/{file} now; a later run of the step may have replaced it"
    )


def lessons_page(run_dir: Path, page: int) -> tuple[list[dict[str, Any]], int]:
    """A page of what the student learnt, and how many lessons there are.

    Raises:
        ConfigError: The run has no lessons yet.
    """
    path = finished_steps(run_dir, "erase")[0] / layout.LESSONS
    count = tables.count_rows(path)
    first = min(page * LESSONS_PER_PAGE, count)
    return list(tables.rows_at(path, range(first, min(first + LESSONS_PER_PAGE, count)))), count


def assigned_strategies(run_dir: Path) -> dict[str, str]:
    """By group the strategy that the run taught with, and ``–`` for a group that was left out; empty before it was chosen."""
    try:
        folder = finished_steps(run_dir, "assign")[0]
    except ConfigError:
        return {}
    return {
        item.group: item.strategy or "–"
        for item in tables.read_assignments(folder / layout.ASSIGNMENTS)
    }


def paired(first: Path, second: Path) -> tuple[Paired, ...]:
    """``second`` against ``first`` on the held-out questions that both were asked, arm by arm.

    A question is the same when task, id and every word of it are: ids of drawn questions repeat from seed to seed.
    """
    found = []
    for arm in _arms(first):
        if arm in _arms(second):
            a, b = _values(first, arm), _values(second, arm)
            shared = [key for key in a if key in b]
            if shared:
                found.append(
                    _compared(
                        arm,
                        np.array([a[key] for key in shared]),
                        np.array([b[key] for key in shared]),
                    )
                )
    return tuple(found)


def _arms(run_dir: Path) -> list[str]:
    scores = _scores(run_dir)
    return [] if scores is None else list(scores["arms"])


def _values(run_dir: Path, arm: str) -> dict[tuple[str, str, str], float]:
    """By (task, id, question) the mean value of an arm's answers; what could not be judged is not right, errors are left out."""
    import duckdb

    path = finished_steps(run_dir, "evaluate")[0] / layout.attempts(arm)
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT task, example_id, messages[-1].content, avg(coalesce(value, 0)) FROM read_parquet(?) "
            "WHERE finish <> 'error' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            (str(path),),
        ).fetchall()
    return {(task, identity, question): value for task, identity, question, value in rows}


def _compared(arm: str, first: Any, second: Any) -> Paired:
    compared = stats.compare(second, first, seed=0)
    return Paired(
        arm=arm,
        first=float(first.mean()),
        second=float(second.mean()),
        outcome=stats.outcome(compared.low, compared.high, compared.p_value),
        **asdict(compared),
    )
