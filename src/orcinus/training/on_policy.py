"""On-policy distillation: the student writes, and a teacher in this process rates every token.

    lesson's prompt ──student, sampled──► response ──teacher──► reverse_kl over its tokens

The student is taught where it goes, not where the teacher would have gone, and on every token
instead of on the answer alone. The objective needs the teacher's probabilities, so both are models
on this machine with one vocabulary. Packing, checkpoints and LoRA are as in training on lessons.

Shapes: N response tokens, D hidden width, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig

from orcinus.core.errors import ConfigError
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.huggingface import stop_tokens
from orcinus.training.batches import collate
from orcinus.training.checkpoints import load_for_training
from orcinus.training.config import OnPolicyConfig
from orcinus.training.forward import head_of, predictor_states, unwrap_peft
from orcinus.training.objectives.interface import Predictions
from orcinus.training.paths import own_attention
from orcinus.training.trainer import LessonTrainer


def on_policy_trainer(
    config: OnPolicyConfig, student: Any, chat: Chat
) -> Callable[..., LessonTrainer]:
    """Return what makes the Trainer of an on-policy stage; loads the teacher.

    Raises:
        ConfigError: The teacher cannot be loaded, or its vocabulary is not the student's.
    """
    teacher, tokenizer = load_for_training(config.teacher, frozen=True)
    check_vocabulary(chat.tokenizer, tokenizer)
    stops = sorted(stop_tokens(student, chat))
    generation: Any = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=config.temperature > 0,
        temperature=config.temperature or None,
        max_new_tokens=config.max_tokens,
        eos_token_id=stops,
        pad_token_id=stops[0] if stops else 0,  # before prompts it is masked, behind ends cut off
    )
    return partial(OnPolicyTrainer, teacher=teacher, generation=generation)


class OnPolicyTrainer(LessonTrainer):
    """The Trainer whose batches are prompts: the student writes new responses in every step."""

    def __init__(self, *, teacher: Any, generation: Any, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._teacher = teacher.to(self.args.device).eval().requires_grad_(False)
        self._generation = generation

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean over the response tokens of this micro-batch's own samples.

        How many tokens the whole global batch will have is not known before all of it is written.
        """
        batch = self._prepare_inputs(collate(self._write_responses(inputs)))
        with torch.no_grad():
            states_ND = predictor_states(self._teacher, batch)
        teacher = Predictions(states_ND, head_of(self._teacher))
        out = self.objective_loss(model, batch, teacher)
        count = len(batch["response"]) * self.args.gradient_accumulation_steps
        loss = out["loss"] / count
        return (loss, out) if return_outputs else loss

    def _write_responses(self, inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return a micro-batch's prompts as packed rows, each with a response of the student."""
        prompts = _split_prompts(inputs)
        width = max(len(prompt) for prompt in prompts)
        pad = self._generation.pad_token_id
        ids = torch.full((len(prompts), width), pad, device=prompts[0].device)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = prompt
            mask[row, width - len(prompt) :] = 1
        with _generating(unwrap_peft(self.model)) as student:
            written = student.generate(
                input_ids=ids, attention_mask=mask, generation_config=self._generation
            )[:, width:]
        return [
            _packed_row(prompt, response, self._generation.eos_token_id)
            for prompt, response in zip(prompts, written, strict=True)
        ]


@contextmanager
def _generating(model: Any) -> Iterator[Any]:
    """Switch a model in training to evaluation mode, with attention for padding and caches."""
    training = model.training
    model.set_attn_implementation(own_attention(model))
    model.eval()
    try:
        yield model
    finally:
        model.train(training)  # predictor_states gives the model back its attention for rows


def _split_prompts(inputs: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return the tokens of each prompt of a packed batch."""
    tokens_T = inputs["input_ids"][0]
    prompts, start = [], 0
    for prompt, *responses in inputs["units"]:
        prompts.append(tokens_T[start : start + prompt])
        start += prompt + sum(responses)
    return prompts


def _packed_row(prompt: torch.Tensor, response: torch.Tensor, end_ids: list[int]) -> dict[str, Any]:
    """Return a prompt and its response up to the end of the turn, as a packed row of one lesson."""
    ends = torch.isin(response, torch.tensor(end_ids, device=response.device)).nonzero()
    length = int(ends[0, 0]) + 1 if len(ends) else len(response)
    tokens = torch.cat([prompt, response[:length]]).cpu().numpy()
    return {"tokens": tokens, "units": [(len(prompt), length)], "weights": [1.0], "evidence": {}}


def check_vocabulary(student: Any, teacher: Any) -> None:
    """Refuse a pair whose tokens differ.

    Args:
        student: Its tokenizer.
        teacher: Its tokenizer.

    Raises:
        ConfigError: The vocabularies differ.
    """
    mine, theirs = student.get_vocab(), teacher.get_vocab()
    if mine != theirs:
        different = sorted(mine.items() ^ theirs.items(), key=str)[0]
        raise ConfigError(
            "train.stages: on-policy distillation compares probabilities token by token, but the "
            f"vocabularies differ ({len(mine)} and {len(theirs)} tokens, e.g. {different}); "
            "use a teacher of the student's family"
        )
