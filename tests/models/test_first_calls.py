"""The first calls of a step to a remote model, and errors that remember their settings."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orcinus.core.errors import BudgetError, CompleterError
from orcinus.core.types import Example, Judged, Message, Remote, Request, Sampling
from orcinus.models import first_calls
from orcinus.models.attempts import attempt_all
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.wire import Patience
from orcinus.models.server.sockets import socket_server
from orcinus.runs.ledger import Ledger
from orcinus.verifiers.verify import by_answer_type

Answer = Callable[[dict[str, Any], bytes], tuple[int, Any]]
"""Takes the body and the head of a call; returns the status and the content of the reply."""


def ok(text: str = "4", finish: Any = "stop") -> tuple[int, Any]:
    choice = {"message": {"content": text}, "finish_reason": finish}
    return 200, {"choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}


def refused(status: int, message: str, code: str = "") -> tuple[int, Any]:
    return status, {"error": {"message": message, "code": code}}


class Teacher:
    """A server on loopback, and the runs that ask it."""

    def __init__(self, folder: Path) -> None:
        self.calls: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.in_flight = self.most_in_flight = 0
        self._ledger = folder / "ledger.sqlite"

    def ask(self, answer: Answer, count: int = 20, run: str = "r", **config: Any) -> list[Judged]:
        """Ask ``count`` questions, and forget the calls and notes of the time before."""
        self.calls.clear()
        self.notes.clear()
        return asyncio.run(self._ask(answer, count, run, config))

    async def _ask(
        self, answer: Answer, count: int, run: str, config: dict[str, Any]
    ) -> list[Judged]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                self.calls.append(body)
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                await asyncio.sleep(0.005)
                self.in_flight -= 1
                status, said = answer(body, head)
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode()
                )
                writer.write(content)
                await writer.drain()

        async with socket_server(serve) as port:
            settings = {
                "model": "m",
                "base_urls": (f"http://127.0.0.1:{port}/v1",),
                "patience": Patience(tries=2, first_pause_s=0.001),
                **config,
            }
            model = Endpoint(EndpointConfig(**settings), secrets={"KEY": "0123456789"})
            # The port differs from run to run, so that is kept out of what the settings are.
            model._remote = Remote(
                addresses=model._remote.addresses,
                settings=json.dumps([config, model.body(request(0))], default=str),
                refusals=model._remote.refusals,
            )
            try:
                with Ledger(self._ledger, note=self.notes.append) as ledger:
                    found = attempt_all(
                        [request(number) for number in range(count)],
                        model,
                        ledger=ledger,
                        verify=by_answer_type,
                        run=run,
                        step="teach",
                        concurrency=16,
                    )
                    return [judged async for judged in found]
            finally:
                await model.aclose()


def request(number: int) -> Request:
    example = Example(
        id=str(number), task="t", prompt=f"{number}?", answer_type="number", reference="4"
    )
    messages = (Message(role="user", content=example.prompt),)
    return Request(
        example=example, strategy="direct", messages=messages, sampling=Sampling(max_tokens=9)
    )


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    return Teacher(tmp_path)


def is_new(body: dict[str, Any]) -> bool:
    return "max_completion_tokens" in body


def test_one_call_goes_first_and_all_others_after_its_answer(teacher: Teacher) -> None:
    in_flight: list[int] = []

    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        in_flight.append(teacher.in_flight)
        return ok()

    teacher.ask(answer)
    assert len(teacher.calls) == 20
    assert in_flight[0] == 0
    assert teacher.most_in_flight > 8


def test_a_step_after_another_one_makes_no_first_call_unless_the_answers_are_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Endpoint(EndpointConfig(model="m", base_urls=("http://h/v1",)), secrets={})
    probe = first_calls.first_calls(model, "r", "probe")
    assert probe.enter_now()
    assert not probe.enter_now()
    assert not _goes_at_once(first_calls.first_calls(model, "r", "teach"))
    probe.record(None)
    assert _goes_at_once(first_calls.first_calls(model, "r", "select"))
    monkeypatch.setattr(first_calls, "ANSWERS_FOR_S", 0.0)
    assert not _goes_at_once(first_calls.first_calls(model, "r", "curate"))


def _goes_at_once(calls: first_calls.FirstCalls) -> bool:
    """Return whether two calls can be made before the first one is answered."""
    return calls.enter_now() and calls.enter_now()


def test_a_refused_parameter_stops_after_one_call_and_the_mended_recipe_works(
    teacher: Teacher,
) -> None:
    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        if is_new(body):
            return ok()
        said = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        return refused(400, said, "unsupported_parameter")

    with pytest.raises(CompleterError, match=r"teacher\.max_tokens_field: max_completion_tokens"):
        teacher.ask(answer)
    assert len(teacher.calls) == 1
    found = teacher.ask(answer, max_tokens_field="max_completion_tokens")
    assert [judged.verdict.value for judged in found] == [1.0] * 20


@pytest.mark.parametrize(
    "reply",
    [
        refused(401, "bad key"),
        refused(403, "no"),
        refused(402, "Insufficient Balance"),
        refused(404, "Not Found"),
        refused(429, "You exceeded your current quota", "insufficient_quota"),
        refused(503, "down"),
        refused(429, "slow down"),
        (200, b"<html>Sign in</html>"),
        (200, {"error": {"code": 402, "message": "top up"}}),
    ],
)
def test_a_server_that_answers_nothing_stops_the_step_at_its_first_call(
    teacher: Teacher, reply: tuple[int, Any]
) -> None:
    with pytest.raises(CompleterError):
        teacher.ask(lambda body, head: reply)
    assert len(teacher.calls) <= 2
    found = teacher.ask(lambda body, head: ok())
    assert all(judged.verdict.value == 1.0 for judged in found)


def test_a_request_that_alone_is_forbidden_is_its_own_error_and_is_not_asked_again(
    teacher: Teacher,
) -> None:
    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        alone = body["messages"][-1]["content"] == "7?"
        return refused(403, "not for you") if alone else ok()

    found = teacher.ask(answer)
    assert [judged.attempt.error is not None for judged in found] == [n == 7 for n in range(20)]
    assert found[7].attempt.permanent
    teacher.ask(answer)
    assert teacher.calls == []


def test_a_key_that_loses_its_rights_stops_the_step_and_nothing_is_remembered(
    teacher: Teacher,
) -> None:
    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        return ok() if len(teacher.calls) <= 16 else refused(403, "no rights")

    with pytest.raises(CompleterError, match="no rights"):
        teacher.ask(answer, count=200)
    assert len(teacher.calls) < 60


def test_eight_times_the_same_error_stops_the_step_and_is_asked_again(teacher: Teacher) -> None:
    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        number = len(teacher.calls)
        return refused(400, f"no, said request req_{number}a at {number}")

    for _ in range(2):  # the second time, although the errors of the first one are in the ledger
        with pytest.raises(CompleterError, match="the first 8 calls of teach all end so"):
            teacher.ask(answer, 100)
        assert len(teacher.calls) == 8
    assert len(teacher.ask(lambda body, head: ok(), 100)) == 100
    assert len(teacher.calls) == 100


def test_a_server_that_speaks_another_language_is_found_out_after_eight_questions(
    teacher: Teacher,
) -> None:
    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        said = f"It is {body['messages'][0]['content']}, surely"
        return 200, {"type": "message", "content": [{"type": "text", "text": said}]}

    with pytest.raises(CompleterError, match=r"no choices in it.*the first 8 calls of teach"):
        teacher.ask(answer, 100, patience=Patience(tries=6, first_pause_s=0.001))
    assert len(teacher.calls) == 16  # two tries each


def test_a_model_without_a_system_turn_gets_its_system_message_in_the_question() -> None:
    endpoint = Endpoint(
        EndpointConfig(model="m", base_urls=("http://h/v1",), system_role="user"), secrets={}
    )
    asked = request(1)
    messages = (Message(role="system", content="Be brief."), *asked.messages)
    sent = endpoint.body(dataclasses.replace(asked, messages=messages))["messages"]
    assert sent == [{"role": "user", "content": "Be brief.\n\n1?"}]


def test_errors_of_single_requests_do_not_stop_and_are_kept(teacher: Teacher) -> None:
    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        number = int(body["messages"][-1]["content"][:-1])
        return ok() if number >= 5 else refused(400, "too long: the maximum is 4096 tokens")

    found = teacher.ask(answer)
    assert [judged.attempt.error is None for judged in found] == [False] * 5 + [True] * 15
    teacher.ask(answer)
    assert teacher.calls == []


@pytest.mark.parametrize(
    "change",
    [
        {"headers": {"x-project": "a"}},
        {"max_tokens_field": "max_new_tokens"},
        {"api_key_env": "KEY"},
        {"system_role": "developer"},
    ],
)
def test_an_error_is_asked_again_when_the_settings_changed(
    teacher: Teacher, change: dict[str, Any]
) -> None:
    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        return refused(422, "no") if body["messages"][-1]["content"] == "3?" else ok()

    teacher.ask(answer)
    teacher.ask(lambda body, head: ok(), **change)
    assert [body["messages"][-1]["content"] for body in teacher.calls] == ["3?"]


def test_the_hash_of_the_settings_sees_urls_headers_and_keys_and_holds_no_secret() -> None:
    def settings(key: str = "0123456789", **config: Any) -> str:
        given = {"model": "m", "base_urls": ("http://h/v1",), "api_key_env": "KEY", **config}
        remote = Endpoint(EndpointConfig(**given), secrets={"KEY": key}).traits.remote
        assert remote is not None
        return remote.settings

    changed = [
        settings(base_urls=("http://other/v1",)),
        settings(headers={"a": "b"}),
        settings(max_tokens_field="x"),
        settings(choices_per_call=2),
        settings(key="9876543210"),
    ]
    assert settings() == settings()
    assert len({settings(), *changed}) == 6


def test_an_unknown_finish_reason_is_counted_and_shown(teacher: Teacher) -> None:
    teacher.ask(lambda body, head: ok(finish="whatever"), 3)
    assert [note for note in teacher.notes if "3 replies of m ended in 'whatever'" in note]


def test_answers_of_another_server_or_an_earlier_day_are_noted_once(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher.ask(lambda body, head: ok())
    assert teacher.notes == []
    teacher.ask(lambda body, head: ok())  # the server has another port now
    assert len(teacher.notes) == 1
    assert "at http://127.0.0.1:" in teacher.notes[0]
    assert "--fresh" in teacher.notes[0]


def test_an_old_answer_is_noted_with_its_day() -> None:
    notes: list[str] = []
    remote = Remote(addresses=("http://h/v1",), settings="", refusals=lambda: None)
    calls = first_calls.FirstCalls(remote, "teach", gated=True)

    class Recalled:
        error, source, model = None, "http://h/v1", "m"
        created = time.time() - 3600

    calls.recalled(Recalled, notes.append)  # type: ignore[arg-type]
    assert notes == []
    Recalled.created = 1_700_000_000.0
    calls.recalled(Recalled, notes.append)  # type: ignore[arg-type]
    assert "2023-11-1" in notes[0]


def test_a_line_says_what_is_refused_and_when_it_is_tried_again(
    teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_calls, "FIRST_REPORT_S", 0.05)
    patience = Patience(tries=9, first_pause_s=0.2)

    def answer(body: dict[str, Any], head: bytes) -> tuple[int, Any]:
        return refused(429, "slow down") if len(teacher.calls) < 3 else ok()

    teacher.ask(answer, 2, patience=patience)
    assert teacher.notes
    assert "teach: 429 ×" in teacher.notes[0]
    assert "rate limit, next try in" in teacher.notes[0]


def test_a_call_that_ends_unsent_holds_no_other_call_back() -> None:
    remote = Remote(addresses=("http://h/v1",), settings="", refusals=lambda: None)
    calls = first_calls.FirstCalls(remote, "teach", gated=True)

    async def fail(after: asyncio.Event, message: str) -> None:
        await calls.enter()
        await after.wait()
        calls.record(CompleterError("bad_reply", message))
        calls.leave()

    async def get_no_room(after: asyncio.Event) -> None:
        await calls.enter()
        try:
            await after.wait()
            raise BudgetError("used up")
        finally:
            calls.leave()

    async def go() -> None:
        answered, ended = asyncio.Event(), asyncio.Event()
        answered.set()
        await fail(answered, "odd")
        unsent = asyncio.create_task(get_no_room(ended))
        await asyncio.sleep(0)
        await asyncio.gather(*(fail(answered, "odder " + "x" * n) for n in range(6)))
        waiting = asyncio.create_task(fail(answered, "the eighth"))
        await asyncio.sleep(0)
        ended.set()
        await asyncio.wait_for(waiting, 5)
        assert isinstance((await asyncio.gather(unsent, return_exceptions=True))[0], BudgetError)

    asyncio.run(go())
