"""Training on response tokens: tokens per CPU second and peak memory beside TRL's SFTTrainer.

    python -m benchmarks.training [--quick] [--json]        (beside trl: pip install trl)

Same model, lessons and machine: a Llama-like model, rows of 1,024 tokens, prompt to response about
60 to 40, float32 on one thread, four rows per step. TRL runs in four settings: its bfd packing, the
same with rows one at a time, that with its loss on response tokens alone, which it uses by itself
on a GPU only, and that loss on lessons one at a time, unpacked. The last has neither padding nor a
mask over a row, and is TRL's best on a CPU. Each variant runs in a process of its own, and the
first step warms up. Without trl our own figures come alone.

The full form has 12 layers. With a vocabulary of 32,000 the faster variants run in two rounds, and
ratios are medians over rounds; the same follows with four responses to each prompt. With 128,256
the faster ones run once. That is about 20 CPU minutes on a quiet core. ``--quick`` has 2 layers,
rows of 256 tokens and one round.

``matmul_share`` is the least time that the model's matrix products need, as a share of the time
taken, at the rate of a large product in the same process. ``max_relative_error`` compares our loss
and gradients in float64 with one lesson at a time, packed and shared. ``cost_vs_plain`` is the time
of an optimizer step under each objective on the same batches, as a multiple of that under
``plain``: medians of steps that alternate in one process. ``memory_vs_plain`` is the same for the
process's peak memory. ``invariant`` is measured too: such a stage takes a gradient for each of two
domains. Where an objective needs a teacher, a frozen copy of the model is one. What on-policy
stages write themselves is left out.
"""

import argparse
import contextlib
import copy
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
from collections.abc import Callable, Sequence
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

INVARIANT = "invariant"
"""The kind of stage with a Trainer of its own. It learns as `lesson_weight` does."""
MEASURED = (*BUILT_IN, INVARIANT)
SETTINGS: dict[str, dict[str, Any]] = {"anchored": {"anchors": {"tasks": ["any"]}}}
"""Settings that an objective cannot do without."""
NUMBERS = {"came": 4.0, "own": 0.0, "reference_logprob": -1.0, "teacher_logprob": -1.0}
"""Made-up numbers of lessons and tokens; all others are 1."""
PEERS = ("trl_bfd", "trl_rows", "trl_compact", "trl_unpacked")
"""TRL's settings, the slowest first."""
FAST = ("trl_compact", "trl_unpacked", "ours")
"""The variants that are compared in several rounds."""
ROUNDS = 2
"""Rounds of a full run: the machine's speed changes meanwhile."""
LARGE = 128_256
"""The larger vocabulary: only the faster variants are measured with it, in one round."""
COST_SIZE = (2, 32_000, 256)
"""Layers, vocabulary and context of the model under which objectives are compared."""
ROWS = 4
"""Packed rows of an optimizer step."""
WORST: dict[str, Callable[[list[float]], float]] = {
    "vs_trl_bfd": min,
    "vs_trl_best": min,
    "memory_vs_trl_best": max,
    "matmul_share": min,
}
"""Figures over all sizes, and which of them counts."""
COSTS = "costs"
"""The variant that measures what each objective costs, all of them in one process."""
COST_STEPS, TURNS = 4, 2
"""Optimizer steps of each objective in each turn. Turns alternate: the machine may slow down."""


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
    """CPU seconds at the end of each optimizer step, and the tokens that TRL had read by then."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.tokens: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.process_time())

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        if "num_tokens" in (logs or {}) and len(self.tokens) < len(self.times):
            self.tokens.append(float(logs["num_tokens"]))


def with_trl(
    variant: str,
    model: Any,
    data: list[tuple[list[int], int]],
    context: int,
    steps: int,
    folder: str,
) -> float:
    """Return logical tokens per CPU second of TRL."""
    trl: Any = importlib.import_module("trl")
    datasets: Any = importlib.import_module("datasets")
    from transformers import PreTrainedTokenizerFast

    from orcinus.training.scratch_model import make_tokenizer

    if variant in FAST:
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
    packing, batch = variant != "trl_unpacked", ROWS if variant == "trl_bfd" else 1
    lessons_of_row = context / statistics.mean(len(tokens) for tokens, _ in data)
    config = trl.SFTConfig(
        output_dir=folder,
        packing=packing,
        packing_strategy="bfd",
        max_length=context,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=ROWS // batch if packing else round(ROWS * lessons_of_row),
        max_steps=steps,
        completion_only_loss=True,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        logging_steps=1,
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
    trainer.train()
    return rate(clock.times, clock.tokens)


def with_ours(
    model: Any, data: list[tuple[list[int], int]], context: int, steps: int, folder: str
) -> float:
    """Return logical tokens per CPU second of our trainer."""
    from orcinus.training.batches import PackedRows
    from orcinus.training.objectives import find_objective

    tokenized = tokenized_of(data)
    rows = PackedRows(tokenized, context=context, epochs=1, seed=0)
    times = train_ours(model, tokenized, find_objective("lesson_weight"), context, steps, folder)
    logical = [
        sum(prompt + one for prompt, *responses in rows[number]["units"] for one in responses)
        for number in range(ROWS * steps)
    ]
    return rate(times, [sum(logical[: ROWS * step]) for step in range(1, steps + 1)])


def train_ours(
    model: Any,
    tokenized: "TokenizedLessons",
    objective: "Objective",
    context: int,
    steps: int,
    folder: str,
    *,
    invariant: bool = False,
) -> list[float]:
    """Train, and return the CPU seconds at the end of each optimizer step.

    A frozen copy of the model, a little changed, is the teacher of an objective that needs one.
    """
    from orcinus.runs.context import Silent
    from orcinus.training.config import InvariantConfig
    from orcinus.training.forward import head_of, predictor_states
    from orcinus.training.invariant import invariant_trainer
    from orcinus.training.objectives.interface import Predictions
    from orcinus.training.trainer import LessonTrainer, StageSettings, train_stage

    class StepClock(Silent):
        def advance(self, n: int = 1, *, cost_usd: float = 0.0, recalled: bool = False) -> None:
            times.append(time.process_time())

    class TaughtTrainer(LessonTrainer):
        def objective_loss(self, model: Any, batch: Any, teacher: Any = None) -> Any:
            with torch.no_grad():
                teacher = Predictions(predictor_states(frozen, batch), head_of(frozen))
            return super().objective_loss(model, batch, teacher)

    frozen: Any = None
    if objective.needs.teacher or objective.needs.prompted:
        frozen = copy.deepcopy(model).eval().requires_grad_(False)
        frozen.get_output_embeddings().weight.mul_(0.9)  # an equal copy has nothing to teach
    times: list[float] = []
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
    trainer: Callable[..., LessonTrainer] = LessonTrainer if frozen is None else TaughtTrainer
    if invariant:
        trainer = invariant_trainer(InvariantConfig())
    train_stage(model, tokenized, stage, Path(folder) / "stage", StepClock(), trainer)
    return times


def costs_vs_plain(
    layers: int, vocabulary: int, context: int, steps: int
) -> dict[str, dict[str, float]]:
    """Return by objective the time and peak memory of its steps, as multiples of plain's."""
    from orcinus.training.objectives import find_objective

    data = lessons(ROWS * 12 * (steps + 1), context, vocabulary, 1)
    model = model_of(layers, vocabulary, context)
    seconds: dict[str, list[float]] = {name: [] for name in MEASURED}
    peaks: dict[str, list[float]] = {name: [] for name in MEASURED}
    for _ in range(TURNS):
        for name in MEASURED:
            invariant = name == INVARIANT
            objective = find_objective(
                "lesson_weight" if invariant else name, SETTINGS.get(name, {})
            )
            ready = with_numbers(tokenized_of(data), objective)
            forget_peak()
            with tempfile.TemporaryDirectory() as folder:
                times = train_ours(model, *ready, context, steps, folder, invariant=invariant)
            peaks[name].append(peak_mib())
            seconds[name] += [b - a for a, b in itertools.pairwise(times)]
    plain_s, plain_mib = statistics.median(seconds["plain"]), min(peaks["plain"])
    return {
        name: {
            "time": statistics.median(seconds[name]) / plain_s,
            "memory": min(peaks[name]) / plain_mib,
        }
        for name in MEASURED
        if name != "plain"
    }


