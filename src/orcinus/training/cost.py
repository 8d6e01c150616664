"""Estimate the minutes and the memory of a training before it begins, without torch.

    SmolLM2-135M, LoRA of rank 16, 256 tokens a row
    ──►  976 million operations a token; 0.5 GB of weights, 0.7 GB of activations

The figures are computed from the sizes in the student's files. How fast this processor is gets
measured; a GPU's speed is the maker's. Both are good to a factor of two: see ``docs/gpus.md``.
"""

import json
import math
import re
import shutil
import subprocess  # nvidia-smi has no Python API
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import numpy as np

from orcinus.models.local.config import LocalConfig, model_folder
from orcinus.models.scratch import ScratchConfig
from orcinus.runs.progress import in_minutes
from orcinus.training.config import TrainConfig
from orcinus.training.schedule import schedule

SMALL_OPERATIONS = 27_000
"""Operations that norms, attention and activations cost for each token, layer and unit of width.
They are 0.48 µs where a matrix product makes 57 GFLOP/s. Measured: models of 0.3 to 135 million
parameters on a core of 2026, float32; 0.45 to 0.50 µs."""
VALUES_KEPT = 40
"""Values that the backward pass keeps for each token, layer and unit of width. Measured in float32
on a CPU: 35 to 70, 40 for SmolLM2-135M."""
PROCESS_BYTES = 0.5e9
"""Bytes of a process with torch and Transformers before it loads a student. Measured: 0.51 GB."""
PEAK_SHARE = 0.2
"""Share of a GPU's peak that training reaches. An assumption; small students reach less."""
PEAKS = {
    "H200": 990e12,
    "H100": 990e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "4090": 165e12,
    "A10": 125e12,
    "L4": 121e12,
}
"""bfloat16 operations a second of GPUs, at most, without sparsity, by a part of the name. From the
makers' data sheets; the first that fits counts."""
SLOW_S = 1800
"""Seconds of training on a processor above which a GPU is named for comparison."""
PRODUCT = (256, 1024, 1024)
"""Rows, inner size and columns of the matrix product that measures a processor. One takes 5 to 20
ms. Shorter ones measured 1 or 100 GFLOP/s on two busy cores, as their threads met or not."""
PRODUCTS = 5
"""Products, of which the best counts, after one that wakes the threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a student."""

    body: int
    """Parameters of its layers."""
    words: int
    """Parameters of the table that turns tokens into vectors, or vectors into tokens."""
    tables: int
    """1 where one table does both, else 2."""
    sides: int
    """Inputs and outputs of all matrices of its layers, added up: an adapter of rank r has r times
    as many parameters."""
    layers: int
    width: int

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.body + self.tables * self.words


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Where a training would run."""

    name: str
    per_second: float
    """Operations a second that it reaches in training."""
    value_bytes: int
    """Bytes of a value in the arithmetic: 4 on a processor, 2 on a GPU."""
    source: str = ""
    """What the speed rests on."""


def operations(shape: Shape, config: TrainConfig, *, small: int = SMALL_OPERATIONS) -> float:
    """Return the operations that training makes for each token it reads.

    Each parameter makes 2 operations a token forward, 2 to pass the gradient on, and 2 for its own
    gradient, which frozen ones leave out. Checkpointing goes forward twice.

    Args:
        shape: The student.
        config: How to train.
        small: As ``SMALL_OPERATIONS``.
    """
    each = 6 if config.lora is None else 4
    each += 2 if config.trainer.get("gradient_checkpointing") else 0
    # Only the responses' tokens are predicted, about half of all.
    return each * shape.body + 3 * shape.words + small * shape.layers * shape.width


def memory_bytes(
    shape: Shape, config: TrainConfig, device: Device, *, row_tokens: int, micro_batch: int = 1
) -> float:
    """Return the most memory that a training takes, the process included.

    Args:
        shape: The student.
        config: How to train.
        device: Where.
        row_tokens: Tokens of a packed row.
        micro_batch: Rows of one forward pass.
    """
    on_gpu = device.value_bytes == 2
    if config.lora is None:
        # Weights, gradients and AdamW's two moments in float32, and copies for the arithmetic.
        weights = shape.parameters * (16 + (2 if on_gpu else 0))
    else:
        weights = shape.parameters * device.value_bytes + 16 * config.lora.rank * shape.sides
    kept = VALUES_KEPT * micro_batch * row_tokens * shape.width
    kept *= 3 if config.trainer.get("gradient_checkpointing") else shape.layers
    return weights + kept * device.value_bytes + PROCESS_BYTES


def shape_of(student: LocalConfig | ScratchConfig, base: Path) -> Shape | None:
    """Return the sizes of a student; None where its weights are not on this machine."""
    if isinstance(student, ScratchConfig):
        width, layers = student.hidden, student.layers
        return Shape(  # as ``scratch_model.py`` makes it
            body=layers * 12 * width**2,
            words=student.vocabulary * width,
            tables=1,
            sides=layers * 19 * width,
            layers=layers,
            width=width,
        )
    folder = model_folder(student.path, base) or _cached(student)
    if folder is None:
        return None
    try:
        config = json.loads((folder / "config.json").read_bytes())
        config = config.get("text_config", config)
        width, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        return _shape_of_files(folder, width, layers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _shape_of_files(folder: Path, width: int, layers: int) -> Shape | None:
    """Return the sizes from the heads of the weights' files, which list every tensor."""
    tensors: dict[str, list[int]] = {}
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:  # a pointer of git-lfs, or cut off
                return None
            head = json.loads(file.read(size))
        tensors |= {name: entry["shape"] for name, entry in head.items() if "shape" in entry}
    words = [prod(shape) for name, shape in tensors.items() if _is_table(name)]
    matrices = [shape for name, shape in tensors.items() if len(shape) > 1 and not _is_table(name)]
    if not words or not matrices:
        return None
    return Shape(
        body=sum(map(prod, tensors.values())) - sum(words),
        words=max(words),
        tables=len(words),
        sides=sum(prod(shape[:-2]) * (shape[-2] + shape[-1]) for shape in matrices),
        layers=layers,
        width=width,
    )


