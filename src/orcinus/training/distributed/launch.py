"""Train in several processes, on one machine or on many: torchrun starts workers, rank 0 reports.

    train step ──job.json──► torchrun ──► worker rank 0 … n-1 ──► stage-1/ stage-2/ …

The stages are those that one process would leave. The same job file also starts the training by
hand on several machines that share the run's folder: ``orcinus plan --nodes`` prints the command.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import orjson

from orcinus.core.errors import ConfigError, OrcinusError, StepError, StoreError
from orcinus.runs.context import Progress
from orcinus.training.job import TrainJob

MARK = "orcinus-worker "
"""Prefix of the lines of rank 0 that are meant for the process that launched it."""
GRACE_S = 40
"""Seconds until torchrun is killed. It gives its own workers 30."""
STOP_AT_EOF = "--stop-at-eof"
"""Argument of the worker: stop with a checkpoint once standard input closes. It closes when this
process asks for it, and also when this process was killed."""
_KINDS: dict[str, type[OrcinusError]] = {
    kind.__name__: kind for kind in (ConfigError, StepError, StoreError)
}


def command(job: Path, *, processes: int, nodes: int = 1) -> list[str]:
    """Return the arguments of Python that start the workers.

    For several machines the first one's address is left to fill in.
    """
    where = (
        ["--standalone"]
        if nodes == 1
        else [
            "--nnodes",
            str(nodes),
            "--rdzv-backend",
            "c10d",
            "--rdzv-endpoint",
            "FIRST_HOST:29500",
        ]
    )
    return [
        "-m",
        "torch.distributed.run",
        *where,
        "--nproc-per-node",
        str(processes),
        "-m",
        "orcinus.training.distributed.worker",
        str(job),
    ]


async def launch(
    job: TrainJob,
    *,
    processes: int,
    progress: Progress,
) -> dict[str, Any]:
    """Train in ``processes`` processes on this machine.

    When it is cancelled, the workers first stop at their next optimizer step with a checkpoint.

    Returns:
        What ``train_curriculum`` returns.

    Raises:
        ConfigError: As in one process.
        StepError: As in one process, or the workers ended without a result; ends with their last
            lines on standard error.
        StoreError: As in one process.
    """
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))} | dict(
        os.environ
    )
    workers = await asyncio.create_subprocess_exec(
        sys.executable,
        *command(job.write(), processes=processes),
        STOP_AT_EOF,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=threads,
        start_new_session=True,
        limit=2**20,
    )
    stdin, stdout, stderr = (
        cast(asyncio.StreamWriter, workers.stdin),
        cast(asyncio.StreamReader, workers.stdout),
        cast(asyncio.StreamReader, workers.stderr),
    )
    said = asyncio.create_task(_last_lines(stderr))
    reported = asyncio.create_task(_follow(stdout, progress))
    try:
        try:
            result = await asyncio.shield(reported)
            await workers.wait()
        except asyncio.CancelledError:
            stdin.close()
            await reported
            raise
    finally:
        reported.cancel()
        await asyncio.shield(_end_workers(workers))
        last_words = await said
    if result is None or workers.returncode != 0:
        raise StepError(
            f"the {processes} training processes ended without a result; "
            f"their last words: {last_words}"
        )
    return result


async def _follow(stdout: asyncio.StreamReader, progress: Progress) -> dict[str, Any] | None:
    """Report what rank 0 prints, to its end; return the result if there is one.

    Raises:
        OrcinusError: The training failed.
    """
    result: dict[str, Any] | None = None
    failure: OrcinusError | None = None
    async for line in stdout:
        text = line.decode(errors="replace")
        if not text.startswith(MARK):
            continue
        event = orjson.loads(text.removeprefix(MARK))
        if event["event"] == "start":
            progress.start(event["what"], event["total"])
        elif event["event"] == "step":
            progress.advance()
        elif event["event"] == "note":
            progress.note(event["text"])
        elif event["event"] == "done":
            result = event["result"]
        else:
            failure = _KINDS.get(event["kind"], StepError)(event["message"])
    if failure is not None:
        raise failure
    return result


async def _end_workers(workers: asyncio.subprocess.Process) -> None:
    """Leave no worker behind, even after an interrupt. A terminated torchrun ends its workers."""
    if workers.returncode is None:
        workers.terminate()
        with suppress(TimeoutError):
            await asyncio.wait_for(workers.wait(), GRACE_S)
    with suppress(ProcessLookupError):
        os.killpg(workers.pid, signal.SIGKILL)
    await workers.wait()


async def _last_lines(stream: asyncio.StreamReader) -> str:
    lines: list[str] = []
    async for line in stream:
        if text := line.decode(errors="replace").strip():
            lines = [*lines[-4:], text[:300]]
    return " | ".join(lines) or "none"
