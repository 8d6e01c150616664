"""What a training costs is computed from the student's files, and is right to a factor of two."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.models.local.config import LocalConfig
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline import api
from orcinus.training import cost
from orcinus.training.config import LoraConfig, PreferConfig, StageConfig, TrainConfig

QWEN3_4B = cost.Shape(
    body=3_633_511_936, words=388_956_160, tables=1, sides=36 * 78_848, layers=36, width=2560
)
GPU = cost.Device(name="a GPU", per_second=1e14, value_bytes=2)
CPU = cost.Device(name="this processor", per_second=1e11, value_bytes=4, source="100 GFLOP/s")
FULL, LORA = TrainConfig(), TrainConfig(lora=LoraConfig(rank=16))


def test_the_sizes_are_those_that_torch_counts(tiny_student: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_student)
    linear = [item for name, item in model.named_modules() if name.endswith("_proj")]
    shape = cost.shape_of(LocalConfig(path=str(tiny_student)), Path())
    assert shape is not None
    assert shape.parameters == sum(item.numel() for item in model.parameters())
    assert shape.sides == sum(item.in_features + item.out_features for item in linear)
    assert (shape.layers, shape.width) == (
        model.config.num_hidden_layers,
        model.config.hidden_size,
    )


def test_a_student_from_scratch_has_the_sizes_of_its_recipe() -> None:
    pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    config = ScratchConfig(layers=2, hidden=48, heads=2, vocabulary=400)
    made = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            tie_word_embeddings=True,
        )
    )
    shape = cost.shape_of(config, Path())
    assert shape is not None
    parameters = sum(item.numel() for item in made.parameters())
    assert shape.parameters == pytest.approx(parameters, rel=0.01)  # norms are left out


def test_frozen_weights_save_a_third_and_checkpointing_costs_one() -> None:
    twice = FULL.model_copy(update={"trainer": {"gradient_checkpointing": True}})
    full, lora, again = (
        cost.operations(QWEN3_4B, config, small=0) for config in (FULL, LORA, twice)
    )
    assert full == 6 * QWEN3_4B.body + 3 * QWEN3_4B.words
    assert full - lora == 2 * QWEN3_4B.body == again - full


def test_memory_is_that_of_the_gpu_page() -> None:
    def gigabytes(config: TrainConfig) -> float:
        return cost.memory_bytes(QWEN3_4B, config, GPU, row_tokens=2048) / 1e9

    activations = 80 * 2048 * 2560 * 36 / 1e9  # 15.1
    assert gigabytes(FULL) == pytest.approx(18 * 4.022 + activations + 0.5, rel=0.01)
    adapters = 16 * 16 * QWEN3_4B.sides / 1e9  # 0.7
    assert gigabytes(LORA) == pytest.approx(2 * 4.022 + adapters + activations + 0.5, rel=0.01)
    less = LORA.model_copy(update={"trainer": {"gradient_checkpointing": True}})
    assert (round(gigabytes(LORA), 1), round(gigabytes(less), 1)) == (24.4, 10.5)  # one-gpu.md


def test_a_gpu_is_known_by_its_driver_s_name() -> None:
    for name, peak in {
        "NVIDIA A100-SXM4-80GB": 312e12,
        "NVIDIA A10": 125e12,
        "NVIDIA L40S": 362e12,
        "NVIDIA L4": 121e12,
        "NVIDIA GeForce RTX 4090": 165e12,
    }.items():
        found = cost.known_gpu(name)
        assert found is not None
        assert found.per_second == pytest.approx(0.2 * peak)
    assert cost.known_gpu("Voodoo 2") is cost.known_gpu("NVIDIA RTX A1000") is None


def test_weights_that_are_only_a_pointer_or_cut_off_have_no_size(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hidden_size": 8, "num_hidden_layers": 2}')
    for content in (b"version https://git-lfs.github.com/spec/v1\nsize 12\n", b"", b"\xff" * 20):
        (tmp_path / "model.safetensors").write_bytes(content)
        assert cost.shape_of(LocalConfig(path=str(tmp_path)), Path()) is None


def test_a_plan_names_what_its_estimate_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "processor", lambda: CPU)
    monkeypatch.setattr(cost, "gpu_name", lambda: "Tesla T4")
    stages = (StageConfig(name="one"), StageConfig(name="pairs", prefer=PreferConfig()))
    student = ScratchConfig(layers=2, hidden=48, heads=2, vocabulary=400)
    said = cost.describe_cost(
        TrainConfig(stages=stages), student, Path(), lessons=100, lesson_tokens=80
    )
    assert "on this processor" in said
    assert "Counted like plain stages, though they take longer: pairs (prefer)." in said
    assert "The speed of this Tesla T4 is not known here" in said
    monkeypatch.setattr(cost, "gpu_name", lambda: "NVIDIA L4")
    said = cost.describe_cost(FULL, student, Path(), lessons=100, lesson_tokens=80)
    assert "on this NVIDIA L4" in said
    assert said.endswith("which is assumed.")


def test_the_example_of_the_gpu_page() -> None:
    """5,000 lessons of 400 tokens, 3 epochs, 4 billion: 70 minutes on an RTX 4090."""
    config = TrainConfig(stages=(StageConfig(epochs=3),), context_length=2048)
    tokens, row = cost._length(config, 5000, 400)
    assert (tokens, row) == (6_000_000, 2000)  # a batch of 60,000 tokens in 30 rows
    card = cost.known_gpu("RTX 4090")
    assert card is not None
    assert cost._seconds(card, QWEN3_4B, config, tokens) / 60 == pytest.approx(70, abs=3)


def test_plan_says_minutes_and_memory_and_what_they_rest_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "processor", lambda: CPU)
    monkeypatch.setattr(cost, "gpu_name", lambda: "")
    notes = api.plan(write_recipe(tmp_path / "a.yaml"), runs=tmp_path / "runs").notes
    [note] = [note for note in notes if "training takes" in note]
    assert "GB on this processor; that on bare answers takes less." in note
    assert "tokens of lessons, and 100 GFLOP/s." in note
    assert "RTX" not in note
    monkeypatch.setattr(cost, "SLOW_S", 0)
    notes = api.plan(tmp_path / "a.yaml", runs=tmp_path / "runs").notes
    assert sum("GB on an RTX 4090" in note for note in notes) == 1


SCRIPT = """
import json, resource, sys, time
from pathlib import Path
import numpy as np, pyarrow as pa
from orcinus.models.local.config import LocalConfig
from orcinus.training import cost
from orcinus.training.config import LoraConfig, TrainConfig
time.perf_counter, kept = time.process_time, time.perf_counter  # other processes are not counted
rate = cost.processor().per_second
time.perf_counter = kept
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from orcinus.runs.context import Silent
from orcinus.training.checkpoints import with_lora
from orcinus.training.tokens import TokenizedLessons
from orcinus.training.trainer import StageSettings, train_stage

