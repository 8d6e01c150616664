"""The split of the pool, and what is removed from it and why."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from orcinus.core.errors import MissingExtraError
from orcinus.core.types import Example
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.executors.local import LOCAL
from orcinus.tasks.config import RecordsConfig, SampleConfig
from orcinus.tasks.files.records import Records
from orcinus.tasks.sample import Opened, Pool, Removal, sample
from orcinus.tasks.splits import Splits
from orcinus.verifiers import sandbox

WORDS = np.array([f"word{number}" for number in range(2000)])


def example(identity: str, prompt: str) -> Example:
    return Example(id=identity, task="t", prompt=prompt, answer_type="exact", reference="x")


def text(seed: int, words: int = 120) -> list[str]:
    return list(WORDS[np.random.default_rng(seed).integers(0, len(WORDS), words)])


def edited(words: list[str], edits: int) -> str:
    """Change ``edits`` words far from each other; each changes up to five runs of five words."""
    changed = list(words)
    for place in np.linspace(5, len(words) - 5, edits).astype(int):
        changed[place] = "changed"
    return " ".join(changed)


def run(
    config: SampleConfig, folder: Path, pool: Sequence[Example], evaluation: Sequence[Example]
) -> dict[str, Any]:
    opened = [
        ("pool", lambda: iter(pool), "pool"),
        ("evaluation", lambda: iter(evaluation), "evaluation"),
    ]
    return run_opened(config, folder, opened)


def run_opened(config: SampleConfig, folder: Path, opened: Sequence[Opened]) -> dict[str, Any]:
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
    return asyncio.run(sample(config, opened, context))


def reasons(folder: Path) -> dict[str, tuple[str, str]]:
    rows = tables.read_rows(folder / "dropped.parquet")
    return {row["example_id"]: (row["filter"], row["reason"]) for row in rows}


def test_programs_as_answers_need_the_sandbox_before_anything_is_paid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = [replace(example("p", "Write add."), answer_type="program", reference="assert add")]
    config = SampleConfig(probe=0, held_out=0)
    run(config, tmp_path / "with", pool, [])
    monkeypatch.setattr(sandbox, "has_sandbox", lambda: False)
    with pytest.raises(MissingExtraError, match="sandbox"):
        run(config, tmp_path / "without", pool, [])


def test_near_duplicates_go_and_the_first_one_stays(tmp_path: Path) -> None:
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


def test_quotas_are_filled_from_what_is_left_without_near_duplicates(tmp_path: Path) -> None:
    groups = [
        [example(f"{group}-{edits}", edited(text(group), edits)) for edits in (1, 2)]
        for group in range(20)
    ]
    pool = [item for group in groups for item in group]
    config = SampleConfig(probe=0, held_out=0, per_task=15, near_duplicates=0.8)
    found = run(config, tmp_path / "r", pool, [])
    kept = [item.id for item in tables.read_examples(tmp_path / "r" / "examples.parquet")]
    assert len({identity.split("-")[0] for identity in kept}) == len(kept) == 15
    assert found["dropped"] == {"near_duplicate": 20, "quota": 5}


def questions(task: str, count: int, collection: str | None = None) -> list[Example]:
    meta = {} if collection is None else {"collection": collection}
    return [
        replace(example(f"{task}-{n}", f"{task} {n}"), task=task, meta=meta) for n in range(count)
    ]


def test_exactly_the_quota_of_each_task_is_taught_and_the_same_share_probed(
    tmp_path: Path,
) -> None:
    pool = questions("large", 3000) + questions("small", 50)
    found = run(SampleConfig(per_task=300, ngram=None), tmp_path / "r", pool, [])["tasks"]
    assert found["large"]["teach"] == 300
    assert found["large"] == {"teach": 300, "probe": 100, "held_out": 100}
    assert found["small"] == {"teach": 30, "probe": 10, "held_out": 10}


@pytest.mark.parametrize(
    ("size", "held_out"), [(1, 0), (3, 1), (4, 1), (20, 5), (32, 8), (40, 8), (100, 20)]
)
def test_shares_are_exact_counts_of_each_task_with_a_floor(
    size: int, held_out: int, tmp_path: Path
) -> None:
    found = run(SampleConfig(), tmp_path / "r", questions("t", size), [])["tasks"]["t"]
    assert (found.get("probe", 0), found.get("held_out", 0)) == (held_out, held_out)
    assert sum(found.values()) == size


def test_rows_that_are_added_move_only_examples_at_the_borders(tmp_path: Path) -> None:
    splits = []
    for size in (200, 220):
        run(SampleConfig(), tmp_path / str(size), questions("t", size), [])
        rows = tables.read_rows(tmp_path / str(size) / "examples.parquet")
        splits.append({row["id"]: row["split"] for row in rows})
    moved = sum(splits[1][name] != split for name, split in splits[0].items())
    assert moved <= 12  # of 200; about 120 would move if all were drawn anew


def test_collections_have_quotas_of_their_own_as_in_orca(tmp_path: Path) -> None:
    pool = [
        *questions("reasons", 40, "cot"),
        *(item for n in range(5) for item in questions(f"instructions{n}", 20 + 30 * n, "niv2")),
        *questions("huge", 2000, "t0"),
        *questions("tiny", 10, "t0"),
        *questions("talk", 30, "dialog"),
        *questions("mine", 90),
    ]
    quotas = {"cot": {}, "niv2": {"per_task": 60}, "t0": {"total": 500}, "dialog": {"total": 0}}
    config = SampleConfig.model_validate(
        {"probe": 0, "held_out": 0, "ngram": None, "total": 25, "collections": quotas}
    )
    found = run(config, tmp_path / "r", pool, [])["tasks"]
    taught = {task: count["teach"] for task, count in found.items()}
    assert taught == {
        "reasons": 40,
        **{f"instructions{n}": min(60, 20 + 30 * n) for n in range(5)},
        "huge": 490,
        "tiny": 10,
        "mine": 25,
    }


def test_the_order_of_the_files_does_not_change_what_is_taken(tmp_path: Path) -> None:
    pool = questions("a", 400) + questions("b", 700) + questions("c", 15)
    config = SampleConfig(ngram=None, total=200)
    taken = []
    for name, items in (("there", pool), ("back", pool[::-1])):
        run(config, tmp_path / name, items, [])
        rows = tables.read_rows(tmp_path / name / "examples.parquet")
        taken.append({(row["id"], row["split"]) for row in rows})
    assert taken[0] == taken[1]
    assert sum(split == "teach" for _, split in taken[0]) == 200


def test_rows_that_cannot_be_used_are_counted_and_listed(tmp_path: Path) -> None:
    opened: list[Opened] = []
    for name in ("a.jsonl", "b.jsonl"):
        rows = [f'{{"prompt": "{name} {i}?", "reference": "{i}"}}' for i in range(20)]
        (tmp_path / name).write_text(
            "\n".join([*rows, "broken", "{}", *rows[:2]]), encoding="utf-8"
        )
        records = Records(RecordsConfig(path=name, name="t", skip_bad=True), tmp_path)
        opened.append(("t", records, "pool"))
    found = run_opened(SampleConfig(), tmp_path / "out", opened)
    assert sum(sum(count.values()) for count in found["tasks"].values()) == 40
    assert (found["skipped"], found["dropped"]) == ({"t": 4}, {"duplicate": 4})
    dropped = tables.read_rows(tmp_path / "out" / "dropped.parquet")
    places = [row["reason"].split(": ")[0] for row in dropped if row["filter"] == "unusable"]
    assert places == [
        f"{tmp_path / name}:{line}" for name in ("a.jsonl", "b.jsonl") for line in (21, 22)
    ]


def test_a_copy_of_an_evaluation_item_with_words_changed_is_removed_and_the_item_named(
    tmp_path: Path,
) -> None:
    asked, other = text(3, 60), text(4, 60)
    pool = [example("changed", edited(asked, 6)), example("other", " ".join(other))]
    run(SampleConfig(), tmp_path / "plain", pool, [example("asked", " ".join(asked))])
    assert "changed" not in reasons(tmp_path / "plain")
    found = run(
        SampleConfig(fuzzy_overlap=0.6),
        tmp_path / "fuzzy",
        pool,
        [example("asked", " ".join(asked))],
    )
    assert reasons(tmp_path / "fuzzy") == {
        "changed": ("evaluation", found["for_example"]["evaluation"])
    }
    assert found["for_example"]["evaluation"].endswith(" of the runs of 3 words of t/asked")


def decisions_of(pool: Pool) -> list[tuple[Example, object]]:
    """Return every example with its split, why it is dropped, or None."""
    found: list[tuple[Example, object]] = [*pool.unseen()]
    draws = Splits(probe=0.2, held_out=0.2, mixtures={}, seed=0).draws
    for prepared, removals in pool.pool(draws):
        examples = map(tables.example_of, prepared.rows.to_pylist())
        found += [(example, removals.get(place)) for place, example in enumerate(examples)]
    return found


def test_the_pool_decides_about_every_example_once_and_the_same_again() -> None:
    near = [example(f"near{group}", edited(text(group), 2)) for group in range(10)]
    originals = [example(f"first{group}", " ".join(text(group))) for group in range(30)]
    pool = [*originals, *near, *originals[:5], *questions("other", 40)]
    asked = [example(f"asked{group}", edited(text(group), 2)) for group in (20, 21, 21)]
    opened: list[Opened] = [
        ("pool", lambda: iter(pool), "pool"),
        ("retention", lambda: iter(asked), "retention"),
    ]
    decided = Pool(SampleConfig(near_duplicates=0.8), opened, LOCAL)
    first, again = decisions_of(decided), decisions_of(decided)
    assert first == again
    assert sorted(item.id for item, _ in first) == sorted(item.id for item in asked + pool)
    removals = Counter(out.filter for _, out in first if isinstance(out, Removal))
    assert removals.keys() == {"duplicate", "near_duplicate", "evaluation"}
    assert (removals["near_duplicate"], removals["duplicate"]) == (10, 6)
