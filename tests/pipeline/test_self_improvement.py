"""A student that teaches itself."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

from orcinus.core.errors import ConfigError
from orcinus.pipeline.recipe_file import load_recipe

BASE: dict[str, Any] = {
    "kind": "local",
    "path": str(files("orcinus.pipeline.demo") / "base"),
    "chat_template": "chatml",
}


@pytest.mark.slow
def test_the_student_s_own_right_answers_are_its_lessons_round_after_round(tmp_path: Path) -> None:
    sampling = {"max_tokens": 64, "samples": 2, "temperature": 0.7}
    write_recipe(
        tmp_path / "r.yaml",
        student=BASE,
        probe={"per_task": 4, "sampling": {"max_tokens": 64}},
        teach={"sampling": sampling},
    )
    done = orcinus("improve", "r.yaml", "--rounds", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rounds = json.loads(done.stdout.splitlines()[-1])
    assert rounds == json.loads((tmp_path / "runs" / "small-improved.json").read_text())
    assert 0 < rounds[0]["lessons"] <= rounds[0]["right"] <= rounds[0]["sampled"]
    if len(rounds) == 2:
        # The second round starts from the first one's student, whose answers are in the ledger.
        assert rounds[1]["before"] == rounds[0]["after"]
        assert rounds[0]["after"]["mean"] > rounds[0]["before"]["mean"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"curate": {"keep": "all"}}, "curate.keep is 'all'"),
        (
            {"tasks": [{"path": "mine.jsonl", "unlabelled": True}]},
            "mine.jsonl has no right answers",
        ),
    ],
)
def test_without_a_signal_from_outside_it_is_refused(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    path = write_recipe(tmp_path / "r.yaml", teacher={"kind": "self"}, **changes)
    with pytest.raises(ConfigError, match="needs a signal from outside") as caught:
        load_recipe(path)
    assert says in str(caught.value)


def test_its_own_teacher_is_no_arm_of_the_evaluation(tmp_path: Path) -> None:
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml", teacher={"kind": "self"}))
    assert "teacher" not in recipe.evaluate.arms
    assert "prompted" in recipe.evaluate.arms
