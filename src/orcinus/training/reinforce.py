"""Outcome RL: the student answers each question several times, and a verifier's verdict teaches.

    prompt ──student, 8 times──► answers ──verifier──► rewards ──► advantages ──► one optimizer step

An answer is reinforced by how much better it is than the others to its question (GRPO's group
advantage). A group of equal rewards is *dead*: it teaches nothing, is left out, and is counted. A
verdict of None counts as wrong, and is counted too. Every answer is kept with its verdict and its
reward.

Why not TRL's GRPO: design/005.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow as pa
import torch

from orcinus.core.fingerprint import fingerprint
from orcinus.core.types import Attempt, Example, Judged, Lesson, Sampling, Usage, Verdict
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.runs import tables
from orcinus.training.batches import collate
from orcinus.training.checkpoints import load_for_training
from orcinus.training.config import ReinforceConfig
from orcinus.training.distributed import processes
from orcinus.training.forward import head_of, predictor_states, unwrap_peft
from orcinus.training.objectives.interface import Predictions
from orcinus.training.on_policy import generation_of, split_prompts, write_responses
from orcinus.training.outcomes import advantages, phi4_reward
from orcinus.training.questions import prompt_key
from orcinus.training.trainer import LessonTrainer
from orcinus.verifiers.verify import verify

OUTCOMES = pa.schema(
    [
        *tables.JUDGED,
        ("optimizer_step", pa.int32()),
        ("reward", pa.float64()),
        ("advantage", pa.float64()),
    ]
)
"""Schema of the answers of a stage: judged attempts, with what each one taught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The question of a prompt, with what its answers are judged by."""

    example: Example
    lesson: Lesson


def outcome_trainer(
    config: ReinforceConfig,
    student: Any,
    chat: Chat,
    source: LocalConfig,
    questions: Mapping[bytes, Question],
    samples: Path,
) -> Callable[..., LessonTrainer]:
    """Return what makes the Trainer of a ``reinforce`` stage.

    Args:
        config: The stage's settings.
        student: The model to train.
        chat: Its chat format.
        source: Where it was read from; a frozen copy holds it near its start.
        questions: By the tokens of a prompt.
        samples: Folder of the answers, a table for each micro-batch.
    """
    start = load_for_training(source, frozen=True)[0] if config.kl else None
    return partial(
        OutcomeTrainer,
        config=config,
        start=start,
        generation=generation_of(config.max_tokens, config.temperature, student, chat),
        tokenizer=chat.tokenizer,
        questions=questions,
        samples=samples,
    )


class OutcomeTrainer(LessonTrainer):
    """The Trainer whose batches are questions that the student answers anew in every step."""

    may_idle = True

    def __init__(
        self,
        *,
        config: ReinforceConfig,
        start: Any,
        generation: Any,
        tokenizer: Any,
        questions: Mapping[bytes, Question],
        samples: Path,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._config, self._generation, self._tokenizer = config, generation, tokenizer
        self._questions, self._samples = questions, samples
        self._start = start
        if start is not None:
            self._start = start.to(self.args.device).eval().requires_grad_(False)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the mean over the answers' tokens of this micro-batch, dead groups left out."""
        prompts, k = split_prompts(inputs), self._config.samples
        repeated = [prompt for prompt in prompts for _ in range(k)]
        answers = write_responses(unwrap_peft(self.model), repeated, self._generation)
        judged = self._judge(repeated, answers)
        rewards = list(map(self._reward, judged, answers))
        gains = [gain for i in range(0, len(rewards), k) for gain in advantages(rewards[i : i + k])]
        groups = [slice(i, i + k) for i in range(0, len(rewards), k)]
        live = [group for group in groups if any(gains[group])]
        self._record(judged, rewards, gains)
        self._facts.append(
            {
                "reward": fmean(rewards),
                "right": fmean(item.verdict.right for item in judged),
                "dead": 1 - len(live) / len(groups),
                "unjudged": float(sum(item.verdict.none for item in judged)),
                "answer_tokens": fmean(map(len, answers)),
            }
        )
        rows = [
            _group_row(repeated[group.start], answers[group], gains[group])
            for group in live or groups[:1]
        ]
        batch = self._prepare_inputs(collate(rows))
        out = self.objective_loss(model, batch, self._predictions_of_start(batch))
        count = len(batch["response"]) * self.args.gradient_accumulation_steps
        loss = out["loss"] / count if live else 0.0 * out["loss"]
        return (loss, out) if return_outputs else loss

    def take_facts(self) -> dict[str, float]:
        """Return the means of the answers' numbers, and how many could not be judged."""
        unjudged = sum(part["unjudged"] for part in self._facts)
        means = super().take_facts()
        return {**means, "unjudged": unjudged} if means else {}

    def _predictions_of_start(self, batch: Mapping[str, Any]) -> Predictions | None:
        if self._start is None:
            return None
        with torch.no_grad():
            return Predictions(predictor_states(self._start, batch), head_of(self._start))

    def _judge(
        self, prompts: Sequence[torch.Tensor], answers: Sequence[torch.Tensor]
    ) -> list[Judged]:
        """Return each answer with its verdict; one that cannot be judged has None."""
        attempts = []
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            question = self._questions[prompt_key(prompt)]
            attempt = self._attempt(question, answer, len(prompt), number)
            attempts.append((question.example, attempt))

        async def judge_all() -> list[Verdict]:
            return await asyncio.gather(*(verify(*pair) for pair in attempts))

        verdicts = asyncio.run(judge_all())
        return [
            Judged(attempt=attempt, verdict=verdict)
            for (_, attempt), verdict in zip(attempts, verdicts, strict=True)
        ]

    def _attempt(
        self, question: Question, answer: torch.Tensor, tokens_in: int, number: int
    ) -> Attempt:
        ended = int(answer[-1]) in self._generation.eos_token_id
        lesson, place = question.lesson, [self.state.global_step, len(self._facts), number]
        return Attempt(
            id=fingerprint(["reinforce", self.args.seed, *place, lesson.id], length=24),
            example_id=question.example.id,
            task=question.example.task,
            strategy="erased",
            model="the student in training",
            messages=lesson.messages,
            sampling=Sampling(
                temperature=self._config.temperature, max_tokens=self._config.max_tokens
            ),
            sample=number % self._config.samples,
            text=self._tokenizer.decode(answer, skip_special_tokens=True).strip(),
            finish="stop" if ended else "length",
            usage=Usage(tokens_in=tokens_in, tokens_out=len(answer)),
        )

    def _reward(self, judged: Judged, answer: torch.Tensor) -> float:
        """Return the reward of an answer. One without a verdict counts as wrong."""
        if self._config.reward == "right":
            return judged.verdict.value or 0.0
        text = judged.attempt.text
        return phi4_reward(
            right=judged.verdict.right,
            tokens=answer.tolist(),
            finished=judged.attempt.finish == "stop",
            broken=text.count("<think>") != text.count("</think>"),
            longest=self._config.max_tokens,
        )

    def _record(
        self, judged: Sequence[Judged], rewards: Sequence[float], gains: Sequence[float]
    ) -> None:
        """Write this micro-batch's answers; a step that is done twice replaces its own."""
        if not processes.is_first():
            return
        step = self.state.global_step
        path = self._samples / f"{step:07d}-{len(self._facts):03d}.parquet"
        with tables.TableWriter(path, OUTCOMES) as writer:
            for item, reward, gain in zip(judged, rewards, gains, strict=True):
                taught = {"optimizer_step": step, "reward": reward, "advantage": gain}
                writer.write({**tables.judged_row(item), **taught})


