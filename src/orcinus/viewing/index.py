"""A run's attempts, filtered, sorted and searched in a fraction of a second however many there are.

    the run's finished tables ──columns to filter and sort by──► DuckDB     (a file; what a list shows of an attempt)
                              ──words of question and answer───► SQLite FTS5 (an index of words; no text is kept)

Both are files in a temporary folder. Reading a million texts for one word takes seconds with two cores, whatever reads them;
an index of words answers in milliseconds and is made once, in the background (figures: ``python -m benchmarks.view``).
A whole attempt is read from the run's own table, by its number.
"""

import re
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orcinus.store import tables

if TYPE_CHECKING:
    import duckdb

ROWS_PER_PAGE = 50
PREVIEW_CHARACTERS = 200
MEMORY = "1GB"
"""What DuckDB may use: a training run beside it needs the rest."""
KEPT_SEARCHES = 16
I64 = NDArray[np.int64]
PATIENCE_S = 1.0
"""How long a search waits for the index of words; those of a few thousand attempts are made by then."""

Order = Literal["first", "longest", "shortest", "dearest"]
_ORDER: Mapping[Order, str] = {
    "first": "n",
    "longest": "tokens_out DESC, n",
    "shortest": "tokens_out, n",
    "dearest": "cost_usd DESC, n",
}
FILTERS = ("step", "role", "task", "strategy", "finish", "verdict")
"""The columns with few values, which a reader picks one of."""
_COLUMNS = (
    "folder, file, row, id, example_id, step, role, task, strategy, model, sample, finish, verdict, answer, "
    "tokens_out, cost_usd, question, preview"
)
_CREATE = """
    CREATE TABLE attempts (
        n BIGINT, folder VARCHAR, file VARCHAR, row BIGINT, id VARCHAR, example_id VARCHAR, step VARCHAR, role VARCHAR,
        task VARCHAR, strategy VARCHAR, model VARCHAR, sample INTEGER, finish VARCHAR, verdict VARCHAR, answer VARCHAR,
        tokens_out BIGINT, cost_usd DOUBLE,
        question VARCHAR USING COMPRESSION uncompressed, preview VARCHAR USING COMPRESSION uncompressed
    )
"""
"""``n`` is the row's number from 0. Fifty rows from all over a million: 60 ms where texts are compressed, 40 ms where not."""
_FILL = f"""
    INSERT INTO attempts
    SELECT $first + file_row_number, $folder, $file, file_row_number, id, example_id, $step, $role,
        task, strategy, model, sample, finish,
        CASE WHEN value IS NULL THEN 'not judged' WHEN value >= 1 THEN 'right' WHEN value <= 0 THEN 'wrong' ELSE 'partly' END,
        left(answer, {PREVIEW_CHARACTERS}), tokens_out, cost_usd,
        left(messages[-1].content, {PREVIEW_CHARACTERS}), left(coalesce(error, text), {PREVIEW_CHARACTERS})
    FROM read_parquet($path, file_row_number = true)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One finished table of attempts."""

    path: Path
    step: str
    role: str
    """Whose attempts: the student's, the teacher's, or of one of the trained students."""
    stamp: int
    """Changes when the file is another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a reader wants to see. An empty text sets no condition."""

    step: str = ""
    role: str = ""
    task: str = ""
    strategy: str = ""
    finish: str = ""
    verdict: str = ""
    words: str = ""
    """All must stand in the question or the answer; "in quotes" they stand together, and pre* is the start of a word."""
    identity: str = ""
    """The start of an attempt's id, or of an example's."""
    order: Order = "first"
    page: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of attempts."""

    rows: tuple[dict[str, Any], ...]
    count: int
    """How many there are on all pages."""
    searched: int
    """In how many attempts words have been looked for, as far as the index of words is made."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is known of all attempts together; another one whenever a table is taken in."""

    total: int
    values: Mapping[str, Sequence[tuple[str, int]]]
    orders: Mapping[Order, I64]
    """The numbers of all attempts in each order."""


