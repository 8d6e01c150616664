"""The batch interface, against a provider that fails, omits answers and loses replies."""

import asyncio
import json
import random
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.models.batch_server import Provider, answer, handler

from orcinus.core.errors import BudgetError, CompleterError, OrcinusError, StoreError
from orcinus.core.types import (
    Attempt,
    Completion,
    Example,
    Judged,
    Message,
    Request,
    Sampling,
    Verdict,
    WorstCase,
)
from orcinus.models.attempts import attempt_all
from orcinus.models.remote.batch import BatchEndpoint
from orcinus.models.remote.batch_journal import Batch, BatchState, clear, read_journal
from orcinus.models.remote.batch_provider import cancel
from orcinus.models.remote.endpoint_config import BatchConfig, EndpointConfig, Price
from orcinus.models.remote.wire import Patience
from orcinus.runs.budget import Budget
from orcinus.runs.ledger import Ledger

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def serve(provider: Provider) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(provider)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def configured(url: str, *, size: int = 50, tries: int = 30) -> EndpointConfig:
    return EndpointConfig(
        model="teacher",
        base_urls=(url,),
        batch=BatchConfig(size=size, linger_s=0.05, poll_s=0.02),
        patience=Patience(tries=tries, first_pause_s=0.001),
        price=Price(input=1.0, output=10.0, batch=0.5),
    )


def requests(count: int, impossible: int | None = None) -> Iterator[Request]:
    for number in range(count):
        prompt = "impossible" if number == impossible else f"question {number}"
        example = Example(id=str(number), task="t", prompt=prompt, answer_type="free")
        yield Request(
            example=example,
            strategy="direct",
            messages=(Message(role="user", content=example.prompt),),
            sampling=Sampling(max_tokens=100),
        )


async def unjudged(example: Example, attempt: Attempt) -> Verdict:
    return Verdict(attempt_id=attempt.id, verifier="none@1", value=None, answer=None, reason="")


async def ask(
    config: EndpointConfig,
    folder: Path,
    count: int,
    *,
    usd: float | None = None,
    impossible: int | None = None,
) -> list[Judged]:
    completer = BatchEndpoint(config, secrets={}, journal=folder / "batches")
    with Ledger(folder / "ledger.sqlite") as ledger:
        budget = Budget(ledger=ledger, run="r", usd=usd, tokens=None)
        try:
            calls = attempt_all(
                requests(count, impossible),
                completer,
                ledger=ledger,
                verify=unjudged,
                run="r",
                step="teach",
                budget=budget,
            )
            return [judged async for judged in calls]
        finally:
            await completer.aclose()


def right(url: str, number: int) -> str:
    """Return the provider's answer to question ``number``."""
    body = {
        "model": "teacher",
        "messages": [{"role": "user", "content": f"question {number}"}],
        "temperature": 0.0,
        "max_tokens": 100,
    }
    return str(answer(body)["choices"][0]["message"]["content"])


def test_every_request_gets_its_own_answer_at_half_the_price(tmp_path: Path) -> None:
    provider = Provider()
    with serve(provider) as url:
        found = asyncio.run(ask(configured(url), tmp_path, 120))
        assert [item.attempt.text for item in found] == [
            right(url, number) for number in range(120)
        ]
        assert found[0].attempt.cost_usd == pytest.approx(0.5 * (20 * 1.0 + 100 * 10.0) / 1e6)
        assert len(provider.batches) >= 3
        again = asyncio.run(ask(configured(url), tmp_path, 120))
    assert all(item.recalled for item in again)
    assert set(provider.worked_on.values()) == {1}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert clear(tmp_path / "batches", ledger.known) == len(provider.batches)
        assert not list(ledger.verify())


def test_failed_and_expired_requests_alone_are_retried(tmp_path: Path) -> None:
    provider = Provider(fail=0.2, expire=0.2)
    with serve(provider) as url:
        found = asyncio.run(ask(configured(url), tmp_path, 100))
    assert [item.attempt.text for item in found] == [right(url, number) for number in range(100)]
    assert set(provider.worked_on.values()) == {1}
    assert len(provider.batches) > 3


