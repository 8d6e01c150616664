"""Selecting from the teach split: by pass rate, by selectors of others, and with wrong settings."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import pytest
from tests.conftest import write_recipe
from tests.pipeline.test_run import orcinus

from orcinus.core import registry
from orcinus.core.errors import ConfigError
from orcinus.core.types import Example
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import tables
from orcinus.runs.folders import finished_steps, summary_of


@pytest.mark.slow
def test_pass_rates_are_the_students_and_only_examples_in_the_band_are_taught(
    tmp_path: Path,
) -> None:
    selectors = [
        {"name": "teachable", "low": 0.0, "high": 0.4},
        {"name": "balanced", "by": "difficulty", "per_value": 9},
    ]
    write_recipe(
        tmp_path / "recipe.yaml",
        select={"by": selectors, "sampling": {"samples": 2, "temperature": 1, "max_tokens": 4}},
    )
    done = orcinus("run", "recipe.yaml", "--until", "erase", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run_dir = tmp_path / "runs" / "small"
    (sampled,), (selected,), (erased,), (taught,) = (
        finished_steps(run_dir, name) for name in ("sample", "select", "erase", "teach")
    )
    rates = {}
    for key, group in groupby(
        tables.read_judged(selected / "attempts.parquet"),
        key=lambda item: (item.attempt.task, item.attempt.example_id),
    ):
        values = [item.verdict.value or 0.0 for item in group]
        assert len(values) == 2
        rates[key] = sum(values) / 2
    every = {(e.task, e.id) for e in tables.read_examples(sampled / "examples.parquet", "teach")}
    assert set(rates) == every
    kept = list(tables.read_examples(selected / "examples.parquet", "teach"))
    assert all(item.meta["pass_rate"] == rates[item.task, item.id] <= 0.4 for item in kept)
    assert {
        (j.attempt.task, j.attempt.example_id)
        for j in tables.read_judged(taught / "attempts.parquet")
    } == {(item.task, item.id) for item in kept}
    drops = {
        (row["task"], row["example_id"]): row["filter"]
        for row in tables.read_rows(selected / "dropped.parquet")
    }
    assert drops.keys() == every - {(item.task, item.id) for item in kept}
    assert {key for key, name in drops.items() if name == "teachable"} == {
        k for k, rate in rates.items() if rate > 0.4
    }
    assert summary_of(selected)["summary"]["kept"] == len(kept)
    for split in ("probe", "held_out"):
        there = [e.id for e in tables.read_examples(selected / "examples.parquet", split)]
        assert there == [e.id for e in tables.read_examples(sampled / "examples.parquet", split)]
    gone = next(iter(drops))[1]
    shown = orcinus("show", gone, "--run", "small", cwd=tmp_path)
    assert "left out by" in shown.stdout, shown.stderr
    assert tables.count_rows(erased / "lessons.parquet") <= len(kept)


def every(examples: Iterable[Example], *, step: int = 2) -> Iterator[Example]:
    """Take every n-th example, as a selector of another package might."""
    return (item for number, item in enumerate(examples) if number % step == 0)


@pytest.mark.usefixtures("own_extensions")
def test_a_registered_selector_is_called_by_its_name_with_its_settings(tmp_path: Path) -> None:
    registry.register("selector", "every")(every)
    recipe = load_recipe(
        write_recipe(tmp_path / "r.yaml", select={"by": ["every", {"name": "every", "step": 5}]})
    )
    assert recipe.select is not None
    first, second = (item.open() for item in recipe.select.by)
    pool = [Example(id=str(n), task="t", prompt="?", answer_type="free") for n in range(20)]
    assert [item.id for item in second(list(first(pool)))] == ["0", "10"]
    assert not recipe.select.needs_pass_rate


@pytest.mark.parametrize(
    ("select", "says"),
    [
        (
            {"by": ["teachible"]},
            "no selector named 'teachible'; known: balanced, diverse, matched, teachable",
        ),
        (
            {"by": [{"name": "teachable", "lo": 0.1}]},
            "teachable.lo: Extra inputs are not permitted",
        ),
        (
            {"by": [{"name": "balanced", "by": "tags"}]},
            "balanced: takes everything; set per_value or total",
        ),
        ({"by": ["teachable"], "sampling": {"samples": 1}}, "one answer is no pass rate"),
        ({"by": []}, "select.by"),
    ],
)
def test_wrong_settings_are_one_clear_line(tmp_path: Path, select: object, says: str) -> None:
    path = write_recipe(tmp_path / "r.yaml", select=select)
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
