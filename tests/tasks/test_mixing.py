"""Mixing draws as Algorithm 1 does, whatever the order of rows, and keeps only keys it may take."""

from collections import Counter
from collections.abc import Mapping
from random import Random

import pytest
from scipy.stats import chi2_contingency

from orcinus.tasks import mixing
from orcinus.tasks.config import Mixture
from orcinus.tasks.duplicates.seen import hash_of
from orcinus.tasks.mixing import LARGEST, Mixer, shares

DRAWS = 2500


def algorithm_1(
    sizes: Mapping[str, int], total: int, random: Random, temperature: float | None = None
) -> Counter[str]:
    """Draw as the paper prints it: a task with queries left, then one of its queries,
    repeatedly."""
    left = dict(sizes)
    drawn: Counter[str] = Counter()
    while drawn.total() < total:
        alive = [task for task in left if left[task]]
        weights = [
            1.0 if temperature is None else sizes[task] ** (1 / temperature) for task in alive
        ]
        [task] = random.choices(alive, weights)
        left[task] -= 1
        drawn[task] += 1
    return drawn


@pytest.mark.parametrize("temperature", [None, 1.0, 2.0])
def test_shares_are_distributed_as_the_literal_algorithm_distributes_them(
    temperature: float | None,
) -> None:
    sizes, total = {"a": 1, "b": 2, "c": 4, "d": 9}, 7
    mixture = Mixture(total=total, temperature=temperature)
    random = Random(1)
    ours = Counter(
        tuple(sorted(shares(sizes, mixture, seed=seed).items())) for seed in range(DRAWS)
    )
    theirs = Counter(
        tuple((task, drawn[task]) for task in sizes)
        for drawn in (algorithm_1(sizes, total, random, temperature) for _ in range(DRAWS))
    )
    seen = [outcome for outcome in ours | theirs if ours[outcome] + theirs[outcome] >= 20]
    assert len(seen) > 10
    table = [[ours[outcome] for outcome in seen], [theirs[outcome] for outcome in seen]]
    assert chi2_contingency(table).pvalue > 0.001


def test_large_tasks_get_equal_shares_and_small_ones_are_used_up() -> None:
    found = shares(
        {"small": 40, **{f"large{i}": 10**8 for i in range(9)}}, Mixture(total=90_040), seed=3
    )
    assert found.pop("small") == 40
    assert sum(found.values()) == 90_000
    assert all(abs(count - 10_000) < 500 for count in found.values())


def test_a_cap_comes_before_the_draw() -> None:
    assert shares({"a": 1000, "b": 20}, Mixture(per_task=300), seed=0) == {"a": 300, "b": 20}
    assert shares({"a": 1000, "b": 20}, Mixture(per_task=300, total=320), seed=0) == {
        "a": 300,
        "b": 20,
    }
    assert shares({"a": 10**6, "b": 10**6}, Mixture(per_task=10, total=10**4), seed=0) == {
        "a": 10,
        "b": 10,
    }


def test_a_total_of_zero_takes_nothing() -> None:
    mixer = Mixer(Mixture(total=0), seed=0)
    mixer.add("a", 17)
    assert mixer.limits() == {"a": -1}


@pytest.mark.parametrize(
    "mixture",
    [Mixture(total=900), Mixture(total=900, temperature=2), Mixture(total=900, per_task=70)],
)
def test_pruning_changes_nothing(mixture: Mixture, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"t{n % 7 if n % 11 else 7}", hash_of(str(n))) for n in range(60_000)]
    every = Mixer(mixture, seed=5)
    for row in rows:
        every.add(*row)
    assert every._buffered == len(rows)
    monkeypatch.setattr(mixing, "_BUFFERED_AT_LEAST", 2000)
    Random(0).shuffle(rows)
    rows.sort(
        key=lambda row: row[0] == "t3"
    )  # a task that comes last, when others were pruned without it
    few = Mixer(mixture, seed=5)
    for row in rows:
        few.add(*row)
    assert few._buffered < 10_000
    limits = few.limits()
    assert limits == every.limits()
    taken = Counter(task for task, key in rows if key <= limits[task])
    assert taken == Counter(shares(Counter(task for task, _ in rows), mixture, seed=5))


def test_other_tasks_do_not_change_the_order_within_a_task() -> None:
    alone, beside = Mixer(Mixture(total=50), seed=0), Mixer(Mixture(total=50), seed=0)
    for n in range(100):
        alone.add("a", hash_of(str(n)))
        beside.add("a", hash_of(str(n)))
        beside.add("b", hash_of("b", str(n)))
    assert beside.limits()["a"] < alone.limits()["a"] < LARGEST
