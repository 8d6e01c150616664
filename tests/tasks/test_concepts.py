"""Concepts, relations and chains: the parts are taught, and the whole is tested (ProDa)."""

from pathlib import Path

import pytest
from tests.tasks.authors import says
from tests.tasks.test_author import Desk

from orcinus.core.errors import StepError
from orcinus.core.types import Messages, Sampling
from orcinus.runs.ledger import Ledger
from orcinus.tasks.author import requests
from orcinus.tasks.authored.concepts import chains_in, focused
from orcinus.tasks.authored.config import AuthoredConfig, AuthoringConfig
from orcinus.tasks.authored.units import Unit

ONE, TWO, LOOP = ("A", "r1", "B"), ("B", "r2", "C"), ("B", "r3", "A")
TEXT = "A lever turns about a pivot. The pivot carries the load."
FOUND = "lever | turns about | pivot\npivot | carries | load\n- moon | pulls | load\nnonsense"


def task(*levels: str) -> AuthoredConfig:
    written = {"by": "writer", "corpus": "book.txt", "count": 4, "kinds": ["exact"]}
    config = AuthoringConfig.model_validate({**written, "levels": levels})
    return AuthoredConfig(name="+".join(levels), authored=config)


def writer(messages: Messages, sampling: Sampling) -> str:
    """Find the relations of a passage; ask about whatever is named."""
    if "You list what a text says" in messages[0].content:
        return FOUND
    focus = next(line for line in messages[-1].content.splitlines() if line.startswith("Ask "))
    number = messages[-1].content.count("exercise 2")
    return f"<question>{focus} {number}?</question><answer>load</answer>"


def test_two_relations_that_meet_are_a_chain_and_a_way_back_is_none() -> None:
    assert list(chains_in([ONE, TWO, LOOP])) == [(ONE, TWO)]
    units = focused(Unit("book", "A B C"), [ONE, TWO], ("concept", "relation", "chain"))
    assert [unit.focus.text for unit in units if unit.focus] == [
        *("A", "B", "C", "A r1 B", "B r2 C", "A r1 B; B r2 C")
    ]
    assert units[-1].focus is not None
    assert units[-1].focus.concepts == ("A", "B", "C")


def test_lessons_are_of_the_parts_and_the_test_of_the_whole(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    taught = Desk(tmp_path, {"writer": writer})
    taught.run(task("concept", "relation"))
    kept = taught.kept()
    assert {example.meta["level"] for example in kept} == {"concept", "relation"}
    assert not any("moon" in example.meta["concepts"] for example in kept)
    tested = Desk(tmp_path, {"writer": writer})
    tested.run(task("chain"))
    for example in tested.kept():
        assert example.meta["concepts"] == ["lever", "pivot", "load"]
        assert "lever turns about pivot; pivot carries load" in example.prompt
    # The passage was paid for by the first task.
    assert (taught.calls, tested.calls) == (1 + 4, 4)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        plan = requests((task("chain"),), tmp_path, tested.context(ledger))
        assert [(len(list(a.requests)), a.exact) for a in plan] == [(1, True), (4, False)]


def test_only_the_named_parts_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    desk = Desk(tmp_path, {"writer": writer})
    given = task("concept", "relation")
    named = ("Load", "lever turns about pivot")
    only = given.authored.model_copy(update={"only": named})
    desk.run(given.model_copy(update={"authored": only}))
    asked = [(e.meta["level"], e.meta["concepts"], e.meta["relations"]) for e in desk.kept()]
    assert sorted(asked) == [
        *2 * [("concept", ["load"], [])],
        *2 * [("relation", ["lever", "pivot"], ["lever turns about pivot"])],
    ]
    nothing = task("concept").authored.model_copy(update={"only": ("moon",)})
    with pytest.raises(StepError, match="no concept named moon in 1 passages"):
        desk.run(AuthoredConfig(name="p", authored=nothing))
    with pytest.raises(ValueError, match="say which with levels:"):
        AuthoringConfig(by="w", corpus="book.txt", only=("moon",))


def test_documents_without_a_chain_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text(TEXT, encoding="utf-8")
    desk = Desk(tmp_path, {"writer": says("lever | turns about | pivot")})
    with pytest.raises(StepError, match="writer found no chain in 1 passages"):
        desk.run(task("chain"))
    with pytest.raises(ValueError, match="name them with corpus:"):
        AuthoringConfig(by="w", topics=("a",), levels=("chain",))
