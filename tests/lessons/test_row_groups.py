"""What ``curate`` and ``erase`` write depends neither on workers nor on the cut of their inputs."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.runs.shard_work import KillsAWorker

from orcinus.core import registry
from orcinus.core.errors import StoreError
from orcinus.core.protocols import Executor
from orcinus.core.types import Attempt, Example, Judged, Message, Sampling, Usage, Verdict
from orcinus.lessons.config import CurateConfig, EraseConfig, FewShotConfig
from orcinus.lessons.curate import curate
from orcinus.lessons.erase import erase
from orcinus.models.function import FunctionModel
from orcinus.runs import row_groups, tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.executors.local import LocalExecutor
from orcinus.runs.ledger import Ledger
from orcinus.runs.row_groups import map_trace_groups, trace_groups
from orcinus.runs.sharing import Share
from orcinus.strategies.library import built_in

STRATEGIES = (built_in()["step_by_step"],)
EXAMPLES, SAMPLES, GROUP = 30, 3, 7
CURATE = CurateConfig(near_duplicates=0.8, per_example=2, max_per_task=25)
ERASE = EraseConfig(
    keep_probability=0.3, few_shot=FewShotConfig(share=0.5, shots=(2, 3)), layout="think"
)


def traces() -> Iterator[tuple[Example, Judged]]:
    """Yield three answers to each question: a long one, one that may be wrong, one for all."""
    words = np.random.default_rng(0).integers(0, 10_000, (EXAMPLES, 60)).astype(str)
    for number in range(EXAMPLES):
        question = " ".join(words[number, :3])
        example = Example(
            id=str(number), task="t", prompt=question, answer_type="number", reference="7"
        )
        known = " ".join(words[number // 2, 3:])  # two examples each have nearly the same answer
        for sample, text in enumerate((f"{known} {number}", known, "So it is")):
            name = f"{number}-{sample}"
            value = 0.0 if sample == 1 and number % 3 == 0 else 1.0
            attempt = Attempt(
                id=name,
                example_id=example.id,
                task="t",
                strategy="step_by_step",
                model="m",
                messages=(
                    Message(role="system", content=STRATEGIES[0].system),
                    Message(role="user", content=question),
                ),
                sampling=Sampling(),
                sample=sample,
                text=f"{text}. The answer is {value}.",
                finish="stop",
                usage=Usage(tokens_in=5, tokens_out=9 - sample),
            )
            verdict = Verdict(
                attempt_id=name, verifier="number@1", value=value, answer="7", reason="rule"
            )
            yield example, Judged(attempt=attempt, verdict=verdict)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the inputs."""
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder)
    return folder


