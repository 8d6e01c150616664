"""Endpoints over real HTTP: the replay server, the openai SDK as client, and faulty servers."""

import asyncio
import gc
import json
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest

from orcinus.core.errors import CompleterError, ConfigError
from orcinus.core.requests import chat_request
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Completion, Message, Messages, Sampling, Usage
from orcinus.models.recorded import Recordings, Replay
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig, Limits, Price
from orcinus.models.remote.limits import InFlight
from orcinus.models.remote.wire import Patience, parse_duration
from orcinus.models.server.chat_api import chat_server
from orcinus.models.server.sockets import socket_server
from orcinus.runs.ledger_records import request_record
from orcinus.strategies.library import built_in
from orcinus.strategies.prompts import built_in_strategy_of

REPLAY = Replay(
    Recordings(
        {"direct": {"2 + 2?": "4"}, "step_by_step": {"2 + 2?": "One more than 3. The answer is 4."}}
    ),
    model="m",
)
QUESTION: Messages = (
    Message(role="system", content=built_in()["step_by_step"].system),
    Message(role="user", content="2 + 2?"),
)
QUICK = Patience(tries=3, first_pause_s=0.01)


pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(autouse=True, scope="module")
def _ignore_half_open_connections() -> Iterator[None]:
    """Ignore connections accepted but never served: Python 3.11 cannot wait for them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def endpoint(url: str, **config: Any) -> Endpoint:
    return Endpoint(
        EndpointConfig(model="m", base_urls=(url,), **{"patience": QUICK, **config}), secrets={}
    )


async def complete(model: Endpoint, messages: Messages = QUESTION) -> Completion:
    try:
        return await model.complete(chat_request(messages, Sampling(max_tokens=50)))
    finally:
        await model.aclose()


def test_recorded_answers_over_http() -> None:
    async def go() -> Completion:
        async with chat_server(REPLAY, strategy_of=built_in_strategy_of) as url:
            return await complete(endpoint(url, price=Price(input=1.0, output=2.0)))

    found = asyncio.run(go())
    assert found.text == "One more than 3. The answer is 4."
    assert found.finish == "stop"
    assert found.usage.tokens_out > 0
    assert found.cost_usd == pytest.approx(
        (found.usage.tokens_in + 2 * found.usage.tokens_out) / 1e6
    )


def test_the_openai_sdk_works_against_the_replay_server_unchanged() -> None:
    async def go() -> tuple[str, str, list[str]]:
        async with chat_server(REPLAY, strategy_of=built_in_strategy_of) as url:
            client = openai.AsyncOpenAI(base_url=url, api_key="none")
            messages: Any = [{"role": m.role, "content": m.content} for m in QUESTION]
            plain = await client.chat.completions.create(model="m", messages=messages)
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            parts = [
                chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices
            ]
            models = [model.id async for model in client.models.list()]
            with pytest.raises(openai.BadRequestError):
                await client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "?"}]
                )
            await client.close()
            return plain.choices[0].message.content or "", "".join(parts), models

    plain, streamed, models = asyncio.run(go())
    assert plain == streamed == "One more than 3. The answer is 4."
    assert models == ["m"]


def test_an_unrecorded_question_is_a_permanent_error() -> None:
    async def go() -> None:
        async with chat_server(REPLAY, strategy_of=built_in_strategy_of) as url:
            await complete(endpoint(url), (Message(role="user", content="3 + 3?"),))

    with pytest.raises(CompleterError) as caught:
        asyncio.run(go())
    assert caught.value.permanent


def test_a_server_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(
        CompleterError,
        match=r"cannot connect to http://127\.0\.0\.1:9/v1/.*: connection refused \(is the server",
    ):
        asyncio.run(complete(endpoint("http://127.0.0.1:9/v1")))


def test_a_missing_key_is_named_before_any_call() -> None:
    with pytest.raises(ConfigError, match="TEACHER_KEY"):
        endpoint("http://127.0.0.1:9/v1", api_key_env="TEACHER_KEY")


Script = list[tuple[int, dict[str, str], bytes]]
OK = json.dumps(
    {
        "choices": [{"message": {"content": "4"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 1},
    }
).encode()


async def scripted(script: Script, use: Callable[[str], Awaitable[Any]]) -> tuple[Any, list[bytes]]:
    """Serve scripted replies in order, then the last one for ever; return the bodies received."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if b"content-length" in line
            )
            asked.append(head + await reader.readexactly(length))
            status, headers, body = script[min(len(asked), len(script)) - 1]
            lines = [
                f"HTTP/1.1 {status} X",
                f"content-length: {len(body)}",
                *(f"{k}: {v}" for k, v in headers.items()),
            ]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            await writer.drain()

    async with socket_server(serve) as port:
        return await use(f"http://127.0.0.1:{port}/v1"), asked


