"""Filter, sort and search a run's attempts in a fraction of a second, however many there are.

    finished tables ──DuckDB: what a list shows of an attempt──► Arrow files   (memory-mapped)
                    ──columns to filter and sort by────────────► NumPy arrays  (1–2 bytes a value)
                    ──words of question and answer─────────────► SQLite FTS5   (no text is kept)

The files lie in a temporary folder. Reading a million texts for one word takes seconds on two
cores. An index of words answers in milliseconds and is built once, in the background (measured by
``python -m benchmarks.view``). A search that takes longer than a page may wait continues in the
background: the page shows what was found in the first attempts so far. A whole attempt is read from
the run's own table by its number.
"""

import re
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orcinus.reports.viewer.attempt_columns import (
    FILTERS,
    I64,
    AttemptColumns,
    Flags,
    Order,
    Part,
    Source,
)
from orcinus.runs import tables

ROWS_PER_PAGE = 50
PREVIEW_CHARACTERS = 200
MEMORY = "1GB"
"""Limit for DuckDB: a training run on the same machine needs the rest."""
KEPT_SEARCHES = 16
"""Searches whose results are kept, so that the next page of one is not searched again."""
CHUNK = 1 << 17
"""Attempts searched between two reports of progress: about 0.1 s."""
INDEX_WAIT_S = 1.0
"""Seconds that a search waits for the index of words: enough for a few thousand attempts."""
SEARCH_WAIT_S = 0.12
"""Seconds that a page waits for a search, of the 0.2 s in which it should answer."""


def _shortened(column: str) -> str:
    """Return SQL for the beginning of a text, with "…" where something is left out."""
    return (
        f"CASE WHEN length({column}) > {PREVIEW_CHARACTERS} "
        f"THEN left({column}, {PREVIEW_CHARACTERS}) || ' …' ELSE {column} END"
    )


