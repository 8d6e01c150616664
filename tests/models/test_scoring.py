"""A given text is scored alike by the model's own forward pass, in process and behind a server."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.test_server import Student, send
from transformers import AutoModelForCausalLM, AutoTokenizer

from orcinus.core.errors import CompleterError
from orcinus.core.requests import as_sent, chat_request
from orcinus.core.scoring import TokenScores, read_scores, scoring_request, written_scores
from orcinus.core.types import Completion, Message, Request, Sampling, Scoring
from orcinus.models.bounds import prompt_bound
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.replies import parse_scores
from orcinus.models.server.chat_api import chat_server
from orcinus.runs.ledger_records import attempt_id

PROMPT, RESPONSE = (3, 5, 8, 13), (21, 34, 55)


def score(top: int = 4) -> Request:
    return scoring_request(PROMPT, RESPONSE, top=top, text="some text")


def ask(work: Any, folder: Path, **served: Any) -> Any:
    """Return what ``work`` returns for the port of a server of a tiny model, and the model."""

    async def go() -> Any:
        model = LocalModel(LocalConfig(path=str(folder), chat_template="chatml"), device="cpu")
        model.stay_within_context()
        try:
            async with chat_server(model, name="tiny", **served) as url:
                return await work(url, model)
        finally:
            await model.aclose()

    return asyncio.run(go())


def test_scores_are_the_forward_passs_in_process_and_behind_a_server(tiny_student: Path) -> None:
    async def work(url: str, model: LocalModel) -> tuple[Completion, Completion]:
        endpoint = Endpoint(EndpointConfig(model="tiny", base_urls=(url,)), secrets={})
        try:
            assert endpoint.traits.scores
            chat = chat_request((Message(role="user", content="2 + 2?"),), Sampling(max_tokens=9))
            at_once = await asyncio.gather(
                model.complete(score()),
                endpoint.complete(score()),
                *(endpoint.complete(chat) for _ in range(3)),
            )
            return at_once[0], at_once[1]
        finally:
            await endpoint.aclose()

    local, served = ask(work, tiny_student)
    model = AutoModelForCausalLM.from_pretrained(tiny_student)
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_student)
    with torch.no_grad():
        logits = model(torch.tensor([[*PROMPT, *RESPONSE]])).logits[0]
    expected = logits[len(PROMPT) - 1 : -1].log_softmax(1)
    assert (served.usage.tokens_in, served.usage.tokens_out) == (7, 0)
    for reply in (local, served):
        scores = read_scores(reply.text)
        assert [found.top[0][0] for found in scores] == list(RESPONSE)
        assert [found.text for found in scores] == [tokenizer.decode([t]) for t in RESPONSE]
        for place, found in enumerate(scores):
            for token, value in found.top:
                assert value == pytest.approx(float(expected[place, token]), abs=1e-5)
            likeliest = expected[place].topk(4).indices.tolist()
            assert {token for token, _ in found.top} == {RESPONSE[place], *likeliest}
    assert read_scores(local.text) == read_scores(served.text)


def post(path: str, body: Any) -> bytes:
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: localhost", "connection: close"]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


ODD: dict[str, Any] = {
    "prompt": [None, 5, [], [1], [1, "2"], [1, True], [1, 2.5], "", ["a text"], [[1, 2]]],
    "prompt_logprobs": [None, -1, 101, 2**70, "5", 1.5, True],
    "max_tokens": [-1, 2, "1", 0.5],
    "stream": [True, "yes"],
    "n": [2],
}


def test_odd_scoring_requests_get_a_400_that_names_the_parameter(tiny_student: Path) -> None:
    good = {"prompt": [3, 5, 8], "prompt_logprobs": 2}

    async def work(url: str, model: LocalModel) -> None:
        port = int(url.rpartition(":")[2].split("/")[0])

        async def reply(**changes: Any) -> tuple[int, Any]:
            return await send(port, post("/v1/completions", good | changes))

        for param, values in ODD.items():
            for value in values:
                status, answer = await reply(**{param: value})
                assert (status, answer["error"]["param"]) == (400, param), (param, value, answer)
        context = model.traits.context
        assert context is not None
        for prompt, why in (
            ([3] * (context + 1), f"{context:,} at most"),
            ([3, 10**6], "the prompt has the token 1000000, and the model's are 0 to"),
            ([3, -1], "the prompt has the token -1"),
            ("x", "a text to score has two tokens at least"),
        ):
            status, answer = await reply(prompt=prompt)
            assert status == 400
            assert why in answer["error"]["message"]
        status, answer = await reply(max_tokens=0)
        assert status == 200
        listed = answer["choices"][0]["prompt_logprobs"]
        assert [listed[0], len(listed)] == [None, 3]
        assert {entry["rank"] for entry in listed[1].values()} >= {1, 2}
        assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 0, "total_tokens": 3}
        tokens = AutoTokenizer.from_pretrained(tiny_student)("Add 2 and 3.")["input_ids"]
        _, as_text = await reply(prompt="Add 2 and 3.")
        _, as_tokens = await reply(prompt=tokens)
        assert as_text["choices"] == as_tokens["choices"]

    ask(work, tiny_student)


def test_a_model_that_cannot_score_says_so() -> None:
    async def go() -> tuple[int, Any]:
        student: Any = Student()
        async with chat_server(student) as url:
            port = int(url.rpartition(":")[2].split("/")[0])
            return await send(port, post("/v1/completions", {"prompt": [1, 2]}))

    status, reply = asyncio.run(go())
    assert (status, reply["error"]["message"]) == (
        400,
        "prompt_logprobs: student cannot score a text",
    )


def test_a_server_without_scores_is_named_once_and_for_all() -> None:
    scoring = Scoring(prompt=(1,), response=(2,), top=2)
    plain = b'{"choices": [{"text": "4", "finish_reason": "length"}], "usage": {}}'
    with pytest.raises(CompleterError, match="does not score a given text: its reply has no") as e:
        parse_scores(plain, scoring)
    assert e.value.fatal

    def reply(*listed: Any) -> bytes:
        return json.dumps({"choices": [{"prompt_logprobs": listed}]}).encode()

    found = parse_scores(
        # As vLLM writes it: its own token need not be among the likeliest.
        reply(
            None,
            {
                "2": {"logprob": -3.5, "rank": 40, "decoded_token": " two"},
                "7": {"logprob": -0.1, "rank": 1, "decoded_token": " seven"},
                "9": {"logprob": -9999.0, "rank": 2, "decoded_token": None},
            },
        ),
        scoring,
    )
    expected = [TokenScores(" two", ((2, -3.5), (7, -0.1), (9, -9999.0)))]
    assert read_scores(found.text) == expected
    assert read_scores(written_scores(expected)) == expected
    for bad in (
        reply(None),
        reply(None, None),
        reply(None, {"7": {"logprob": -0.1}}),
        reply(None, {"2": {"logprob": None}}),
        reply(None, {"2": {"logprob": 0.5}}),
        b'{"error": {"message": "no such model", "code": 404}}',
    ):
        with pytest.raises(CompleterError):
            parse_scores(bad, scoring)


def test_the_tokens_of_a_text_are_part_of_the_calls_identity() -> None:
    messages, sampling = as_sent(score())
    assert messages[0].content == "some text"
    assert sampling.extra == {"prompt": [[3, 5, 8, 13], [21, 34, 55]], "prompt_logprobs": 4}
    other = scoring_request((3, 5, 8), (13, 21, 34, 55), top=4, text="some text")
    assert len({attempt_id(one, "m") for one in (score(), score(5), other)}) == 3
    assert prompt_bound(score()) == 7
