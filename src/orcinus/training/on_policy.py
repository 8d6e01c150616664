"""On-policy distillation: the student writes, a teacher in this process says of every token how likely it would have been.

    lesson's prompt ──student, sampled──► response ──► Σ_v p_s(v) (log p_s(v) − log p_t(v)) at each of its tokens

Reverse KL on the student's own samples (Agarwal et al. 2023, arXiv:2306.13649; Gu et al. 2023, arXiv:2306.08543): it is taught where it
goes, not where the teacher would have gone, and on every token instead of on the answer alone. It needs the teacher's
probabilities, so both are models on this machine with one vocabulary. Everything else, packing and checkpoints and LoRA
included, is as in training on lessons.

Shapes: N response tokens, D hidden width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from orcinus.core.errors import ConfigError
from orcinus.training import attention
from orcinus.training.batches import collate
from orcinus.training.loss import CHUNK_LOGITS
from orcinus.training.trainer import LessonTrainer


def reverse_kl(
    student_ND: torch.Tensor,
    student_VD: torch.Tensor,
    teacher_ND: torch.Tensor,
    teacher_VD: torch.Tensor,
    *,
    softcaps: tuple[float | None, float | None] = (None, None),
) -> torch.Tensor:
    """KL(student ‖ teacher) at each of N positions, in nats; differentiable in the student's part.

    A chunk of positions at a time, computed again in the backward pass, so that no (N, V) tensor outlives its chunk.

    Args:
        student_ND: The student's hidden states.
        student_VD: Its vocabulary projection.
        teacher_ND: The teacher's hidden states at the same positions; widths may differ.
        teacher_VD: Its projection.
        softcaps: The bounds that Gemma-like models put on logits, the student's and the teacher's.
    """
    chunk = max(1, CHUNK_LOGITS // student_VD.shape[0])
    parts = []
    for start in range(0, len(student_ND), chunk):
        part = slice(start, start + chunk)
        parts.append(
            torch.utils.checkpoint.checkpoint(
                _kl_of_chunk,
                student_ND[part],
                student_VD,
                teacher_ND[part],
                teacher_VD,
                softcaps,
                use_reentrant=False,
            )
        )
    return torch.cat(parts)


def _kl_of_chunk(
    student_nD: torch.Tensor,
    student_VD: torch.Tensor,
    teacher_nD: torch.Tensor,
    teacher_VD: torch.Tensor,
    softcaps: tuple[float | None, float | None],
) -> torch.Tensor:
    mine_nV = _logprobs(student_nD, student_VD, softcaps[0])
    with torch.no_grad():
        theirs_nV = _logprobs(teacher_nD, teacher_VD, softcaps[1])
    return (mine_nV.exp() * (mine_nV - theirs_nV)).sum(1)


def _logprobs(
    hidden_nD: torch.Tensor, weight_VD: torch.Tensor, softcap: float | None
) -> torch.Tensor:
    logits = (hidden_nD @ weight_VD.T).to(torch.promote_types(hidden_nD.dtype, torch.float32))
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return logits.log_softmax(1)


class OnPolicyTrainer(LessonTrainer):
    """The Trainer whose batches are prompts: the responses are the student's own, written anew in every step."""

    def __init__(
        self,
        *,
        teacher: Any,
        end_ids: Sequence[int],
        pad_id: int,
        max_tokens: int,
        temperature: float,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._teacher = teacher.to(self.args.device).eval().requires_grad_(False)
        self._teacher.set_attn_implementation(attention.NAME)
        self._writing: Any = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=temperature > 0,
            temperature=temperature or None,
            max_new_tokens=max_tokens,
            eos_token_id=list(end_ids),
            pad_token_id=pad_id,
        )

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The mean reverse KL over the response tokens of this micro-batch's own samples."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        batch = {
            key: value.to(self.args.device) if isinstance(value, torch.Tensor) else value
            for key, value in collate(self._written(base, inputs)).items()
        }
        mine = _hidden(base, batch)
        with torch.no_grad():
            theirs = _hidden(self._teacher, batch)
        losses_N = reverse_kl(
            mine,
            base.get_output_embeddings().weight,
            theirs,
            self._teacher.get_output_embeddings().weight,
            softcaps=(_softcap(base), _softcap(self._teacher)),
        )
        loss = losses_N.mean() / self.args.gradient_accumulation_steps
        return (loss, {"loss": loss}) if return_outputs else loss

    def _written(self, base: Any, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """The prompts of a micro-batch as packed rows, each with the response that the student writes to it now."""
        tokens = inputs["input_ids"][0]
        prompts, start = [], 0
        for prompt, *responses in inputs["units"]:
            prompts.append(tokens[start : start + prompt])
            start += prompt + sum(responses)
        width = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), width), self._writing.pad_token_id, device=tokens.device)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        forward, base.forward = base.forward, type(base).forward.__get__(base)
        base.set_attn_implementation("sdpa")
        training = base.training
        base.eval()
        try:
            written = base.generate(
                input_ids=ids, attention_mask=mask, generation_config=self._writing
            )[:, width:]
        finally:
            base.train(training)
            base.forward = forward
            base.set_attn_implementation(attention.NAME)
        return [
            _row(prompt, response, self._writing)
            for prompt, response in zip(prompts, written, strict=True)
        ]


def _row(prompt: torch.Tensor, response: torch.Tensor, writing: Any) -> dict[str, Any]:
    """One prompt and its response up to the end of the turn, as a packed row of one lesson."""
    ends = torch.isin(
        response, torch.tensor(writing.eos_token_id, device=response.device)
    ).nonzero()
    length = int(ends[0, 0]) + 1 if len(ends) else len(response)
    tokens = torch.cat([prompt, response[:length]]).cpu().numpy()
    return {"tokens": tokens, "units": [(len(prompt), length)], "weights": [1.0], "evidence": {}}


def _hidden(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Last hidden states (N, D) at the positions that predict a response token."""
    hidden: torch.Tensor = model.model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=None,
        use_cache=False,
        units=batch["units"],
    ).last_hidden_state[0, batch["predictors"]]
    return hidden


def _softcap(model: Any) -> float | None:
    cap: float | None = getattr(model.config, "final_logit_softcapping", None)
    return cap


def check_vocabulary(student: Any, teacher: Any) -> None:
    """Refuse a pair that does not speak of the same tokens.

    Args:
        student: Its tokenizer.
        teacher: Its tokenizer.

    Raises:
        ConfigError: The vocabularies differ.
    """
    mine, theirs = student.get_vocab(), teacher.get_vocab()
    if mine != theirs:
        different = sorted(mine.items() ^ theirs.items(), key=str)[:1]
        raise ConfigError(
            f"train.stages: on-policy distillation compares probabilities token by token, but the vocabularies differ "
            f"({len(mine)} and {len(theirs)} tokens, e.g. {different[0]}); use a teacher of the student's family"
        )
