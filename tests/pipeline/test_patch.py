"""One round of lessons about what a student lacks for the chains that it fails."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from benchmarks import patch as world

from orcinus.core.errors import ConfigError
from orcinus.core.types import Example
from orcinus.evaluation.diagnosis.faults import Fault
from orcinus.pipeline.patch import can_be_replayed, find_corpora, new_tasks, patch, write_replay
from orcinus.pipeline.recipe_file import load_recipe, parse_recipe
from orcinus.runs.context import Runtime, Silent
from orcinus.tasks.files.records import read_task

GAP = Fault(task="chains", example="1", kind="concept gap", parts=("Ora lives in Kent",))
BREAK = Fault(task="chains", example="2", kind="reasoning break", parts=("Ora lives in Kent", "B"))


def test_new_questions_are_about_what_is_lacking_and_are_other_questions() -> None:
    recipe = parse_recipe(world.recipe(0))
    corpora = find_corpora(recipe)
    assert corpora == {"chains": "world"}
    [task] = new_tasks(recipe, [GAP, BREAK], corpora)
    assert (task.name, task.authored.seed) == ("parts-patch", 1)
    assert task.authored.only == ("Ora lives in Kent", "B")
    assert (task.authored.count, task.authored.levels) == (8, ("concept", "relation"))


@pytest.mark.parametrize("part", ["tasks", "evaluation"])
def test_a_recipe_without_parts_or_chains_is_refused(part: str) -> None:
    given = world.recipe(0)
    given[part] = [{"generator": "sums", "count": 9}]
    if part == "tasks":
        given["evaluation"][0]["authored"]["by"] = "writer"
    with pytest.raises(ConfigError, match="--patch needs lessons about parts of"):
        find_corpora(parse_recipe(given))


def test_what_is_replayed_is_read_as_it_was_taught(tmp_path: Path) -> None:
    given = [
        Example(id="1", task="p", prompt="Who?", answer_type="exact", reference="Ora"),
        Example(id="2", task="p", prompt="How many?", answer_type="number", reference="3"),
        Example(id="3", task="q", prompt="Where?", answer_type="exact", reference=("Kent", "K")),
    ]
    tasks = list(write_replay(tmp_path / "replay", given))
    assert [task.name for task in tasks] == ["replay-exact", "replay-number"]
    read = [example for task in tasks for example in read_task(task, Path())]
    found = {(e.prompt, e.answer_type, e.reference) for e in read}
    assert found == {(e.prompt, e.answer_type, e.reference) for e in given}


def test_nothing_about_a_patched_part_is_replayed_and_nothing_that_a_file_cannot_hold() -> None:
    plain = Example(id="1", task="p", prompt="Who?", answer_type="exact", reference="Ora")
    about = {"level": "relation", "concepts": ["Ora", "Kent"], "relations": ["Ora lives in Kent"]}
    turns = {"history": [{"role": "user", "content": "Hello."}]}
    assert can_be_replayed(plain, {"ora lives in kent"})
    assert can_be_replayed(replace(plain, meta=about), {"kent lies in england"})
    assert not can_be_replayed(replace(plain, meta=about), {"ora lives in kent"})
    assert not can_be_replayed(replace(plain, meta=turns), set())
    assert not can_be_replayed(replace(plain, reference=None), set())


@pytest.mark.slow
def test_a_patch_runs_and_is_measured_on_chains_that_nobody_looked_at(tmp_path: Path) -> None:
    world.write_world(tmp_path / "world")
    given: dict[str, Any] = world.recipe(0)
    given["tasks"][0]["authored"]["count"] = 60
    given["evaluation"][0]["authored"]["count"] = 24
    given["evaluate"]["sampling"] = {"max_tokens": 24}
    given["train"]["stages"][0]["epochs"] = 1
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    path, runs = tmp_path / "r.yaml", tmp_path / "runs"
    runtime = Runtime(workspace=runs, ledger_path=runs / "ledger.sqlite")
    found = asyncio.run(patch(load_recipe(path), path, runtime, Silent()))
    assert found is not None
    assert json.loads((runs / "world-0-patched.json").read_text())["gaps"] == found.gaps > 0
    assert [row.chains for row in found.measured] == ["not looked at", "patched"]
    assert found.lessons > 0
    # Nothing about a patched part is replayed.
    rows = (runs / "world-0-replay-exact.jsonl").read_text().splitlines()
    asked = " ".join(json.loads(row)["question"] for row in rows)
    assert not any(part.split()[0] in asked.replace("?", "").split() for part in found.parts)