def test_a_busy_server_gets_a_retry_after_the_pause_it_asked_for() -> None:
    script: Script = [(429, {"retry-after": "0"}, b"{}"), (503, {}, b"oops"), (200, {}, OK)]
    found, asked = asyncio.run(scripted(script, lambda url: complete(endpoint(url))))
    assert found.text == "4"
    assert found.usage.tokens_in == 7
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("status", "body", "fatal"),
    [
        (401, b'{"error": {"message": "bad key"}}', True),
        (400, b'{"error": {"message": "too long"}}', False),
    ],
)
def test_errors_that_a_retry_cannot_fix_are_not_retried(
    status: int, body: bytes, fatal: bool
) -> None:
    async def go(url: str) -> CompleterError:
        with pytest.raises(CompleterError) as caught:
            await complete(endpoint(url))
        return caught.value

    error, asked = asyncio.run(scripted([(status, {}, body)], go))
    assert (error.permanent, error.fatal, len(asked)) == (True, fatal, 1)


def test_the_key_is_sent_and_never_shown() -> None:
    async def go(url: str) -> CompleterError:
        config = EndpointConfig(model="m", base_urls=(url,), api_key_env="KEY", patience=QUICK)
        model = Endpoint(config, secrets={"KEY": "sk-very-secret"})
        assert "sk-very-secret" not in repr(model.config)
        with pytest.raises(CompleterError) as caught:
            await complete(model)
        return caught.value

    error, asked = asyncio.run(
        scripted([(401, {}, b'{"error": {"message": "wrong key sk-very-secret"}}')], go)
    )
    assert b"Bearer sk-very-secret" in asked[0]
    assert "sk-very-secret" not in str(error)


def test_an_unreadable_reply_is_an_error() -> None:
    for body in (b"", b"<html>", b'{"choices": []}', b"[1]"):

        async def go(url: str) -> None:
            with pytest.raises(CompleterError):
                await complete(endpoint(url, limits=Limits(in_flight=2)))

        asyncio.run(scripted([(200, {}, body)], go))