folder, lora = Path(sys.argv[1]), sys.argv[2] == "lora"
LlamaForCausalLM(LlamaConfig(vocab_size=4000, hidden_size=320, intermediate_size=864,
    num_hidden_layers=6, num_attention_heads=5, num_key_value_heads=5)
).save_pretrained(folder / "m")
model = LlamaForCausalLM.from_pretrained(folder / "m").float()
config = TrainConfig(context_length=480, lora=LoraConfig() if lora else None)
model = with_lora(model, config.lora) if lora else model
draw = np.random.default_rng(1)
count, length = 60, 120
lengths = np.full(count, length)
lessons = TokenizedLessons(
    tokens=draw.integers(3, 3999, count * length).astype(np.uint32),
    index=np.stack([np.cumsum(lengths) - lengths, lengths, lengths // 2], axis=1),
    weights=np.ones(count, np.float32), ids=pa.chunked_array([list(map(str, range(count)))]),
    too_long=0)
class Times(Silent):
    at = []
    def advance(self, n=1, **_):
        self.at.append(time.process_time())
stage = StageSettings(name="s", context=480, rows_per_step=1, rows=6, epochs=9, seed=0,
    arguments={"learning_rate": 1e-4, "use_cpu": True})
train_stage(model, lessons, stage, folder / "t" / "stage-1", Times())
shape = cost.shape_of(LocalConfig(path=str(folder / "m")), Path())
device = cost.Device(name="", per_second=rate, value_bytes=4)
print(json.dumps({
    "seconds": [cost._seconds(device, shape, config, 480), float(np.median(np.diff(Times.at)))],
    "bytes": [cost.memory_bytes(shape, config, device, row_tokens=480),
              resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["all", "lora"])
def test_a_real_training_takes_as_long_and_as_much_to_a_factor_of_two(
    tmp_path: Path, weights: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), weights],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for what, (expected, measured) in found.items():
        assert 0.5 < measured / expected < 2, (what, expected, measured)
