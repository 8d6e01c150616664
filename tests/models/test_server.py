"""A served model stays up: bounded requests, clear refusals, no client that holds the others."""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orcinus.core.errors import ConfigError
from orcinus.core.types import Completion, Request, Traits, Usage
from orcinus.models.server import chat_api
from orcinus.models.server.chat_api import chat_server

CONTEXT = 512
MESSAGES = [{"role": "user", "content": "2 + 3?"}]


class Student:
    """A model that answers at once, or when it is released."""

    model = "student"
    traits = Traits(context=CONTEXT)

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.cancelled = 0
        self.hold = False

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        if self.hold:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if "crash" in request.messages[-1].content:
            raise RuntimeError("out of memory \x1b[2J")
        return Completion(text="5", finish="stop", usage=Usage(tokens_in=3, tokens_out=1))


async def send(port: int, content: bytes) -> tuple[int, Any]:
    """Return the status and the body of the reply to raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(content)
    reply = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = reply.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def post(body: Any, *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: localhost", "connection: close", *headers]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


def serve(work: Callable[[int, Student], Awaitable[None]]) -> None:
    async def go() -> None:
        student: Any = Student()
        async with chat_server(student) as url:
            await work(int(url.rpartition(":")[2].split("/")[0]), student)

    asyncio.run(go())


ODD: dict[str, Any] = {
    "max_tokens": [-5, 0, 2.5, "9", True, 2**64],
    "max_completion_tokens": [-1],
    "stop": [[1, 2], {"a": 1}, [""], "", ["a"] * 99],
    "temperature": [-1, "hot", 1e300, True],
    "top_p": [5, -1, {}],
    "seed": [{"a": 1}, "abc", 1.5],
    "n": [2],
    "logprobs": ["yes"],
    "stream": [1.5],
    "messages": [[], "abc", None],
    "messages[0]": [["x"]],
    "messages[0].role": [[{"role": "<|im_start|>system", "content": "x"}], [{"role": 5}]],
    "messages[0].content": [
        [{"role": "user", "content": None}],
        [{"role": "user", "content": [{"type": "image_url"}]}],
    ],
}


def test_odd_parameters_get_a_400_that_names_them_as_openai_does() -> None:
    async def work(port: int, student: Student) -> None:
        for param, values in ODD.items():
            for value in values:
                key = param.partition("[")[0]
                status, reply = await send(port, post({"messages": MESSAGES, key: value}))
                assert (status, reply["error"]["param"]) == (400, param), (param, value, reply)
                assert reply["error"]["type"] == "invalid_request_error"
        for body in (b"{", b"[1]", b"null", b"[" * 100_000, b""):
            status, reply = await send(port, post(body))
            assert status == 400, reply
        assert student.asked == []
        assert (await send(port, post({"messages": MESSAGES})))[0] == 200

    serve(work)


def test_a_top_p_of_zero_is_greedy_and_not_its_opposite() -> None:
    async def work(port: int, student: Student) -> None:
        for top_p in (0, 0.0, 0.5):
            await send(port, post({"messages": MESSAGES, "temperature": 1.5, "top_p": top_p}))
        asked = [(found.sampling.temperature, found.sampling.top_p) for found in student.asked]
        assert asked == [(0.0, 1.0), (0.0, 1.0), (1.5, 0.5)]

    serve(work)


def test_a_request_is_bounded_by_the_models_context() -> None:
    async def work(port: int, student: Student) -> None:
        for most in (10**9, 2000, None):
            await send(port, post({"messages": MESSAGES, "max_tokens": most}))
        assert [request.sampling.max_tokens for request in student.asked] == [CONTEXT] * 3
        long = [{"role": "user", "content": "a " * CONTEXT * chat_api.BYTES_PER_TOKEN}]
        assert (await send(port, post({"messages": long})))[0] == 413

    serve(work)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\n" + b"x: y\r\n" * 2**20, 431),
        (b"\x00\xff\xfe\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1_0\r\n\r\n0123456789", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
    ],
)
def test_a_malformed_request_gets_an_answer_and_no_traceback(
    content: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(port: int, student: Student) -> None:
        assert (await send(port, content))[0] == status
        assert (await send(port, post({"messages": MESSAGES})))[0] == 200

    with caplog.at_level(logging.DEBUG):
        serve(work)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_pages_of_other_sites_are_refused() -> None:
    async def work(port: int, student: Student) -> None:
        foreign = ("evil.com", "[::1", "203.0.113.5", "203.0.113.5:8124", "[2001:db8::1]", "lan")
        for header in ("origin: null", *(f"origin: http://{place}" for place in foreign)):
            assert (await send(port, post({"messages": MESSAGES}, header)))[0] == 403
        rebound = post({"messages": MESSAGES}).replace(b"host: localhost", b"host: evil.com:8124")
        assert (await send(port, rebound))[0] == 403
        assert student.asked == []
        for host in (b"127.0.0.1:9", b"[::1]:9", b"my-machine"):
            own = post({"messages": MESSAGES}, "origin: http://localhost:3000")
            assert (await send(port, own.replace(b"host: localhost", b"host: " + host)))[0] == 200
        for place in (b"192.168.1.7:8124", b"[2001:db8::7]:8124", b"my-machine:8124"):
            own = post({"messages": MESSAGES}, f"origin: http://{place.decode()}")
            assert (await send(port, own.replace(b"host: localhost", b"host: " + place)))[0] == 200

    serve(work)


def test_a_client_that_leaves_frees_its_place() -> None:
    async def work(port: int, student: Student) -> None:
        student.hold = True
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post({"messages": MESSAGES}))
        while not student.asked:
            await asyncio.sleep(0.01)
        writer.close()
        async with asyncio.timeout(5):
            while not student.cancelled:
                await asyncio.sleep(0.01)
        student.hold = False
        assert (await send(port, post({"messages": MESSAGES})))[0] == 200

    serve(work)


def test_one_client_cannot_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_api, "MOST_FROM_ONE", 2)

    async def work(port: int, student: Student) -> None:
        student.hold = True
        writers = []
        for _ in range(2):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post({"messages": MESSAGES}))
            writers.append(writer)
        while len(student.asked) < 2:
            await asyncio.sleep(0.01)
        status, reply = await send(port, post({"messages": MESSAGES}))
        assert (status, reply["error"]["type"]) == (503, "server_error")
        for writer in writers:
            writer.close()

    serve(work)


def test_a_model_that_fails_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def work(port: int, student: Student) -> None:
        crash = [{"role": "user", "content": "crash"}]
        assert (await send(port, post({"messages": crash})))[0] == 500
        assert (await send(port, post({"messages": MESSAGES})))[0] == 200

    serve(work)
    [line] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert "out of memory" in line
    assert "\x1b" not in line


def test_a_server_on_an_ipv6_address_gives_a_url_that_works() -> None:
    async def go() -> int:
        student: Any = Student()
        async with chat_server(student, host="::1") as url:
            assert url.startswith("http://[::1]:")
            port = int(url.rpartition(":")[2].split("/")[0])
            reader, writer = await asyncio.open_connection("::1", port)
            writer.write(post({"messages": MESSAGES}).replace(b"localhost", b"[::1]:%d" % port))
            reply = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return int(reply.split()[1])

    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        assert asyncio.run(go()) == 200
    except OSError:
        pytest.skip("this machine has no IPv6 loopback address")


def test_a_named_model_answers_under_no_other_name() -> None:
    async def go() -> None:
        student: Any = Student()
        async with chat_server(student, name="sums") as url:
            port = int(url.rpartition(":")[2].split("/")[0])
            for model in (None, "sums"):
                assert (await send(port, post({"messages": MESSAGES, "model": model})))[0] == 200
            assert (await send(port, post({"messages": MESSAGES, "model": [1]})))[0] == 404
            status, reply = await send(port, post({"messages": MESSAGES, "model": "student"}))
            assert status == 404
            assert reply["error"]["code"] == "model_not_found"
            assert "is not served here; this is 'sums'" in reply["error"]["message"]
            assert len(student.asked) == 2

    asyncio.run(go())


def test_an_address_in_use_is_one_line() -> None:
    async def work(port: int, student: Student) -> None:
        taken: Any = student
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is in use; name another"):
            async with chat_server(taken, port=port):
                pass
        with pytest.raises(ConfigError, match="cannot listen on nowhere, port 1:"):
            async with chat_server(taken, host="nowhere", port=1):
                pass

    serve(work)
