"""One process of a training in several: ``python -m orcinus.training.distributed.worker JOB``, started by torchrun (see ``launch.py``)."""

import os
import sys
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import OrcinusError
from orcinus.training.curriculum import train_curriculum
from orcinus.training.distributed.launch import MARK, TrainJob


def main(path: Path) -> int:
    """Train as the job says; rank 0 tells what happens on its standard output."""
    job = TrainJob.model_validate(orjson.loads(path.read_bytes()))

    def say(event: str, **facts: Any) -> None:
        if os.environ.get("RANK", "0") == "0":
            print(MARK + orjson.dumps({"event": event, **facts}).decode(), flush=True)  # noqa: T201 (read by launch.py)

    try:
        result = train_curriculum(
            job.config,
            job.student,
            job.lessons,
            job.out,
            seed=job.seed,
            micro_batch=job.micro_batch,
            device=job.device,
            first=job.first,
            on_start=lambda what, total: say("start", what=what, total=total),
            on_step=lambda: say("step"),
        )
    except OrcinusError as error:
        say("failed", kind=type(error).__name__, message=str(error))
        return 2
    say("done", result=result)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