def forget_peak() -> None:
    """Let the process's peak memory start again from what it holds now (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")


def peak_mib() -> float:
    """Return the process's peak memory since the last ``forget_peak``, or ever, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="ascii").splitlines()
        return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def with_numbers(
    lessons: "TokenizedLessons", objective: "Objective"
) -> tuple["TokenizedLessons", "Objective"]:
    """Return made-up numbers of lessons and tokens, and anchors, as the objective needs them."""
    from orcinus.training.batches import collate
    from orcinus.training.invariant import DOMAIN
    from orcinus.training.objectives.interface import TOKEN_NUMBERS

    needs = objective.needs
    of_tokens = [name for name in needs.token_numbers if name in TOKEN_NUMBERS[1:]]
    of_lessons = [name for name in needs.evidence if name not in of_tokens]
    ones, responses = np.ones(len(lessons), np.float32), lessons.response_tokens
    lessons = replace(
        lessons,
        evidence={
            **{name: NUMBERS.get(name, 1.0) * ones for name in of_lessons},
            DOMAIN: np.arange(len(lessons), dtype=np.float32) % 2,
        },
        token_evidence={
            name: np.full(responses, NUMBERS.get(name, 1.0), np.float32) for name in of_tokens
        },
    )
    if objective.anchors is not None:
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


def rate(times: list[float], tokens: list[float]) -> float:
    """Return tokens per second after the first step, from both at the end of each step."""
    return (tokens[-1] - tokens[0]) / (times[-1] - times[0])


def matmul_peak() -> float:
    """Return FLOP per CPU second of large float32 products on one thread: the best of twenty."""
    left, right = torch.randn(2, 1024, 1024)
    seconds = []
    for _ in range(20):
        started = time.process_time()
        torch.mm(left, right)
        seconds.append(time.process_time() - started)
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
    if arguments.variant == COSTS:
        size = (arguments.layers, arguments.vocabulary, context, arguments.steps)
        print(json.dumps(costs_vs_plain(*size)))
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
    peak = peak_mib()
    share = found * flop_per_token(model, data) / matmul_peak()
    print(json.dumps({"tokens_per_s": found, "peak_mib": peak, "matmul_share": share}))


