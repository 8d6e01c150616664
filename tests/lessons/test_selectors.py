"""Selectors: which examples each takes, independent of their order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from orcinus.core.errors import ConfigError
from orcinus.core.types import Example
from orcinus.lessons.selectors import (
    Balanced,
    Diverse,
    Teachable,
    balanced,
    diverse,
    matched,
    teachable,
)


def example(number: int, **meta: Any) -> Example:
    return Example(
        id=str(number),
        task="t",
        prompt=f"Question {number}",
        answer_type="exact",
        reference="x",
        meta=meta,
    )


def ids(examples: Sequence[Example]) -> list[int]:
    return [int(item.id) for item in examples]


def test_teachable_leaves_out_too_hard_too_easy_and_unmeasured_examples() -> None:
    pool = [example(n, pass_rate=n / 4) for n in range(5)] + [example(5)]
    assert ids(list(teachable(pool))) == [1, 2, 3]
    assert ids(list(teachable(pool, low=0, high=0.25))) == [0, 1]
    with pytest.raises(ValidationError, match=r"low 0.9 is over high 0.1"):
        Teachable(low=0.9, high=0.1)


def test_verbosity_must_fit_difficulty() -> None:
    levels = [(2, 3), (2, 8), (9, 9), ("5", "6.5"), (None, 1), (4, None)]
    pool = [example(n, difficulty=hard, verbosity=long) for n, (hard, long) in enumerate(levels)]
    assert ids(list(matched(pool))) == [0, 2, 3]
    assert ids(list(matched(pool, hardest=7, within=1))) == [0]
    with pytest.raises(ConfigError, match=r"meta.difficulty of t/7 is 'hard', not a number"):
        list(matched([example(7, difficulty="hard", verbosity=1)]))


def test_tags_are_balanced_and_the_rarest_tag_counts() -> None:
    pool = [
        example(n, tags=["algebra"] if n % 10 else ["algebra", "topology"]) for n in range(1000)
    ]
    taken = list(balanced(pool, by="tags", total=180))
    assert len(taken) == 180
    rare = sum("topology" in item.meta["tags"] for item in taken)
    assert 60 < rare <= 100
    assert ids(taken) == sorted(ids(taken))
    assert set(ids(list(balanced(pool[::-1], by="tags", total=180)))) == set(ids(taken))


def test_rows_without_the_column_count_as_one_value() -> None:
    pool = [example(n, level=n % 3) for n in range(90)] + [example(n) for n in range(90, 100)]
    taken = Counter(item.meta.get("level") for item in balanced(pool, by="level", per_value=7))
    assert taken == {0: 7, 1: 7, 2: 7, None: 7}


def test_a_selector_without_a_limit_is_an_error() -> None:
    for make in (lambda: Balanced(by="tags"), Diverse):
        with pytest.raises(ValidationError, match="takes everything; set per_"):
            make()


def test_every_cluster_of_words_has_the_same_number() -> None:
    kinds = {"fruit": "apple pear plum cherry", "metal": "iron zinc copper tin"}
    pool = []
    for n in range(300):
        kind = "metal" if n % 10 == 0 else "fruit"
        words = kinds[kind].split()
        prompt = f"{words[n % 4]} and {words[(n // 4) % 4]} and {words[(n // 16) % 4]}"
        pool.append(replace(example(n, kind=kind), prompt=prompt))
    taken = list(diverse(pool, clusters=2, per_cluster=20))
    assert Counter(item.meta["kind"] for item in taken) == {"fruit": 20, "metal": 20}


def test_one_example_of_each_group_of_near_duplicates() -> None:
    text = " ".join(f"word{n}" for n in range(60))
    pool = [replace(example(n), prompt=f"{text} {n}") for n in range(20)]
    pool += [
        replace(example(n), prompt=" ".join(f"w{n}x{k}" for k in range(30))) for n in range(20, 30)
    ]
    taken = list(diverse(pool, similarity=0.7, per_cluster=1))
    assert len(taken) == 11
    assert sum(int(item.id) < 20 for item in taken) == 1
