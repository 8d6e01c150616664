"""Filters, orders and searches of the index find exactly the attempts that match."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orcinus.core.types import Judged
from orcinus.reports.viewer.attempt_columns import sources_of
from orcinus.reports.viewer.index import (
    ROWS_PER_PAGE,
    AttemptIndex,
    AttemptQuery,
    query_of,
)
from orcinus.runs import tables
from orcinus.runs.folders import finished_steps


@pytest.fixture
def index(workspace: Path, tmp_path: Path) -> Iterator[AttemptIndex]:
    made = AttemptIndex(tmp_path / "index")
    assert made.add_new(sources_of(workspace / "runs" / "small"))
    yield made
    made.close()


def everything(workspace: Path) -> list[Judged]:
    return [
        item
        for source in sources_of(workspace / "runs" / "small")
        for item in tables.read_judged(source.path)
    ]


def found_ids(index: AttemptIndex, **asked: object) -> list[str]:
    pages: list[str] = []
    while True:
        query = AttemptQuery(**asked, page=len(pages) // ROWS_PER_PAGE)  # type: ignore[arg-type]
        while (found := index.find(query)).searched < found.total:
            time.sleep(0.05)  # the search continues in the background
        pages += [row["id"] for row in found.rows]
        if len(found.rows) < ROWS_PER_PAGE or len(pages) == found.count:
            assert len(pages) == found.count
            return pages


def words_of(judged: Judged) -> list[str]:
    return re.findall(
        r"\w+", f"{judged.attempt.messages[-1].content} {judged.attempt.text}".lower()
    )


def test_pages_together_are_all_attempts_once(index: AttemptIndex, workspace: Path) -> None:
    assert found_ids(index) == [item.attempt.id for item in everything(workspace)]


def test_a_filter_lets_through_what_it_names(index: AttemptIndex, workspace: Path) -> None:
    words = {1.0: "right", 0.0: "wrong", None: "not judged"}
    for task, value in (("sums", 1.0), ("sums", 0.0), ("logic", None)):
        expected = [
            item.attempt.id
            for item in everything(workspace)
            if (item.attempt.task, item.verdict.value) == (task, value)
        ]
        assert found_ids(index, task=task, verdict=words[value]) == expected


def test_orders_put_every_attempt_in_its_place(index: AttemptIndex, workspace: Path) -> None:
    everyone = everything(workspace)
    lengths = [item.attempt.usage.tokens_out for item in everyone]
    by_length = sorted(range(len(everyone)), key=lambda i: (-lengths[i], i))
    assert found_ids(index, order="longest") == [everyone[i].attempt.id for i in by_length]


@pytest.mark.parametrize("query", ["answer", "Answer 7", "scr*", "true and"])
def test_words_are_found_where_they_stand(index: AttemptIndex, workspace: Path, query: str) -> None:
    def has(judged: Judged, word: str) -> bool:
        words = words_of(judged)
        return any(w.startswith(word[:-1]) for w in words) if word.endswith("*") else word in words

    expected = [
        item.attempt.id
        for item in everything(workspace)
        if all(has(item, word) for word in query.lower().split())
    ]
    assert expected
    assert found_ids(index, words=query) == expected


def test_a_phrase_is_found_only_together(index: AttemptIndex, workspace: Path) -> None:
    together = [
        i.attempt.id for i in everything(workspace) if "the answer is" in i.attempt.text.lower()
    ]
    assert found_ids(index, words='"the answer is"') == together
    assert found_ids(index, words='"answer the is"') == []


def test_nothing_that_is_typed_is_an_operator() -> None:
    assert (
        query_of('a OR -b NEAR(c) question:d "e" f"g" * "')
        == '"a" "OR" "-b" "NEAR(c)" "question:d" "e" "f g"'
    )
    assert query_of("17+25 start*") == '"17+25" "start"*'


def test_a_word_and_a_filter_must_both_hold(index: AttemptIndex, workspace: Path) -> None:
    expected = [
        item.attempt.id
        for item in everything(workspace)
        if "script" in words_of(item) and item.attempt.task == "logic" and item.verdict.value == 1.0
    ]
    assert found_ids(index, words="script", task="logic", verdict="right") == expected


def test_an_id_is_found_by_its_start(index: AttemptIndex, workspace: Path) -> None:
    attempt = everything(workspace)[7].attempt
    assert attempt.id in found_ids(index, identity=attempt.id[:12])
    assert attempt.id in found_ids(index, identity=attempt.example_id)
    assert {row["example_id"] for row in index.of_example(attempt.task, attempt.example_id)} == {
        attempt.example_id
    }


def test_a_table_that_comes_later_is_taken_in(workspace: Path, tmp_path: Path) -> None:
    sources = sources_of(workspace / "runs" / "small")
    growing = AttemptIndex(tmp_path / "growing")
    total = 0
    for number, source in enumerate(sources, 1):
        assert growing.add_new(sources[:number])
        total += tables.count_rows(source.path)
        assert growing.find(AttemptQuery()).count == total
        assert growing.find(AttemptQuery(words="script")).searched == total
    growing.close()


def test_a_table_that_is_another_one_asks_for_another_index(
    workspace: Path, tmp_path: Path
) -> None:
    run = tmp_path / "small"
    shutil.copytree(workspace / "runs" / "small", run)
    index = AttemptIndex(tmp_path / "index")
    assert index.add_new(sources_of(run))
    (evaluated,) = finished_steps(run, "evaluate")
    (evaluated / "attempts-before.parquet").touch()
    assert not index.add_new(sources_of(run))
    index.close()