def sources_of(run_dir: Path) -> tuple[Source, ...]:
    """The tables of attempts that a run has finished, of each step the latest, in the order of their making."""
    latest: dict[str, Path] = {}
    for folder in sorted((path for path in run_dir.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime):
        name = folder.name.rpartition("-")[0]
        if name in ("probe", "assign", "teach", "evaluate"):
            latest[name] = folder
    found = []
    for step, folder in latest.items():
        for path in folder.glob("*.parquet"):
            if path.stem in ("attempts", "confirm") or path.stem.startswith("attempts-"):
                found.append(Source(path=path, step=step, role=_role(step, path), stamp=path.stat().st_mtime_ns))
    return tuple(sorted(found, key=lambda source: (source.stamp, source.path)))


def _role(step: str, path: Path) -> str:
    if step == "evaluate":
        return path.stem.removeprefix("attempts-")
    return "teacher" if step == "teach" else "student"


def query_of(words: str) -> str:
    """What a reader typed as an FTS5 query: every word or quoted phrase must be there; nothing in it is an operator."""
    parts = []
    for phrase, word in re.findall(r'"([^"]*)"?|(\S+)', words):
        text = (phrase or word).replace('"', " ").strip()
        plain = text.rstrip("*")
        if any(character.isalnum() for character in plain):
            parts.append(f'"{plain}"' + ("*" if text != plain else ""))
    return " ".join(parts)


class AttemptIndex:
    """The attempts of one run. Give it a folder of its own; close it, and then delete the folder."""

    def __init__(self, folder: Path) -> None:
        import duckdb

        folder.mkdir(parents=True, exist_ok=True)
        self._words = folder / "words.sqlite"
        self._duck = duckdb.connect(str(folder / "attempts.duckdb"), config={"memory_limit": MEMORY})
        self._duck.execute("SET autoinstall_known_extensions = false; SET autoload_known_extensions = false")
        self._duck.execute(_CREATE)
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._maker: threading.Thread | None = None
        self.sources: tuple[Source, ...] = ()
        self.searchable = 0
        """Attempts, from the first on, whose words can be looked for."""
        self._known = _Known(total=0, values={}, orders=dict.fromkeys(_ORDER, np.array([], dtype=np.int64)))
        self._matches = lru_cache(maxsize=KEPT_SEARCHES)(self._match)
        with _connected(self._words, write=True) as words:
            words.execute("CREATE VIRTUAL TABLE words USING fts5(question, answer, content='')")

    def close(self) -> None:
        """Stop making the index of words, and close."""
        self._closed.set()
        if self._maker is not None:
            self._maker.join()
        self._duck.close()

    def grows_to(self, sources: Sequence[Source]) -> bool:
        """Take in the tables that are new. False when one that was taken in is there no more: then another index is needed."""
        with self._lock:
            if tuple(sources[: len(self.sources)]) != self.sources:
                return False
            total = self._known.total
            for source in sources[len(self.sources) :]:
                self._duck.execute(
                    _FILL,
                    {
                        "first": total,
                        "folder": source.path.parent.name,
                        "file": source.path.stem,
                        "step": source.step,
                        "role": source.role,
                        "path": str(source.path),
                    },
                )
                total += tables.count_rows(source.path)
                self.sources += (source,)
            if total > self._known.total:
                self._known = self._look(total)
            if self.searchable < total and (self._maker is None or not self._maker.is_alive()):
                self._maker = threading.Thread(target=self._make_words, name="words", daemon=True)
                self._maker.start()
            return True

    @property
    def values(self) -> Mapping[str, Sequence[tuple[str, int]]]:
        """The values of each of ``FILTERS``, and how many attempts have them."""
        return self._known.values

    def _look(self, total: int) -> "_Known":
        values = {
            name: self._duck.execute(f"SELECT {name}, count(*) FROM attempts GROUP BY 1 ORDER BY 1").fetchall()
            for name in FILTERS
        }
        # Sorting a million rows takes longer than a page may: it is done once, and a page picks from what is sorted.
        orders = {
            order: self._duck.execute(f"SELECT n FROM attempts ORDER BY {by}").fetchnumpy()["n"]
            for order, by in _ORDER.items()
        }
        return _Known(total=total, values=values, orders=orders)

    def _make_words(self) -> None:
        """Read what is not yet in the index of words; ends when all is, or when the index is closed."""
        first = 0
        with _connected(self._words, write=True) as words:
            for source in self.sources:
                with pq.ParquetFile(source.path) as file:
                    for group in range(file.num_row_groups):
                        rows = file.metadata.row_group(group).num_rows
                        if first >= self.searchable:
                            if self._closed.is_set():
                                return
                            _add_words(words, file.read_row_group(group, ["messages", "reasoning", "text"]), first)
                            self.searchable = first + rows
                        first += rows

    def _match(self, query: str, searchable: int) -> I64:
        """The numbers of those of the first ``searchable`` attempts that have these words."""
        with _connected(self._words) as words:
            # One text of a million numbers comes back in a fifth of the time of a million rows.
            (numbers,) = words.execute("SELECT group_concat(rowid) FROM words WHERE words MATCH ?", (query,)).fetchone()
        found = np.fromstring(numbers or "", dtype=np.int64, sep=",")
        return found[found < searchable]

    def find(self, asked: Asked) -> Found:
        """The attempts that meet every condition, one page of them."""
        known = self._known
        wanted = np.ones(known.total, dtype=bool)
        searched = known.total
        conditions, values = _conditions(asked)
        cursor = self._duck.cursor()
        if conditions:
            cursor.execute(f"SELECT n FROM attempts WHERE {' AND '.join(conditions)}", values)
            wanted &= _flags(cursor.fetchnumpy()["n"], known.total)
        if query := query_of(asked.words):
            if self._maker is not None:
                self._maker.join(PATIENCE_S)
            searched = min(self.searchable, known.total)
            wanted &= _flags(self._matches(query, searched), known.total)
        elif asked.words:
            wanted[:] = False
        ordered = known.orders[asked.order]
        numbers = ordered[wanted[ordered]]
        first = ROWS_PER_PAGE * asked.page
        rows = self._rows(cursor, numbers[first : first + ROWS_PER_PAGE].tolist())
        return Found(rows=tuple(rows), count=len(numbers), searched=searched, total=known.total)

    def of_example(self, task: str, example_id: str) -> list[dict[str, Any]]:
        """All attempts at one example, in the order of the steps."""
        cursor = self._duck.cursor()
        numbers = cursor.execute(
            "SELECT n FROM attempts WHERE example_id = ? AND task = ? ORDER BY n", (example_id, task)
        ).fetchall()
        return self._rows(cursor, [n for (n,) in numbers])

    @staticmethod
    def _rows(cursor: "duckdb.DuckDBPyConnection", numbers: Sequence[int]) -> list[dict[str, Any]]:
        # As a join: by a list of values DuckDB would read every row (200 ms and more for fifty of a million).
        cursor.execute(f"SELECT n, {_COLUMNS} FROM attempts WHERE n IN (SELECT unnest(?::BIGINT[]))", (list(numbers),))
        names = [column[0] for column in cursor.description or ()]
        found = {row[0]: dict(zip(names, row, strict=True)) for row in cursor.fetchall()}
        return [found[n] for n in numbers]


def _flags(numbers: I64, total: int) -> NDArray[np.bool_]:
    """Which of ``total`` attempts have one of these numbers."""
    flags = np.zeros(total, dtype=bool)
    flags[numbers[numbers < total]] = True
    return flags


def _conditions(asked: Asked) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for name in FILTERS:
        if value := getattr(asked, name):
            conditions.append(f"{name} = ?")
            values.append(value)
    if asked.identity:
        conditions.append("(starts_with(id, ?) OR starts_with(example_id, ?))")
        values += [asked.identity, asked.identity]
    return conditions, values


class _connected:
    """``with`` block around one connection to the index of words; what was written is there when it ends."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        uri = f"{path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        if write:
            # It can be made again, so it need not outlive a crash; readers are not to wait for the writer.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = OFF")

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _add_words(words: sqlite3.Connection, rows: pa.Table, first: int) -> None:
    """Put a row group into the index of words, as one transaction."""
    messages = rows["messages"].combine_chunks()
    questions = pc.struct_field(messages.flatten(), "content").take(pc.subtract(messages.offsets[1:], 1))
    answers = pc.binary_join_element_wise(
        rows["reasoning"], rows["text"], "\n", null_handling="replace", null_replacement=""
    )
    words.execute("BEGIN")
    words.executemany(
        "INSERT INTO words (rowid, question, answer) VALUES (?, ?, ?)",
        zip(range(first, first + len(rows)), questions.to_pylist(), answers.to_pylist(), strict=True),
    )
    words.execute("COMMIT")