def _is_table(name: str) -> bool:
    return name.endswith(("embed_tokens.weight", "wte.weight", "lm_head.weight"))


def _cached(student: LocalConfig) -> Path | None:
    """Return the folder of a model of the hub that was downloaded before."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    try:
        found = try_to_load_from_cache(student.path, "config.json", revision=student.revision)
    except ValueError:  # no name that the hub could have
        return None
    return Path(found).parent if isinstance(found, str) else None


@lru_cache(maxsize=1)
def processor() -> Device:
    """Return this processor, its speed measured now."""
    rows, inner, columns = PRODUCT
    left = np.ones((rows, inner), dtype=np.float32)
    right = np.ones((inner, columns), dtype=np.float32)
    seconds = []
    for _ in range(1 + PRODUCTS):
        started = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - started)
    per_second = 2 * prod(PRODUCT) / min(seconds[1:])
    return Device(
        name="this processor",
        per_second=per_second,
        value_bytes=4,
        source=f"{per_second / 1e9:,.0f} GFLOP/s, just measured",
    )


def gpu_name() -> str:
    """Return the name of this machine's first GPU; empty without one."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.partition("\n")[0].strip()


def known_gpu(name: str) -> Device | None:
    """Return a GPU by the name that its driver gives; None if its speed is not known."""
    peak = next((peak for part, peak in PEAKS.items() if re.search(rf"{part}(?!\d)", name)), None)
    if peak is None:
        return None
    return Device(
        name=f"this {name}",
        per_second=PEAK_SHARE * peak,
        value_bytes=2,
        source=f"{PEAK_SHARE:.0%} of its {peak / 1e12:,.0f} TFLOP/s, which is assumed",
    )


