"""Train one stage: Hugging Face's Trainer with packed lessons and an objective.

    tokenized lessons ──pack──► rows ──► micro-batches ──objective──► loss.jsonl, the model in place

The subclass changes three things: the order of the data (rows are packed beforehand, see
``packing.py``), the loss (an objective over response tokens, see ``forward.py``), and what it logs.
LoRA, mixed precision, gradient checkpointing, sharding, checkpoints and resuming are the Trainer's
own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from threading import Event
from typing import Any

import numpy as np
import torch
from torch.utils.data import SequentialSampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from orcinus.core.errors import StepError
from orcinus.runs import layout
from orcinus.runs.context import Progress, show_detail
from orcinus.runs.losses import append_loss, read_losses
from orcinus.training.batches import PackedRows, collate
from orcinus.training.distributed import processes
from orcinus.training.forward import add_objective_forward, unwrap_peft
from orcinus.training.micro_batch import micro_batch_for
from orcinus.training.objectives import lesson_weight
from orcinus.training.objectives.interface import (
    MEASURED,
    REHEARSED,
    Objective,
    Predictions,
    TopLogprobs,
)
from orcinus.training.paths import own_attention
from orcinus.training.resuming import SealCheckpoints, last_checkpoint, step_of
from orcinus.training.schedule import FEW_STEPS, describe_steps
from orcinus.training.self_check import choose_path
from orcinus.training.stopping import StopAndSave, Stopped, wait_for_all_processes
from orcinus.training.tokens import TokenizedLessons
from orcinus.training.trackers import FOLDER, open_trackers, tracked, without_trackers

IDLE_STEPS = 3
"""Optimizer steps at the start of a stage that may teach nothing at all before it is stopped."""
LESSON_WEIGHT = Objective(function=lesson_weight.loss)
"""The default objective."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """The settings of one stage of training."""

    name: str
    """The stage's name, for the log."""
    context: int
    """Tokens of a packed row."""
    rows_per_step: int
    """Packed rows of a global batch."""
    micro_batch: int | None = 1
    """Packed rows of one forward pass. Changes speed and memory, not the result. None tries on a
    GPU how many it holds, and is 1 elsewhere."""
    epochs: float
    """Passes over the lessons; a fraction is part of a pass."""
    rows: int | None = None
    """Exactly so many rows in all, in place of ``epochs``."""
    seed: int
    """Decides packing and order."""
    share_prompts: bool = True
    """Responses to the same prompt stand behind one copy of it."""
    objective: Objective = LESSON_WEIGHT
    """Computes the loss."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of TrainingArguments."""

    def training_arguments(self, work: Path, trackers: list[str]) -> TrainingArguments:
        """Return the Trainer's own settings.

        Args:
            work: Folder for its files.
            trackers: Those that it opens by itself.
        """
        micro_batch = self.micro_batch or 1
        rows_at_once = micro_batch * processes.count()
        return TrainingArguments(
            **{
                "output_dir": str(work),
                "per_device_train_batch_size": min(micro_batch, self.rows_per_step),
                "gradient_accumulation_steps": max(1, self.rows_per_step // rows_at_once),
                "num_train_epochs": 1,  # the rows of all epochs are one pass of the Trainer's
                "logging_steps": 1,
                "save_strategy": "steps",
                "save_steps": 200,
                "save_total_limit": 2,
                "disable_tqdm": True,
                "remove_unused_columns": False,
                "dataloader_num_workers": 0,
                "seed": self.seed,
                "logging_nan_inf_filter": False,  # a loss that is no number has to be seen
                **self.arguments,
                "report_to": trackers or "none",
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """The result of one stage of training."""

    optimizer_steps: int
    rows: int
    passes: float
    """Passes over the lessons."""
    learnt_tokens: int
    """Response tokens learnt from, each pass counted."""
    micro_batch: int
    """Packed rows of one forward pass."""
    first_loss: float
    last_loss: float
    """Means over the first and the last tenth of optimizer steps, nats per response token."""


class LessonTrainer(Trainer):
    """The Trainer for packed lessons under an objective."""

    may_idle = False
    """True where optimizer steps that teach nothing are part of the method."""

    def __init__(self, *, objective: Objective, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._objective = objective
        self._prepared: Mapping[str, Any] = {}
        self._facts: list[dict[str, float]] = []
        """Further numbers for the log, an entry for each micro-batch of this optimizer step."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def prepare_optimizer_step(self, model: Any, optimizer_step: int) -> None:
        """Let the objective prepare what all micro-batches of one optimizer step share."""
        self._prepared = self._objective.prepare(model, optimizer_step, self._prepared)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean over all response tokens of the global batch, however it is split."""
        out = self.objective_loss(model, inputs)
        count = num_items_in_batch if num_items_in_batch is not None else len(inputs["response"])
        # Processes average their gradients, and each has a part of the sum only.
        loss = out["loss"] / count * self.args.world_size
        return (loss, out) if return_outputs else loss

    def take_facts(self) -> dict[str, float]:
        """Return the means of the further numbers of this optimizer step, and forget them."""
        facts, self._facts = self._facts, []
        return {name: fmean(part[name] for part in facts) for name in facts[0]} if facts else {}

    def objective_loss(
        self, model: Any, batch: Mapping[str, Any], teacher: Predictions | TopLogprobs | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the objective's sum for one micro-batch, through the wrapped model's forward."""
        out: dict[str, torch.Tensor] = model(
            batch=batch, objective=self._objective, teacher=teacher, prepared=self._prepared
        )
        return out


class _ObjectivePreparation(TrainerCallback):
    """Tells a LessonTrainer that an optimizer step begins."""

    def __init__(self, prepare: Callable[[Any, int], None]) -> None:
        self._prepare = prepare

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        self._prepare(model, state.global_step)


class _LossLog(TrainerCallback):
    """Writes a line for each optimizer step, and stops a training whose loss is not finite."""

    def __init__(self, path: Path, stage: str, progress: Progress) -> None:
        self._path, self._stage, self._progress = path, stage, progress
        self.take_facts: Callable[[], dict[str, float]] = dict
        """Returns further numbers of an optimizer step."""
        self.may_idle = False
        """True where steps that teach nothing are part of the method."""
        self.broken_at: int | None = None
        self.learns: bool | None = None
        """True once a logged optimizer step had a loss or a gradient, also before an interruption;
        None before any is logged."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Any = None,
        **_: Any,
    ) -> None:
        if "loss" not in (logs or {}):
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss) or not math.isfinite(float(logs.get("grad_norm", 0.0))):
            self.broken_at = state.global_step
            control.should_training_stop = True
            control.should_save = False
            return
        self.learns = bool(self.learns) or loss != 0 or float(logs.get("grad_norm", 1.0)) != 0
        if not self.learns and state.global_step == IDLE_STEPS and not self.may_idle:
            control.should_training_stop = True
            control.should_save = False
        row = {
            "stage": self._stage,
            "optimizer_step": state.global_step,
            "loss": loss,
            "lr": logs["learning_rate"],
            **self.take_facts(),
        }
        if state.is_world_process_zero:
            append_loss(self._path, row)
        show_detail(self._progress, f"loss {loss:.3f}")
        self._progress.advance()

    def losses(self) -> list[float]:
        """Return the stage's losses by optimizer step, those before an interruption included."""
        return [row["loss"] for row in read_losses(self._path) if row["stage"] == self._stage]


def train_stage(
    model: Any,
    lessons: TokenizedLessons,
    stage: StageSettings,
    out: Path,
    progress: Progress,
    trainer_type: Callable[..., LessonTrainer] = LessonTrainer,
    stop: Event | None = None,
) -> tuple[StageResult, dict[str, Any] | None]:
    """Train ``model`` in place on ``lessons``, or resume from the last checkpoint.

    Args:
        model: A causal language model, or a PEFT model around one.
        lessons: As the model's tokens.
        stage: How.
        out: The stage's folder, which this does not write. Checkpoints go into
            ``work_folder(out)``, a line for each optimizer step into ``loss.jsonl`` beside it.
        progress: Gets the number of optimizer steps, then every step.
        trainer_type: Makes the Trainer; the default learns the lessons' texts.
        stop: Ends the training at the next optimizer step once it is set, with a checkpoint.

    Returns:
        The stage's result; and all weights on the CPU where the model's own are spread over
        processes (FSDP, DeepSpeed), else None.

    Raises:
        StepError: The loss is no longer a number; names the lessons of that batch.
        Stopped: ``stop`` was set.
    """
    base = unwrap_peft(model)
    add_objective_forward(base)
    rows = PackedRows(
        lessons,
        context=stage.context,
        epochs=stage.epochs,
        seed=stage.seed,
        share_prompts=stage.share_prompts,
        rows=stage.rows,
    )
    work = work_folder(out) / "trainer"
    phase = _phase_name(stage.name, out)
    named = {"run_name": f"{out.parent.parent.name}: {phase}", **stage.arguments}
    stage = replace(stage, arguments=named)
    on_first = named if processes.is_first() else without_trackers(named)
    trackers, callbacks = open_trackers(on_first, out.parent / FOLDER / stage.name)
    log = _LossLog(out.parent / layout.LOSS, stage.name, progress)
    stopping = StopAndSave(stop or Event())
    if stage.micro_batch is None:
        arguments = stage.training_arguments(work, [])
        size = 1
        if trainer_type is LessonTrainer:  # others make more than the rows' own loss
            size = micro_batch_for(
                model,
                rows,
                stage.objective,
                rows_per_step=stage.rows_per_step,
                device=arguments.device,
                autocast=bool(arguments.bf16),
            )
        stage = replace(stage, micro_batch=size)
    trainer = trainer_type(
        model=model,
        objective=stage.objective,
        args=stage.training_arguments(work, trackers),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[log, stopping, SealCheckpoints(), *callbacks],
    )
    log.take_facts, log.may_idle = trainer.take_facts, trainer.may_idle
    trainer.add_callback(_ObjectivePreparation(trainer.prepare_optimizer_step))
    trainer.remove_callback(PrinterCallback)  # only the command line prints
    choose_path(base, longest=stage.context)  # now that the Trainer has moved the model
    checkpoint, steps = last_checkpoint(work), math.ceil(len(rows) / stage.rows_per_step)
    done = 0 if checkpoint is None else step_of(checkpoint)
    if done:
        log.learns = done >= IDLE_STEPS or any(log.losses())
        progress.note(f"{phase}: resumes at step {done:,} of {steps:,}")
    elif processes.is_first() and steps < FEW_STEPS:
        progress.note(describe_steps(stage.name, steps))
    progress.start(phase, steps - done)
    try:
        with tracked(on_first):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        base.set_attn_implementation(own_attention(base))
    if log.broken_at is not None:
        first = (log.broken_at - 1) * stage.rows_per_step
        numbers = rows.numbers(first, first + stage.rows_per_step)
        raise StepError(_explain_broken_loss(stage.name, log.broken_at, lessons, numbers))
    if log.learns is False and not stopping.stopped:
        idle = f"stage {stage.name!r} teaches nothing: the loss and its gradient are 0 at "
        if not log.may_idle:
            raise StepError(
                f"{idle}each of its first optimizer steps, so all weights of its tokens are 0, or "
                "teacher and student agree; change train.objective"
            )
        progress.note(f"{idle}every optimizer step; take questions that are right at times")
    if stopping.stopped:
        wait_for_all_processes()
        saved = last_checkpoint(work)
        done = 0 if saved is None else step_of(saved)
        progress.note(f"{phase}: stopped; it resumes at step {done:,} of {steps:,}")
        raise Stopped
    return _summarize(trainer, rows, log.losses()), _gathered_weights(trainer)


def _explain_broken_loss(
    stage: str, optimizer_step: int, lessons: TokenizedLessons, numbers: Sequence[int]
) -> str:
    """Return why a loss is no number: a number that lessons lack, or else a high rate."""
    broken = f"the loss of stage {stage!r} is no longer a number at optimizer step {optimizer_step}"
    ids = [lessons.ids[number].as_py() for number in numbers]
    for name in lessons.evidence.keys() - {*REHEARSED, *MEASURED}:
        missing = np.isnan(lessons.evidence[name][list(numbers)])
        if missing.any():
            lacking = [one for one, is_missing in zip(ids, missing, strict=True) if is_missing]
            return (
                f"{broken}; lessons without the number {name!r}, which the objective got as nan: "
                f"{', '.join(lacking[:8])}"
            )
    return (
        f"{broken}; lower its learning_rate and run again. "
        f"Lessons of that batch: {', '.join(ids[:8])} …"
    )


def work_folder(out: Path) -> Path:
    """Return the folder of tokens and checkpoints while the stage ``out`` is trained."""
    return out.with_name(f"{out.name}.work")


def _phase_name(stage: str, out: Path) -> str:
    """Return the name of a stage's training, which tells the two students of a run apart."""
    bare = out.parent.name.startswith("train-answer_only-")
    return f"train {stage}, answers only" if bare else f"train {stage}"


def _summarize(trainer: LessonTrainer, rows: PackedRows, losses: list[float]) -> StageResult:
    tenth = max(1, len(losses) // 10)
    return StageResult(
        optimizer_steps=trainer.state.global_step,
        rows=len(rows),
        passes=rows.passes,
        learnt_tokens=rows.response_tokens(),
        micro_batch=trainer.args.per_device_train_batch_size,
        first_loss=float(np.mean(losses[:tenth])) if losses else float("nan"),
        last_loss=float(np.mean(losses[-tenth:])) if losses else float("nan"),
    )


def _gathered_weights(trainer: LessonTrainer) -> dict[str, Any] | None:
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    weights: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return weights
