"""Training on response tokens: tokens per second and peak memory beside TRL's SFTTrainer.

    python -m benchmarks.training [--quick] [--json]        (needs trl: pip install trl)

Same model, lessons and machine: a Llama-like model, rows of 1,024 tokens, prompt to response about
60 to 40, float32 on one thread, four rows per step. TRL runs in three settings: its bfd packing,
the same with rows one at a time, and that with its loss on response tokens alone, which it uses by
itself on a GPU only. Each variant runs in a process of its own, and the first step warms up. Then
follows the same with four responses to each prompt, beside TRL's best.

``matmul_share`` is the least time that the model's matrix products need, as a share of the time
taken, at the rate of a large product in the same process. ``max_relative_error`` compares our loss
and gradients in float64 with one lesson at a time, packed and shared. ``cost_vs_plain`` is the time
of an optimizer step under each objective, as a multiple of that under ``plain``: medians of steps
that alternate in one process.
"""

import argparse
import importlib
import importlib.util
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback

from orcinus.training.objectives import BUILT_IN

if TYPE_CHECKING:
    from orcinus.training.objectives import Objective
    from orcinus.training.tokens import TokenizedLessons

SETTINGS: dict[str, dict[str, Any]] = {"anchored": {"anchors": {"tasks": ["any"]}}}
"""Settings that an objective cannot do without."""
NUMBERS = {"came": 4.0, "own": 0.0, "reference_logprob": -1.0, "teacher_logprob": -1.0}
"""Made-up numbers of lessons and tokens; all others are 1."""
VARIANTS = ("trl_bfd", "trl_rows", "trl_compact", "ours")
ROWS = 4


