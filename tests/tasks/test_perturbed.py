"""Fresh copies: what is renamed, what is computed anew, what is left out, what counts as known."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus as command

import orcinus
from orcinus.core.errors import DataError
from orcinus.core.types import Example, Messages, Sampling
from orcinus.pipeline.perturb import perturb_file
from orcinus.runs import layout, tables
from orcinus.runs.context import Runtime, Silent
from orcinus.tasks.config import PerturbedRecords
from orcinus.tasks.files.drafts import Unusable
from orcinus.tasks.formulas import with_new_numbers
from orcinus.tasks.generators.procedural import GENERATORS, ProceduralConfig, draw
from orcinus.tasks.perturbed import Perturbed, check_copy, closed_book, leakage, perturb, removed
from orcinus.tasks.renaming import MEN, WOMEN, Names, edges, left_over, renamed, same_relations

CAPITALS = (
    "People like Paris, in France. The train to France ends in Paris. France borders Spain.\n\n"
    "Which city is in France?"
)


def item(prompt: str, reference: str | tuple[str, ...] = "Paris", **rest: Any) -> Example:
    settings = {"id": "1", "task": "t", "answer_type": "exact", **rest}
    return Example(**settings, prompt=prompt, reference=reference)


def copied(example: Example, seed: int = 7) -> Example:
    texts = [example.prompt, *(example.choices or ()), str(example.reference)]
    return perturb(example, Names(texts, seed=seed), seed=seed)


def test_a_renaming_keeps_every_relation() -> None:
    renaming = {"Paris": "Velor", "France": "Ostrea", "Spain": "Grutha"}
    old = "Paris is in France. To France from Paris. France borders Spain."
    new = renamed(old, renaming)
    assert new == "Velor is in Ostrea. To Ostrea from Velor. Ostrea borders Grutha."
    assert sum(edges(old, renaming).values()) == 5
    assert edges("Paris is in France near Spain by Paris", renaming).total() == 3
    assert same_relations(old, new, renaming)
    assert not same_relations(old, new.replace("borders", "feeds"), renaming)


def test_names_are_renamed_in_the_question_and_the_answer_alike() -> None:
    copy = copied(item(CAPITALS))
    assert isinstance(copy.reference, str)
    assert copy.reference in copy.prompt
    assert copy.prompt.startswith("People like ")
    assert not {"Paris", "France", "Spain"} & set(copy.prompt.replace(",", " ").split())
    assert copy.meta["perturbed_from"] == CAPITALS
    assert (copy.task, copy.id) == ("t (perturbed)", "1~7")
    assert copied(item(CAPITALS)) == copy
    assert copied(item(CAPITALS), seed=8).prompt != copy.prompt


def test_a_form_of_a_name_follows_it() -> None:
    copy = copied(item("The old city of Paris has Parisian bread. Which city?"))
    assert isinstance(copy.reference, str)
    assert f"{copy.reference}ian bread" in copy.prompt


def test_given_names_keep_their_gender() -> None:
    copy = copied(item("Then Anna gave Bob her hat, and he thanked Anna. Who has it?", "Bob"))
    words = copy.prompt.replace(".", "").split()
    assert words[1] in WOMEN
    assert words[3] in MEN
    assert copy.reference == words[3]


def test_a_copy_that_leaves_an_old_name_in_an_option_is_refused() -> None:
    old = item(CAPITALS, "A", answer_type="choice", choices=("Paris", "Spain"))
    new = item(
        CAPITALS.replace("Paris", "Velor"), "A", answer_type="choice", choices=("Paris", "Spain")
    )
    with pytest.raises(Unusable, match="'Paris' is still in option A of the copy"):
        check_copy(old, new, {"Paris": "Velor"})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Parisian food", "Paris"),
        ("parisian", "Paris"),
        ("PARIS", "Paris"),
        ("also", None),
        ("the market", None),
    ],
)
def test_old_names_are_found_in_other_forms(text: str, left: str | None) -> None:
    assert left_over(text, {"Paris": "Velor", "Al": "Bo", "Mark": "Tim"}) == left


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (item("Which city lies on the river Seine?", "Paris"), "asks for knowledge"),
        (item("What is two plus two?", "4"), "holds no name"),
        (item("How many letters are in Paris, France?", "5"), "how words are written"),
        (item("The old city of Paris, or parisian food?", "Paris"), "'Paris' is still in"),
    ],
)
def test_an_item_whose_answer_would_change_has_no_copy(example: Example, reason: str) -> None:
    names = Names([example.prompt, "We went to Paris."], seed=7)
    with pytest.raises(Unusable, match=reason):
        perturb(example, names, seed=7)


def test_numbers_are_drawn_and_the_answer_computed() -> None:
    prompt = "Bo has 12 nuts in 3 bags and finds 12 more. How many?"
    new, answer = with_new_numbers(prompt, "n1 * n2 + n3", "48", Random(1))
    numbers = [int(word) for word in new.split() if word.isdecimal()]
    assert numbers[0] == numbers[2] != 12
    assert [len(str(number)) for number in numbers] == [2, 1, 2]
    assert int(answer) == numbers[0] * numbers[1] + numbers[2]
    with pytest.raises(ValueError, match="its formula gives 24, and its answer says 48"):
        with_new_numbers(prompt, "n1 + n3", "48", Random(1))
    with pytest.raises(ValueError, match="a formula holds"):
        with_new_numbers(prompt, "__import__('os')", "48", Random(1))


@pytest.mark.parametrize("name", sorted(GENERATORS))
def test_a_generators_question_becomes_another_of_its_size(name: str) -> None:
    [example] = draw(ProceduralConfig(generator=name, count=1, size=(4, 4)))
    copy = perturb(example, Names([]), seed=7)
    generator = GENERATORS[name]
    assert copy.prompt != example.prompt
    assert len(copy.prompt.split("\n")) == len(example.prompt.split("\n"))
    explained = generator.explain(copy.prompt, "direct") or ""
    answer = copy.reference if isinstance(copy.reference, str) else " ".join(copy.reference or ())
    assert answer in explained


def test_leakage_and_what_copies_remove() -> None:
    before, after = leakage(6, 10, 0.0), leakage(1, 10, 0.0)
    assert removed(before, after) == pytest.approx(0.8333, abs=1e-4)
    assert leakage(5, 10, 0.25) == 0.25
    assert removed(0.0, 0.0) is None


def test_closed_book_leaves_the_context_out() -> None:
    shown = closed_book(item(CAPITALS))
    assert shown is not None
    assert shown.prompt == "Which city is in France?"
    assert closed_book(item("Which city is in France?")) is None


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return path


ROWS = [{"prompt": CAPITALS, "reference": "Paris"}, {"prompt": "What is 2 + 2?", "reference": "4"}]


def test_the_command_writes_copies_and_says_what_has_none(tmp_path: Path) -> None:
    write_rows(tmp_path / "test.jsonl", ROWS)
    done = command("tasks", "perturb", "test.jsonl", "--out", "copies.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 copies in copies.jsonl" in done.stdout
    assert "holds no name to replace, and has no formula" in done.stdout
    [row] = map(json.loads, (tmp_path / "copies.jsonl").read_text(encoding="utf-8").splitlines())
    assert row["reference"] in row["prompt"]
    write_rows(tmp_path / "none.jsonl", ROWS[1:])
    none = command("tasks", "perturb", "none.jsonl", "--out", "none-copies.jsonl", cwd=tmp_path)
    assert none.returncode == 2
    assert none.stderr.count("\n") == 1
    assert not (tmp_path / "none-copies.jsonl").exists()


def by_heart(messages: Messages, sampling: Sampling) -> str:
    """A model that knows the original by heart."""
    return f"The answer is {'Paris' if 'in France' in messages[-1].content else 'unknown'}."


KNOWN = {"answer": ""}


def oracle(messages: Messages, sampling: Sampling) -> str:
    """A model that knows the copy."""
    return f"The answer is {KNOWN['answer']}."


def test_copies_that_a_model_knows_closed_book_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rows(tmp_path / "test.jsonl", ROWS[:1])
    runs = tmp_path / "runs"
    runtime = Runtime(workspace=runs, ledger_path=runs / "ledger.sqlite")

    def run(model: Any) -> Any:
        config = PerturbedRecords(path=str(path), seed=7)
        work = perturb_file(config, tmp_path / "out.jsonl", runtime, Silent(), model=model)
        return asyncio.run(work)

    found = run(by_heart)
    assert (found.written, found.leaking) == (1, 0)
    assert (found.leakage.before, found.leakage.after, found.leakage.removed) == (1.0, 0.0, 1.0)
    [copy] = Perturbed(PerturbedRecords(path=str(path), seed=7), Path())()
    monkeypatch.setitem(KNOWN, "answer", str(copy.reference))
    with pytest.raises(DataError, match="answers all 1 copies right without their context"):
        run(oracle)


def test_an_original_and_its_copy_count_as_one(tmp_path: Path) -> None:
    sums = list(draw(ProceduralConfig(generator="sums", count=40, size=(3, 4))))
    rows = [{"prompt": e.prompt, "reference": e.reference} for e in sums]
    write_rows(tmp_path / "pool.jsonl", rows)
    write_rows(tmp_path / "test.jsonl", rows[:5])
    path = write_recipe(
        tmp_path / "recipe.yaml",
        tasks=[{"path": "pool.jsonl", "name": "sums"}],
        evaluation=[{"perturbed": {"path": "test.jsonl", "name": "sums", "seed": 7}}],
    )
    run = orcinus.run(path, runs=tmp_path / "runs", until="sample")
    examples = tables.read_rows(run.steps["sample"] / layout.EXAMPLES, ["task", "prompt", "split"])
    by_task: dict[str, list[str]] = {}
    for row in examples:
        by_task.setdefault(row["task"], []).append(row["prompt"])
    assert len(by_task["sums (perturbed)"]) == 5
    assert not {row["prompt"] for row in rows[:5]} & set(by_task["sums"])
    assert len(by_task["sums"]) == 35
