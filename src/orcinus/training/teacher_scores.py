"""Ask the recipe's teacher how likely it finds given texts, through the ledger.

    (prompt, response) as tokens ──a call each──► the likeliest tokens in place of each token

Training runs in a thread, and calls in the event loop: the thread waits for them. A call that the
ledger has, for example of an interrupted stage, is not made again.
"""

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.scoring import TokenScores, read_scores, scoring_request
from orcinus.core.types import Attempt, Example, Message, Request, Verdict
from orcinus.models.attempts import attempt_all
from orcinus.models.local.chat_format import Chat
from orcinus.runs.context import StepContext
from orcinus.training.config import TrainConfig
from orcinus.training.objectives.interface import TopLogprobs

USUAL_TOP = 20
"""Likeliest tokens of the teacher for each token: the most that vLLM returns unless told so."""
HALF = "\ufffd"
"""What decoders write in place of an incomplete character."""
SAMPLE = ((Message(role="user", content="What is 17 + 25?"),), "17 + 25 = 42. The answer is 42.")
"""A question and its answer, which show whether a teacher can score texts."""

Ask = Callable[[Sequence[Request]], list[list[TokenScores]]]
"""Returns the scores of several texts, in order. Called in the thread that trains."""


def ask_from_thread(context: StepContext) -> Ask:
    """Return a function that asks the teacher from another thread than the event loop's.

    The arguments are those of ``ask_teacher``.
    """
    loop = asyncio.get_running_loop()

    def ask(requests: Sequence[Request]) -> list[list[TokenScores]]:
        return asyncio.run_coroutine_threadsafe(ask_teacher(requests, context), loop).result()

    return ask


async def ask_teacher(requests: Sequence[Request], context: StepContext) -> list[list[TokenScores]]:
    """Return the scores of several texts, in order.

    Args:
        requests: To score a text, each.
        context: Its teacher is asked; the calls are booked under ``train``.

    Raises:
        StepError: The teacher could not score a text.
        OrcinusError: As ``attempt_all``.
    """
    found = []
    async for judged in attempt_all(
        requests,
        context.completer("teacher"),
        ledger=context.ledger,
        verify=_no_verdict,
        run=context.run,
        step="train",
        concurrency=context.runtime.concurrency,
        budget=context.budget,
    ):
        if judged.attempt.finish == "error":
            cause = judged.attempt.error or ""
            raise StepError(
                f"the teacher could not score what the student wrote: {cause}; run again: training "
                "resumes from its last checkpoint"
            ) from StepError(cause)
        if not judged.recalled:
            context.progress.advance(0, cost_usd=judged.attempt.cost_usd)
        found.append(read_scores(judged.attempt.text))
    return found


async def _no_verdict(example: Example, attempt: Attempt) -> Verdict:
    return Verdict(attempt_id=attempt.id, verifier="", value=None, answer=None, reason="scores")


async def check_teacher(chat: Chat, config: TrainConfig, context: StepContext) -> None:
    """Refuse a teacher that cannot score the student's tokens, with one call.

    Args:
        chat: The student's chat format.
        config: Its stages say how many likeliest tokens they want.
        context: Its teacher is asked.

    Raises:
        ConfigError: It refuses the student's tokens, or has others.
        OrcinusError: It cannot score texts, or is not there.
    """
    tokens, prompt = chat.lesson(*SAMPLE)
    wanted = [stage.on_policy.top_k or USUAL_TOP for stage in config.stages if stage.on_policy]
    request = scoring_request(tokens[:prompt], tokens[prompt:], top=max(wanted), text=SAMPLE[1])
    try:
        [scores] = await ask_teacher([request], context)
    except StepError as error:
        cause = str(error.__cause__)
        advice = "; it needs the student's vocabulary" if cause.startswith("bad_request") else ""
        raise ConfigError(
            "train.stages: on_policy: {teacher: recipe} has the teacher score a text in the "
            f"student's tokens, and it could not: {cause}{advice}"
        ) from error
    check_tokens(chat.tokenizer, tokens[prompt:], scores)


class TeacherScores:
    """The teacher of a stage as the trainer sees it."""

    def __init__(self, ask: Ask, tokenizer: Any, top_k: int | None) -> None:
        """Take the function that asks it, the student's tokenizer and the likeliest tokens."""
        self._ask, self._tokenizer = ask, tokenizer
        self._top = USUAL_TOP if top_k is None else top_k

    def __call__(self, texts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> TopLogprobs:
        """Return what the teacher thinks of each response token behind its prompt.

        Raises:
            ConfigError: The teacher's tokens are not the student's.
        """
        asked = [
            scoring_request(
                prompt.tolist(),
                response.tolist(),
                top=self._top,
                text=str(self._tokenizer.decode(response.tolist())),
            )
            for prompt, response in texts
        ]
        found = self._ask(asked)
        for (_, response), scores in zip(texts, found, strict=True):
            check_tokens(self._tokenizer, response.tolist(), scores)
        device = texts[0][0].device
        return as_top_logprobs([token for scores in found for token in scores], device)


def as_top_logprobs(scores: Sequence[TokenScores], device: torch.device) -> TopLogprobs:
    """Return scores as tensors with a row for each token."""
    width = max(len(score.top) for score in scores)
    tokens_NK = torch.zeros(len(scores), width, dtype=torch.long)
    logprobs_NK = torch.full((len(scores), width), -math.inf)
    for row, score in enumerate(scores):
        ids, values = zip(*score.top, strict=True)
        tokens_NK[row, : len(ids)] = torch.tensor(ids)
        logprobs_NK[row, : len(ids)] = torch.tensor(values)
    return TopLogprobs(tokens_NK.to(device), logprobs_NK.to(device))


def check_tokens(tokenizer: Any, tokens: Sequence[int], scores: Sequence[TokenScores]) -> None:
    """Refuse a teacher whose tokens are not the student's.

    Blanks around a token and parts of a character are not compared: servers show them differently.

    Raises:
        ConfigError: A token has another text.
    """
    for token, score in zip(tokens, scores, strict=True):
        mine, theirs = str(tokenizer.decode([token])).strip(), (score.text or "").strip()
        if mine and theirs and HALF not in mine + theirs and mine != theirs:
            raise ConfigError(
                "train.stages: on-policy distillation compares probabilities token by token, but "
                f"token {token} is {theirs!r} to the teacher and {mine!r} to the student; use a "
                "teacher of the student's family, or lessons with objective distribution_corrected"
            )
