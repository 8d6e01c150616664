"""On-policy distillation from the recipe's teacher: a local and a served one teach the same."""

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.conftest import write_recipe
from tests.lessons.test_requests import GENERIC, context
from tests.models.test_scoring import ask as ask_a_server
from tests.training.test_on_policy import QUESTIONS, written
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.scoring import TokenScores, read_scores, scoring_request, written_scores
from orcinus.core.types import Completion, Request, Traits, Usage, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.pipeline.method import steps_of
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs.context import Silent, StepContext
from orcinus.training import divergence, train
from orcinus.training.config import TrainConfig
from orcinus.training.curriculum import train_curriculum
from orcinus.training.divergence import mixed_kl, reverse_kl, top_logprobs
from orcinus.training.head import Head
from orcinus.training.job import TrainJob
from orcinus.training.objectives.interface import Predictions, TopLogprobs
from orcinus.training.teacher_scores import Ask, as_top_logprobs, ask_teacher, check_teacher

__all__ = ["context"]


def student_of(probabilities: Sequence[Sequence[float]]) -> tuple[Predictions, torch.Tensor]:
    logits = torch.tensor(probabilities, dtype=torch.float64).log().requires_grad_()
    return Predictions(logits, Head(torch.eye(logits.shape[1], dtype=torch.float64))), logits


def known(*rows: dict[int, float]) -> TopLogprobs:
    """Return a teacher of whom the probabilities of some tokens are known."""
    scores = [
        TokenScores(None, tuple((token, math.log(p)) for token, p in row.items())) for row in rows
    ]
    return as_top_logprobs(scores, torch.device("cpu"))


def test_the_divergence_over_known_tokens_and_the_rest_is_the_closed_form() -> None:
    student, logits = student_of([[0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.25, 0.25]])
    # Of the first place tokens 0 and 2 are known, so the rest is 0.4 against 0.3.
    teacher = known({0: 0.5, 2: 0.2}, {3: 0.7})
    first = 0.4 * math.log(0.4 / 0.5) + 0.2 * math.log(0.2 / 0.2) + 0.4 * math.log(0.4 / 0.3)
    second = 0.25 * math.log(0.25 / 0.7) + 0.75 * math.log(0.75 / 0.3)
    assert first == pytest.approx(0.025816, abs=1e-6)
    assert reverse_kl(student, teacher).tolist() == pytest.approx([first, second], abs=1e-6)
    forward = 0.7 * math.log(0.7 / 0.25) + 0.3 * math.log(0.3 / 0.75)
    found = mixed_kl(student, teacher, beta=0.0)
    assert float(found[1].detach()) == pytest.approx(forward, abs=1e-6)
    # By the chain rule: p (log p − log t) per token, with the rest as one token.
    p = logits.softmax(1)[0]
    parts = torch.stack([p[0], p[2], p[1] + p[3]])
    expected = (parts * (parts.log() - torch.tensor([0.5, 0.2, 0.3]).double().log())).sum()
    torch.testing.assert_close(
        torch.autograd.grad(reverse_kl(student, teacher)[0], logits)[0][0],
        torch.autograd.grad(expected, logits)[0][0],
        atol=1e-6,
        rtol=1e-5,
    )


def test_with_all_tokens_known_it_is_the_whole_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "CHUNK_LOGITS", 64)
    torch.manual_seed(0)
    hidden, weight = torch.randn(17, 6), torch.randn(40, 6)
    student = Predictions(hidden.requires_grad_(), Head(weight))
    teacher = Predictions(torch.randn(17, 9), Head(torch.randn(40, 9)))
    targets = torch.arange(17)
    for beta in (1.0, 0.5, 0.0):
        whole = mixed_kl(student, teacher, beta=beta)
        same = mixed_kl(student, top_logprobs(teacher, targets, 40), beta=beta)
        # The rest has a probability of at least 1e-4 to both, and weighs nothing.
        torch.testing.assert_close(same, whole, atol=3e-4, rtol=1e-4)
        few = mixed_kl(student, top_logprobs(teacher, targets, 3), beta=beta)
        assert bool((few <= whole + 3e-4).all())
        gradient = torch.autograd.grad(same.sum(), hidden)[0]
        torch.testing.assert_close(
            gradient, torch.autograd.grad(whole.sum(), hidden)[0], atol=2e-3, rtol=1e-2
        )


