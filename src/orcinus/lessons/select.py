"""Select the examples of the teach split that are worth teaching to this student.

    1,000 teach examples  ──student, 4 times each──►  pass rates  ──selectors──►  examples.parquet

The student is asked only where a selector needs pass rates. Selectors apply one after another. The
examples left out are in ``dropped.parquet`` with the selector's name. The other splits do not
change: the student is measured on all of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orcinus.core.errors import StepError
from orcinus.core.types import TAUGHT, Example, Request, Strategy
from orcinus.lessons.config import SelectConfig
from orcinus.lessons.rehearse import ask_often
from orcinus.runs import layout, tables
from orcinus.runs.context import Asking, StepContext
from orcinus.strategies.prompts import chosen_strategy, erased_strategy, requests_for
from orcinus.tasks.duplicates.seen import hash_of

F64 = npt.NDArray[np.float64]


async def select(
    config: SelectConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> dict[str, Any]:
    """Write ``examples.parquet``: all splits of ``sample``, the teach split reduced.

    Args:
        config: What is selected.
        strategies: The recipe's strategies, and the skills that were written for it.
        generic: The erased system message, for ``under: erased``.
        context: With the inputs ``sample`` and ``assign``.

    Returns:
        ``examples`` and ``kept``, the numbers before and after; ``dropped``, the numbers by
        selector; ``pass_rate``, the mean where it was measured.

    Raises:
        StepError: Nothing is selected.
    """
    path = context.inputs["sample"] / layout.EXAMPLES
    rates = (
        await _measure_pass_rates(config, strategies, generic, context)
        if config.needs_pass_rate
        else None
    )
    pool = _Pool(path, rates)
    context.progress.start("select", len(config.by))
    for number, item in enumerate(config.by, 1):
        pool.narrow(_only_examples(item.open()(pool), item.name), number)
        context.progress.advance()
    dropped = _write_selected(pool, [item.name for item in config.by], context)
    left = len(pool) - dropped.total()
    if left == 0:
        raise StepError(
            f"of {len(pool)} examples none is selected; loosen select.by ({dict(dropped)})"
        )
    measured = np.empty(0) if rates is None else rates[~np.isnan(rates)]
    return {
        "examples": len(pool),
        "kept": left,
        "dropped": dict(dropped),
        **({"pass_rate": float(measured.mean())} if len(measured) else {}),
    }


def _write_selected(pool: "_Pool", names: Sequence[str], context: StepContext) -> Counter[str]:
    """Write the selected examples and those left out; count the latter by selector."""
    dropped: Counter[str] = Counter()
    with (
        tables.TableWriter(context.out / layout.EXAMPLES, tables.EXAMPLES) as kept,
        tables.TableWriter(context.out / layout.DROPPED, tables.DROPS) as drops,
    ):
        for row in tables.read_rows(context.inputs["sample"] / layout.EXAMPLES):
            if row["split"] not in TAUGHT:
                kept.write(row)
        for example, by in pool.all():
            if by == 0:
                kept.write(tables.example_row(example, "teach"))
                continue
            dropped[names[by - 1]] += 1
            rate = example.meta.get("pass_rate")
            why = "not taken" if rate is None else f"not taken; the student is right in {rate:.0%}"
            drop = tables.Drop(
                attempt_id="",
                example_id=example.id,
                task=example.task,
                filter=names[by - 1],
                reason=why,
            )
            drops.write(tables.drop_row(drop))
        for row in tables.read_rows(context.inputs["sample"] / layout.EXAMPLES):
            if row["split"] == "lecture":
                kept.write(row)
    return dropped


def _only_examples(chosen: object, selector: str) -> Iterator[Example]:
    """Yield what a selector chose; raise an error for anything that is not an Example."""
    for item in chosen if isinstance(chosen, Iterable) else (chosen,):
        if not isinstance(item, Example):
            raise StepError(f"selector {selector!r} gives {item!r:.60}; a selector gives Examples")
        yield item


def requests(
    config: SelectConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> list[Asking]:
    """List the calls that measure the student's pass rates; none where no selector needs them.

    The arguments are those of ``select``. Before there is an assignment, every example is listed
    under the strategy with the longest message.
    """
    if not config.needs_pass_rate:
        return []
    asked = _requests_by_example(
        config, _strategy_of(config, strategies, generic, context), context
    )
    exact = config.under == "erased" or "assign" in context.inputs
    return [Asking(role="student", requests=chain.from_iterable(asked), exact=exact)]


def _strategy_of(
    config: SelectConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> Callable[[Example], Strategy | None]:
    """Return what gives each example the strategy under which the student is measured."""
    if config.under == "erased":
        erased = erased_strategy(generic)
        return lambda example: erased
    return chosen_strategy(strategies, context.inputs.get("assign"))


class _Pool:
    """The teach split without the examples left out so far; it can be iterated repeatedly."""

    def __init__(self, path: Path, rates: F64 | None) -> None:
        self._path, self._rates = path, rates
        size = sum(1 for row in tables.read_rows(path, ["split"]) if row["split"] == "teach")
        self._left_out_by = np.zeros(size, np.uint8)

    def __len__(self) -> int:
        return len(self._left_out_by)

    def __iter__(self) -> Iterator[Example]:
        return (example for example, by in self.all() if by == 0)

    def all(self) -> Iterator[tuple[Example, int]]:
        """Yield every example and the number of the selector that left it out; 0 for none."""
        for place, example in enumerate(tables.read_examples(self._path, "teach")):
            rate = nan if self._rates is None else float(self._rates[place])
            if not isnan(rate):
                example = replace(example, meta={**example.meta, "pass_rate": rate})
            yield example, int(self._left_out_by[place])

    def narrow(self, chosen: Iterable[Example], number: int) -> None:
        """Leave out, in the name of selector ``number``, the examples that are not ``chosen``."""
        taken = np.unique(np.fromiter((_identity(example) for example in chosen), np.uint64))
        every = np.fromiter((_identity(example) for example, _ in self.all()), np.uint64, len(self))
        self._left_out_by[(self._left_out_by == 0) & ~np.isin(every, taken)] = number


def _identity(example: Example) -> int:
    return hash_of(example.task, example.id)


async def _measure_pass_rates(
    config: SelectConfig, strategies: tuple[Strategy, ...], generic: str, context: StepContext
) -> F64:
    """Ask the student the teach split and return its share of right answers to each example (n,).

    NaN stands where no strategy is assigned or every call failed.
    """
    samples = config.sampling.samples
    strategy_of = _strategy_of(config, strategies, generic, context)
    asked = np.array(
        [bool(several) for several in _requests_by_example(config, strategy_of, context)], np.bool_
    )
    rates = np.full(len(asked), nan)
    places = iter(np.flatnonzero(asked).tolist())
    context.progress.start("ask the student what to select", samples * int(asked.sum()))
    to_ask = chain.from_iterable(_requests_by_example(config, strategy_of, context))
    async for rehearsal in ask_often(to_ask, samples, context, step="select"):
        rates[next(places)] = rehearsal.rate
    return rates


def _requests_by_example(
    config: SelectConfig, strategy_of: Callable[[Example], Strategy | None], context: StepContext
) -> Iterator[list[Request]]:
    """Yield each teach example's requests; an empty list where no strategy is assigned."""
    for example in tables.read_examples(context.inputs["sample"] / layout.EXAMPLES, "teach"):
        strategy = strategy_of(example)
        yield (
            []
            if strategy is None
            else list(requests_for(example, strategy, config.sampling, seed=context.seed))
        )
