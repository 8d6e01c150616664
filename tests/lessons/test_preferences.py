"""Preference pairs: a right lesson against a wrong answer, both of which the ledger knows."""

import asyncio
import json
from pathlib import Path

import orjson
import pytest
from tests.conftest import write_recipe
from tests.lessons.test_rehearse import FOUR, context, run_until_erase, taught
from tests.lessons.test_requests import GENERIC, STRATEGIES, in_step

from orcinus.core.errors import ConfigError, StepError
from orcinus.lessons import erase
from orcinus.lessons.config import EraseConfig, RehearseConfig
from orcinus.lessons.erase import split_reasoning
from orcinus.lessons.export import export_preferences
from orcinus.lessons.preferences import preference_pairs
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout, tables
from orcinus.runs.context import StepContext

__all__ = ["context", "taught"]


def finish(folder: Path, **inputs: str) -> Path:
    """Mark the folder of a step as done, under a name with a fingerprint."""
    record = {"config": {"layout": "as_written"}, "inputs": inputs, "finished": "2026-01-01"}
    (folder / layout.STEP).write_bytes(orjson.dumps(record))
    (folder / layout.DONE).touch()
    return folder.rename(folder.with_name(f"{folder.name}-0"))


def test_a_right_lesson_stands_against_a_wrong_answer_to_its_question(
    taught: StepContext, tmp_path: Path
) -> None:
    lessons = run_until_erase(taught, RehearseConfig(sampling=FOUR, lessons="right"))
    attempts = tmp_path / "rehearse" / layout.ATTEMPTS
    found = list(
        preference_pairs(
            tmp_path / "erase" / layout.LESSONS,
            [attempts],
            lambda judged: split_reasoning(judged, "as_written"),
        )
    )
    assert [chosen for chosen, _ in found] == lessons  # each of them is right
    known = {item.attempt.id: item for item in tables.read_judged(attempts)}
    for chosen, rejected in found:
        wrong = known[rejected.attempt_id]
        assert (wrong.verdict.value, rejected.completion) == (0.0, "The answer is 0.")
        assert (wrong.attempt.task, wrong.attempt.example_id) == (chosen.task, chosen.example_id)
        assert (rejected.id, rejected.messages) == (chosen.id, chosen.messages)
        assert wrong.attempt.messages == chosen.messages  # asked under the erased message

    for name, inputs in {
        "rehearse": {},
        "teach": {},
        "curate": {"teach": "teach-0"},
        "erase": {"curate": "curate-0", "rehearse": "rehearse-0", "sample": "sample"},
    }.items():
        finish(tmp_path / name, **inputs)
    out = tmp_path / "pairs.jsonl"
    assert export_preferences(tmp_path, out) == len(found)
    for line, (chosen, rejected) in zip(out.read_text().splitlines(), found, strict=True):
        row = json.loads(line)
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        assert row["chosen"] == [{"role": "assistant", "content": chosen.completion}]
        assert row["rejected"] == [{"role": "assistant", "content": "The answer is 0."}]
        assert row["chosen_attempt"] == chosen.attempt_id
        assert row["rejected_attempt"] == rejected.attempt_id


