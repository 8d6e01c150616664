r"""Check on a machine with a GPU that orcinus trains right there, and how fast; print one JSON.

    python scripts/gpu_check.py [--device cuda] [--minutes 8] > gpu.json

Needs an installed ``orcinus[train]`` with a torch for the GPU, and nothing else: students,
questions and teacher are made here. Paste the JSON into an issue; what went wrong stands in
``errors``, and the other parts still run.

    learns     the demo's student taught on the CPU and on the device: losses and accuracy
    bfloat16   a bfloat16 checkpoint at a rate of 2e-5: the share of its weights that a step moves
    speed      a student of 0.2 or 0.6 billion random weights: tokens a second, share of the peak
    attention  the kernels, which one is used, and why others are not (they are compared here)
    vllm       whether it is installed
"""

import argparse
import json
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import orcinus
import orcinus.pipeline.demo

PEAK_TFLOPS = {
    "A100": 312,
    "H100": 989,
    "H200": 989,
    "L40": 181,
    "L4": 121,
    "A10": 125,
    "4090": 165,
    "3090": 71,
    "T4": 65,
}
"""Dense bfloat16 (float16 for T4) peak of a card, in 10^12 operations a second, by the makers."""
FEW_LOSSES = 30
"""Optimizer steps whose losses are compared; later ones drift apart by rounding."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no part after this")
    arguments = parser.parse_args()
    start = time.monotonic()
    found: dict[str, Any] = {"machine": machine(arguments.device), "errors": {}}
    parts: Mapping[str, Callable[[str, Path], Any]] = {
        "attention": attention,
        "learns": learns,
        "bfloat16": moved_weights,
        "speed": speed,
        "vllm": lambda *_: installed("vllm"),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, part in parts.items():
            if time.monotonic() - start > 60 * arguments.minutes:
                found["errors"][name] = "no time left"
                continue
            print(f"{name} …", file=sys.stderr, flush=True)
            try:
                found[name] = part(arguments.device, Path(folder) / name)
            except Exception:  # noqa: BLE001 - the other parts still run
                found["errors"][name] = traceback.format_exc()
    found["seconds"] = round(time.monotonic() - start, 1)
    print(json.dumps(found, indent=2))


def machine(device: str) -> dict[str, Any]:
    """Return what runs here."""
    on_gpu = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else platform.processor(),
        "memory_gib": round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1)
        if on_gpu
        else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        **{name: installed(name) for name in ("orcinus", "torch", "transformers", "peft")},
    }


def installed(package: str) -> str | None:
    """Return a package's version; None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def attention(device: str, _: Path) -> dict[str, Any]:
    """Return the kernels that torch may choose from, and the packages that bring others."""
    from orcinus.training.kernels import kernel_table

    half = torch.bfloat16 if device.startswith("cuda") else torch.float32
    return {
        "kernels": dict(kernel_table(torch.device(device), half)),
        "kernels_float32": dict(kernel_table(torch.device(device), torch.float32)),
        "kernels_with_soft_cap": dict(kernel_table(torch.device(device), half, softcap=True)),
        "flash_sdp": torch.backends.cuda.flash_sdp_enabled(),
        "mem_efficient_sdp": torch.backends.cuda.mem_efficient_sdp_enabled(),
        "cudnn_sdp": torch.backends.cuda.cudnn_sdp_enabled(),
        "flash_attn": installed("flash-attn"),
        "bf16": torch.cuda.is_bf16_supported() if device.startswith("cuda") else None,
    }


def recipe(name: str, **changes: Any) -> dict[str, Any]:
    """Return a small recipe: sums explained step by step by the demo's teacher."""
    return {
        "name": name,
        "tasks": [{"generator": "sums", "count": 400, "size": [3, 6], "seed": 1}],
        "strategies": ["step_by_step"],
        "student": {
            "kind": "local",
            "path": str(Path(orcinus.pipeline.demo.__file__).parent / "base"),
            "chat_template": "chatml",
        },
        "teacher": {"kind": "function", "function": "orcinus.pipeline.demo:teacher"},
        "assign": {"fixed": "step_by_step"},
        "evaluate": {"arms": ["before", "after"], "sampling": {"max_tokens": 96}},
        "train": {
            "context_length": 512,
            "batch_tokens": 2048,
            "stages": [{"name": "explanations", "epochs": 8, "learning_rate": 5.0e-4}],
        },
        **changes,
    }


