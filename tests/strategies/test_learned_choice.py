"""Replay recorded trials: learned choice against prompted choice and one strategy for all."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.learned_choice import load, replay

NAMES = ("direct", "step_by_step")
LEARNED = {"a": (0.9, 0.4), "b": (0.2, 0.8), "c": (0.3, 0.9), "d": (0.8, 0.3)}
"""Accuracy of students taught with each strategy, by task; prompting says nothing."""


def write(folder: Path, name: str, accuracy: dict[str, tuple[float, float]], count: int) -> None:
    random = np.random.default_rng(len(name))
    rows = [
        {"task": task, "id": str(i), "strategy": strategy, "correct": bool(random.random() < mean)}
        for task, means in accuracy.items()
        for strategy, mean in zip(NAMES, means, strict=True)
        for i in range(count)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))


def test_where_only_learning_tells_the_learned_choice_has_the_least_regret(tmp_path: Path) -> None:
    folder = tmp_path / "student" / "seed-0"
    folder.mkdir(parents=True)
    write(folder, "prompted", dict.fromkeys(LEARNED, (0.05, 0.05)), 40)
    write(folder, "learned", LEARNED, 40)
    write(folder, "final", LEARNED, 200)
    found = replay(load(tmp_path), splits=20)
    figures = {key: float(str(value)) for key, value in found.items() if key.startswith("regret")}
    assert found["tasks"] == 4
    assert figures["regret_learned"] < 1 < figures["regret_best_single"]
    assert figures["regret_prompted"] > 10
    assert abs(float(str(found["bias_points"]))) < 10
    assert 0 < float(str(found["calls_vs_naive"])) <= 5


def test_a_folder_without_recorded_trials_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"final\.jsonl"):
        load(tmp_path)
