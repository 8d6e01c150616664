"""OpenTelemetry counts what was asked, paid, recalled and retried; without it nothing is called."""

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.models.test_attempts import case

from orcinus.models.asker import Asker
from orcinus.models.attempts import attempt_all
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig, Price
from orcinus.models.remote.wire import Patience
from orcinus.runs import counters
from orcinus.runs.ledger import Ledger
from orcinus.verifiers.verify import by_answer_type


@pytest.fixture
def fresh() -> Iterator[None]:
    counters._instruments.cache_clear()
    yield
    counters._instruments.cache_clear()


@pytest.fixture
def server() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.loopback", "--latency-ms", "1", "--faults", "0.3"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


async def ask(server: str, ledger_path: Path) -> None:
    endpoint = Endpoint(
        EndpointConfig(
            model="loopback",
            base_urls=(server,),
            patience=Patience(tries=20, first_pause_s=0.001),
            price=Price(input=1.0, output=1.0),
        ),
        secrets={},
    )
    with Ledger(ledger_path) as ledger:
        requests = [case(number) for number in range(40)]
        asked = attempt_all(
            requests, endpoint, ledger=ledger, verify=by_answer_type, run="r", step="teach"
        )
        assert len([judged async for judged in asked]) == 40
    await endpoint.aclose()


def test_without_the_package_there_is_nothing_to_call(
    monkeypatch: pytest.MonkeyPatch, fresh: None, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    endpoint = Endpoint(EndpointConfig(model="m", base_urls=("http://127.0.0.1:9/v1",)), secrets={})
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        asker = Asker(endpoint, ledger, run="r", step="s", concurrency=1, budget=None)
    assert asker._counters is None


def test_calls_tokens_dollars_recalls_and_retries_are_counted(
    server: str, fresh: None, tmp_path: Path
) -> None:
    reason = "needs opentelemetry-sdk: pip install opentelemetry-sdk"
    pytest.importorskip("opentelemetry.sdk.metrics", reason=reason)
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    for _ in range(2):  # the second time the ledger answers
        asyncio.run(ask(server, tmp_path / "ledger.sqlite"))
    with urllib.request.urlopen(server.removesuffix("/v1") + "/stats") as reply:
        faults = sum(json.loads(reply.read())["faults"].values())
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        [spent] = ledger.spend("r")

    seen = Counter[str]()
    data = reader.get_metrics_data()
    assert data is not None
    for metric in data.resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            which = {**point.attributes}
            assert [which.pop(key) for key in ("run", "step", "model")] == [
                "r",
                "teach",
                "loopback",
            ]
            seen[" ".join([metric.name, *which.values()])] = point.value
    assert seen["orcinus.calls answer"] == seen["orcinus.recalled"] == 40
    assert seen["orcinus.retries"] == faults > 5
    assert seen["orcinus.tokens input"] == spent.tokens_in
    assert seen["orcinus.tokens output"] == spent.tokens_out
    assert seen["orcinus.cost"] == pytest.approx(spent.cost_usd)