def test_a_server_without_requests_left_rests_until_its_reset() -> None:
    used_up = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "300ms"}

    async def go(url: str) -> float:
        model = endpoint(url)
        await model.complete(chat_request(QUESTION, Sampling()))
        start = time.monotonic()
        await model.complete(chat_request(QUESTION, Sampling()))
        await model.aclose()
        return time.monotonic() - start

    waited, asked = asyncio.run(scripted([(200, used_up, OK), (200, {}, OK)], go))
    assert waited >= 0.25
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360.0), ("1.5s", 1.5), ("20ms", 0.02), ("3", 3.0), ("1h2m", 3720.0), ("soon", 0.0)],
)
def test_durations_in_the_formats_of_servers(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


def test_a_body_that_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orcinus.models.remote.wire.MAX_BODY_BYTES", 100_000)
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while sent < 50_000_000:
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            sent += 10_000
            await writer.drain()

    async def go() -> None:
        async with socket_server(serve) as port:
            await complete(endpoint(f"http://127.0.0.1:{port}/v1", patience=Patience(tries=1)))

    with pytest.raises(CompleterError, match="longer than"):
        asyncio.run(go())
    assert sent < 50_000_000


def test_samples_of_one_question_share_a_call_and_its_prompt() -> None:
    choices = [
        {"message": {"content": text}, "finish_reason": "stop"} for text in ("four", "4", "it is 4")
    ]
    reply = json.dumps(
        {"choices": choices, "usage": {"prompt_tokens": 90, "completion_tokens": 31}}
    ).encode()

    async def ask(url: str) -> list[Completion | BaseException]:
        model = endpoint(url, choices_per_call=3)
        unseeded = Sampling(temperature=1.0, max_tokens=50)
        found = await asyncio.gather(
            *(model.complete(chat_request(QUESTION, unseeded)) for _ in range(4)),
            return_exceptions=True,
        )
        await model.aclose()
        return found

    found, asked = asyncio.run(scripted([(200, {}, reply)], ask))
    assert [item.text for item in found] == ["four", "4", "it is 4", "four"]
    assert sum(item.usage.tokens_in for item in found[:3]) == 90
    assert sum(item.usage.tokens_out for item in found[:3]) == 31
    assert sorted(json.loads(body.partition(b"\r\n\r\n")[2])["n"] for body in asked) == [1, 3]


def test_additional_choices_are_ignored() -> None:
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in ("four", "five")]
    reply = json.dumps(
        {"choices": choices, "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    ).encode()
    found, _ = asyncio.run(scripted([(200, {}, reply)], lambda url: complete(endpoint(url))))
    assert (found.text, found.usage.tokens_out) == ("four", 4)


def test_missing_choices_are_errors_of_their_samples_alone() -> None:
    async def ask(url: str) -> list[Completion | BaseException]:
        model = endpoint(url, choices_per_call=2)
        found = await asyncio.gather(
            *(model.complete(chat_request(QUESTION, Sampling(max_tokens=50))) for _ in range(2)),
            return_exceptions=True,
        )
        await model.aclose()
        return found

    (first, second), _ = asyncio.run(scripted([(200, {}, OK)], ask))
    assert first.text == "4"
    assert isinstance(second, CompleterError)
    assert "asked for 2 choices, got 1" in str(second)

    (first, second), asked = asyncio.run(scripted([(400, {}, b"{}")], ask))
    assert isinstance(first, CompleterError)
    assert isinstance(second, CompleterError)
    assert len(asked) == 1


def test_the_rate_is_learned_from_the_server_s_remaining_requests() -> None:
    headers = {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "5.8s",
    }

    async def ask(url: str) -> float:
        model = endpoint(url)
        await model.complete(chat_request(QUESTION, Sampling(max_tokens=50)))
        started = time.monotonic()
        await asyncio.gather(
            *(model.complete(chat_request(QUESTION, Sampling(max_tokens=50))) for _ in range(6))
        )
        await model.aclose()
        return time.monotonic() - started

    # The bucket fills at 10 a second: two of six calls fit at once, the last one 0.4 s later.
    seconds, asked = asyncio.run(scripted([(200, headers, OK)], ask))
    assert len(asked) == 7
    assert seconds >= 0.35


def test_calls_in_flight_grow_while_answers_stay_fast_and_halve_when_refused() -> None:
    calls = InFlight(64)
    calls.record_refusal()
    assert calls.limit == 32
    for _ in range(500):
        calls.record_answer(0.01)
    grown = calls.limit
    assert 38 < grown < 64
    for _ in range(500):
        calls.record_answer(0.05)
    assert calls.limit - grown < 2


def test_a_redirect_is_not_followed_and_no_key_reaches_another_host() -> None:
    got: list[bytes] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))

    async def go() -> list[str]:
        errors = []
        async with socket_server(other) as port:
            for status in (301, 302, 303, 307, 308):
                target = f"http://localhost:{port}/v1/chat/completions"

                async def use(url: str) -> CompleterError:
                    config = EndpointConfig(
                        model="m",
                        base_urls=(url,),
                        secret_headers_env={"x-api-key": "KEY"},
                        patience=QUICK,
                    )
                    model = Endpoint(config, secrets={"KEY": "very-secret-key"})
                    with pytest.raises(CompleterError) as caught:
                        await complete(model)
                    return caught.value

                error, _ = await scripted([(status, {"location": target}, b"")], use)
                assert error.fatal
                errors.append(str(error))
        return errors

    errors = asyncio.run(go())
    assert got == []
    assert all("set teacher.base_urls: [http://localhost:" in error for error in errors)