_FILL = f"""
    SELECT id, example_id, task, strategy, finish,
        CASE WHEN value IS NULL THEN 'not judged' WHEN value >= 1 THEN 'right'
             WHEN value <= 0 THEN 'wrong' ELSE 'partly right' END AS verdict,
        coalesce(tokens_out, 0)::BIGINT AS tokens_out, coalesce(cost_usd, 0)::DOUBLE AS cost_usd,
        {_shortened("messages[-1].content")} AS question,
        {_shortened("coalesce(error, text)")} AS preview
    FROM read_parquet($path)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptQuery:
    """Conditions on the attempts to show. An empty text is no condition."""

    step: str = ""
    role: str = ""
    task: str = ""
    strategy: str = ""
    finish: str = ""
    verdict: str = ""
    words: str = ""
    """All must occur in the question or the answer; "in quotes" as a phrase, pre* as a prefix."""
    identity: str = ""
    """The beginning of an attempt's id, or of an example's."""
    order: Order = "first"
    page: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPage:
    """One page of the attempts that match a query."""

    rows: tuple[dict[str, Any], ...]
    page: int
    """Number of the page, from 0: the last one where a later one was requested."""
    count: int
    """Attempts on all pages together."""
    searched: int
    """Attempts, from the first, that were searched for the words."""
    indexed: int
    """Attempts, from the first, whose words are in the index."""
    total: int
    """Attempts of the run."""


class _Search:
    """A search for words, from the first attempt to the last one that is indexed."""

    def __init__(self, query: str) -> None:
        self.query = query
        self.found = np.array([], dtype=np.int64)
        """Numbers of the attempts that match, ascending."""
        self.upto = 0
        """Attempts searched so far."""
        self.thread: threading.Thread | None = None


def query_of(words: str) -> str:
    """Return typed words as an FTS5 query.

    Every word or quoted phrase must occur; nothing that is typed acts as an operator.
    """
    parts = []
    for phrase, word in re.findall(r'"([^"]*)"?|(\S+)', words):
        text = (phrase or word).replace('"', " ").strip()
        plain = text.rstrip("*")
        if any(character.isalnum() for character in plain):
            parts.append(f'"{plain}"' + ("*" if text != plain else ""))
    return " ".join(parts)


class AttemptIndex:
    """The attempts of one run. It needs a folder of its own; close it, then delete the folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._words = folder / "words.sqlite"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._builder: threading.Thread | None = None
        self.sources: tuple[Source, ...] = ()
        self.searchable = 0
        """Attempts, from the first, whose words are in the index."""
        self._attempts = AttemptColumns([])
        self._searches: OrderedDict[str, _Search] = OrderedDict()
        self._latest: _Search | None = None
        with _Connection(self._words, write=True) as words:
            words.execute(
                "CREATE VIRTUAL TABLE words USING fts5(question, answer, content='', columnsize=0)"
            )

    def close(self) -> None:
        """Stop building the index of words, and stop searching in it."""
        self._closed.set()
        for thread in (self._builder, *(search.thread for search in self._searches.values())):
            if thread is not None:
                thread.join()

    def add_new(self, sources: Sequence[Source]) -> bool:
        """Add the tables that are new.

        Returns:
            False when a table that was added before has changed or gone: a new index is needed.
        """
        with self._lock:
            if tuple(sources[: len(self.sources)]) != self.sources:
                return False
            if new := sources[len(self.sources) :]:
                parts = list(self._attempts.parts)
                for source in new:
                    parts += self._add(source, sum(len(part.shown) for part in parts))
                self._attempts = AttemptColumns(parts)
                self.sources = tuple(sources)
            if self.searchable < self._attempts.total and (
                self._builder is None or not self._builder.is_alive()
            ):
                self._builder = threading.Thread(
                    target=self._index_words, name="words", daemon=True
                )
                self._builder.start()
            return True

    def _add(self, source: Source, first: int) -> Iterator[Part]:
        """Write what a list shows of a table's attempts to a file, and map it into memory."""
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
            yield Part(source=source, first=first + row, row=row, shown=shown)
            row += len(shown)

    @property
    def values(self) -> Mapping[str, Sequence[tuple[str, int]]]:
        """By filter, (value, number of attempts)."""
        return self._attempts.values

    def _index_words(self) -> None:
        """Index the words of new attempts, until none is left or the index is closed."""
        first = 0
        with _Connection(self._words, write=True) as words:
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
        """Search for ``SEARCH_WAIT_S``.

        Returns:
            The numbers of the attempts found so far, and how many attempts were searched.
        """
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
                    target=self._search_in_chunks, args=(search,), name="search", daemon=True
                )
                search.thread.start()
        if search.thread is not None:
            search.thread.join(SEARCH_WAIT_S)
        upto = search.upto
        found = search.found
        return found[found < upto], upto

    def _search_in_chunks(self, search: _Search) -> None:
        with _Connection(self._words) as words:
            # A newer search takes over; this one resumes when its page is requested again.
            while (
                search is self._latest
                and search.upto < self.searchable
                and not self._closed.is_set()
            ):
                # FTS5 merges the many words of a prefix anew for every chunk, so take one chunk.
                end = (
                    self.searchable
                    if "*" in search.query
                    else min(search.upto + CHUNK, self.searchable)
                )
                # One text of a million numbers takes a fifth of the time of a million rows.
                (numbers,) = words.execute(
                    "SELECT group_concat(rowid) FROM words "
                    "WHERE words MATCH ? AND rowid >= ? AND rowid < ?",
                    (search.query, search.upto, end),
                ).fetchone()
                search.found = np.concatenate(
                    [search.found, np.fromstring(numbers or "", dtype=np.int64, sep=",")]
                )
                search.upto = end

    def find(self, query: AttemptQuery) -> AttemptPage:
        """Return one page of the attempts that meet every condition."""
        attempts = self._attempts
        ordered, searched = self._select(query, attempts)
        page = min(query.page, max(0, len(ordered) - 1) // ROWS_PER_PAGE)
        first = ROWS_PER_PAGE * page
        rows = tuple(map(attempts.row, ordered[first : first + ROWS_PER_PAGE].tolist()))
        indexed = min(self.searchable, attempts.total)
        return AttemptPage(
            rows=rows,
            page=page,
            count=len(ordered),
            searched=searched,
            indexed=indexed,
            total=attempts.total,
        )

    def at_places(self, query: AttemptQuery, places: Sequence[int]) -> list[dict[str, Any] | None]:
        """Return the attempts at these places of a query's whole list; None outside of it."""
        attempts = self._attempts
        ordered, _ = self._select(query, attempts)
        return [
            attempts.row(int(ordered[place])) if 0 <= place < len(ordered) else None
            for place in places
        ]

    def every(self, query: AttemptQuery, most: int) -> list[dict[str, Any]]:
        """Return the first ``most`` attempts that meet every condition."""
        attempts = self._attempts
        return list(map(attempts.row, self._select(query, attempts)[0][:most].tolist()))

    def _select(self, query: AttemptQuery, attempts: AttemptColumns) -> tuple[I64, int]:
        """Return the numbers of the attempts that match, in order, and how many were searched."""
        conditions = [
            attempts.with_value(name, value) for name in FILTERS if (value := getattr(query, name))
        ]
        if query.identity:
            conditions.append(attempts.with_identity(query.identity))
        searched = attempts.total
        if words := query_of(query.words):
            if self._builder is not None:
                self._builder.join(INDEX_WAIT_S)
            numbers, searched = self._search(words)
            searched = min(searched, attempts.total)
            conditions.append(_flags(numbers, attempts.total))
        elif query.words:
            conditions.append(np.zeros(attempts.total, bool))
        wanted = None
        for condition in conditions:
            wanted = condition if wanted is None else wanted & condition
        return attempts.sort(wanted, query.order), searched

    def of_example(self, task: str, example_id: str) -> list[dict[str, Any]]:
        """Return all attempts at one example, in the order of the steps."""
        attempts = self._attempts
        return [attempts.row(number) for number in attempts.of_example(task, example_id)]


def _flags(numbers: I64, total: int) -> Flags:
    """Return a flag for each of ``total`` attempts: whether its number is among these."""
    flags = np.zeros(total, dtype=bool)
    flags[numbers[numbers < total]] = True
    return flags


class _Connection:
    """A connection to the index of words for one ``with`` block."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        uri = f"{path.resolve().as_uri()}?mode={'rwc' if write else 'ro'}"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        if write:
            # The index can be rebuilt, so it need not survive a crash; WAL keeps readers from
            # waiting for the writer.
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = OFF")

    def __enter__(self) -> sqlite3.Connection:
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def _add_words(words: sqlite3.Connection, rows: pa.Table, first: int) -> None:
    """Add a row group to the index of words in one transaction."""
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