def learns(device: str, folder: Path) -> dict[str, Any]:
    """Teach the demo's student on the CPU and on the device, and compare."""
    runs = {
        where: orcinus.run(recipe("sums"), runs=folder / where.replace(":", "-"), device=where)
        for where in dict.fromkeys(("cpu", device))
    }
    losses = {where: losses_of(run)[:FEW_LOSSES] for where, run in runs.items()}
    return {
        "accuracy": {where: run.scores["after"].mean for where, run in runs.items()},
        "accuracy_before": {where: run.scores["before"].mean for where, run in runs.items()},
        "largest_difference_of_losses": max(
            abs(a - b) for a, b in zip(losses["cpu"], losses[device], strict=True)
        ),
        "losses_compared": len(losses["cpu"]),
        "seconds": {where: train_facts(run)["seconds"] for where, run in runs.items()},
    }


def moved_weights(device: str, folder: Path) -> dict[str, Any]:
    """Train a bfloat16 copy of the student for a few steps; return the share of moved weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = recipe("x")["student"]["path"]
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model.save_pretrained(folder / "bf16")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "bf16")
    student = {"kind": "local", "path": str(folder / "bf16"), "chat_template": "chatml"}
    stage = {"name": "explanations", "epochs": 1, "learning_rate": 2.0e-5}
    train = {"context_length": 512, "batch_tokens": 2048, "stages": [stage]}
    run = orcinus.run(
        recipe("bf16", student=student, train=train), runs=folder, until="train", device=device
    )
    after: Any = AutoModelForCausalLM.from_pretrained(run.student, dtype=torch.float32)
    before = dict(model.float().named_parameters())
    moved = [
        (float((value != before[name]).sum()), value.numel())
        for name, value in after.named_parameters()
    ]
    share = sum(part for part, _ in moved) / sum(size for _, size in moved)
    return {"weights_moved": round(share, 4), "optimizer_steps": len(losses_of(run))}


def speed(device: str, folder: Path) -> dict[str, Any]:
    """Train a large student with random weights for about a minute."""
    on_gpu = device.startswith("cuda")
    small = not on_gpu or torch.cuda.get_device_properties(device).total_memory < 30 * 2**30
    size = {"layers": 2, "hidden": 128, "heads": 4} if not on_gpu else {}
    size = size or (
        {"layers": 12, "hidden": 1024, "heads": 16}
        if small
        else {"layers": 24, "hidden": 1536, "heads": 24}
    )
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    changes: dict[str, Any] = {
        "student": {"kind": "scratch", "vocabulary": 2048, "context": 1024, **size},
        "tasks": [
            {"generator": "sums", "count": 20000 if on_gpu else 200, "size": [20, 60], "seed": 1}
        ],
        "sample": {"probe": 0.01, "held_out": 0.01},
        "teach": {"sampling": {"max_tokens": 1024}},
        "train": {
            "context_length": 1024,
            "batch_tokens": 65536 if on_gpu else 2048,
            "stages": [{"name": "explanations", "epochs": 1, "learning_rate": 1.0e-4}],
        },
    }
    run = orcinus.run(recipe("speed", **changes), runs=folder, until="train", device=device)
    facts = train_facts(run)
    (stage,) = facts["summary"]["stages"].values()
    parameters = sum(tensor.numel() for tensor in tensors_of(run.student))
    rate = stage["tokens"] * stage["passes"] / facts["seconds"]
    peak = next(
        (v for k, v in PEAK_TFLOPS.items() if on_gpu and k in torch.cuda.get_device_name(device)),
        None,
    )
    return {
        "parameters": parameters,
        "tokens": stage["tokens"],
        "tokens_per_second": round(rate),
        "seconds": facts["seconds"],
        "share_of_peak": None if peak is None else round(6 * parameters * rate / (peak * 1e12), 4),
        "micro_batch": stage["micro_batch"],
        "attention": stage["attention"],
        "peak_memory_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
        if on_gpu
        else None,
    }


def tensors_of(student: Path) -> list[torch.Tensor]:
    """Return the weights of a model folder."""
    from safetensors.torch import load_file

    return [tensor for path in student.glob("*.safetensors") for tensor in load_file(path).values()]


def losses_of(run: orcinus.Run) -> list[float]:
    """Return the loss of every optimizer step."""
    lines = (run.steps["train"] / "loss.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]


def train_facts(run: orcinus.Run) -> dict[str, Any]:
    """Return what the training step wrote about itself."""
    facts: dict[str, Any] = json.loads((run.steps["train"] / "step.json").read_bytes())
    return facts


if __name__ == "__main__":
    main()
