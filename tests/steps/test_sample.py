"""The split of the pool: what is removed, and why."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from orcinus.runtime import Runtime, Silent, StepContext
from orcinus.steps.sample import SampleConfig, sample
from orcinus.store import tables
from orcinus.types import Example

WORDS = np.array([f"word{number}" for number in range(2000)])


def example(identity: str, prompt: str) -> Example:
    return Example(id=identity, task="t", prompt=prompt, answer_type="exact", reference="x")


def text(seed: int, words: int = 120) -> list[str]:
    return list(WORDS[np.random.default_rng(seed).integers(0, len(WORDS), words)])


def edited(words: list[str], edits: int) -> str:
    """With ``edits`` words changed, far from each other: each takes up to five runs of five with it."""
    changed = list(words)
    for place in np.linspace(5, len(words) - 5, edits).astype(int):
        changed[place] = "changed"
    return " ".join(changed)


def run(config: SampleConfig, folder: Path, pool: Sequence[Example], evaluation: Sequence[Example]) -> dict[str, Any]:
    folder.mkdir()
    context = StepContext(
        out=folder,
        inputs={},
        run="r",
        seed=0,
        ledger=cast(Any, None),
        runtime=Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite"),
        progress=Silent(),
        completer=cast(Any, None),
    )
    opened = [("pool", lambda: iter(pool), "pool"), ("evaluation", lambda: iter(evaluation), "evaluation")]
    return asyncio.run(sample(config, opened, context))


def reasons(folder: Path) -> dict[str, tuple[str, str]]:
    rows = tables.read_rows(folder / "dropped.parquet")
    return {row["example_id"]: (row["filter"], row["reason"]) for row in rows}


def test_near_repetitions_go_and_the_first_one_stays(tmp_path: Path) -> None:
    first, other, asked = text(1), text(2), text(3)
    pool = [
        example("first", " ".join(first)),
        example("other", " ".join(other)),
        example("near", edited(first, 2)),
        example("far", edited(first, 16)),
        example("leaked", edited(asked, 2)),
        example("same", " ".join(first).upper()),
    ]
    evaluation = [example("asked", " ".join(asked))]
    config = SampleConfig(probe=0, held_out=0, ngram=None, near_duplicates=0.8)
    found = run(config, tmp_path / "near", pool, evaluation)
    assert reasons(tmp_path / "near") == {
        "near": ("near_duplicate", "is nearly t/first"),
        "leaked": ("evaluation", "is nearly the evaluation item t/asked"),
        "same": ("duplicate", "the same question stands earlier"),
    }
    assert found["dropped"] == {"near_duplicate": 1, "evaluation": 1, "duplicate": 1}
    run(SampleConfig(probe=0, held_out=0, ngram=None), tmp_path / "equal", pool, evaluation)
    assert set(reasons(tmp_path / "equal")) == {"same"}


def test_of_a_group_one_is_kept_even_if_the_first_is_over_the_quota(tmp_path: Path) -> None:
    groups = [[example(f"{group}-{edits}", edited(text(group), edits)) for edits in (1, 2)] for group in range(20)]
    pool = [item for group in groups for item in group]
    config = SampleConfig(probe=0, held_out=0, per_task=20, near_duplicates=0.8)
    run(config, tmp_path / "r", pool, [])
    kept = [item.id for item in tables.read_examples(tmp_path / "r" / "examples.parquet")]
    assert len({identity.split("-")[0] for identity in kept}) == len(kept)
    assert {filter for filter, _ in reasons(tmp_path / "r").values()} == {"quota", "near_duplicate"}