def measure(
    variant: str, layers: int, vocabulary: int, context: int, steps: int, responses: int = 1
) -> dict[str, float]:
    """Measure one variant in a process of its own.

    Raises:
        PeerFailed: It is TRL's and does not run; says why.
    """
    command = [sys.executable, "-m", "benchmarks.training", "--variant", variant]
    command += ["--layers", str(layers), "--responses", str(responses)]
    command += ["--vocabulary", str(vocabulary), "--context", str(context), "--steps", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode and variant in PEERS:
        raise PeerFailed((done.stderr.strip().splitlines() or ["no message"])[-1])
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


class PeerFailed(Exception):
    """A peer that does not run here."""


def measure_all(
    variants: Sequence[str], size: tuple[int, int, int, int], rounds: int, responses: int = 1
) -> tuple[dict[str, list[dict[str, float]]], dict[str, str]]:
    """Measure the variants in rounds, and return what was found and why others do not run."""
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in variants}
    missing: dict[str, str] = {}
    for number in range(rounds):
        for variant in variants:
            if variant in missing or (number and variant not in FAST):
                continue
            try:
                found[variant].append(measure(variant, *size, responses=responses))
            except PeerFailed as failure:
                missing[variant] = str(failure)
    return {variant: rows for variant, rows in found.items() if rows}, missing


def compare(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return the median rates, and ours against TRL's: medians over rounds."""

    def against(peer: str, key: str) -> float:
        pairs = zip(found["ours"], found[peer], strict=False)
        return statistics.median(ours[key] / theirs[key] for ours, theirs in pairs)

    row: dict[str, Any] = {
        variant: statistics.median(one["tokens_per_s"] for one in rows)
        for variant, rows in found.items()
    }
    row["matmul_share"] = statistics.median(one["matmul_share"] for one in found["ours"])
    peers = [variant for variant in found if variant != "ours"]
    if "trl_bfd" in peers:
        row["vs_trl_bfd"] = against("trl_bfd", "tokens_per_s")
    if peers:
        row["trl_best"] = best = max(peers, key=lambda variant: row[variant])
        row["vs_trl_best"] = against(best, "tokens_per_s")
        row["memory_vs_trl_best"] = against(best, "peak_mib")
    return row


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
    peers: tuple[str, ...] = PEERS if importlib.util.find_spec("trl") else ()
    missing = {} if peers else {"trl": "not installed; pip install trl"}
    settings, rounds = [(12, 32_000, 1024, 3), (12, LARGE, 1024, 3)], ROUNDS
    if arguments.quick:
        settings, rounds = [(2, 32_000, 256, 3)], 1
        peers = tuple(variant for variant in peers if variant != "trl_rows")
    figures: dict[str, Any] = {}
    sizes = []
    fast = [variant for variant in FAST if variant == "ours" or variant in peers]
    for size in settings:
        large = size[1] == LARGE
        found, failed = measure_all(
            fast if large else (*peers, "ours"), size, 1 if large else rounds
        )
        missing |= failed
        sizes.append(compare(found))
        figures[str(size[1])] = sizes[-1]
    for key, worst in WORST.items():
        if values := [row[key] for row in sizes if key in row]:
            figures[key] = worst(values)
    found, failed = measure_all(fast, settings[0], rounds, responses=4)
    missing |= failed
    figures["shared_prompt"] = shared = compare(found)
    if "vs_trl_best" in shared:
        figures["shared_prompt_vs_trl_best"] = shared["vs_trl_best"]
    figures["max_relative_error"] = max_relative_error()
    costs: Any = measure(COSTS, *COST_SIZE, COST_STEPS)
    figures["cost_vs_plain"] = {name: cost["time"] for name, cost in costs.items()}
    figures["memory_vs_plain"] = {name: cost["memory"] for name, cost in costs.items()}
    figures["missing"] = missing
    if arguments.json:
        print(json.dumps(figures))
        return
    for peer, reason in missing.items():
        print(f"{peer}: {reason}")
    for row, what in zip((*sizes, shared), (*settings, "four responses a prompt"), strict=True):
        title = what if isinstance(what, str) else f"vocabulary {what[1]:,}"
        line = f"{title}: {row['ours']:,.0f} logical tokens a CPU second"
        if "vs_trl_best" in row:
            line += (
                f", {row['vs_trl_best']:.2f} times TRL's best ({row['trl_best']}), "
                f"with {row['memory_vs_trl_best']:.2f} of its memory"
            )
        print(f"{line}, {row['matmul_share']:.0%} of what matrix products reach")
    for name, cost in costs.items():
        print(
            f"{name}: {cost['time']:.2f} times the time of plain, {cost['memory']:.2f} its memory"
        )
    print(f"largest relative error: {figures['max_relative_error']:.1e}")


if __name__ == "__main__":
    main()
