"""Models have names that a reader knows, wherever a run's spending is shown."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orcinus.runs.folders import summary_of
from orcinus.runs.model_names import model_name, model_names


def table(folder: Path, name: str, model: str, **config: object) -> None:
    """Write a finished step's table of attempts, with what names need."""
    import orjson

    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.table({"model": [model, model], "strategy": ["s", "s"]}), folder / f"{name}.parquet"
    )
    (folder / "step.json").write_bytes(orjson.dumps({"config": config}))
    (folder / "_done").touch()


def identity(letter: str) -> str:
    return f"folder:{letter * 32}"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    table(tmp_path / "probe-1", "attempts", identity("a"))
    table(tmp_path / "assign-1", "confirm", identity("a"), whose="student")
    table(tmp_path / "teach-1", "attempts", identity("b"))
    return tmp_path


def test_a_model_in_a_folder_is_called_by_its_role(run: Path) -> None:
    assert model_names(run) == {identity("a"): "student before training", identity("b"): "teacher"}
    for arm, letter in (("before", "a"), ("after", "c"), ("answer_only", "d")):
        table(run / "evaluate-1", f"attempts-{arm}", identity(letter))
    assert model_names(run) == {
        identity("a"): "student before training",
        identity("b"): "teacher",
        identity("c"): "student trained on explanations",
        identity("d"): "student trained on answers only",
    }


def test_a_probe_names_its_model_before_there_is_a_choice(run: Path) -> None:
    shutil.rmtree(run / "assign-1")
    assert model_names(run)[identity("a")] == "student before training"
    (run / "recipe.yaml").write_text("assign: {whose: teacher}", encoding="utf-8")
    assert model_names(run)[identity("a")] == "teacher (aaaaaaaa)"


def test_the_hash_stands_only_where_two_have_the_same_role(run: Path) -> None:
    for number, letter in ((1, "c"), (2, "e")):
        table(run / f"evaluate-{number}", "attempts-after", identity(letter))
    names = model_names(run)
    assert names[identity("c")] == "student trained on explanations (cccccccc)"
    assert names[identity("e")] == "student trained on explanations (eeeeeeee)"
    assert names[identity("a")] == "student before training"


def test_a_student_that_teaches_itself_is_one_model(run: Path) -> None:
    table(run / "teach-2", "attempts", identity("a"))
    shutil.rmtree(run / "teach-1")
    assert model_names(run) == {identity("a"): "student before training"}


def test_a_step_that_asked_the_teacher_to_choose_names_no_student(run: Path) -> None:
    table(run / "assign-1", "confirm", identity("b"), whose="teacher")
    table(run / "probe-1", "attempts", identity("b"))
    assert summary_of(run / "assign-1")["config"]["whose"] == "teacher"
    assert model_names(run) == {identity("b"): "teacher"}


def test_trial_students_are_named_by_strategy_and_wave(run: Path) -> None:
    (run / "trial-1/trials").mkdir(parents=True)
    for wave, strategy, letter in ((1, "direct", "c"), (1, "decompose", "d"), (2, "direct", "e")):
        rows = pa.table({"model": [identity(letter)], "strategy": [strategy]})
        pq.write_table(rows, run / f"trial-1/trials/wave-{wave}-strategy-{letter}.parquet")
    names = model_names(run)
    assert names[identity("c")] == "trial student of direct, wave 1"
    assert names[identity("d")] == "trial student of decompose, wave 1"
    assert names[identity("e")] == "trial student of direct, wave 2"


def test_other_names_stay_and_an_unknown_hash_is_cut(run: Path) -> None:
    names = model_names(run)
    assert model_name("gpt-5-mini", names) == "gpt-5-mini"
    assert model_name("hf:Qwen/Qwen3-0.6B@main", names) == "hf:Qwen/Qwen3-0.6B@main"
    assert model_name(f"hf:a/b@main+{identity('f')}", names) == "hf:a/b@main+model folder ffffffff"
    assert model_name(identity("a"), names) == "student before training"


def test_before_a_model_has_answered_its_role_names_it(run: Path) -> None:
    names = model_names(run)
    assert model_name(identity("f"), {}, role="student") == "the student"
    assert model_name(identity("a"), names, role="student") == "student before training"
    assert model_name("gpt-5-mini", {}, role="teacher") == "gpt-5-mini"


def test_before_anything_is_finished_there_are_no_names(tmp_path: Path) -> None:
    assert model_names(tmp_path) == {}


def test_the_engine_is_named_where_it_is_not_the_exact_one(tmp_path: Path) -> None:
    table(tmp_path / "probe-1", "attempts", f"{identity('a')}+llama.cpp")
    names = model_names(tmp_path)
    assert names == {f"{identity('a')}+llama.cpp": "student before training, behind llama.cpp"}
