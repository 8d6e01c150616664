"""A run's attempts, filtered, sorted and searched in a fraction of a second however many there are.

    the run's finished tables ──DuckDB: what a list shows of an attempt──► Arrow files      (mapped into memory, read by number)
                              ──columns to filter and sort by────────────► NumPy arrays     (a byte or two for each attempt)
                              ──words of question and answer─────────────► SQLite FTS5      (an index of words; no text is kept)

The files lie in a temporary folder. Reading a million texts for one word takes seconds with two cores, whatever reads them; an index
of words answers in milliseconds and is made once, in the background (figures: ``python -m benchmarks.view``). A search that takes
longer than a page may wait goes on in the background too: the page shows what was found in the first attempts so far.
A whole attempt is read from the run's own table, by its number.
"""

import re
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orcinus.runs import tables

ROWS_PER_PAGE = 50
PREVIEW_CHARACTERS = 200
MEMORY = "1GB"
"""What DuckDB may use: a training run beside it needs the rest."""
KEPT_SEARCHES = 16
CHUNK = 1 << 17
"""Attempts that are looked through for words before a page may be told how far the search is."""
PATIENCE_S = 1.0
"""How long a search waits for the index of words; those of a few thousand attempts are made by then."""
SEARCH_S = 0.12
"""How long a page waits for a search."""
I64 = NDArray[np.int64]
Flags = NDArray[np.bool_]

Order = Literal["first", "longest", "shortest", "dearest"]
FILTERS = ("step", "role", "task", "strategy", "finish", "verdict")
"""The columns with few values, which a reader picks one of."""
_FILL = f"""
    SELECT id, example_id, task, strategy, finish,
        CASE WHEN value IS NULL THEN 'not judged' WHEN value >= 1 THEN 'right' WHEN value <= 0 THEN 'wrong' ELSE 'partly' END
            AS verdict,
        coalesce(tokens_out, 0)::BIGINT AS tokens_out, coalesce(cost_usd, 0)::DOUBLE AS cost_usd,
        left(messages[-1].content, {PREVIEW_CHARACTERS}) AS question, left(coalesce(error, text), {PREVIEW_CHARACTERS}) AS preview
    FROM read_parquet($path)
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
    page: int
    """Which page it is: the last one where a later one was asked for."""
    count: int
    """How many there are on all pages."""
    searched: int
    """In how many attempts, from the first on, words have been looked for."""
    indexed: int
    """In how many they can be."""
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """Rows that follow each other in one table."""

    source: Source
    first: int
    """The first one's number among all attempts."""
    row: int
    """Its number in its table."""
    shown: pa.RecordBatch
    """What a list shows; mapped from a file."""