def test_erasing_writes_pairs_and_says_when_there_is_none(
    taught: StepContext, tmp_path: Path
) -> None:
    run_until_erase(taught, RehearseConfig(sampling=FOUR))
    erasing = in_step(taught, "erase", curate="curate", rehearse="rehearse")
    config = EraseConfig(message=GENERIC)
    done = asyncio.run(erase.erase(config, STRATEGIES, erasing, pairs=True))
    rows = list(tables.read_lessons(erasing.out / layout.PAIRS))
    assert done["pairs"] * 2 == len(rows) > 0
    assert [row.meta["preferred"] for row in rows] == [1.0, -1.0] * done["pairs"]

    attempts = tmp_path / "rehearse" / layout.ATTEMPTS
    right = [item for item in tables.read_judged(attempts) if not item.verdict.wrong]
    with tables.TableWriter(attempts, tables.JUDGED) as writer:
        for item in right:
            writer.write(tables.judged_row(item))
    with pytest.raises(StepError, match="no pair to learn from: the student gave no wrong answer"):
        asyncio.run(erase.erase(config, STRATEGIES, erasing, pairs=True))
    for name, inputs in {
        "rehearse": {},
        "teach": {},
        "curate": {"teach": "teach-0"},
        "erase": {"curate": "curate-0", "rehearse": "rehearse-0"},
    }.items():
        finish(tmp_path / name, **inputs)
    mine = tmp_path / "mine.jsonl"
    mine.write_text("kept")
    for out in (tmp_path / "none.jsonl", mine):
        with pytest.raises(ConfigError, match="no pair: no question of a right lesson has a wrong"):
            export_preferences(tmp_path, out)
    assert not (tmp_path / "none.jsonl").exists()
    assert mine.read_text() == "kept"


def test_labels_are_all_right_lessons_and_all_wrong_answers_of_the_student(
    taught: StepContext, tmp_path: Path
) -> None:
    lessons = run_until_erase(taught, RehearseConfig(sampling=FOUR))
    erasing = in_step(taught, "erase", curate="curate", rehearse="rehearse")
    config = EraseConfig(message=GENERIC)
    done = asyncio.run(erase.erase(config, STRATEGIES, erasing, labels=True))
    rows = list(tables.read_lessons(erasing.out / layout.LABELS))
    right = [row for row in rows if row.meta["preferred"] == 1]
    wrong = rows[len(right) :]
    assert [row.id for row in right] == [row.id for row in lessons]
    assert done["wrong"] == len(wrong) == len(right) > 0  # one wrong answer in four to each
    attempts = tmp_path / "rehearse" / layout.ATTEMPTS
    known = {item.attempt.id: item for item in tables.read_judged(attempts)}
    for row in wrong:
        assert (row.meta["preferred"], row.meta["role"]) == (-1, "self")
        assert known[row.attempt_id].verdict.wrong
        assert known[row.attempt_id].attempt.messages == row.messages
    never = [item for item in known.values() if not item.verdict.wrong]
    with tables.TableWriter(attempts, tables.JUDGED) as writer:
        for item in never:
            writer.write(tables.judged_row(item))
    with pytest.raises(StepError, match="the student gave no wrong answer to learn from"):
        asyncio.run(erase.erase(config, STRATEGIES, erasing, labels=True))


def test_a_stage_on_pairs_needs_a_rehearsal_and_changes_no_other_recipe(tmp_path: Path) -> None:
    def erased(**changes: object) -> str:
        recipe = load_recipe(write_recipe(tmp_path / "r.yaml", **changes))
        return next(s for s in steps_of(recipe, tmp_path) if s.name == "erase").fingerprint

    stages = [{"name": "lessons"}, {"name": "pairs", "prefer": {"beta": 0.2}}]
    with pytest.raises(ConfigError) as caught:
        erased(train={"stages": stages})
    assert "prefer needs wrong answers of the student" in str(caught.value)
    assert "add e.g. `rehearse: {}`" in str(caught.value)
    plain = erased(rehearse={}, train={"stages": stages[:1]})
    assert erased(rehearse={}, train={"stages": stages}) != plain
    both = {"name": "both", "prefer": {}, "reinforce": {}}
    labels = [stages[0], {"name": "labels", "prefer": {"loss": "kto"}}]
    assert erased(rehearse={}, train={"stages": labels}) != plain
    with pytest.raises(ConfigError, match="prefer needs wrong answers of the student"):
        erased(train={"stages": labels})
    with pytest.raises(ConfigError, match="has reinforce and prefer; give each a stage"):
        erased(rehearse={}, train={"stages": [both]})
