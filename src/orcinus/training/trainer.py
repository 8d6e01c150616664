"""One stage of training: Hugging Face's Trainer with packed lessons, isolated attention and the response-only loss.

The subclass changes three things: the order of the data (rows are packed beforehand, see ``packing.py``), the forward pass
(hidden states of response positions only go through the vocabulary projection, see ``loss.py``), and what it logs. LoRA, mixed
precision, gradient checkpointing, sharding, checkpoints and resuming are the Trainer's own.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from torch.utils.data import SequentialSampler
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from orcinus.core.errors import StepError
from orcinus.training import attention, processes
from orcinus.training.batches import PackedRows, collate
from orcinus.training.loss import response_loss
from orcinus.training.objectives.weights import LessonWeight
from orcinus.training.tokens import TokenizedLessons

LESSON_WEIGHT = LessonWeight()


def response_only_forward(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    position_ids: torch.Tensor,
    units: Sequence[attention.Unit],
    response: torch.Tensor,
    predictors: torch.Tensor,
    weights: torch.Tensor,
    *,
    objective: Any = LESSON_WEIGHT,
    lesson: torch.Tensor | None = None,
    evidence: Mapping[str, torch.Tensor] | None = None,
    **_: Any,
) -> dict[str, torch.Tensor]:
    """The forward pass of a causal language model that computes its loss and no logits.

    The arguments are those of ``collate``, and the objective that weighs the tokens.

    Returns:
        ``loss``: weighted sum over response tokens; ``losses`` (N,): each token's own, for logging.
    """
    hidden_TD = model.model(
        input_ids=input_ids,
        position_ids=position_ids,
        attention_mask=None,
        use_cache=False,
        units=units,
    ).last_hidden_state[0]
    projection: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    dtype = torch.float64 if hidden_TD.dtype == torch.float64 else torch.float32
    softcap: float | None = getattr(model.config, "final_logit_softcapping", None)
    hidden_ND, targets_N = hidden_TD[predictors], input_ids[0, response]
    weights_N = weights.to(dtype)
    batch = {"weights": weights_N, "targets": targets_N, "lesson": lesson}
    known = {name: values.to(dtype) for name, values in (evidence or {}).items()}
    logprobs_N = None
    if getattr(objective, "wants_logprobs", False):
        plain = hidden_ND.detach(), projection.weight.detach()
        logprobs_N = -response_loss(*plain, targets_N, weights_N, softcap=softcap)[1]
    weights_N = objective(batch, logprobs_N, known).detach().to(dtype)
    total, losses_N = response_loss(
        hidden_ND, projection.weight, targets_N, weights_N, softcap=softcap
    )
    if (auxiliary := getattr(objective, "auxiliary", None)) is not None:
        total = total + auxiliary(hidden_ND, batch, known)
    return {"loss": total, "losses": losses_N}


class LessonTrainer(Trainer):
    """The Trainer for packed lessons."""

    def _get_train_sampler(self, *_: Any) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean over all response tokens of the global batch, however it is split into micro-batches."""
        inputs = {key: value for key, value in inputs.items() if key != "labels"}
        out = model(**inputs)
        count = num_items_in_batch if num_items_in_batch is not None else len(inputs["response"])
        # Processes average their gradients, and each has a part of the sum only.
        loss = out["loss"] / count * self.args.world_size
        return (loss, out) if return_outputs else loss


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What one stage did."""

    optimizer_steps: int
    rows: int
    learnt_tokens: int
    """Response tokens learnt from, each pass counted."""
    first_loss: float
    last_loss: float
    """Means over the first and the last tenth of optimizer steps, nats per response token."""


class _LossLog(TrainerCallback):
    """Writes a line for each optimizer step, and stops a training that has come apart."""

    def __init__(self, path: Path, stage: str, on_step: Callable[[], None]) -> None:
        self._path, self._stage, self._on_step = path, stage, on_step
        self.broken_at: int | None = None

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
        row = {
            "stage": self._stage,
            "optimizer_step": state.global_step,
            "loss": loss,
            "lr": logs["learning_rate"],
        }
        if state.is_world_process_zero:
            with self._path.open("ab") as file:
                file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._on_step()


def train_stage(
    model: Any,
    lessons: TokenizedLessons,
    *,
    name: str,
    context: int,
    rows_per_step: int,
    micro_batch: int,
    epochs: float,
    seed: int,
    share_prompts: bool,
    objective: Any = LESSON_WEIGHT,
    kind: Callable[..., Any] | None = None,
    arguments: Mapping[str, Any],
    work: Path,
    loss_log: Path,
    on_start: Callable[[int], None],
    on_step: Callable[[], None],
) -> tuple[StageResult, dict[str, Any] | None]:
    """Train ``model`` in place on ``lessons``, or go on from the last checkpoint in ``work``.

    Args:
        model: A causal language model, or a PEFT model around one.
        lessons: As the model's tokens.
        name: The stage's name, for the log.
        context: Tokens of a packed row.
        rows_per_step: Packed rows of a global batch.
        micro_batch: Packed rows of one forward pass; changes speed and memory, not the result.
        epochs: Passes over the lessons; a fraction is part of a pass.
        seed: Of packing and order.
        share_prompts: Responses to one prompt stand behind one copy of it.
        objective: Weighs the tokens; see ``objectives.py``.
        kind: Makes the Trainer; None is training on the lessons' texts.
        arguments: Further fields of TrainingArguments.
        work: The Trainer's own folder, for checkpoints.
        loss_log: The file that gets a line for each optimizer step.
        on_start: Told the number of optimizer steps.
        on_step: Called after each.

    Returns:
        What it did; and all weights on the CPU where the model's own are spread over processes (FSDP, DeepSpeed), else None.

    Raises:
        StepError: The loss is no longer a number; names the lessons of that batch.
    """
    attention.install()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    base.set_attn_implementation(attention.NAME)
    plain_forward = base.forward
    base.forward = partial(response_only_forward, base, objective=objective)
    rows = PackedRows(
        lessons, context=context, epochs=epochs, seed=seed, share_prompts=share_prompts
    )
    accumulation = max(1, rows_per_step // (micro_batch * processes.count()))
    log = _LossLog(loss_log, name, on_step)
    trainer = (kind or LessonTrainer)(
        model=model,
        args=TrainingArguments(
            **{
                "output_dir": str(work),
                "per_device_train_batch_size": min(micro_batch, rows_per_step),
                "gradient_accumulation_steps": accumulation,
                "num_train_epochs": 1,
                "logging_steps": 1,
                "save_strategy": "steps",
                "save_steps": 200,
                "save_total_limit": 2,
                "report_to": "none",
                "disable_tqdm": True,
                "remove_unused_columns": False,
                "dataloader_num_workers": 0,
                "seed": seed,
                "logging_nan_inf_filter": False,
                **arguments,
            }
        ),
        train_dataset=rows,
        data_collator=collate,
        callbacks=[log],
    )
    trainer.remove_callback(PrinterCallback)  # only the command line prints
    on_start(math.ceil(len(rows) / rows_per_step))
    try:
        trainer.train(resume_from_checkpoint=_last_checkpoint(work))
    finally:
        base.forward = plain_forward
        base.set_attn_implementation("sdpa")
    if log.broken_at is not None:
        first = (log.broken_at - 1) * rows_per_step
        raise StepError(
            f"training came apart at optimizer step {log.broken_at} of stage {name!r} (the loss is no longer a number); lessons of "
            f"that batch: {', '.join(rows.ids(first, first + rows_per_step)[:8])} …; lower its learning_rate and run again"
        )
    losses = _losses(loss_log, name)
    tenth = max(1, len(losses) // 10)
    spread = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    gathered = trainer.accelerator.get_state_dict(trainer.model_wrapped) if spread else None
    result = StageResult(
        optimizer_steps=trainer.state.global_step,
        rows=len(rows),
        learnt_tokens=rows.response_tokens(),
        first_loss=float(np.mean(losses[:tenth])) if losses else float("nan"),
        last_loss=float(np.mean(losses[-tenth:])) if losses else float("nan"),
    )
    return result, gathered


def _losses(loss_log: Path, stage: str) -> list[float]:
    """The losses of a stage by optimizer step, those before an interruption included; a step done twice counts as done last."""
    lines = (
        [orjson.loads(line) for line in loss_log.read_bytes().splitlines()]
        if loss_log.exists()
        else []
    )
    by_step = {line["optimizer_step"]: line["loss"] for line in lines if line["stage"] == stage}
    return [by_step[step] for step in sorted(by_step)]


def _last_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint: the Trainer writes its state last."""
    done = [path.parent for path in work.glob("checkpoint-*/trainer_state.json")]
    return str(max(done, key=lambda path: int(path.name.partition("-")[2]))) if done else None
