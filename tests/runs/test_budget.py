"""Several budgets of one run on one ledger, as several processes have them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orcinus.core.errors import BudgetError
from orcinus.core.types import WorstCase
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger


def with_two_budgets(path: Path, use: Callable[[Budget, Budget], Awaitable[None]]) -> None:
    async def go() -> None:
        with Ledger(path) as one, Ledger(path) as other:
            budgets = [
                Budget(ledger=ledger, run="r", usd=1.0, tokens=None) for ledger in (one, other)
            ]
            await asyncio.wait_for(use(*budgets), 20)

    asyncio.run(go())


async def leave_a_rest(budget: Budget) -> None:
    """Have the budget hold a part that no call of it needs any more."""
    small = WorstCase(usd=0.2, tokens=10)
    await budget.reserve(small)
    budget.release(small, 1)


def test_processes_that_wait_give_each_other_what_they_do_not_need(tmp_path: Path) -> None:
    large = WorstCase(usd=0.9, tokens=10)

    async def use(one: Budget, other: Budget) -> None:
        await leave_a_rest(one)
        await leave_a_rest(other)

        async def call(budget: Budget) -> None:
            await budget.reserve(large)
            budget.release(large, 1)
            await budget.give_back()

        await asyncio.gather(call(one), call(other))

    with_two_budgets(tmp_path / "l.sqlite", use)


def test_a_call_that_fits_nowhere_ends_although_another_process_is_open(tmp_path: Path) -> None:
    async def use(one: Budget, other: Budget) -> None:
        await leave_a_rest(one)
        await leave_a_rest(other)
        tasks = [budget.reserve(WorstCase(usd=1.1, tokens=10)) for budget in (one, other)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(item, BudgetError) for item in found)

    with_two_budgets(tmp_path / "l.sqlite", use)


@pytest.mark.parametrize("settled", [True, False])
def test_a_call_waits_for_the_calls_of_another_process(tmp_path: Path, settled: bool) -> None:
    large = WorstCase(usd=0.9, tokens=10)

    async def use(one: Budget, other: Budget) -> None:
        await one.reserve(large)
        waiting = asyncio.create_task(other.reserve(large))
        await asyncio.sleep(0.6)
        assert not waiting.done()
        if settled:
            one.release(large, 1)
            await one.close()
            await waiting
        else:
            one.forfeit(large, 1)
            await one.close()
            with pytest.raises(BudgetError):
                await waiting

    with_two_budgets(tmp_path / "l.sqlite", use)
