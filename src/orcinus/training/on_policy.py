"""On-policy distillation: the student writes, and a teacher rates every token.

    lesson's prompt ──student, sampled──► response ──teacher──► reverse_kl over its tokens

In on-policy erasing the teacher is the student itself, frozen, and reads the question under the
strategy's message, which the student does not see: it learns to do without the message.

The student learns from texts that it writes itself, and at every token instead of from the answer
alone. Student and teacher have one vocabulary. A teacher behind a server, or the recipe's own one,
scores each text in a call and tells its likeliest tokens: ``teacher_scores.py``. Packing,
checkpoints and LoRA are as in training on lessons.

Shapes: N response tokens, D hidden width, V vocabulary.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from transformers import GenerationConfig

from orcinus.core.errors import ConfigError
from orcinus.core.fingerprint import stable_fraction
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.loading import stop_tokens
from orcinus.training.batches import collate, on_device
from orcinus.training.checkpoints import load_for_training
from orcinus.training.config import OnPolicyConfig
from orcinus.training.divergence import top_logprobs
from orcinus.training.forward import head_of, predictor_states, unwrap_peft
from orcinus.training.objectives import find_objective
from orcinus.training.objectives.interface import Predictions, TopLogprobs
from orcinus.training.paths import own_attention
from orcinus.training.questions import prompt_key
from orcinus.training.teacher_scores import Ask, TeacherScores
from orcinus.training.trainer import LessonTrainer

Text = tuple[torch.Tensor, torch.Tensor]
"""The tokens of a prompt and of a response to it."""
FORWARD_KL = find_objective("mixed_kl", {"beta": 0.0})
"""What the student learns from the teacher's own responses."""


def on_policy_trainer(
    config: OnPolicyConfig,
    student: Any,
    chat: Chat,
    source: LocalConfig,
    told: Mapping[bytes, list[int]] | None = None,
    ask: Ask | None = None,
) -> Callable[..., LessonTrainer]:
    """Return what makes the Trainer of an on-policy stage; loads a teacher of its own.

    Args:
        config: The stage's settings.
        student: The model to train.
        chat: Its chat format.
        source: Where it was read from: a frozen copy is its own teacher.
        told: By the tokens of a prompt those of the prompt that the teacher reads in its place;
            None lets it read the student's.
        ask: Asks the recipe's teacher; None where there is no way to it.

    Raises:
        ConfigError: The teacher cannot be loaded or asked, or its vocabulary is not the student's.
    """
    teacher: Teacher
    if config.teacher == "recipe":
        if ask is None:
            raise ConfigError(
                "on_policy: the recipe's teacher is asked by `orcinus run` in one process; train "
                "with one process, or name a local model as its teacher"
            )
        teacher = TeacherScores(ask, chat.tokenizer, config.top_k)
    else:
        where = source if config.teacher == "self" else config.teacher
        model, tokenizer = load_for_training(where, frozen=True)
        check_vocabulary(chat.tokenizer, tokenizer)
        teacher = LoadedTeacher(model, config.top_k)
    return partial(
        OnPolicyTrainer,
        teacher=teacher,
        generation=generation_of(config.max_tokens, config.temperature, student, chat),
        own=config.own,
        told=told,
    )


def generation_of(max_tokens: int, temperature: float, student: Any, chat: Chat) -> Any:
    """Return how a student in training writes."""
    stops = sorted(stop_tokens(student, chat))
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=temperature > 0,
        temperature=temperature or None,
        max_new_tokens=max_tokens,
        eos_token_id=stops,
        pad_token_id=stops[0] if stops else 0,  # before prompts it is masked, behind ends cut off
    )


class LoadedTeacher:
    """A teacher in this process."""

    def __init__(self, model: Any, top_k: int | None) -> None:
        """Take the model; ``top_k`` tokens of it are known at each place, or all."""
        self.model = model.eval().requires_grad_(False)
        self._top_k = top_k

    def __call__(self, texts: Sequence[Text]) -> Predictions | TopLogprobs:
        """Return its predictions at each response token."""
        rows = collate([packed_row(*text) for text in texts])
        batch = on_device(rows, texts[0][0].device)
        self.model.to(texts[0][0].device)
        with torch.no_grad():
            found = Predictions(predictor_states(self.model, batch), head_of(self.model))
        if self._top_k is None:
            return found
        return top_logprobs(found, batch["input_ids"][0, batch["response"]], self._top_k)


