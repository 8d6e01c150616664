"""Read the runs of a workspace for the viewer: their state, their results, two of them compared.

runs/ ──► Overview of each run: finished, 61.0 % after training, $1.20, 3,412 calls
runs/small, runs/longer ──compare_runs──► RunComparison by arm, over the questions they share
"""

import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from orcinus.core import stats
from orcinus.core.errors import ConfigError, StoreError
from orcinus.core.results import Scores
from orcinus.core.types import Judged
from orcinus.evaluation.scores import latest_scores
from orcinus.reports.viewer.attempt_columns import sources_of
from orcinus.reports.viewer.index import AttemptIndex
from orcinus.runs import layout, tables
from orcinus.runs.folders import finished_steps
from orcinus.runs.ledger import Ledger
from orcinus.runs.ledger_figures import SpendRow
from orcinus.runs.progress import Live, RunState, live, state_of
from orcinus.runs.status import RunStatus, run_status

LESSONS_PER_PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One run in the list of runs."""

    name: str
    state: RunState
    live: Live | None
    scores: Scores | None
    """Of its latest evaluation; None before there was one."""
    steps: int
    """Finished steps."""
    cost_usd: float
    calls: int
    changed: float
    """When the last step finished, in seconds since the epoch; 0 before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """One arm of a second run against the same arm of a first, over the questions they share."""

    arm: str
    n: int
    """Questions that both runs asked."""
    first: float
    """Accuracy of the first run in 0..1; the mean over several samples."""
    second: float
    difference: float
    """Second minus first."""
    low: float
    high: float
    """Bounds of the 95 % interval of ``difference``."""
    p_value: float
    repairs: int
    """Questions on which the second run is better."""
    regressions: int
    outcome: stats.Outcome
    """Not corrected for comparing several arms."""


class Workspace:
    """The runs to show. A context manager: it deletes its temporary files at the end."""

    def __init__(self, runs: Path, chosen: Sequence[Path] = (), ledger: Path | None = None) -> None:
        """Show the runs in ``chosen``, or whatever runs the folder ``runs`` holds when asked.

        Raises:
            ConfigError: Two chosen runs have the same name.
        """
        self._runs, self._ledger = runs, ledger
        self._chosen = tuple(path.resolve() for path in chosen)
        if len({path.name for path in self._chosen}) < len(set(self._chosen)):
            raise ConfigError("two of the runs have the same name; view them one after the other")
        self._temporary = Path(tempfile.mkdtemp(prefix="orcinus-view-"))
        self._indexes: dict[str, AttemptIndex] = {}
        self._versions = 0
        self._lock = threading.Lock()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *_: object) -> None:
        for index in self._indexes.values():
            index.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def folders(self) -> dict[str, Path]:
        """Return the runs' folders by name, the most recently changed first."""
        found = self._chosen or [path.parent for path in self._runs.glob(f"*/{layout.RECIPE}")]
        return {path.name: path for path in sorted(found, key=_last_change, reverse=True)}

    def folder(self, run: str) -> Path:
        """Return the folder of a run.

        Raises:
            ConfigError: There is no such run.
        """
        folders = self.folders()
        if run not in folders:
            raise ConfigError(f"there is no run named {run!r} here")
        return folders[run]

    def overview(self, run_dir: Path) -> Overview:
        """Return a run as the list of runs shows it."""
        spend = self._spend(run_dir)
        return Overview(
            name=run_dir.name,
            state=state_of(run_dir),
            live=live(run_dir),
            scores=scores_or_none(run_dir),
            steps=sum(1 for _ in run_dir.glob(f"*/{layout.DONE}")),
            cost_usd=sum(row.cost_usd for row in spend),
            calls=sum(row.calls for row in spend),
            changed=_last_change(run_dir),
        )

    def status(self, run_dir: Path) -> RunStatus:
        """Return a run's steps and spending."""
        return run_status(run_dir, self._ledger_of(run_dir))

    def index(self, run_dir: Path) -> AttemptIndex:
        """Return the index of a run's attempts, with the tables finished since the last call."""
        sources = sources_of(run_dir)
        with self._lock:
            index = self._indexes.get(run_dir.name)
            if index is None or not index.add_new(sources):
                if index is not None:
                    index.close()
                self._versions += 1
                index = AttemptIndex(self._temporary / str(self._versions))
                self._indexes[run_dir.name] = index
                index.add_new(sources)
        return index

    def _spend(self, run_dir: Path) -> list[SpendRow]:
        ledger = self._ledger_of(run_dir)
        if not ledger.exists():
            return []
        with Ledger(ledger, read_only=True) as opened:
            return opened.spend(run_dir.name)

    def _ledger_of(self, run_dir: Path) -> Path:
        return self._ledger or run_dir.parent / layout.LEDGER