class _Known:
    """What is known of all attempts together; another one whenever a table is taken in."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self.parts = tuple(parts)
        self.starts = np.array([part.first for part in parts], dtype=np.int64)
        self.total = parts[-1].first + len(parts[-1].shown) if parts else 0
        self._codes: dict[str, NDArray[np.uint16]] = {}
        self.values: dict[str, list[tuple[str, int]]] = {}
        """The values of each of ``FILTERS``, and how many attempts have them."""
        self._code_of: dict[str, dict[str, int]] = {}
        for name in FILTERS:
            self._code(name)
        tokens = np.concatenate(
            [np.array([], np.int64), *(part.shown["tokens_out"].to_numpy() for part in parts)]
        )
        cost = np.concatenate(
            [np.array([]), *(part.shown["cost_usd"].to_numpy() for part in parts)]
        )
        # Sorting a million numbers takes longer than a page may: it is done once, and a page picks from what is sorted.
        self._orders: Mapping[Order, I64] = {
            "longest": np.argsort(-tokens, kind="stable"),
            "shortest": np.argsort(tokens, kind="stable"),
            "dearest": np.argsort(-cost, kind="stable"),
        }

    def _code(self, name: str) -> None:
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

    def having(self, name: str, value: str) -> Flags:
        """Which attempts have a value in one of ``FILTERS``."""
        code = self._code_of[name].get(value)
        return np.zeros(self.total, bool) if code is None else self._codes[name] == code

    def in_order(self, wanted: Flags | None, order: Order) -> I64:
        """The numbers of the attempts that are wanted; None wants all."""
        if order == "first":
            return np.arange(self.total) if wanted is None else np.flatnonzero(wanted)
        numbers = self._orders[order]
        return numbers if wanted is None else numbers[wanted[numbers]]

    def starting(self, identity: str) -> Flags:
        """Which attempts have an id, or one of their example, that starts so."""
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
        """The numbers of the attempts at an example."""
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
        """What a list shows of an attempt."""
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


def _column(part: _Part, name: str) -> pa.Array:
    if name in ("step", "role"):
        return pa.repeat(pa.scalar(getattr(part.source, name), pa.string()), len(part.shown))
    return pc.fill_null(part.shown[name].cast(pa.string()), "")


class _Search:
    """The attempts that have some words, looked for from the first on until all that are indexed have been looked through."""

    def __init__(self, query: str) -> None:
        self.query = query
        self.found = np.array([], dtype=np.int64)
        """Ascending."""
        self.upto = 0
        self.thread: threading.Thread | None = None


def sources_of(run_dir: Path) -> tuple[Source, ...]:
    """The tables of attempts that a run has finished, of each step the latest, in the order of their making."""
    latest: dict[str, Path] = {}
    for folder in sorted(
        (path for path in run_dir.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
    ):
        name = folder.name.rpartition("-")[0]
        if name in ("probe", "assign", "teach", "evaluate"):
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
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._words = folder / "words.sqlite"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._maker: threading.Thread | None = None
        self.sources: tuple[Source, ...] = ()
        self.searchable = 0
        """Attempts, from the first on, whose words can be looked for."""
        self._known = _Known([])
        self._searches: OrderedDict[str, _Search] = OrderedDict()
        self._latest: _Search | None = None
        with _connected(self._words, write=True) as words:
            words.execute(
                "CREATE VIRTUAL TABLE words USING fts5(question, answer, content='', columnsize=0)"
            )

    def close(self) -> None:
        """Stop making the index of words, and searching in it."""
        self._closed.set()
        for thread in (self._maker, *(search.thread for search in self._searches.values())):
            if thread is not None:
                thread.join()

    def grows_to(self, sources: Sequence[Source]) -> bool:
        """Take in the tables that are new. False when one that was taken in is there no more: then another index is needed."""
        with self._lock:
            if tuple(sources[: len(self.sources)]) != self.sources:
                return False
            if new := sources[len(self.sources) :]:
                parts = list(self._known.parts)
                for source in new:
                    parts += self._take_in(source, sum(len(part.shown) for part in parts))
                self._known = _Known(parts)
                self.sources = tuple(sources)
            if self.searchable < self._known.total and (
                self._maker is None or not self._maker.is_alive()
            ):
                self._maker = threading.Thread(target=self._make_words, name="words", daemon=True)
                self._maker.start()
            return True

    def _take_in(self, source: Source, first: int) -> Iterator[_Part]:
        """Write what a list shows of a table's attempts to a file that is mapped into memory."""
        import duckdb

        path = self._folder / f"shown-{first}.arrow"
        with duckdb.connect(config={"memory_limit": MEMORY}) as duck:
            duck.execute(
                "SET autoinstall_known_extensions = false; SET autoload_known_extensions = false"
            )
            reader = duck.sql(_FILL, params={"path": str(source.path)}).to_arrow_reader(
                tables.ROWS_PER_BATCH
            )
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, reader.schema) as writer:
                for batch in reader:
                    writer.write_batch(batch)
        mapped = pa.ipc.open_file(pa.memory_map(str(path)))
        row = 0
        for number in range(mapped.num_record_batches):
            shown = mapped.get_batch(number)
            yield _Part(source=source, first=first + row, row=row, shown=shown)
            row += len(shown)

    @property
    def values(self) -> Mapping[str, Sequence[tuple[str, int]]]:
        """The values of each of ``FILTERS``, and how many attempts have them."""
        return self._known.values

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
                            _add_words(
                                words,
                                file.read_row_group(group, ["messages", "reasoning", "text"]),
                                first,
                            )
                            self.searchable = first + rows
                        first += rows

    def _search(self, query: str) -> tuple[I64, int]:
        """The numbers of the attempts that have these words, as far as was looked within ``SEARCH_S``, and how far that was."""
        with self._lock:
            search = self._searches.setdefault(query, _Search(query))
            self._searches.move_to_end(query)
            if len(self._searches) > KEPT_SEARCHES:
                self._searches.popitem(last=False)
            self._latest = search
            if search.upto < self.searchable and (
                search.thread is None or not search.thread.is_alive()
            ):
                search.thread = threading.Thread(
                    target=self._look_through, args=(search,), name="search", daemon=True
                )
                search.thread.start()
        if search.thread is not None:
            search.thread.join(SEARCH_S)
        upto = search.upto
        found = search.found
        return found[found < upto], upto

    def _look_through(self, search: _Search) -> None:
        with _connected(self._words) as words:
            # Another search takes the processor over; this one goes on where it was when its page asks again.
            while (
                search is self._latest
                and search.upto < self.searchable
                and not self._closed.is_set()
            ):
                # The start of a word stands for many words, which are put together anew for every chunk.
                end = (
                    self.searchable
                    if "*" in search.query
                    else min(search.upto + CHUNK, self.searchable)
                )
                # One text of a million numbers comes back in a fifth of the time of a million rows.
                (numbers,) = words.execute(
                    "SELECT group_concat(rowid) FROM words WHERE words MATCH ? AND rowid >= ? AND rowid < ?",
                    (search.query, search.upto, end),
                ).fetchone()
                search.found = np.concatenate(
                    [search.found, np.fromstring(numbers or "", dtype=np.int64, sep=",")]
                )
                search.upto = end

    def find(self, asked: Asked) -> Found:
        """The attempts that meet every condition, one page of them."""
        known = self._known
        conditions = [
            known.having(name, value) for name in FILTERS if (value := getattr(asked, name))
        ]
        if asked.identity:
            conditions.append(known.starting(asked.identity))
        searched = known.total
        if query := query_of(asked.words):
            if self._maker is not None:
                self._maker.join(PATIENCE_S)
            numbers, searched = self._search(query)
            searched = min(searched, known.total)
            conditions.append(_flags(numbers, known.total))
        elif asked.words:
            conditions.append(np.zeros(known.total, bool))
        wanted = None
        for condition in conditions:
            wanted = condition if wanted is None else wanted & condition
        ordered = known.in_order(wanted, asked.order)
        page = min(asked.page, max(0, len(ordered) - 1) // ROWS_PER_PAGE)
        first = ROWS_PER_PAGE * page
        rows = tuple(map(known.row, ordered[first : first + ROWS_PER_PAGE].tolist()))
        indexed = min(self.searchable, known.total)
        return Found(
            rows=rows,
            page=page,
            count=len(ordered),
            searched=searched,
            indexed=indexed,
            total=known.total,
        )

    def of_example(self, task: str, example_id: str) -> list[dict[str, Any]]:
        """All attempts at one example, in the order of the steps."""
        known = self._known
        return [known.row(number) for number in known.of_example(task, example_id)]


def _flags(numbers: I64, total: int) -> Flags:
    """Which of ``total`` attempts have one of these numbers."""
    flags = np.zeros(total, dtype=bool)
    flags[numbers[numbers < total]] = True
    return flags


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
    questions = pc.struct_field(messages.flatten(), "content").take(
        pc.subtract(messages.offsets[1:], 1)
    )
    answers = pc.binary_join_element_wise(
        rows["reasoning"], rows["text"], "\n", null_handling="replace", null_replacement=""
    )
    words.execute("BEGIN")
    words.executemany(
        "INSERT INTO words (rowid, question, answer) VALUES (?, ?, ?)",
        zip(
            range(first, first + len(rows)), questions.to_pylist(), answers.to_pylist(), strict=True
        ),
    )
    words.execute("COMMIT")