Teacher = LoadedTeacher | TeacherScores


class OnPolicyTrainer(LessonTrainer):
    """The Trainer whose batches are prompts: new responses are written in every step.

    A batch is written by the student, or, of a share ``1 − own``, by the teacher. What the recipe's
    teacher wrote are the lessons. The student learns the teacher's responses by the forward
    divergence, whatever the objective.
    """

    def __init__(
        self,
        *,
        teacher: Teacher,
        generation: Any,
        own: float = 1.0,
        told: Mapping[bytes, list[int]] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._teacher, self._generation, self._own, self._told = teacher, generation, own, told
        self._on_own_answers = self._objective

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
        own = self._own == 1 or self._is_own(self.state.global_step)
        self._objective = self._on_own_answers if own else FORWARD_KL
        texts = self._texts(inputs, own)
        batch = self._prepare_inputs(collate([packed_row(*text) for text in texts]))
        seen = [(self._told_prompt(prompt), response) for prompt, response in texts]
        out = self.objective_loss(model, batch, self._teacher(seen))
        count = len(batch["response"]) * self.args.gradient_accumulation_steps
        loss = out["loss"] / count
        return (loss, out) if return_outputs else loss

    def _texts(self, inputs: Mapping[str, Any], own: bool) -> list[Text]:
        """Return the prompts of a batch with the responses to learn from."""
        prompts = split_prompts(inputs)
        if own:
            written = write_responses(unwrap_peft(self.model), prompts, self._generation)
            return list(zip(prompts, written, strict=True))
        if isinstance(self._teacher, TeacherScores):
            return split_texts(inputs)
        told = [self._told_prompt(prompt) for prompt in prompts]
        teacher = self._teacher.model.to(prompts[0].device)
        written = write_responses(teacher, told, self._generation)
        return list(zip(prompts, written, strict=True))

    def _is_own(self, optimizer_step: int) -> bool:
        """Return True where the student writes; a resumed stage draws the same."""
        return stable_fraction("own", str(self.args.seed), str(optimizer_step)) < self._own

    def _told_prompt(self, prompt: torch.Tensor) -> torch.Tensor:
        """Return the prompt that the teacher reads in place of the student's."""
        if self._told is None:
            return prompt
        return prompt.new_tensor(self._told[prompt_key(prompt)])


def write_responses(model: Any, prompts: list[torch.Tensor], generation: Any) -> list[torch.Tensor]:
    """Return a response of ``model`` to each prompt, up to and with the end of its turn."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), generation.pad_token_id, device=prompts[0].device)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        mask[row, width - len(prompt) :] = 1
    with _generating(model) as writer:
        written = writer.generate(input_ids=ids, attention_mask=mask, generation_config=generation)[
            :, width:
        ]
    return [_to_its_end(response, generation.eos_token_id) for response in written]


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


def split_prompts(inputs: Mapping[str, Any]) -> list[torch.Tensor]:
    """Return the tokens of each prompt of a packed batch."""
    tokens_T = inputs["input_ids"][0]
    prompts, start = [], 0
    for prompt, *responses in inputs["units"]:
        prompts.append(tokens_T[start : start + prompt])
        start += prompt + sum(responses)
    return prompts


def split_texts(inputs: Mapping[str, Any]) -> list[Text]:
    """Return the tokens of each response of a packed batch, behind its prompt."""
    tokens_T = inputs["input_ids"][0]
    texts, start = list[Text](), 0
    for prompt, *responses in inputs["units"]:
        asked, start = tokens_T[start : start + prompt], start + prompt
        for length in responses:
            texts.append((asked, tokens_T[start : start + length]))
            start += length
    return texts


def _to_its_end(response: torch.Tensor, end_ids: list[int]) -> torch.Tensor:
    ends = torch.isin(response, torch.tensor(end_ids, device=response.device)).nonzero()
    return response[: int(ends[0, 0]) + 1] if len(ends) else response


def packed_row(prompt: torch.Tensor, response: torch.Tensor) -> dict[str, Any]:
    """Return a prompt and its response as a packed row of one lesson."""
    tokens = torch.cat([prompt, response]).cpu().numpy()
    units = [(len(prompt), len(response))]
    return {"tokens": tokens, "units": units, "weights": [1.0], "evidence": {}}


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