def write_inputs(folder: Path) -> None:
    """Write the folders ``sample`` and ``teach``; between the taught questions stand others."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tables.TableWriter(folder / "sample" / "examples.parquet", tables.EXAMPLES) as examples,
        tables.TableWriter(folder / "teach" / "attempts.parquet", tables.JUDGED) as attempts,
    ):
        patch.setattr(tables, "ROWS_PER_BATCH", GROUP)
        for place, (example, judged) in enumerate(traces()):
            if place % SAMPLES == 0:
                other = replace(example, id=f"held {place}", prompt=f"quite another one {place}")
                examples.write(tables.example_row(other, "held_out"))
                examples.write(tables.example_row(example, "teach"))
            attempts.write(tables.judged_row(judged))


def run_steps(
    sampled: Path,
    out: Path,
    executor: Executor,
    config: CurateConfig = CURATE,
    share: Share | None = None,
) -> list[bytes]:
    """Curate and erase, and return the bytes of what is written."""
    with Ledger(out / "ledger.sqlite") as ledger:
        flags = Runtime(
            workspace=out, ledger_path=out / "ledger.sqlite", executor=executor, share=share
        )
        context = StepContext(
            out=out / "curate",
            inputs={"sample": sampled / "sample", "teach": sampled / "teach"},
            run="r",
            seed=0,
            ledger=ledger,
            runtime=flags,
            progress=Silent(),
            completer=lambda role, folder=None: FunctionModel(lambda *_: "", model=role),
        )
        asyncio.run(curate(config, STRATEGIES, context))
        inputs = {"sample": sampled / "sample", "curate": out / "curate"}
        asyncio.run(erase(ERASE, STRATEGIES, replace(context, out=out / "erase", inputs=inputs)))
    names = ("curate/kept", "curate/drops", "erase/lessons")
    return [(out / f"{name}.parquet").read_bytes() for name in names]


def test_workers_of_which_some_are_killed_write_the_bytes_that_this_process_writes(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_groups, "ROWS_FOR_WORKERS", 1)
    alone = run_steps(sampled, tmp_path / "1", LocalExecutor(1))
    assert run_steps(sampled, tmp_path / "2", KillsAWorker(tmp_path)) == alone


def test_an_example_cut_in_two_by_row_groups_is_chosen_from_as_a_whole(
    sampled: Path, tmp_path: Path
) -> None:
    groups = tables.rows_of_groups(sampled / "teach" / "attempts.parquet")
    assert groups == [GROUP] * (EXAMPLES * SAMPLES // GROUP) + [EXAMPLES * SAMPLES % GROUP]
    whole = tmp_path / "whole"
    for name, schema in (("sample/examples", tables.EXAMPLES), ("teach/attempts", tables.JUDGED)):
        with tables.TableWriter(whole / f"{name}.parquet", schema) as writer:
            for row in tables.read_rows(sampled / f"{name}.parquet"):
                writer.write(row)
    expected = run_steps(whole, tmp_path / "a", LocalExecutor(1))
    assert run_steps(sampled, tmp_path / "b", LocalExecutor(1)) == expected
    drops = [*tables.read_rows(tmp_path / "a" / "curate" / "drops.parquet")]
    assert {row["filter"] for row in drops} == {"wrong", "surplus", "near_duplicate", "quota"}
    # The last answer is the shortest of each example, and the first of the right ones comes next.
    kept = [row["id"] for row in tables.read_rows(tmp_path / "a" / "curate" / "kept.parquet")]
    assert kept[:5] == ["0-2", "0-0", "1-2", "2-2", "2-1"]


def test_a_users_filter_is_asked_in_this_process(
    sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold a large model, and a registered one is known here alone."""
    asked = []
    registry.register("filter", "ask_me")(lambda example, attempt, verdict: asked.append(attempt))
    monkeypatch.setattr(row_groups, "ROWS_FOR_WORKERS", EXAMPLES * SAMPLES)
    config = CURATE.model_copy(update={"filters": ("ask_me",), "max_per_task": 10})
    run_steps(sampled, tmp_path, LocalExecutor(2), config)
    assert len(asked) > EXAMPLES


class Heard(Silent):
    """A Progress that remembers the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_rows_that_a_node_does_not_see_are_read_here_and_said_so(
    sampled: Path, tmp_path: Path
) -> None:
    class Blind:
        """An executor on a machine that has none of the files."""

        def map(self, fn, shards, *, threaded=False, processes=False):  # type: ignore[no-untyped-def]
            return map(fn, (replace(shard, traces=tmp_path / "none") for shard in shards))

    heard = Heard()
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        context = StepContext(
            out=tmp_path,
            run="r",
            seed=0,
            ledger=ledger,
            runtime=Runtime(
                workspace=tmp_path, ledger_path=tmp_path / "ledger.sqlite", executor=Blind()
            ),
            progress=heard,
            completer=lambda role, folder=None: FunctionModel(lambda *_: "", model=role),
        )
        groups = trace_groups(
            sampled / "teach" / "attempts.parquet", sampled / "sample" / "examples.parquet"
        )
        counted = [found for _, found in map_trace_groups(count_traces, groups, context)]
    assert counted == [group.rows for group in groups]
    assert len(heard.notes) == 1
    assert "put the runs on a disk that all nodes share" in heard.notes[0]


def count_traces(group: row_groups.TraceGroup) -> int:
    return len(list(group.read()))


def test_a_trace_without_its_example_is_one_line(sampled: Path, tmp_path: Path) -> None:
    path = tmp_path / "examples.parquet"
    with tables.TableWriter(path, tables.EXAMPLES) as writer:
        for row in tables.read_rows(sampled / "sample" / "examples.parquet"):
            if row["id"] != str(GROUP // SAMPLES):  # the first of the second row group
                writer.write(row)
    with pytest.raises(StoreError, match=r"the example t/2 of a trace is missing"):
        trace_groups(sampled / "teach" / "attempts.parquet", path)