@pytest.fixture(scope="module")
def teacher(tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model of the student's family that thinks otherwise."""
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("teacher")
    model = AutoModelForCausalLM.from_pretrained(tiny_student)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_student).save_pretrained(folder)
    return folder


def learn(student: Path, out: Path, on_policy: dict[str, Any], ask: Ask | None) -> list[float]:
    """Return the losses of an on-policy stage."""
    out.mkdir()
    stage = {"epochs": 1, "learning_rate": 1e-3, "on_policy": {"max_tokens": 8, **on_policy}}
    job = TrainJob(
        config=TrainConfig.model_validate(
            {"stages": [stage], "context_length": 128, "batch_tokens": 256}
        ),
        student=LocalConfig(path=str(student), chat_template="chatml"),
        lessons=written(out, "The answer is seven."),
        out=out,
        seed=0,
        micro_batch=1,
        device="cpu",
    )
    train_curriculum(job, Silent(), ask=ask)
    return [json.loads(line)["loss"] for line in (out / "loss.jsonl").read_text().splitlines()]


def test_a_local_teacher_and_a_served_one_give_the_same_loss(
    tiny_student: Path, teacher: Path, tmp_path: Path
) -> None:
    asked = list[Request]()

    async def work(url: str, model: Any) -> tuple[list[float], list[float]]:
        loop = asyncio.get_running_loop()
        endpoint = Endpoint(EndpointConfig(model="tiny", base_urls=(url,)), secrets={})

        async def ask_all(requests: Sequence[Request]) -> list[list[TokenScores]]:
            replies = await asyncio.gather(*map(endpoint.complete, requests))
            return [read_scores(reply.text) for reply in replies]

        def ask(requests: Sequence[Request]) -> list[list[TokenScores]]:
            asked.extend(requests)
            return asyncio.run_coroutine_threadsafe(ask_all(requests), loop).result()

        recipe = {"teacher": "recipe", "top_k": 30}
        try:
            served = await asyncio.to_thread(learn, tiny_student, tmp_path / "a", recipe, ask)
            lessons = {**recipe, "own": 0}
            read = await asyncio.to_thread(learn, tiny_student, tmp_path / "b", lessons, ask)
            return served, read
        finally:
            await endpoint.aclose()

    served, read = ask_a_server(work, teacher)
    local = {"teacher": {"path": str(teacher)}, "top_k": 30}
    found = learn(tiny_student, tmp_path / "c", local, None)
    assert len(found) == len(served) == len(read) > 1
    assert served == pytest.approx(found, abs=1e-4)
    assert min(found) > 0.01
    # own: 0 reads the lessons in place of what the student writes.
    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="chatml")
    tokens, prompt = chat.lesson(QUESTIONS[0], "The answer is seven.")
    responses = {one.scoring.response for one in asked[len(asked) // 2 :] if one.scoring}
    assert responses == {tuple(tokens[prompt:])}


STAGE = {"name": "on policy", "epochs": 2, "on_policy": {"teacher": "recipe", "max_tokens": 10}}
WIDER = {"name": "wider", "on_policy": {"teacher": "recipe", "top_k": 50}}
SCORED = TrainConfig.model_validate({"stages": [STAGE, WIDER]})


class Scorer:
    """A teacher that finds every token likely, and counts what it is asked."""

    model = "scorer"
    traits = Traits(scores=True)

    def __init__(self, says: str | None = None) -> None:
        self.calls, self._says, self.tops = 0, says, list[int]()

    async def complete(self, request: Request) -> Completion:
        self.calls += 1
        assert request.scoring is not None
        self.tops.append(request.scoring.top)
        scores = [
            TokenScores(self._says, ((token, -0.5), (token + 1, -1.0)))
            for token in request.scoring.response
        ]
        usage = Usage(tokens_in=9, tokens_out=0)
        return Completion(text=written_scores(scores), finish="stop", usage=usage)

    def worst_case(self, request: Request) -> WorstCase:
        return free_call(request)

    async def aclose(self) -> None:
        pass


def test_a_text_is_paid_once_and_other_tokens_are_refused(
    context: StepContext, tiny_student: Path
) -> None:
    scorer: Any = Scorer()
    asking = replace(context, completer=lambda role, folder=None: scorer)
    request = scoring_request((1, 2), (3, 4), top=2, text="t")
    first = asyncio.run(ask_teacher([request, request], asking))
    again = asyncio.run(ask_teacher([request], asking))
    assert scorer.calls == 1
    assert first == [again[0]] * 2
    assert context.ledger.mean_tokens("scorer") is None  # they are no answers
    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="chatml")
    asyncio.run(check_teacher(chat, SCORED, asking))
    other: Any = Scorer("surprise")
    other.model = "other"
    others = replace(context, completer=lambda role, folder=None: other)
    with pytest.raises(ConfigError, match=r"token \d+ is 'surprise' to the teacher and"):
        asyncio.run(check_teacher(chat, SCORED, others))
    assert [scorer.tops, other.tops] == [[2, 50], [50]]  # as many as the stage that wants most


def test_a_teacher_that_fails_stops_the_stage_with_one_line(
    context: StepContext, tiny_student: Path
) -> None:
    async def crash(request: Request) -> Completion:
        from orcinus.core.errors import CompleterError

        raise CompleterError("bad_request", "too long", permanent=True)

    scorer: Any = Scorer()
    scorer.complete = crash
    asking = replace(context, completer=lambda role, folder=None: scorer)
    with pytest.raises(StepError, match="could not score what the student wrote: bad_request"):
        asyncio.run(ask_teacher([scoring_request((1,), (2,), top=1, text="t")], asking))
    chat = Chat(AutoTokenizer.from_pretrained(tiny_student), fallback="chatml")
    with pytest.raises(ConfigError, match=r"could not: bad_request: too long; it needs"):
        asyncio.run(check_teacher(chat, SCORED, asking))


SERVED = {"kind": "endpoint", "model": "m", "base_urls": ["http://127.0.0.1:9/v1"]}


def test_the_plan_counts_the_calls_that_score(context: StepContext) -> None:
    def calls(**on_policy: Any) -> tuple[int, int]:
        stage = {**STAGE, "on_policy": {**STAGE["on_policy"], **on_policy}}  # type: ignore[dict-item]
        config = TrainConfig.model_validate({"stages": [stage]})
        [asking] = train.requests(config, GENERIC, context)
        assert (asking.role, asking.exact, asking.scores) == ("teacher", False, True)
        requests = list(asking.requests)
        return len(requests), sum(request.sampling.max_tokens for request in requests)

    assert calls() == (2 * 20, 2 * 20)  # 20 questions to teach, two passes
    assert calls(own=0.5) == (2 * 20, 2 * 20)
    assert calls(own=0)[0] == 20  # the second pass over the lessons is recalled
    assert train.requests(TrainConfig(), GENERIC, context) == []


def test_a_teacher_that_cannot_score_is_refused_when_the_recipe_is_read(
    tiny_student: Path, tmp_path: Path
) -> None:
    def read(**changes: Any) -> Any:
        return load_recipe(write_recipe(tmp_path / "r.yaml", **changes))

    stages = {"stages": [STAGE]}
    with pytest.raises(ConfigError, match="a student from scratch has tokens of its own"):
        read(train=stages)
    student = {"kind": "local", "path": "student"}
    with pytest.raises(ConfigError, match="which a teacher of kind function cannot; use kind end"):
        read(train=stages, student=student)
    with pytest.raises(ConfigError, match=r"a batch interface cannot; leave teacher\.batch out"):
        read(train=stages, teacher={**SERVED, "batch": {}})

    def trained(**teacher: Any) -> str:
        local = {"kind": "local", "path": str(tiny_student)}
        recipe = read(train=stages, student=local, teacher={**SERVED, **teacher})
        steps = steps_of(recipe, tmp_path, until="train")
        return next(step for step in steps if step.name == "train").fingerprint

    assert trained() == trained(base_urls=["http://127.0.0.1:10/v1"])
    assert trained() != trained(revision="2")
