"""Compare two sets of answers to the same questions, item by item.

after {1: 1.0, 2: 1.0, 3: 0.0}, before {1: 0.0, 2: 1.0, 3: 0.0}  ──►  difference 0.33, repairs 1
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from orcinus.core import stats
from orcinus.core.results import Comparison

Key = tuple[str, str]
"""(task, example id)"""


def compare_items(
    a: str,
    b: str,
    first: Mapping[Key, float],
    second: Mapping[Key, float],
    *,
    task: str | None = None,
    seed: int,
) -> Comparison | None:
    """Compare the items that both sides answered; return None when there are none.

    Over all tasks the difference is that of the means of tasks, as in every score.

    Args:
        a: Name of the first side.
        b: Name of the second side.
        first: Values of ``a`` by item, in 0..1.
        second: Values of ``b``.
        task: Compare the items of this task only; None compares all.
        seed: Seed of the bootstrap and of the randomised signs.
    """
    keys = [key for key in first if key in second and task in (None, key[0])]
    if not keys:
        return None
    found = stats.compare(
        [first[key] for key in keys],
        [second[key] for key in keys],
        seed=seed,
        strata=[task for task, _ in keys],
    )
    return Comparison(a=a, b=b, task=task, p_holm=found.p_value, **asdict(found))


def correct_for_number(rows: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Apply Holm's correction to the p-values of comparisons that were made together."""
    corrected = stats.holm([row.p_value for row in rows])
    return tuple(replace(row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True))