def scores_or_none(run_dir: Path) -> Scores | None:
    """Return the scores of a run's latest evaluation; None where there are none to read.

    One damaged run must not keep the others from being listed.
    """
    try:
        return latest_scores(run_dir)
    except StoreError:
        return None


def _last_change(run_dir: Path) -> float:
    return max((path.stat().st_mtime for path in run_dir.glob(f"*/{layout.DONE}")), default=0.0)


def attempt_at(run_dir: Path, folder: str, file: str, row: int) -> Judged:
    """Return the attempt that a link names, with its verdict.

    Raises:
        ConfigError: The run has no such table, or the table no such row.
    """
    for source in sources_of(run_dir):
        names = (source.path.parent.name, source.path.stem)
        if names == (folder, file) and row < tables.count_rows(source.path):
            return tables.judged_of(next(tables.rows_at(source.path, [row])))
    raise ConfigError(
        f"{run_dir.name}: there is no row {row} of {folder}/{file}; the step may have run again"
    )


def lessons_page(run_dir: Path, page: int) -> tuple[list[dict[str, Any]], int]:
    """Return one page of a run's lessons, and the number of all lessons.

    Raises:
        ConfigError: The run has no lessons yet.
    """
    path = finished_steps(run_dir, "erase")[0] / layout.LESSONS
    count = tables.count_rows(path)
    first = min(page * LESSONS_PER_PAGE, count)
    return list(tables.rows_at(path, range(first, min(first + LESSONS_PER_PAGE, count)))), count


def lessons_beside(run_dir: Path, place: int) -> tuple[str | None, str | None]:
    """Return the relative addresses of the lessons before and after a place in the table.

    Raises:
        ConfigError: The run has no lessons yet.
    """
    path = finished_steps(run_dir, "erase")[0] / layout.LESSONS
    count = tables.count_rows(path)
    places = [place - 1, place + 1]
    ids = {at: next(tables.rows_at(path, [at], ["id"]))["id"] for at in places if 0 <= at < count}
    before, after = (f"{quote(ids[at], safe='')}?at={at}" if at in ids else None for at in places)
    return before, after


def assigned_strategies(run_dir: Path) -> dict[str, str]:
    """Return the strategy of each group, ``–`` for a group left out; empty before ``assign``."""
    try:
        folder = finished_steps(run_dir, "assign")[0]
    except ConfigError:
        return {}
    return {
        item.group: item.strategy or "–"
        for item in tables.read_assignments(folder / layout.ASSIGNMENTS)
    }


def compare_runs(first: Path, second: Path) -> tuple[RunComparison, ...]:
    """Compare ``second`` with ``first`` on the held-out questions that both asked, arm by arm.

    A question is the same when its task, its id and every word are: ids of drawn questions repeat
    from seed to seed.
    """
    found = []
    arms = _arms(second)
    for arm in _arms(first):
        if arm in arms:
            a, b = _item_means(first, arm), _item_means(second, arm)
            shared = [key for key in a if key in b]
            if shared:
                first_values, second_values = [a[key] for key in shared], [b[key] for key in shared]
                tasks = [task for task, _, _ in shared]
                found.append(_compare_arm(arm, first_values, second_values, tasks))
    return tuple(found)


def _arms(run_dir: Path) -> list[str]:
    scores = scores_or_none(run_dir)
    return [] if scores is None else list(scores.arms)


def _item_means(run_dir: Path, arm: str) -> dict[tuple[str, str, str], float]:
    """By (task, id, question) the mean value of an arm's answers.

    What could not be judged counts as not right; failed calls are left out.
    """
    import duckdb

    path = finished_steps(run_dir, "evaluate")[0] / layout.attempts(arm)
    with duckdb.connect() as connection:
        rows = connection.execute(
            "SELECT task, example_id, messages[-1].content, avg(coalesce(value, 0)) "
            "FROM read_parquet(?) WHERE finish <> 'error' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
            (str(path),),
        ).fetchall()
    return {(task, identity, question): value for task, identity, question, value in rows}


def _compare_arm(
    arm: str, first: Sequence[float], second: Sequence[float], tasks: Sequence[str]
) -> RunComparison:
    compared = stats.compare(second, first, seed=0, strata=tasks)
    return RunComparison(
        arm=arm,
        first=stats.mean_of_strata(first, tasks),
        second=stats.mean_of_strata(second, tasks),
        outcome=stats.outcome(compared.low, compared.high, compared.p_value),
        **asdict(compared),
    )
