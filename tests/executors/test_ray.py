"""Shards on a Ray cluster of several nodes in this machine: the same rows, also when a node is killed in the middle."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orcinus.completers.chat import Chat
from orcinus.completers.local import Local
from orcinus.completers.local_config import LocalConfig
from orcinus.completers.replicas import Replicas
from orcinus.curation.near import originals_of
from orcinus.curation.overlap import Overlap
from orcinus.errors import ConfigError
from orcinus.executors.local import LOCAL
from orcinus.executors.opening import open_executor
from orcinus.executors.ray import RayExecutor
from orcinus.protocols import Executor
from orcinus.tasks import short
from orcinus.training.lessons import tokenize_lessons
from orcinus.types import Completion, Lesson, Message, Sampling

ray = pytest.importorskip("ray", reason="needs a Ray cluster: pip install 'orcinus[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own, at import and in its forks


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without room for work, and two nodes with a CPU each."""
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        started.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture(scope="module")
def executor(cluster: Any) -> Executor:
    return open_executor(f"ray:{cluster.address}")


TEXTS = [e.prompt for e in short.examples("sums", task="sums", count=3000, seed=0, size=(6, 9))]


def test_results_come_in_the_order_of_the_shards(executor: Executor) -> None:
    def slow_ones_first(shard: int) -> int:
        time.sleep(0.2 if shard < 2 else 0)
        return shard * shard

    assert list(executor.map(slow_ones_first, range(20))) == [n * n for n in range(20)]


def test_shards_are_read_as_results_are_taken(executor: Executor) -> None:
    read: list[int] = []
    results = executor.map(abs, (read.append(n) or n for n in range(1000)))  # type: ignore[func-returns-value]
    assert next(results) == 0
    assert len(read) < 20


def test_near_repetitions_and_overlaps_are_those_found_in_this_process(executor: Executor) -> None:
    texts = [*TEXTS, *TEXTS[:50]]
    mine = originals_of(texts, similarity=0.8)
    assert np.array_equal(originals_of(texts, similarity=0.8, executor=executor), mine)
    overlap = Overlap(TEXTS[:100], n=5)
    marked = list(overlap.mark(texts, str))
    assert any(hit for _, hit in marked)
    assert list(overlap.mark(texts, str, executor=executor)) == marked


def test_lessons_become_the_same_files(executor: Executor, tiny_student: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="chatml")
    for folder, where in ((tmp_path / "here", LOCAL), (tmp_path / "there", executor)):
        tokenize_lessons(map(lesson, TEXTS[:600]), chat, folder, context=60, truncation="keep_tail", executor=where)
    for file in ("tokens.u32", "index.npy", "weights.npy", "facts.json"):
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

    with pytest.raises(ConfigError, match="^no such thing$"):
        list(executor.map(refuse, [1]))


def test_a_node_that_is_killed_costs_the_shards_it_had(executor: Executor, cluster: Any, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()

    def counted(shard: int) -> int:
        with (runs / str(shard)).open("ab") as file:
            file.write(b".")
        time.sleep(0.05)
        return -shard

    doomed = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    results = executor.map(counted, range(60))
    found = [next(results) for _ in range(20)]
    cluster.remove_node(doomed, allow_graceful=False)
    found += results
    assert found == [-n for n in range(60)]
    times = Counter(int(path.name) for path in runs.iterdir() for _ in path.read_bytes())
    assert sorted(times) == list(range(60))
    assert 1 <= times.total() - 60 <= 2 + len(DOUBTFUL)


DOUBTFUL = ("a shard that was done, and whose result the node had not handed over",)


def answers(opened: Callable[[], Any], prompts: Iterable[str], during: Callable[[], None] = lambda: None) -> list[Completion]:
    async def go() -> list[Completion]:
        model = opened()
        try:
            asked = [
                asyncio.ensure_future(
                    model.complete((Message(role="user", content=prompt),), Sampling(max_tokens=40))
                )
                for prompt in prompts
            ]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            during()
            return await asyncio.gather(*asked)
        finally:
            await model.aclose()

    return asyncio.run(go())


def test_replicas_answer_as_one_model_does_also_when_one_is_killed(
    executor: Executor, tiny_student: Path, tmp_path: Path
) -> None:
    config = LocalConfig(path=str(tiny_student), chat_template="chatml", batch_tokens=400)
    alone = answers(lambda: Local(config, device="cpu"), TEXTS[:80])
    shared = answers(lambda: Replicas(config, replicas=2, device="cpu"), TEXTS[:80])
    assert [answer.text for answer in shared] == [answer.text for answer in alone]
    killed: list[int] = []

    def kill_one() -> None:
        from ray.util.state import list_actors

        [first, *_] = [actor for actor in list_actors() if actor.state == "ALIVE" and actor.class_name == "_Replica"]
        os.kill(first.pid, signal.SIGKILL)
        killed.append(first.pid)

    again = answers(lambda: Replicas(config, replicas=2, device="cpu"), TEXTS[:80], kill_one)
    assert killed
    assert [answer.text for answer in again] == [answer.text for answer in alone]


def test_without_a_cluster_at_the_address_the_error_says_so(executor: Executor) -> None:
    with pytest.raises(ConfigError, match="--executor is 'slurm'"):
        open_executor("slurm")
