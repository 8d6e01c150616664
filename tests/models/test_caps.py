"""What a provider charges stays below the cap, whatever fails; and no odd reply stops a run."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from benchmarks.chaos import GOOD, requests, run, unjudged
from benchmarks.hostile import FAULTS, INPUT, OUTPUT, Hostile
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from orcinus.core.errors import BudgetError, CompleterError, ConfigError, OrcinusError
from orcinus.core.types import Judged, Request
from orcinus.models import asker
from orcinus.models.attempts import attempt_all
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig, Price
from orcinus.models.remote.wire import Patience
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger

DEADLINE_S = 60.0


async def ask_all(
    provider: Hostile,
    path: Path,
    *,
    usd: float | None,
    count: int = 20,
    choices: int = 1,
    askers: int = 1,
    stop_after: float | None = None,
    **endpoint: Any,
) -> list[list[Judged] | BaseException]:
    """Ask one run's questions from several ledgers at once, as several processes do."""
    server, url = await provider.serve()
    config = EndpointConfig(
        **{
            "model": "chaos",
            "base_urls": (url,),
            "price": Price(input=INPUT, output=OUTPUT),
            "choices_per_call": choices,
            "patience": Patience(tries=4, first_pause_s=0.001, silence_s=0.1, total_s=1.0),
            **endpoint,
        }
    )

    async def one() -> list[Judged]:
        model = Endpoint(config, secrets={})
        with Ledger(path, note=lambda text: None) as ledger:
            budget = Budget(ledger=ledger, run="r", usd=usd, tokens=None)
            calls = attempt_all(
                requests(0, count, choices),
                model,
                ledger=ledger,
                verify=unjudged,
                run="r",
                step="teach",
                concurrency=6,
                budget=budget,
            )
            try:
                return [judged async for judged in calls]
            finally:
                await model.aclose()

    tasks = [asyncio.create_task(one()) for _ in range(askers)]
    if stop_after is not None:
        await asyncio.sleep(stop_after)
        for task in tasks:
            task.cancel()
    found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), DEADLINE_S)
    server.close()
    return found


def spent(path: Path) -> float:
    with Ledger(path, read_only=True) as ledger:
        assert list(ledger.verify()) == []
        return ledger.spent("r")[0]


async def check_cap(
    path: Path,
    *,
    kinds: Sequence[str],
    faults: float,
    usd: float,
    choices: int,
    askers: int,
    seed: int,
) -> None:
    """Stop a run, then run it to its end; the bill stays below what is booked and the cap."""
    provider = Hostile(faults=faults, kinds=kinds, silence_s=0.3, latency_s=0.002, seed=seed)
    run: dict[str, Any] = {"usd": usd, "choices": choices, "askers": askers}
    await ask_all(provider, path, **run, stop_after=0.01 * (seed % 7))
    for item in await ask_all(provider, path, **run):
        assert isinstance(item, list | OrcinusError), item
    assert provider.billed_usd <= spent(path) + 1e-9
    assert spent(path) <= usd + 1e-9


def check_caps(folder: Path, rounds: Sequence[dict[str, Any]]) -> None:
    """Check rounds at the same time: most of one is waiting."""

    async def go() -> None:
        paths = (folder / f"{number}.sqlite" for number in range(len(rounds)))
        await asyncio.gather(
            *(check_cap(path, **round_) for path, round_ in zip(paths, rounds, strict=True))
        )

    asyncio.run(go())


ROUND = st.fixed_dictionaries(
    {
        "kinds": st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4, unique=True),
        "faults": st.sampled_from((0.0, 0.3, 0.8, 1.0)),
        "usd": st.sampled_from((0.0003, 0.002, 0.006, 1.0)),
        "choices": st.sampled_from((1, 1, 3)),
        "askers": st.sampled_from((1, 2)),
        "seed": st.integers(0, 10**6),
    }
)
settings.register_profile("caps", deadline=None, suppress_health_check=list(HealthCheck))
_PROFILE = settings.get_profile("caps")


@settings(_PROFILE, max_examples=1, derandomize=True, phases=[Phase.generate])
@given(rounds=st.lists(ROUND, min_size=8, max_size=8))
def test_the_bill_stays_below_the_cap_whatever_fails(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, Any]]
) -> None:
    check_caps(tmp_path_factory.mktemp("cap"), rounds)


@pytest.mark.slow
@settings(_PROFILE, max_examples=30, phases=[Phase.generate])
@given(rounds=st.lists(ROUND, min_size=10, max_size=10))
def test_the_bill_stays_below_the_cap_in_many_rounds(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, Any]]
) -> None:
    check_caps(tmp_path_factory.mktemp("cap"), rounds)


@pytest.mark.slow
def test_kills_lose_nothing_and_pass_no_cap() -> None:
    sizes = {"rounds": 4, "kills": 4, "calls": 150, "flips": 0, "runs": 0}
    figures = run(("clients",), sizes)
    assert {name: figures[name] for name in GOOD} == GOOD
    assert figures["paid_twice_max"] <= figures["in_flight"]


@pytest.mark.parametrize("kind", ["huge_usage", "finish_list", "no_usage", "cut", "cached"])
def test_a_run_ends_whatever_every_reply_is(tmp_path: Path, kind: str) -> None:
    provider = Hostile(faults=1.0, kinds=[kind])
    (found,) = asyncio.run(ask_all(provider, tmp_path / "l.sqlite", usd=None))
    if kind == "cut":  # no try of the first call is answered, so no other call is made
        assert isinstance(found, CompleterError)
    else:
        assert isinstance(found, list)
        assert len(found) == 20
    assert provider.billed_usd <= spent(tmp_path / "l.sqlite") + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in FAULTS if kind != "silence"])