def test_a_request_that_cannot_be_answered_is_recorded_and_not_retried(tmp_path: Path) -> None:
    provider = Provider()
    with serve(provider) as url:
        found = asyncio.run(ask(configured(url), tmp_path, 3, impossible=1))
        batches = len(provider.batches)
        assert "this cannot be answered" in (found[1].attempt.error or "")
        found = asyncio.run(ask(configured(url), tmp_path, 3, impossible=1))
        assert all(item.recalled for item in found)
    assert len(provider.batches) == batches


def test_lost_replies_make_no_second_batch(tmp_path: Path) -> None:
    provider = Provider(lose=0.3)
    with serve(provider) as url:
        found = asyncio.run(ask(configured(url, size=10), tmp_path, 300))
    assert [item.attempt.text for item in found] == [right(url, number) for number in range(300)]
    assert set(provider.worked_on.values()) == {1}


def test_a_batch_is_retried_later_if_the_provider_has_no_room(tmp_path: Path) -> None:
    provider = Provider()
    provider.refuse_next = ["token_limit_exceeded", "token_limit_exceeded"]
    with serve(provider) as url:
        found = asyncio.run(ask(configured(url), tmp_path, 10))
    assert all(item.attempt.error is None for item in found)
    assert len(provider.batches) == 3


def test_a_refused_batch_stops_the_step_with_the_provider_s_message(tmp_path: Path) -> None:
    provider = Provider()
    provider.refuse_next = ["model_not_found"]
    with serve(provider) as url:
        with pytest.raises(
            CompleterError, match="batch_0 failed: model_not_found as the test wants"
        ):
            asyncio.run(ask(configured(url), tmp_path, 10))
        assert all(
            item.attempt.error is None for item in asyncio.run(ask(configured(url), tmp_path, 10))
        )


def test_a_batch_of_a_running_process_is_left_to_it(tmp_path: Path) -> None:
    provider = Provider()
    with serve(provider) as url:
        config = configured(url)
        batch = Batch.prepare(tmp_path / "batches", config, {"b2" + "0" * 32: {}})
        asyncio.run(ask(config, tmp_path, 3))
        assert batch.folder.exists()
        batch.unlock()  # the process has ended, before it sent anything
        asyncio.run(ask(config, tmp_path, 4))
    assert not batch.folder.exists()


def test_the_answers_of_a_cancelled_batch_are_kept(tmp_path: Path) -> None:
    provider = Provider(seconds=0.5)

    async def go(url: str) -> list[Judged]:
        asking = asyncio.create_task(ask(configured(url, size=100), tmp_path, 100))
        while not [
            batch for batch in read_journal(tmp_path / "batches") if batch.state.progress == "sent"
        ]:
            await asyncio.sleep(0.01)
        await cancel(read_journal(tmp_path / "batches")[0], secrets={})
        return await asking

    with serve(provider) as url:
        found = asyncio.run(go(url))
    assert all(item.attempt.error is None for item in found)
    assert provider.batches["batch_0"]["status"] == "cancelled"
    assert set(provider.worked_on.values()) == {1}


def test_a_journal_that_cannot_be_written_stops_the_step(tmp_path: Path) -> None:
    (tmp_path / "batches").write_text("in the way")
    provider = Provider()
    with serve(provider) as url, pytest.raises(StoreError, match="batches: cannot be written"):
        asyncio.run(ask(configured(url), tmp_path, 3))
    assert not provider.batches


def test_the_budget_holds_for_batches_too(tmp_path: Path) -> None:
    provider = Provider()
    with serve(provider) as url, pytest.raises(BudgetError):
        asyncio.run(ask(configured(url), tmp_path, 100, usd=0.02))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert 0.0 < ledger.spent("r")[0] <= 0.02


def test_a_batch_that_is_resumed_is_booked_once_and_needs_no_second_room(tmp_path: Path) -> None:
    provider = Provider(seconds=1e6)
    worst = 0.5 * (len("question 0") + 16 + 100 * 10.0) / 1e6
    usd = 10.5 * worst

    async def stop_while_it_is_under_way(url: str) -> None:
        asking = asyncio.create_task(ask(configured(url), tmp_path, 10, usd=usd))
        await asyncio.sleep(0.3)
        for _ in range(1000):
            journal = read_journal(tmp_path / "batches")
            if sum(batch.state.requests for batch in journal if batch.state.batch_id) == 10:
                break
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with serve(provider) as url:
        for _ in range(2):  # also where the one that resumes it is stopped
            asyncio.run(stop_while_it_is_under_way(url))
            with Ledger(tmp_path / "ledger.sqlite") as ledger:
                assert ledger.spent("r")[0] == pytest.approx(10 * worst)
        for batch in provider.batches.values():
            batch["_due"] = 0.0
        found = asyncio.run(ask(configured(url), tmp_path, 10, usd=usd))
    assert all(item.attempt.error is None for item in found)
    assert set(provider.worked_on.values()) == {1}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent("r")[0] == pytest.approx(10 * 0.5 * (20 + 100 * 10.0) / 1e6)
        assert ledger.spent("r")[1] == 10 * 120
        assert not list(ledger.verify())