def _group_row(
    prompt: torch.Tensor, answers: Sequence[torch.Tensor], gains: Sequence[float]
) -> dict[str, Any]:
    """Return the answers to one question behind one copy of it, weighted by their advantages."""
    tokens = torch.cat([prompt, *answers]).cpu().numpy()
    units = [(len(prompt), *map(len, answers))]
    return {"tokens": tokens, "units": units, "weights": list(gains), "evidence": {}}


def join_samples(folder: Path, path: Path) -> None:
    """Write the answers of all optimizer steps as one table, in their order."""
    with tables.TableWriter(path, OUTCOMES) as writer:
        for part in sorted(folder.glob("*.parquet")):
            for batch in tables.read_batches(part):
                writer.write_batch(batch)


def read_questions(path: Path, lessons: Mapping[bytes, Lesson]) -> dict[bytes, Question]:
    """Return the questions of a stage's lessons by prompt.

    Args:
        path: The table of the examples.
        lessons: By the tokens of a prompt.
    """
    wanted = {(lesson.task, lesson.example_id) for lesson in lessons.values()}
    examples = {
        (example.task, example.id): example
        for example in tables.read_examples(path, "teach")
        if (example.task, example.id) in wanted
    }
    return {
        key: Question(example=examples[lesson.task, lesson.example_id], lesson=lesson)
        for key, lesson in lessons.items()
    }