def lessons(
    count: int, context: int, vocabulary: int, responses: int
) -> list[tuple[list[int], int]]:
    """Make lessons (tokens, prompt length), with ``responses`` to each prompt."""
    draw = np.random.default_rng(0)
    made = []
    for _ in range(count // responses):
        length = int(np.clip(draw.lognormal(np.log(context / 4), 0.6), 32, context))
        prompt = draw.integers(3, vocabulary, int(length * draw.uniform(0.4, 0.8))).tolist()
        for _ in range(responses):
            answer = int(
                np.clip((length - len(prompt)) * draw.lognormal(0, 0.3), 1, context - len(prompt))
            )
            made.append((prompt + draw.integers(3, vocabulary, answer).tolist(), len(prompt)))
    return made


def model_of(layers: int, vocabulary: int, context: int) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=layers,
            num_attention_heads=8,
            num_key_value_heads=4,
            max_position_embeddings=context,
            tie_word_embeddings=False,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


class Clock(TrainerCallback):
    """The end of each optimizer step."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.perf_counter())


def with_trl(
    variant: str,
    model: Any,
    data: list[tuple[list[int], int]],
    context: int,
    steps: int,
    folder: str,
) -> float:
    """Return logical tokens per second of TRL."""
    trl: Any = importlib.import_module("trl")
    datasets: Any = importlib.import_module("datasets")
    from transformers import PreTrainedTokenizerFast

    from orcinus.training.scratch_model import make_tokenizer

    if variant == "trl_compact":
        # Its response-only loss, which it keeps for GPUs.
        importlib.import_module("trl.trainer.utils")._use_triton = lambda _: True  # type: ignore[attr-defined]
    tokenizer: PreTrainedTokenizerFast = make_tokenizer(["a b c"], 300, context)
    dataset = datasets.Dataset.from_dict(
        {
            "input_ids": [tokens for tokens, _ in data],
            "completion_mask": [
                [0] * prompt + [1] * (len(tokens) - prompt) for tokens, prompt in data
            ],
        }
    )
    batch = ROWS if variant == "trl_bfd" else 1
    config = trl.SFTConfig(
        output_dir=folder,
        packing=True,
        packing_strategy="bfd",
        max_length=context,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=ROWS // batch,
        max_steps=steps,
        completion_only_loss=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        logging_steps=1000,
        save_strategy="no",
        disable_tqdm=True,
        learning_rate=1e-4,
    )
    clock = Clock()
    trainer = trl.SFTTrainer(
        model=model,
        args=config,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[clock],
    )
    packed = trainer.train_dataset
    lengths = [len(row) for row in packed["input_ids"]]
    clock.times = [time.perf_counter()]
    trainer.train()
    return rate(clock.times, statistics.mean(lengths))


def with_ours(
    model: Any, data: list[tuple[list[int], int]], context: int, steps: int, folder: str
) -> float:
    """Return logical tokens per second of our trainer."""
    from orcinus.training.batches import PackedRows
    from orcinus.training.objectives import find_objective

    tokenized = tokenized_of(data)
    rows = PackedRows(tokenized, context=context, epochs=1, seed=0)
    times = train_ours(model, tokenized, find_objective("lesson_weight"), context, steps, folder)
    return rate(times, float(tokenized.lengths.sum()) / len(rows))


def train_ours(
    model: Any,
    tokenized: "TokenizedLessons",
    objective: "Objective",
    context: int,
    steps: int,
    folder: str,
) -> list[float]:
    """Train, and return when the training began and when each optimizer step ended."""
    from orcinus.runs.context import Silent
    from orcinus.training.trainer import StageSettings, train_stage

    class StepClock(Silent):
        def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
            times.append(time.perf_counter())

    times = [time.perf_counter()]
    stage = StageSettings(
        name="bench",
        context=context,
        rows_per_step=ROWS,
        epochs=1,
        seed=0,
        objective=objective,
        arguments={
            "learning_rate": 1e-4,
            "use_cpu": True,
            "max_steps": steps,
            "save_strategy": "no",
        },
    )
    train_stage(model, tokenized, stage, Path(folder) / "stage", StepClock())
    return times


def cost_vs_plain(name: str, layers: int, vocabulary: int, context: int, steps: int) -> float:
    """Return the time of an optimizer step under an objective, as a multiple of plain's."""
    from orcinus.training.objectives import find_objective

    data = lessons(ROWS * 12 * (steps + 1), context, vocabulary, 1)
    model, seconds = model_of(layers, vocabulary, context), dict[str, list[float]]()
    for _ in range(2):  # alternately, since the machine may slow down meanwhile
        for objective in (find_objective("plain"), find_objective(name, SETTINGS.get(name, {}))):
            tokenized = tokenized_of(data)
            with tempfile.TemporaryDirectory() as folder:
                times = train_ours(
                    model, *with_numbers(tokenized, objective), context, steps, folder
                )
            kind = "plain" if objective == find_objective("plain") else name
            steps_s = [b - a for a, b in itertools.pairwise(times[1:])]
            seconds.setdefault(kind, []).extend(steps_s)
    return statistics.median(seconds[name]) / statistics.median(seconds["plain"])


def with_numbers(
    lessons: "TokenizedLessons", objective: "Objective"
) -> tuple["TokenizedLessons", "Objective"]:
    """Return made-up numbers of lessons and tokens, and anchors, as the objective needs them."""
    from orcinus.training.batches import collate
    from orcinus.training.objectives.interface import TOKEN_NUMBERS

    needs = objective.needs
    of_tokens = [name for name in needs.token_numbers if name in TOKEN_NUMBERS[1:]]
    of_lessons = [name for name in needs.evidence if name not in of_tokens]
    ones, responses = np.ones(len(lessons), np.float32), lessons.response_tokens
    lessons = replace(
        lessons,
        evidence={name: NUMBERS.get(name, 1.0) * ones for name in of_lessons},
        token_evidence={
            name: np.full(responses, NUMBERS.get(name, 1.0), np.float32) for name in of_tokens
        },
    )
    if needs.anchors:
        some = [lessons.lesson(number) for number in range(min(32, len(lessons)))]
        rows = [
            {"tokens": tokens.astype(np.int64), "units": [(prompt, len(tokens) - prompt)],
             "weights": [1.0]}
            for tokens, prompt in some
        ]  # fmt: skip
        objective = replace(objective, given={"anchors": collate(rows), "sample": collate(rows)})
    return lessons, objective


def tokenized_of(data: list[tuple[list[int], int]]) -> "TokenizedLessons":
    from orcinus.training.tokens import TokenizedLessons

    lengths = np.array([len(tokens) for tokens, _ in data])
    starts = np.cumsum(lengths) - lengths
    return TokenizedLessons(
        tokens=np.array([token for tokens, _ in data for token in tokens], np.uint32),
        index=np.stack([starts, lengths, [prompt for _, prompt in data]], axis=1),
        weights=np.ones(len(data), np.float32),
        ids=pa.chunked_array([list(map(str, range(len(data))))]),
        too_long=0,
    )


def max_relative_error() -> float:
    """Return the largest error of the loss or a gradient, relative to its largest entry."""
    from orcinus.training import attention
    from orcinus.training.batches import PackedRows, collate
    from orcinus.training.forward import response_only_forward
    from orcinus.training.objectives import find_objective

    model = model_of(2, 500, 128).double()
    worst = 0.0
    for responses in (1, 4):
        data = lessons(24, 128, 500, responses)
        model.set_attn_implementation("sdpa")
        model.zero_grad()
        expected = 0.0
        for tokens, prompt in data:
            ids = torch.tensor([tokens])
            logits = model(input_ids=ids).logits[0, prompt - 1 : -1]
            loss = torch.nn.functional.cross_entropy(logits, ids[0, prompt:], reduction="sum")
            torch.autograd.backward(loss)
            expected += float(loss.detach())
        gradients = [parameter.grad.clone() for parameter in model.parameters()]
        attention.install()
        model.set_attn_implementation(attention.NAME)
        model.zero_grad()
        rows = PackedRows(tokenized_of(data), context=128, epochs=1, seed=0)
        batch = collate([rows[i] for i in range(len(rows))])
        found = response_only_forward(model, batch, find_objective("lesson_weight"))["loss"]
        torch.autograd.backward(found)
        errors = [abs(float(found.detach()) - expected) / expected]
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            errors.append(float((parameter.grad - gradient).abs().max() / gradient.abs().max()))
        worst = max(worst, *errors)
    return worst


def rate(times: list[float], tokens_per_row: float) -> float:
    """Return tokens per second after the first step."""
    return ROWS * tokens_per_row * (len(times) - 2) / (times[-1] - times[1])


def matmul_peak() -> float:
    """Return FLOP per second of large float32 products on one thread: the best of twenty."""
    left, right = torch.randn(2, 1024, 1024)
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - started)
    return float(2 * 1024**3 / min(seconds))