@pytest.mark.parametrize("status", [400, 429])
def test_a_batch_whose_creation_is_refused_costs_nothing(tmp_path: Path, status: int) -> None:
    provider = Provider()
    provider.refuse_creation = [status] * 99
    with serve(provider) as url:
        found = asyncio.run(ask(configured(url, tries=2), tmp_path, 3, usd=1.0))
    assert all(item.attempt.error is not None for item in found)
    assert {(item.attempt.cost_usd, item.attempt.usage.total) for item in found} == {(0.0, 0)}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent("r") == (0.0, 0)


def test_a_batch_that_may_have_been_created_is_booked_at_its_worst_case(tmp_path: Path) -> None:
    provider = Provider()
    provider.refuse_creation = [500] * 99
    with serve(provider) as url:
        found = asyncio.run(ask(configured(url, tries=1), tmp_path, 3, usd=1.0))
    assert all(item.attempt.cost_usd > 0.0 for item in found)


class LosingCreations(Provider):
    """A provider whose reply is lost each time that it creates a batch, and all after it."""

    def create(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.lose = 1.0
        return super().create(asked)


def test_a_batch_that_was_booked_as_lost_takes_back_nothing_when_it_is_resumed(
    tmp_path: Path,
) -> None:
    async def stop_with_calls_in_flight(ledger: Ledger) -> None:
        budget = Budget(ledger=ledger, run="r", usd=1.0, tokens=None)
        other = WorstCase(usd=0.1, tokens=10_000)
        await budget.reserve(other)
        budget.forfeit(other, 1)
        await budget.close()

    with Ledger(tmp_path / "ledger.sqlite") as ledger:  # what a resumed call could take back
        asyncio.run(stop_with_calls_in_flight(ledger))
    provider = LosingCreations()
    with serve(provider) as url:
        lost = asyncio.run(ask(configured(url, tries=1), tmp_path, 3, usd=1.0))
        provider.lose = 0.0
        found = asyncio.run(ask(configured(url, tries=1), tmp_path, 3, usd=1.0))
    assert all(item.attempt.error is not None for item in lost)
    assert all(item.attempt.error is None for item in found)
    assert len(provider.batches) == 1
    costs = [item.attempt.cost_usd for item in [*lost, *found]]
    assert min(costs) > 0.0
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent("r")[0] == pytest.approx(0.1 + sum(costs))
        assert not list(ledger.verify())


def test_a_line_is_read_with_the_limit_and_the_prompt_of_its_request(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "2 + 2?"}], "max_tokens": 100}
    batch = Batch.prepare(tmp_path, configured("http://127.0.0.1:9/v1"), {"a": body})
    message = {"content": "<reflection>two and two</reflection>4"}
    reply = {
        "choices": [{"message": message, "finish_reason": "odd"}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 100},
    }
    line = {"custom_id": "a", "response": {"status_code": 200, "body": reply}}
    (batch.folder / "output.jsonl").write_text(json.dumps(line), encoding="utf-8")
    [(_, found)] = batch.answers()
    assert isinstance(found, Completion)
    assert (found.text, found.reasoning, found.finish) == ("4", "two and two", "length")


ROUND = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "lose": st.sampled_from((0.0, 0.1, 0.3)),
        "fail": st.sampled_from((0.0, 0.3)),
        "expire": st.sampled_from((0.0, 0.3)),
        "calls": st.sampled_from((2.5, 12.5, 30.5, 1000.0)),
        "processes": st.sampled_from((1, 2)),
        "stop": st.sampled_from((0.05, 0.3)),
    }
)


