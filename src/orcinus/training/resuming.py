"""Find the checkpoint from which an interrupted training resumes.

    trainer/checkpoint-200/ sealed   checkpoint-400/ cut off   ──last_checkpoint──►  checkpoint-200/

A checkpoint is sealed once all processes have written it. One whose files have changed in size
since, as after a loss of power, is passed over.
"""

from pathlib import Path
from typing import Any

import orjson
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orcinus.core.files import SEAL, is_whole, seal_folder
from orcinus.training.stopping import wait_for_all_processes


class SealCheckpoints(TrainerCallback):
    """Seals each checkpoint that the Trainer has written."""

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """Seal the newest checkpoint, once every process has written its part."""
        wait_for_all_processes()
        if state.is_world_process_zero:
            seal_folder(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")


def last_checkpoint(work: Path) -> Path | None:
    """Return the newest whole checkpoint in a Trainer's folder."""
    return max(filter(_is_usable, work.glob("checkpoint-*")), key=step_of, default=None)


def _is_usable(checkpoint: Path) -> bool:
    """Return whether a checkpoint is whole.

    One without a seal was written by an older version, or was to be sealed at the time of a kill.
    It counts if its state can be read, which the Trainer writes last.
    """
    if (checkpoint / SEAL).exists():
        return is_whole(checkpoint)
    try:
        orjson.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return True


def step_of(checkpoint: Path) -> int:
    """Return the optimizer step after which a checkpoint was written."""
    return int(checkpoint.name.partition("-")[2])
