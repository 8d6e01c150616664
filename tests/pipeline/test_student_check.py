"""A student is checked before anything is asked: refused in one line, or with what it costs."""

import asyncio
import runpy
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from orcinus.core.errors import ConfigError
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import usable_device
from orcinus.pipeline.doctor import examine
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs.context import Runtime, Silent
from orcinus.training.check import check_training
from orcinus.training.config import TrainConfig

ROOT = Path(__file__).parents[2]


def save(model: Any, tokenizer_of: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer_of).save_pretrained(folder)
    return folder


def tiny(family: str) -> Any:
    return runpy.run_path(str(ROOT / "scripts" / "model_families.py"))["tiny_model"](family)


def recipe_with(student: Path, folder: Path) -> Path:
    return write_recipe(folder / "recipe.yaml", student={"kind": "local", "path": str(student)})


def test_a_student_that_cannot_be_trained_stops_the_run_before_its_first_step(
    tiny_student: Path, tmp_path: Path
) -> None:
    student = save(tiny("bert"), tiny_student, tmp_path / "bert")
    path = recipe_with(student, tmp_path)
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "ledger", device="cpu")
    with pytest.raises(ConfigError, match=r"'bert' cannot be trained \(") as raised:
        asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent()))
    assert "\n" not in str(raised.value)
    assert not [step for step in (tmp_path / "runs" / "small").iterdir() if step.is_dir()]


def test_doctor_says_how_a_student_is_trained(tiny_student: Path, tmp_path: Path) -> None:
    student = save(tiny("lfm2"), tiny_student, tmp_path / "lfm2")
    recipe = load_recipe(recipe_with(student, tmp_path))
    findings = asyncio.run(examine(tmp_path, recipe, {}))
    (finding,) = [found for found in findings if found.what == f"training {student}"]
    assert finding.state == "ok"
    assert "'lfm2' read each lesson alone in training" in finding.detail


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("gpu", "--device gpu: no such device; use cpu"),
        ("cuda:99", "--device cuda:99: PyTorch sees"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(device: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        usable_device(device)


def test_lessons_end_where_the_positions_of_a_model_end(tiny_student: Path, tmp_path: Path) -> None:
    config = GPT2Config(n_embd=32, n_layer=1, n_head=2, vocab_size=400, n_positions=64)
    model = GPT2LMHeadModel(config)
    student = LocalConfig(path=str(save(model, tiny_student, tmp_path / "gpt2")))
    (note,) = check_training(TrainConfig(context_length=128), student, "cpu")
    assert note.endswith("the model has 64 positions; longer lessons are dropped")
    assert check_training(TrainConfig(context_length=64), student, "cpu") == []