def check_cap(folder: Path, rounds: list[dict[str, Any]]) -> None:
    """Stop batches of capped runs, and run them to their end; the bills stay below the caps."""

    async def go(number: int, round_: dict[str, Any]) -> None:
        names = ("seed", "lose", "fail", "expire")
        provider = Provider(**{name: round_[name] for name in names}, seconds=0.05)
        path = folder / str(number)
        worst = 0.5 * (len("question 0") + 16 + 100 * 10.0) / 1e6
        usd = round_["calls"] * worst
        with serve(provider) as url:
            for stop in (round_["stop"], None):
                tasks = [
                    asyncio.create_task(ask(configured(url, size=8, tries=4), path, 24, usd=usd))
                    for _ in range(round_["processes"])
                ]
                if stop is not None:
                    await asyncio.sleep(stop)
                    for task in tasks:
                        task.cancel()
                found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
                for item in found:
                    assert isinstance(item, list | OrcinusError | asyncio.CancelledError), item
                assert stop is not None or not any(
                    isinstance(item, asyncio.CancelledError) for item in found
                )
        with Ledger(path / "ledger.sqlite", read_only=True) as ledger:
            booked = ledger.spent("r")[0]
            assert list(ledger.verify()) == []
        charged = provider.charged * 0.5 * (20 + 100 * 10.0) / 1e6
        assert charged <= booked + 1e-9
        assert booked <= usd + 1e-9

    async def go_all() -> None:
        await asyncio.gather(*(go(number, round_) for number, round_ in enumerate(rounds)))

    asyncio.run(go_all())


@settings(max_examples=1, derandomize=True, deadline=None, phases=[Phase.generate])
@given(rounds=st.lists(ROUND, min_size=4, max_size=4))
def test_bills_of_batches_stay_below_the_cap(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, Any]]
) -> None:
    check_cap(tmp_path_factory.mktemp("cap"), rounds)


@pytest.mark.slow
@settings(max_examples=5, deadline=None, phases=[Phase.generate])
@given(rounds=st.lists(ROUND, min_size=8, max_size=8))
def test_bills_of_batches_stay_below_the_cap_in_many_rounds(
    tmp_path_factory: pytest.TempPathFactory, rounds: list[dict[str, Any]]
) -> None:
    check_cap(tmp_path_factory.mktemp("cap"), rounds)


@pytest.mark.slow
def test_kills_at_random_moments_pay_nothing_twice(tmp_path: Path) -> None:
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.models.batch_server",
            "--lose",
            "0.05",
            "--fail",
            "0.1",
            "--seconds",
            "0.6",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    chance = random.Random(0)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        kills, done = 0, None
        while done != 0:
            client = subprocess.Popen(
                [sys.executable, "-m", "tests.models.test_batch", url, str(tmp_path)],
                cwd=REPOSITORY,
            )
            # Start-up takes about half a second. Later kills fall anywhere between collecting
            # requests and the last commit.
            try:
                done = client.wait(timeout=0.4 + 1.6 * chance.random() if kills < 12 else 60)
            except subprocess.TimeoutExpired:
                client.kill()
                client.wait()
                kills += 1
        with urllib.request.urlopen(f"{url}/counts") as reply:
            worked_on = json.loads(reply.read())
    finally:
        server.kill()
        server.communicate()
    assert kills >= 3
    assert len(worked_on) == 400
    assert set(worked_on.values()) == {1}, f"{kills} kills"
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spend("r")[0].calls >= 400
        assert not list(ledger.verify())


def client(url: str, folder: str) -> None:
    """Run the client that the test kills."""
    found: Any = asyncio.run(ask(configured(f"{url}/v1", size=40), Path(folder), 400))
    assert all(item.attempt.error is None for item in found)


if __name__ == "__main__":
    client(*sys.argv[1:])


def test_an_answer_in_a_line_that_breaks_the_rules_of_json_is_not_paid_again(
    tmp_path: Path,
) -> None:
    line = (
        rb'{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": [{"message": '
        rb'{"content": "4 \ud83d"}, "finish_reason": "stop", "logprobs": NaN}]}}}'
    )
    (tmp_path / "output.jsonl").write_bytes(line + b"\n{broken\n")
    [(identity, found)] = Batch(tmp_path, cast("BatchState", None)).answers()
    assert identity == "a"
    assert isinstance(found, Completion)
    assert found.text == "4 \ufffd"