def flop_per_token(model: Any, data: list[tuple[list[int], int]]) -> float:
    """Return the least FLOP per logical token, attention left out."""
    head = model.lm_head.weight.numel()
    body = (
        sum(parameter.numel() for parameter in model.parameters())
        - head
        - model.get_input_embeddings().weight.numel()
    )
    tokens = sum(len(lesson) for lesson, _ in data)
    return float(6 * (body + head * (1 - sum(prompt for _, prompt in data) / tokens)))


def one(arguments: argparse.Namespace) -> None:
    """Measure one variant in this process."""
    torch.set_num_threads(1)
    context = arguments.context
    if arguments.variant in BUILT_IN:
        cost = cost_vs_plain(
            arguments.variant, arguments.layers, arguments.vocabulary, context, arguments.steps
        )
        print(json.dumps({"cost": cost}))
        return
    data = lessons(
        ROWS * 12 * (arguments.steps + 1), context, arguments.vocabulary, arguments.responses
    )
    model = model_of(arguments.layers, arguments.vocabulary, context)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.variant == "ours":
            found = with_ours(model, data, context, arguments.steps, folder)
        else:
            found = with_trl(arguments.variant, model, data, context, arguments.steps, folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    share = found * flop_per_token(model, data) / matmul_peak()
    print(json.dumps({"tokens_per_s": found, "peak_mib": peak, "matmul_share": share}))


def measure(
    variant: str, layers: int, vocabulary: int, context: int, steps: int, responses: int = 1
) -> dict[str, float]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.training",
        "--variant",
        variant,
        "--layers",
        str(layers),
    ]
    command += ["--vocabulary", str(vocabulary), "--context", str(context), "--steps", str(steps)]
    command += ["--responses", str(responses)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    for name in ("layers", "vocabulary", "context", "steps", "responses"):
        parser.add_argument(f"--{name}", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        one(arguments)
        return
    if importlib.util.find_spec("trl") is None:
        sys.exit("this benchmark stands beside TRL: pip install trl")
    settings = (
        [(2, 32_000, 256, 2)]
        if arguments.quick
        else [(12, 32_000, 1024, 3), (12, 128_256, 1024, 3)]
    )
    figures: dict[str, Any] = {}
    for layers, vocabulary, context, steps in settings:
        variants = [
            variant for variant in VARIANTS if not (arguments.quick and variant == "trl_rows")
        ]
        found = {
            variant: measure(variant, layers, vocabulary, context, steps) for variant in variants
        }
        ours = found["ours"]
        best = max(variants[:-1], key=lambda variant: found[variant]["tokens_per_s"])
        figures[str(vocabulary)] = {
            **{variant: figure["tokens_per_s"] for variant, figure in found.items()},
            "vs_trl_bfd": ours["tokens_per_s"] / found["trl_bfd"]["tokens_per_s"],
            "vs_trl_best": ours["tokens_per_s"] / found[best]["tokens_per_s"],
            "trl_best": best,
            "memory_vs_trl_best": ours["peak_mib"] / found[best]["peak_mib"],
            "matmul_share": ours["matmul_share"],
        }
    sizes = list(figures.values())
    for key in ("vs_trl_bfd", "vs_trl_best"):
        figures[key] = min(row[key] for row in sizes)
    figures["memory_vs_trl_best"] = max(row["memory_vs_trl_best"] for row in sizes)
    figures["matmul_share"] = min(row["matmul_share"] for row in sizes)
    layers, vocabulary, context, steps = settings[0]
    shared = {
        variant: measure(variant, layers, vocabulary, context, steps, responses=4)
        for variant in ("trl_compact", "ours")
    }
    figures["shared_prompt"] = {
        variant: figure["tokens_per_s"] for variant, figure in shared.items()
    }
    figures["shared_prompt_vs_trl_best"] = (
        shared["ours"]["tokens_per_s"] / shared["trl_compact"]["tokens_per_s"]
    )
    figures["max_relative_error"] = max_relative_error()
    figures["cost_vs_plain"] = {
        name: measure(name, *settings[0])["cost"]
        for name in BUILT_IN
        if name not in ("plain", "reverse_kl")  # the latter needs a teacher
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    print(
        f"four responses a prompt: {figures['shared_prompt_vs_trl_best']:.1f} times TRL's best; "
        "largest relative error "
        f"{figures['max_relative_error']:.1e}"
    )
    for name, cost in figures["cost_vs_plain"].items():
        print(f"{name}: {cost:.2f} times the time of plain")
    for size, row in figures.items():
        if size.isdigit():
            print(
                f"vocabulary {int(size):,}: {row['ours']:,.0f} logical tokens a second, "
                f"{row['vs_trl_bfd']:.1f} times TRL's bfd, "
                f"{row['vs_trl_best']:.1f} times its best ({row['trl_best']}), with "
                f"{row['memory_vs_trl_best']:.2f} of its memory, "
                f"{row['matmul_share']:.0%} of what matrix products reach"
            )


if __name__ == "__main__":
    main()