@pytest.mark.parametrize("silence", [{"silence_s": 0.1}, {"total_s": 0.1}])
def test_silence_is_a_timeout_and_does_not_mark_the_server_as_dead(silence: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async def go() -> CompleterError:
        async with socket_server(serve) as port:
            url = f"http://127.0.0.1:{port}/v1"
            model = endpoint(url, patience=Patience(tries=1, **silence))
            with pytest.raises(CompleterError) as caught:
                await complete(model)
            return caught.value

    error = asyncio.run(go())
    assert error.kind == "timeout"
    assert "patience." + next(iter(silence)) in str(error)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("127.0.0.1:8765/v1", "write http://127.0.0.1:8765/v1"),
        ("localhost:1/v1", "write http://localhost:1/v1"),
        ("api.openai.com/v1", "write https://api.openai.com/v1"),
        ("ftp://h/v1", "write https://h/v1"),
        ("http:///v1", "names no host"),
        ("https://h/v1/chat/completions/", "write https://h/v1"),
    ],
)
def test_a_wrong_base_url_says_how_to_write_it(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        EndpointConfig(model="m", base_urls=(url,))


@pytest.mark.parametrize(
    "key", ["sk-abcdefgh", "gsk_ABCdef123", "hf_abcdefgh", "Bearer abc", "Zk3vQ9sLm2Xw8Rt5Yp1B"]
)
def test_a_pasted_key_is_not_shown(key: str) -> None:
    for setting in ({"api_key_env": key}, {"secret_headers_env": {"x-api-key": key}}):
        with pytest.raises(ValueError, match="a pasted key") as caught:
            EndpointConfig(model="m", base_urls=("http://h/v1",), **setting)
        assert key not in str(caught.value.errors()[0]["msg"])  # type: ignore[attr-defined]


def test_what_a_model_refuses_is_not_sent_and_is_part_of_its_identity() -> None:
    request = chat_request(QUESTION, Sampling(max_tokens=50, seed=1))
    plain = endpoint("http://h/v1")
    without = endpoint("http://h/v1", omit=("temperature", "seed"), revision="may")
    assert {"temperature", "seed"} <= set(plain.body(request))
    assert {"temperature", "seed"}.isdisjoint(without.body(request))
    assert (plain.model, without.model) == ("m", "m@may (without seed, temperature)")


def test_a_step_can_send_no_temperature() -> None:
    for given, sent in ((0.0, True), (None, False)):
        sampling = SamplingConfig(temperature=given).sampling(0, 0)
        request = chat_request(QUESTION, sampling)
        assert ("temperature" in endpoint("http://h/v1").body(request)) == sent
        assert (request_record(request, "m")["sampling"]["temperature"] is not None) == sent


@pytest.mark.parametrize(
    "place",
    [
        "src/orcinus/pipeline/scaffold.yaml",
        "docs/tutorial.md",
        "docs/teachers.md",
        "src/orcinus/models/remote/endpoint.py",
        "src/orcinus/pipeline/recipe.py",
    ],
)
def test_the_shipped_examples_name_the_keys_that_their_model_needs(place: str) -> None:
    text = (Path(__file__).parents[2] / place).read_text(encoding="utf-8")
    example = text[text.index("gpt-5-mini") :][:700]
    assert "max_tokens_field: max_completion_tokens" in example
    assert "omit: [temperature]" in example


def test_a_priced_completion_keeps_all_that_was_parsed() -> None:
    parsed = Completion(
        text="4", finish="stop", usage=Usage(tokens_in=7, tokens_out=2), reasoning="2 + 2",
        logprobs=(-0.5,), token_bytes=(1,), unknown_finish="done",
    )  # fmt: skip
    config = EndpointConfig(
        model="m", base_urls=("http://localhost/v1",), price=Price(input=1.0, output=2.0)
    )
    found = Endpoint(config, secrets={}).priced(parsed, 2.0, factor=0.5, source="http://a")
    assert found == replace(parsed, cost_usd=5.5e-6, latency_s=2.0, source="http://a")