def test_a_run_ends_whatever_every_reply_is_100_times(tmp_path: Path, kind: str) -> None:
    async def go(number: int) -> None:
        provider = Hostile(faults=0.5, kinds=[kind], seed=number)
        (found,) = await ask_all(provider, tmp_path / f"{number}.sqlite", usd=None, count=10)
        # Where all tries of the first call fail, the step stops there.
        assert isinstance(found, list | CompleterError)

    async def go_all(numbers: Iterable[int]) -> None:
        await asyncio.gather(*map(go, numbers))

    for start in range(0, 100, 10):
        asyncio.run(go_all(range(start, start + 10)))


def test_processes_that_ask_the_same_pay_once(tmp_path: Path) -> None:
    provider = Hostile(latency_s=0.01)
    # On a busy machine, a call that times out after 0.1 s is answered and asked again.
    asked = ask_all(
        provider, tmp_path / "l.sqlite", usd=None, count=30, askers=3, patience=Patience()
    )
    found = asyncio.run(asked)
    assert all(isinstance(item, list) and len(item) == 30 for item in found)
    assert provider.answered.total() == 30


def test_a_budget_in_dollars_needs_a_price(tmp_path: Path) -> None:
    provider = Hostile()
    (found,) = asyncio.run(ask_all(provider, tmp_path / "l.sqlite", usd=1.0, price=None))
    assert isinstance(found, ConfigError)
    assert "no price is known for chaos; set its price" in str(found)
    assert provider.billed_usd == 0


def test_a_spent_budget_is_one_line(tmp_path: Path) -> None:
    (found,) = asyncio.run(ask_all(Hostile(), tmp_path / "l.sqlite", usd=0.0005))
    assert isinstance(found, BudgetError)


class Deaf:
    """A client that returns a reply although its task was cancelled, as pyreqwest can."""

    model = "deaf"

    def __init__(self, endpoint: Endpoint) -> None:
        self.traits, self.worst_case = endpoint.traits, endpoint.worst_case
        self.aclose, self._endpoint = endpoint.aclose, endpoint

    async def complete(self, request: Request) -> Any:
        call = asyncio.ensure_future(self._endpoint.complete(request))
        while not call.done():
            try:
                await asyncio.shield(call)
            except asyncio.CancelledError:
                continue
        return call.result()


def test_workers_end_when_a_cancelled_call_returns(tmp_path: Path) -> None:
    async def go() -> float:
        server, url = await Hostile(latency_s=0.05).serve()
        model = Deaf(Endpoint(EndpointConfig(model="m", base_urls=(url,)), secrets={}))
        with Ledger(tmp_path / "l.sqlite") as ledger:

            async def ask() -> None:
                async for _ in attempt_all(
                    requests(0, 200, 1),
                    model,
                    ledger=ledger,
                    verify=unjudged,
                    run="r",
                    step="s",
                    concurrency=8,
                ):
                    pass

            task = asyncio.create_task(ask())
            await asyncio.sleep(0.12)
            task.cancel()
            start = asyncio.get_running_loop().time()
            await asyncio.wait([task], timeout=10)
            assert task.done()
        server.close()
        return asyncio.get_running_loop().time() - start

    assert asyncio.run(go()) < 5


def test_silence_is_one_line_on_what_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asker, "QUIET_S", 0.1)
    notes: list[str] = []

    async def go() -> None:
        server, url = await Hostile(latency_s=0.5).serve()
        model = Endpoint(EndpointConfig(model="slow", base_urls=(url,)), secrets={})
        with Ledger(tmp_path / "l.sqlite", note=notes.append) as ledger:
            asked = requests(0, 3, 1)
            async for _ in attempt_all(
                asked, model, ledger=ledger, verify=unjudged, run="r", step="teach"
            ):
                pass
        await model.aclose()
        server.close()

    asyncio.run(go())
    assert notes[0].startswith("teach: no call has ended for ")
    assert notes[0].endswith("waiting for: a reply of slow (1)")


FEW_FILES = textwrap.dedent(
    """
    import asyncio, resource, sys
    from pathlib import Path
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    from benchmarks.chaos import requests, unjudged
    from benchmarks.hostile import Hostile
    from orcinus.models.attempts import attempt_all
    from orcinus.models.remote.endpoint import Endpoint
    from orcinus.models.remote.endpoint_config import EndpointConfig
    from orcinus.runs.ledger import Ledger

    async def go():
        model = Endpoint(EndpointConfig(model="m", base_urls=(sys.argv[2],)), secrets={})
        with Ledger(Path(sys.argv[1]), note=print) as ledger:
            found = [item async for item in attempt_all(
                requests(0, 200, 1), model, ledger=ledger, verify=unjudged, run="r", step="s",
                concurrency=512)]
        await model.aclose()
        print(sum(item.attempt.error is None for item in found))

    asyncio.run(go())
    """
)


def test_few_file_descriptors_mean_fewer_calls_in_flight(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.hostile", "--faults", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        done = subprocess.run(
            [sys.executable, "-c", FEW_FILES, str(tmp_path / "l.sqlite"), url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        server.kill()
        server.communicate()
    note, answers = done.stdout.splitlines()
    assert "calls in flight instead of 512: this process may open 64 files" in note
    assert answers == "200"
