"""Write fresh copies of the items in files, and leave out those that a model knows by heart.

test.jsonl ──► copies.jsonl     {"id": …, "prompt": …, "meta": {"perturbed_from": …}}
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import DataError
from orcinus.core.files import write_atomically
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Example
from orcinus.models.configs import ModelConfig
from orcinus.pipeline.model_argument import ModelArgument, model_config
from orcinus.pipeline.probe_model import probe_model
from orcinus.runs import layout, tables
from orcinus.runs.context import Progress, Runtime
from orcinus.strategies.library import resolve
from orcinus.tasks.config import PerturbedRecords
from orcinus.tasks.perturbed import Perturbed, closed_book, leakage, removed
from orcinus.verifiers.guessing import mean_guess_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Leakage:
    """The share of a set that a model knows without the text that holds the answers."""

    asked: int
    """Items with such a text, each asked without it, as original and as copy."""
    right_before: int
    right_after: int
    before: float
    """Share of the originals that were right, less chance."""
    after: float
    """The same of the copies."""
    removed: float | None
    """Share of the leakage that the copies remove; None where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbedFile:
    """The copies that were written, and the items that have none."""

    written: int
    left_out: Sequence[str]
    """Why items have no copy, one line each."""
    leaking: int
    """Copies that were right closed-book, and so were left out."""
    leakage: Leakage | None
    """None without a model, and where no item has a text to leave out."""


async def perturb_file(
    config: PerturbedRecords,
    out: Path,
    runtime: Runtime,
    progress: Progress,
    *,
    model: ModelArgument | None = None,
) -> PerturbedFile:
    """Write the copies of a file's items as JSON Lines.

    Args:
        config: The file and the seed.
        out: The file to write.
        runtime: Where the model runs.
        progress: Receives how far it is.
        model: Asked each item closed-book, original and copy; a copy that is right is left out.
            A YAML file, a URL, a folder or ``run:NAME``.

    Raises:
        ConfigError: There is no such file, or the model cannot be opened.
        DataError: A row cannot be used, or no copy is left.
    """
    opened = Perturbed(config, Path())
    pairs = list(opened.pairs())
    leaks, known = None, set[str]()
    if model is not None:
        asked = await model_config(model, secrets=runtime.secrets, runs=runtime.workspace)
        leaks, known = await _leakage(pairs, asked, config.seed, runtime, progress)
    kept = [copy for _, copy in pairs if _name_of(copy) not in known]
    if not kept:
        raise DataError(
            f"{config.path}: the model answers all {len(pairs):,} copies right without their "
            "context, so none is left; leave --model out to write them"
        )
    write_atomically(out, b"".join(orjson.dumps(row) + b"\n" for row in map(_row, kept)))
    return PerturbedFile(
        written=len(kept), left_out=opened.skipped.reasons(), leaking=len(known), leakage=leaks
    )


def _row(copy: Example) -> dict[str, Any]:
    row = {
        "id": copy.id,
        "task": copy.task,
        "prompt": copy.prompt,
        "choices": copy.choices,
        "reference": copy.reference,
        "answer_type": copy.answer_type,
        "meta": dict(copy.meta),
    }
    return {name: value for name, value in row.items() if value is not None}


async def _leakage(
    pairs: Sequence[tuple[Example, Example]],
    model: ModelConfig,
    seed: int,
    runtime: Runtime,
    progress: Progress,
) -> tuple[Leakage | None, set[str]]:
    """Ask originals and copies closed-book; return the leakage and the copies that are known."""
    closed = [(closed_book(original), closed_book(copy)) for original, copy in pairs]
    asked = [(one, two) for one, two in closed if one is not None and two is not None]
    if not asked:
        progress.note("no item has a text to leave out, so none is asked closed-book")
        return None, set()
    folder = runtime.workspace / "perturb"
    await probe_model(
        model,
        [example for pair in asked for example in pair],
        resolve(["direct"], {}),
        SamplingConfig(max_tokens=256),
        seed=seed,
        out=folder,
        runtime=runtime,
        progress=progress,
    )
    right = {
        f"{judged.attempt.task}/{judged.attempt.example_id}"
        for judged in tables.read_judged(folder / layout.ATTEMPTS)
        if judged.verdict.right
    }
    known = {_name_of(copy) for _, copy in asked} & right
    right_before = sum(_name_of(original) in right for original, _ in asked)
    chance = mean_guess_rate([original for original, _ in asked])
    before = leakage(right_before, len(asked), chance)
    after = leakage(len(known), len(asked), chance)
    found = Leakage(
        asked=len(asked),
        right_before=right_before,
        right_after=len(known),
        before=before,
        after=after,
        removed=removed(before, after),
    )
    return found, known


def _name_of(example: Example) -> str:
    return f"{example.task}/{example.id}"
