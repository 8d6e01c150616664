"""Stop a training between two optimizer steps, and save checkpoints by time.

    stop = Event();  in a thread: train_curriculum(job, progress, stop=stop)
    stop.set()  ──► checkpoint at step 165 of 525, then Stopped in that thread

All processes of a training agree on the step, so no process waits for one that has left.
"""

import time
from collections.abc import Iterable, Iterator
from threading import Event
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

T = TypeVar("T")
SECONDS_BETWEEN_CHECKPOINTS = 300.0
"""Seconds. A kill loses at most five minutes of training. Saving a 7B model with its optimizer
takes about 20 s at 2 GB/s, so the checkpoints cost at most some 7 % of the time."""


class Stopped(Exception):
    """A training that was asked to stop. Its last checkpoint is saved."""


def until_stopped(items: Iterable[T], stop: Event) -> Iterator[T]:
    """Yield ``items``.

    Raises:
        Stopped: ``stop`` is set.
    """
    for item in items:
        if stop.is_set():
            raise Stopped
        yield item


class StopAndSave(TrainerCallback):
    """Ends the training after the step in which ``stop`` is set; saves checkpoints by time."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._saved_at = time.monotonic()
        self.stopped = False
        """True when this callback ended the training."""

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Save a checkpoint if one is due, and end the training if it was asked to stop."""
        overdue = time.monotonic() - self._saved_at >= SECONDS_BETWEEN_CHECKPOINTS
        self.stopped, save = _any_process(self._stop.is_set(), overdue, device=args.device)
        if (self.stopped or save) and args.save_strategy != "no":
            control.should_save = True
        if self.stopped:
            control.should_training_stop = True

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Start the time to the next checkpoint again."""
        self._saved_at = time.monotonic()


def _any_process(*flags: bool, device: torch.device) -> list[bool]:
    """Return for each flag whether it is True in any process of the training."""
    if not (dist.is_available() and dist.is_initialized()):
        return list(flags)
    shared = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return [bool(flag) for flag in shared.tolist()]


def wait_for_all_processes() -> None:
    """Return once every process of the training is here, so that none ends while one saves."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