def describe_cost(
    config: TrainConfig,
    student: LocalConfig | ScratchConfig,
    base: Path,
    *,
    lessons: int,
    lesson_tokens: float,
    trial_lessons: int = 0,
    bare: bool = True,
) -> str:
    """Return a line with the minutes and the memory of a training, and what they rest on.

    Args:
        config: How to train.
        student: The model to start from.
        base: Folder where its path starts.
        lessons: Their number, about.
        lesson_tokens: Tokens of one, about.
        trial_lessons: Lessons of a trial student; 0 where there is none.
        bare: Another student is trained on bare answers.
    """
    shape = shape_of(student, base)
    if shape is None:
        return (
            "Minutes and memory of the training are computed once the student is on this machine; "
            "docs/gpus.md has the formulas."
        )
    tokens, row = _length(config, lessons, lesson_tokens)
    card = gpu_name()
    here = known_gpu(card) or processor()
    facts = [_cost_on(here, shape, config, tokens, row)]
    if here.value_bytes == 4 and _seconds(here, shape, config, tokens) > SLOW_S:
        other = Device(name="an RTX 4090", per_second=PEAKS["4090"] * PEAK_SHARE, value_bytes=2)
        facts.append(_cost_on(other, shape, config, tokens, row))
    trial = ""
    if trial_lessons:
        last = config.model_copy(update={"stages": config.stages[-1:]})
        needed, _ = _length(last, trial_lessons, lesson_tokens)
        seconds = _seconds(here, shape, config, needed)
        trial = f" A trial student takes {_in_words(seconds)}."
    second = "; that on bare answers takes less" if bare else ""
    more = "".join(_exceptions(config, "" if here.value_bytes == 2 else card))
    millions = shape.parameters / 1e6
    size = f"{millions:,.0f}" if millions >= 10 else f"{millions:,.1f}"
    return (
        f"The student's training takes {', '.join(facts)}{second}.{trial} An estimate, good "
        f"to a factor of two, from {size} million parameters, {tokens:,.0f} tokens of lessons, "
        f"and {here.source}.{more}"
    )


def _exceptions(config: TrainConfig, unknown_gpu: str) -> Iterator[str]:
    """Yield what an estimate leaves out: stages that do more than read, a GPU of unknown speed."""
    longer = [f"{stage.name} ({stage.signal})" for stage in config.stages if stage.signal]
    if longer:
        yield f" Counted like plain stages, though they take longer: {', '.join(longer)}."
    if unknown_gpu:
        yield f" The speed of this {unknown_gpu} is not known here; docs/gpus.md has the formula."


def _length(config: TrainConfig, lessons: int, lesson_tokens: float) -> tuple[float, int]:
    """Return the tokens that all stages read, and the tokens of the longest packed row."""
    once, tokens, row = round(lessons * lesson_tokens), 0.0, 0
    for stage in config.stages:
        epochs = stage.epochs if stage.tokens is None else stage.tokens / once
        longest = min(config.context_length, math.ceil(2 * lesson_tokens))
        packed = schedule(config, lessons=lessons, tokens=once, longest=longest, epochs=epochs)
        tokens, row = tokens + epochs * once, max(row, packed.context)
    return tokens, row


def _seconds(device: Device, shape: Shape, config: TrainConfig, tokens: float) -> float:
    # The memory of a GPU is so fast that its matrices decide.
    small = SMALL_OPERATIONS if device.value_bytes == 4 else 0
    return tokens * operations(shape, config, small=small) / device.per_second


def _cost_on(device: Device, shape: Shape, config: TrainConfig, tokens: float, row: int) -> str:
    seconds = _seconds(device, shape, config, tokens)
    memory = memory_bytes(shape, config, device, row_tokens=row)
    return f"{_in_words(seconds)} and {memory / 1e9:.1f} GB on {device.name}"


def _in_words(seconds: float) -> str:
    return "less than a minute" if seconds < 60 else f"about {in_minutes(seconds)}"
