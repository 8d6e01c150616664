"""Shards on a Ray cluster of several nodes on this machine, also when a node is killed."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.lessons.test_row_groups import run_steps, write_inputs
from tests.runs.test_sharing import away, give_inputs
from tests.s3_server import s3_server

from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Completer, Executor
from orcinus.core.requests import chat_request
from orcinus.core.types import Lesson, Message, Sampling
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.replicas import Replicas
from orcinus.pipeline import demo
from orcinus.runs.executors.local import LOCAL, LocalExecutor
from orcinus.runs.executors.open import open_executor
from orcinus.runs.sharing import Share
from orcinus.tasks.duplicates.near import originals_of
from orcinus.tasks.duplicates.overlap import Overlap
from orcinus.tasks.generators.procedural import ProceduralConfig, draw
from orcinus.training.tokens import tokenize_lessons

BASE = Path(demo.__file__).parent / "base"
STORE = 100 * 2**20
ray = pytest.importorskip("ray", reason="needs a Ray cluster: pip install 'orcinus[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, at import and in its forks


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args=head)
    started.add_node(num_cpus=1, object_store_memory=STORE)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture(scope="module")
def executor(cluster: Any) -> Executor:
    return open_executor(f"ray:{cluster.address}")


TEXTS = [e.prompt for e in draw(ProceduralConfig(generator="sums", count=3000, size=(6, 9)))]


def test_results_come_in_the_order_of_the_shards(executor: Executor) -> None:
    def slow_ones_first(shard: int) -> int:
        time.sleep(0.2 if shard < 2 else 0)
        return shard * shard

    assert list(executor.map(slow_ones_first, range(20))) == [n * n for n in range(20)]


def test_shards_are_read_as_results_are_taken(executor: Executor) -> None:
    shards = iter(range(1000))
    assert next(executor.map(abs, shards)) == 0
    assert next(shards) < 20


def test_near_duplicates_and_overlaps_are_those_found_in_this_process(executor: Executor) -> None:
    texts = [*TEXTS, *TEXTS[:50]]
    mine = originals_of(texts, similarity=0.8)
    assert np.array_equal(originals_of(texts, similarity=0.8, executor=executor), mine)
    overlap = Overlap(((str(i), text) for i, text in enumerate(TEXTS[:100])), n=5, fuzzy=0.6)
    found = overlap.reasons(texts)
    assert any(found)
    assert list(executor.map(overlap.reasons, [texts[:200], texts[200:]])) == [
        found[:200],
        found[200:],
    ]


def test_lessons_become_the_same_files(
    executor: Executor, tiny_student: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="chatml")
    for folder, where in ((tmp_path / "here", LOCAL), (tmp_path / "there", executor)):
        tokenize_lessons(
            map(lesson, TEXTS[:600]),
            chat,
            folder,
            context=60,
            truncation="keep_tail",
            executor=where,
        )
    for file in ("tokens.u32", "index.npy", "weights.npy", "ids.parquet", "facts.json"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()


def lesson(text: str) -> Lesson:
    return Lesson(
        id=text,
        example_id=text,
        task="sums",
        strategy="direct",
        messages=(Message(role="user", content=text),),
        completion="The answer is 7. <|im_end|> is text here.",
        reasoning=None,
        teacher="t",
        attempt_id=text,
        erased="generic",
    )


def test_an_error_of_the_function_arrives_as_itself(executor: Executor) -> None:
    def refuse(_: int) -> None:
        raise ConfigError("no such thing")

    with pytest.raises(ConfigError, match=r"^no such thing$"):
        list(executor.map(refuse, [1]))


def test_a_node_that_is_killed_costs_the_shard_it_had(
    executor: Executor, cluster: Any, tmp_path: Path
) -> None:
    doomed = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    there, doomed_id = tmp_path / "there", doomed.node_id

    def counted(shard: int) -> int:
        with (tmp_path / f"{shard}.runs").open("ab") as file:
            file.write(b".")
        if ray.get_runtime_context().get_node_id() == doomed_id:
            there.touch()
            time.sleep(600)
        while not there.exists():  # the other nodes wait until the doomed one has a shard
            time.sleep(0.02)
        return -shard

    def kill() -> None:
        while not there.exists():
            time.sleep(0.02)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    assert list(executor.map(counted, range(60))) == [-n for n in range(60)]
    killer.join()
    runs = [len((tmp_path / f"{shard}.runs").read_bytes()) for shard in range(60)]
    assert sorted(runs) == [1] * 59 + [2]


@pytest.mark.slow
def test_curate_and_erase_write_the_same_bytes_also_when_a_node_is_killed(
    executor: Executor, cluster: Any, tmp_path: Path
) -> None:
    write_inputs(tmp_path)
    alone = run_steps(tmp_path, tmp_path / "alone", LocalExecutor(1))
    doomed = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    there, doomed_id = tmp_path / "there", doomed.node_id

    class UntilKilled:
        """The cluster, on which no group is read before the doomed node has one."""

        def map(
            self, fn: Any, shards: Any, *, threaded: bool = False, processes: bool = False
        ) -> Iterator[Any]:
            def slow(shard: Any) -> Any:
                if ray.get_runtime_context().get_node_id() == doomed_id:
                    there.touch()
                    time.sleep(600)
                while not there.exists():
                    time.sleep(0.02)
                return fn(shard)

            return executor.map(slow, shards)

    def kill() -> None:
        while not there.exists():
            time.sleep(0.02)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    assert run_steps(tmp_path, tmp_path / "cluster", UntilKilled()) == alone
    killer.join()


@pytest.mark.slow
def test_nodes_that_see_only_s3_write_the_same_bytes(executor: Executor, tmp_path: Path) -> None:
    class OnlyS3:
        """The cluster, whose nodes have a key to the store and none of the files."""

        def map(
            self, fn: Any, shards: Any, *, threaded: bool = False, processes: bool = False
        ) -> Iterator[Any]:
            def with_key(shard: Any) -> Any:
                os.environ.update(variables)
                found = fn(away(shard))
                assert found is not None  # then it would be done in the run's process
                return found

            return executor.map(with_key, shards)

    with s3_server("runs", {}) as variables, pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        share, run_dir = Share("s3://runs/ours"), tmp_path / "demo"
        alone = give_inputs(run_dir, share, tmp_path)
        assert run_steps(run_dir, tmp_path / "remote", OnlyS3(), share=share) == alone


@pytest.mark.slow
def test_replicas_answer_as_one_model_does_also_when_one_is_killed(executor: Executor) -> None:
    config = LocalConfig(path=str(BASE), batch_tokens=1000)

    async def alone() -> list[str]:
        model = LocalModel(config, device="cpu")
        answered = await asyncio.gather(*asked(model))
        await model.aclose()
        return answered

    async def shared() -> tuple[list[str], list[str]]:
        model = Replicas(config, replicas=2, device="cpu")
        first = await asyncio.gather(*asked(model))
        async with asyncio.timeout(60):
            while (
                len(model._copies) < 2
            ):  # asked all the while: copies that nobody asks give their places back
                await model.complete(
                    chat_request((Message(role="user", content="?"),), Sampling(max_tokens=1))
                )
                await asyncio.sleep(0.05)
        again = asked(model)
        await asyncio.wait(again, return_when=asyncio.FIRST_COMPLETED)
        doomed, other = model._copies
        assert doomed.in_flight > 1
        assert other.in_flight > 1
        ray.kill(doomed.actor)
        second = await asyncio.gather(*again)
        assert doomed not in model._copies
        await model.aclose()
        return first, second

    expected = asyncio.run(alone())
    assert len(set(expected)) > 10
    assert asyncio.run(shared()) == (expected, expected)


def asked(model: Completer) -> list[asyncio.Task[str]]:
    async def text(prompt: str) -> str:
        return (
            await model.complete(
                chat_request((Message(role="user", content=prompt),), Sampling(max_tokens=40))
            )
        ).text

    return [asyncio.create_task(text(prompt)) for prompt in TEXTS[:80]]


def test_a_model_that_no_node_can_load_is_an_error_at_once(
    executor: Executor, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")

    async def ask() -> None:
        model = Replicas(LocalConfig(path=str(tmp_path)), replicas=1, device="cpu")
        await model.complete(chat_request((Message(role="user", content="?"),), Sampling()))

    with pytest.raises(ConfigError, match="cannot be loaded"):
        asyncio.run(ask())


def test_an_unknown_executor_is_refused() -> None:
    with pytest.raises(ConfigError, match="--executor is 'slurm'"):
        open_executor("slurm")


def test_an_address_without_a_server_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"ray:127\.0\.0\.1:1: no Ray cluster can be reached"):
        open_executor("ray:127.0.0.1:1")
