"""Training starts from the student that was asked, adapter included, and in float32."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import ConfigError
from orcinus.core.types import Lesson, Message
from orcinus.models.local.config import LocalConfig
from orcinus.runs import layout, tables
from orcinus.runs.context import Silent
from orcinus.training.check import check_training
from orcinus.training.checkpoints import load_for_training, weights_dtype, with_lora
from orcinus.training.config import LoraConfig, StageConfig, TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.job import TrainJob

RECIPE: dict[str, Any] = {"context_length": 64, "batch_tokens": 64}


def learn(
    student: LocalConfig, folder: Path, *, rate: float, lora: bool = False
) -> dict[str, torch.Tensor]:
    """Return the weights of a student after a pass over four lessons."""
    folder.mkdir()
    with tables.TableWriter(folder / layout.LESSONS, tables.LESSONS) as writer:
        for i in range(4):
            writer.write(tables.lesson_row(_lesson(i)))
    job = TrainJob(
        config=TrainConfig(
            stages=(StageConfig(epochs=1, learning_rate=rate),),
            lora=LoraConfig(rank=2) if lora else None,
            **RECIPE,
        ),
        student=student,
        lessons=folder / layout.LESSONS,
        out=folder,
        seed=0,
        micro_batch=1,
        device="cpu",
    )
    made = folder / train_curriculum(job, Silent())["model"]
    return dict(AutoModelForCausalLM.from_pretrained(made, dtype="auto").state_dict())


def _lesson(number: int) -> Lesson:
    return Lesson(
        id=f"l{number}",
        example_id="e",
        task="t",
        strategy="direct",
        messages=(Message(role="user", content=f"Add {number} 2."),),
        completion=f"The answer is {number + 2}.",
        reasoning=None,
        teacher="m",
        attempt_id="a",
        erased="generic",
        weight=1.0,
    )


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_training_starts_from_the_student_with_its_adapter(
    tiny_student: Path, tmp_path: Path, lora: bool
) -> None:
    base: Any = AutoModelForCausalLM.from_pretrained(tiny_student, dtype=torch.float32)
    torch.manual_seed(1)
    settings = PeftLoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(base, settings)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    expected = adapted.merge_and_unload().state_dict()["model.layers.0.self_attn.q_proj.weight"]
    student = LocalConfig(path=str(tiny_student), adapter=str(tmp_path / "adapter"))
    found = learn(student, tmp_path / "run", rate=1e-12, lora=lora)
    torch.testing.assert_close(
        found["model.layers.0.self_attn.q_proj.weight"], expected, rtol=0, atol=1e-8
    )
    # An adapter that stands on a merged one would fit no model that the user has.
    assert not (tmp_path / "run" / "stage-1" / "adapter").exists()


def test_a_bfloat16_checkpoint_learns_as_a_float32_one_does(
    tiny_student: Path, tmp_path: Path
) -> None:
    """At 2e-5, an ordinary rate, a step is less than the rounding of most weights in bfloat16."""
    half, whole = tmp_path / "bfloat16", tmp_path / "float32"
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_student, dtype=torch.bfloat16)
    for folder, dtype in ((half, torch.bfloat16), (whole, torch.float32)):
        shutil.copytree(tiny_student, folder)
        model.to(dtype).save_pretrained(folder)  # the same numbers, held in either
    learnt = [
        learn(LocalConfig(path=str(folder)), tmp_path / f"run-{folder.name}", rate=2e-5)
        for folder in (half, whole)
    ]
    start = model.state_dict()
    for name, weights in learnt[0].items():
        assert weights.dtype == torch.float32
        assert torch.equal(weights, learnt[1][name])
        if weights.dim() > 1 and "embed" not in name:
            moved = (weights != start[name]).float().mean()
            assert float(moved) > 0.9, name


@pytest.mark.parametrize(
    ("frozen", "precision", "on_gpu", "expected"),
    [
        (False, "auto", True, torch.float32),
        (False, "bfloat16", True, torch.float32),
        (False, "float32", True, torch.float32),
        (True, "auto", True, "auto"),
        (True, "bfloat16", True, "auto"),
        (True, "float32", True, torch.float32),
        (True, "auto", False, torch.float32),
        (False, "auto", False, torch.float32),
    ],
)
def test_weights_that_learn_are_float32(
    frozen: bool, precision: Any, on_gpu: bool, expected: Any
) -> None:
    found = weights_dtype("auto", frozen=frozen, precision=precision, on_gpu=on_gpu)
    assert found == expected


def test_adapters_on_half_precision_are_float32(tiny_student: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_student, dtype=torch.bfloat16)
    adapted = with_lora(model, LoraConfig(rank=2))
    learnt = [p for p in adapted.parameters() if p.requires_grad]
    assert learnt
    assert all(parameter.dtype == torch.float32 for parameter in learnt)


def test_the_vocabulary_stays_as_it_is_without_a_padding_token(
    tiny_student: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_student)
    model.resize_token_embeddings(512, mean_resizing=False)  # more rows than tokens, as many have
    model.save_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_student)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    before = len(AutoTokenizer.from_pretrained(folder))
    loaded, its_tokenizer = load_for_training(LocalConfig(path=str(folder)))
    assert loaded.get_input_embeddings().weight.shape[0] == 512
    assert len(its_tokenizer) == before


def test_layers_that_do_not_exist_are_refused_before_training(tiny_student: Path) -> None:
    config = TrainConfig(lora=LoraConfig(targets=("no_such_layer",)))
    with pytest.raises(ConfigError, match=r"train.lora.targets: .*no_such_layer"):
        check_training(config, LocalConfig(path=str(tiny_student)), "cpu")


def test_an_ordinary_student_passes_the_check_in_silence(tiny_student: Path) -> None:
    config = TrainConfig(context_length=512)
    assert check_training(config, LocalConfig(path=str(tiny_student)), "cpu") == []
