"""Show a training in TensorBoard, MLflow or Weights & Biases, where the recipe asks for one.

    train: {trainer: {report_to: tensorboard}}  ──►  runs/NAME/train-…/tensorboard/explanations
    train: {trainer: {report_to: mlflow}}       ──►  a run "NAME: train explanations" in MLflow

Hugging Face's Trainer does the sending. This module checks beforehand that the package is there,
keeps TensorBoard's files, and makes each stage a run of its own. Imports no torch until a training
begins.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError, StepError, one_line

KEYS = ("report_to", "run_name")
"""Fields of ``train.trainer`` that decide where numbers are shown, and nothing of the result."""
TRACKERS = ("tensorboard", "mlflow", "wandb", "trackio")
"""The trackers, which are also the names of their packages on the index. The first three were
tried."""
FOLDER = "tensorboard"
"""Folder of TensorBoard's files in that of a training."""


def trackers_of(trainer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the trackers that ``train.trainer`` names.

    Raises:
        ConfigError: One is unknown, or it is neither a name nor a list.
    """
    named = trainer.get("report_to") or ()
    if not isinstance(named, str | list | tuple):
        raise ConfigError(
            f"train.trainer.report_to: must be a name or a list of names, this is {named!r}; "
            f"known: {', '.join(TRACKERS)}"
        )
    names = (named,) if isinstance(named, str) else tuple(named)
    for name in names:
        if name not in (*TRACKERS, "none"):
            raise ConfigError(
                f"train.trainer.report_to: no tracker {str(name)!r}; known: {', '.join(TRACKERS)}"
            )
    return tuple(name for name in names if name != "none")


def check_trackers(trainer: Mapping[str, Any]) -> None:
    """Refuse a training whose tracker is unknown or not installed.

    Raises:
        ConfigError: So it is.
    """
    missing = [name for name in trackers_of(trainer) if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"train.trainer.report_to: {', '.join(missing)} is not installed: "
            f"pip install {' '.join(missing)}; or leave the line out"
        )


def without_trackers(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``train.trainer`` without what decides only where numbers are shown."""
    return {name: value for name, value in trainer.items() if name not in KEYS}


def open_trackers(trainer: Mapping[str, Any], folder: Path) -> tuple[list[str], list[Any]]:
    """Return the trackers that the Trainer opens by itself, and the callbacks of the others.

    The Trainer would put TensorBoard's files beside the checkpoints, which go when a stage ends.

    Args:
        trainer: The recipe's ``train.trainer``.
        folder: Receives TensorBoard's files.
    """
    names = list(trackers_of(trainer))
    if "tensorboard" not in names:
        return names, []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import integration_utils

    names.remove("tensorboard")
    show: Any = integration_utils.TensorBoardCallback
    return names, [show(SummaryWriter(str(folder)))]


@contextmanager
def tracked(trainer: Mapping[str, Any]) -> Iterator[None]:
    """End the runs of trackers with the block, and tell an error of theirs in one line.

    Raises:
        StepError: A tracker cannot be reached, or refuses.
    """
    names = trackers_of(trainer)
    try:
        yield
    except Exception as error:
        tracker = type(error).__module__.partition(".")[0]
        if tracker not in names:
            raise
        text = one_line(str(error), 300)
        raise StepError(
            f"train.trainer.report_to: {tracker}: {text}; mend that, or leave the line out, and "
            "run again"
        ) from error
    finally:
        # W&B keeps one run for the whole process, and the next stage would continue it.
        if "wandb" in names and "wandb" in sys.modules and sys.modules["wandb"].run is not None:
            sys.modules["wandb"].finish()
