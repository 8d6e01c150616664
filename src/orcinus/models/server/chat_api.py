"""A model behind a real HTTP endpoint: recorded outputs for offline runs, or a trained student.

    POST /v1/chat/completions {"messages": [{"role": "user", "content": "2 + 2?"}]}
        →  {"choices": [{"message": {"role": "assistant", "content": "4"}, …}], …}

It speaks enough of the OpenAI chat API for the ``openai`` package to use it unchanged: chat
completions, also as a stream, ``/v1/models``, and errors in OpenAI's format. A local model also
scores a given text, as vLLM does it (``/v1/completions`` with ``prompt_logprobs``). It listens on
this machine alone unless ``host`` says otherwise, and asks for no key.
"""

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from orcinus.core.errors import CompleterError, one_line
from orcinus.core.printing import printable
from orcinus.core.protocols import Completer
from orcinus.core.requests import ANY_STRATEGY, chat_request
from orcinus.core.scoring import read_scores, scoring_request
from orcinus.core.token_bytes import reply_tokens
from orcinus.core.types import Completion, Messages, Request
from orcinus.models.server.http import (
    MAX_HEAD_BYTES,
    Head,
    HttpError,
    linger,
    read_body,
    read_head,
    write,
)
from orcinus.models.server.parameters import flag, messages_of, sampling_of, scoring_of
from orcinus.models.server.sockets import socket_server

MAX_REQUEST_BYTES = 16 * 2**20
"""Bytes of a request, at most."""
BYTES_PER_TOKEN = 256
"""Bytes of a request for each token of the model's context. No longer one can fit: a token has four
bytes on average, and JSON escapes a character with six."""
MOST_BODY_BYTES = 256 * 2**20
"""Bytes of all requests that are being read or answered. Beyond it clients are told to wait."""
MOST_WAITING = 1024
"""Requests that wait or are being answered, as many as the engine of orcinus ever sends."""
MOST_FROM_ONE = 512
"""Of those, the requests from one address: another client finds room."""
LOOK_S = 0.2
"""Seconds between two looks whether the client that waits for an answer has left."""
_log = logging.getLogger("orcinus.serve")


def any_strategy(messages: Messages) -> str:
    """Return the name of no strategy in particular: over HTTP only the text is known."""
    return ANY_STRATEGY


@dataclass(frozen=True, slots=True)
class _ServedModel:
    model: Completer
    name: str
    is_named: bool
    """Requests for a model of another name are refused."""
    before: Messages
    strategy_of: Callable[[Messages], str]
    fingerprint: str | None
    host: str
    """The address that the server listens on."""
    load: "_Load"

    @property
    def longest_body(self) -> int:
        """Bytes of a request, at most."""
        context = self.model.traits.context
        most = MAX_REQUEST_BYTES if context is None else context * BYTES_PER_TOKEN
        return min(MAX_REQUEST_BYTES, max(MAX_HEAD_BYTES, most))


@dataclass(frozen=True, slots=True)
class _ChatRequest:
    """One parsed chat request."""

    request: Request
    stream: bool
    keep_stop: bool
    """The client wants the stop text and outer blanks in the reply."""


@asynccontextmanager
async def chat_server(
    model: Completer,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    name: str | None = None,
    before: Messages = (),
    strategy_of: Callable[[Messages], str] = any_strategy,
    fingerprint: str | None = None,
) -> AsyncIterator[str]:
    """Serve while the block runs.

    Args:
        model: The model that answers.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        name: The model's name for clients, who get no answer under another one. None takes
            ``model.model`` and any name.
        before: Turns that precede a conversation without a system message.
        strategy_of: Finds the strategy of a conversation by its text, for recorded outputs.
        fingerprint: Hash of what decides the answers, which clients make part of the model's
            identity; None publishes none.

    Yields:
        The base URL, up to and including ``/v1``.
    """
    served = _ServedModel(
        model=model,
        name=name or model.model,
        is_named=name is not None,
        before=before,
        strategy_of=strategy_of,
        fingerprint=fingerprint,
        host=host,
        load=_Load(),
    )

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await _answer_one(reader, writer, served):
            pass

    async with socket_server(converse, host=host, port=port, limit=MAX_HEAD_BYTES) as chosen:
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{chosen}/v1"


async def serve_forever(
    model: Completer,
    *,
    host: str,
    port: int,
    on_ready: Callable[[str], None],
    name: str | None = None,
    before: Messages = (),
    strategy_of: Callable[[Messages], str] = any_strategy,
    fingerprint: str | None = None,
) -> None:
    """Serve until cancelled; calls ``on_ready`` with the base URL."""
    try:
        async with chat_server(
            model,
            host=host,
            port=port,
            name=name,
            before=before,
            strategy_of=strategy_of,
            fingerprint=fingerprint,
        ) as url:
            on_ready(url)
            await asyncio.Event().wait()
    finally:
        await model.aclose()


async def _answer_one(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, served: _ServedModel
) -> bool:
    """Answer one request; return False if the connection must be closed."""
    keep = False
    try:
        head = await read_head(reader, served.host)
        keep = head.keeps_connection
        with served.load.admit(_address(writer), min(head.length, served.longest_body)):
            body = await read_body(reader, head, served.longest_body)
            reply, stream = await _route(head, body, served, reader)
        if stream:
            await _send_stream(writer, reply)
        else:
            await _send(writer, 200, reply)
    except HttpError as error:
        await _send(writer, error.status, _format_error(error))
        if error.closes:
            await linger(reader, writer)
            return False
        return keep
    except (ConnectionError, asyncio.IncompleteReadError):
        raise
    except Exception as error:  # noqa: BLE001 (one client must not end the server)
        _log.warning("a request failed: %s", one_line(printable(repr(error)), 300))
        await _send(writer, 500, _format_error(HttpError(500, "the server failed to answer")))
        return False
    return keep


@dataclass(slots=True)
class _Load:
    """The requests that are being read or answered, so that no client can take all the room."""

    body_bytes: int = 0
    waiting: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def admit(self, address: str, body_bytes: int) -> Iterator[None]:
        """Count a request while the block runs.

        Raises:
            HttpError: There is no room for it.
        """
        if (
            self.waiting.total() >= MOST_WAITING
            or self.waiting[address] >= MOST_FROM_ONE
            or self.body_bytes + body_bytes > MOST_BODY_BYTES
        ):
            raise HttpError(503, "the server is busy; try again in a moment").closing()
        self.waiting[address] += 1
        self.body_bytes += body_bytes
        try:
            yield
        finally:
            self.waiting[address] -= 1
            self.body_bytes -= body_bytes
            if not self.waiting[address]:
                del self.waiting[address]


def _address(writer: asyncio.StreamWriter) -> str:
    peer = writer.get_extra_info("peername")
    return str(peer[0]) if peer else ""


async def _route(
    head: Head, body: bytes, served: _ServedModel, reader: asyncio.StreamReader
) -> tuple[dict[str, Any], bool]:
    if head.path == "/v1/models" and head.method == "GET":
        return {
            "object": "list",
            "data": [
                {
                    "id": served.name,
                    "object": "model",
                    "owned_by": "orcinus",
                    "fingerprint": served.fingerprint,
                }
            ],
        }, False
    if head.path not in ("/v1/chat/completions", "/v1/completions"):
        raise HttpError(404, f"there is no {head.path[:100]} here; POST /v1/chat/completions")
    if head.method != "POST":
        raise HttpError(405, f"{head.path} takes POST")
    given = _read_object(body)
    wanted = given.get("model")
    if served.is_named and wanted not in (None, "", served.name):
        message = f"The model {str(wanted)[:100]!r} is not served here; this is {served.name!r}."
        raise HttpError(404, message, param="model", code="model_not_found")
    if head.path == "/v1/completions":
        request = _scoring_request(given, served)
        return _format_scores(served, request, await _complete(request, served, reader)), False
    asked = _parse(given, served)
    completion = await _complete(asked.request, served, reader)
    if asked.request.partial is not None and not asked.keep_stop:
        completion = _without_stop(completion, asked.request.sampling.stop)
    return _format_completion(served, completion), asked.stream


async def _complete(
    request: Request, served: _ServedModel, reader: asyncio.StreamReader
) -> Completion:
    """Return the model's answer, while the client waits for it.

    Raises:
        HttpError: The model refuses the request.
    """
    try:
        return await _while_connected(served.model.complete(request), reader)
    except CompleterError as error:
        # 400 and not 404: the endpoint and the model are there, this question is not.
        raise HttpError(400, str(error)) from error


async def _while_connected(
    answer: Coroutine[Any, Any, Completion], reader: asyncio.StreamReader
) -> Completion:
    """Return the answer; cancel it when the client leaves.

    Raises:
        ConnectionError: The client has left.
    """
    task = asyncio.ensure_future(answer)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_S))[0]:
            if reader.at_eof():
                raise ConnectionResetError("the client has left")
        return task.result()
    finally:
        task.cancel()


def _read_object(body: bytes) -> dict[str, Any]:
    """Read the JSON object of a request.

    Raises:
        HttpError: It is none.
    """
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise HttpError(400, "not a chat request: it must be a JSON object")
    return asked


def _scoring_request(asked: Mapping[str, Any], served: _ServedModel) -> Request:
    """Read one request to score a text.

    Raises:
        HttpError: A parameter is missing or out of its range, or the model cannot score.
    """
    if not served.model.traits.scores:
        raise HttpError(400, f"prompt_logprobs: {served.name} cannot score a text")
    scoring = scoring_of(asked, served.model.traits.context)
    request = scoring_request((), (), top=0, text=scoring.plain or "")
    return replace(request, scoring=scoring)


def _parse(asked: Mapping[str, Any], served: _ServedModel) -> _ChatRequest:
    """Read one chat request.

    Raises:
        HttpError: A parameter is out of its range.
    """
    messages, sampling = messages_of(asked), sampling_of(asked, served.model.traits.context)
    keep_stop = flag(asked, "include_stop_str_in_output")
    partial = "" if keep_stop else None
    if flag(asked, "continue_final_message"):
        messages, partial = _partial_reply(messages, served)
    if messages[0].role not in ("system", "developer"):
        messages = (*served.before, *messages)
    strategy = served.strategy_of(messages)
    return _ChatRequest(
        chat_request(messages, sampling, strategy=strategy, partial=partial),
        stream=flag(asked, "stream"),
        keep_stop=keep_stop,
    )


def _partial_reply(messages: Messages, served: _ServedModel) -> tuple[Messages, str]:
    """Split a conversation from the partial reply that it ends with."""
    *before, last = messages
    if not served.model.traits.continues:
        raise HttpError(400, f"continue_final_message: {served.name} cannot continue a text")
    if last.role != "assistant" or not before:
        raise HttpError(400, "continue_final_message: the last message is not the assistant's")
    return tuple(before), last.content


def _without_stop(completion: Completion, stops: Sequence[str]) -> Completion:
    """Return the completion without the stop text that ended it and without outer blanks."""
    stop = next((stop for stop in stops if completion.text.endswith(stop)), "")
    return replace(completion, text=completion.text.removesuffix(stop).strip())


def _format_completion(served: _ServedModel, completion: Completion) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{time.monotonic_ns():x}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.fingerprint,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": completion.text, "refusal": None},
                "logprobs": None
                if completion.logprobs is None
                else {"content": _format_logprobs(completion)},
                "finish_reason": completion.finish,
            }
        ],
        "usage": _usage_of(completion),
    }


def _format_scores(served: _ServedModel, request: Request, reply: Completion) -> dict[str, Any]:
    """Return scores as vLLM does: nothing for the first token, then a mapping for each.

    The rank of a token that is not among the likeliest ones is not known.
    """
    listed: list[dict[str, Any] | None] = [None]
    most = 0 if request.scoring is None else request.scoring.top
    for text, (own, *others) in read_scores(reply.text):
        is_ranked = len(others) < most
        ranked = sorted([*others, *([own] if is_ranked else [])], key=lambda pair: -pair[1])
        ranks = {token: rank for rank, (token, _) in enumerate(ranked, 1)}
        listed.append(
            {
                str(token): {
                    "logprob": value,
                    "rank": ranks.get(token),
                    "decoded_token": text if token == own[0] else None,
                }
                for token, value in (own, *others)
            }
        )
    return {
        "id": f"cmpl-{time.monotonic_ns():x}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.fingerprint,
        "choices": [
            {
                "index": 0,
                "text": "",
                "logprobs": None,
                "finish_reason": "length",
                "prompt_logprobs": listed,
            }
        ],
        "usage": _usage_of(reply),
    }


def _usage_of(completion: Completion) -> dict[str, int]:
    usage = completion.usage
    return {
        "prompt_tokens": usage.tokens_in,
        "completion_tokens": usage.tokens_out,
        "total_tokens": usage.tokens_in + usage.tokens_out,
    }


def _format_logprobs(completion: Completion) -> list[dict[str, Any]]:
    """Return one entry for each token, in OpenAI's format; without text where it is not known."""
    logprobs = completion.logprobs or ()
    known = reply_tokens(completion.token_bytes, completion.reasoning, completion.text) or []
    tokens = known if len(known) == len(logprobs) else [None] * len(logprobs)
    return [
        {
            "token": "" if token is None else token.decode(errors="replace"),
            "logprob": value,
            "bytes": None if token is None else list(token),
            "top_logprobs": [],
        }
        for value, token in zip(logprobs, tokens, strict=True)
    ]


def _format_error(error: HttpError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    return {
        "error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}
    }


async def _send(writer: asyncio.StreamWriter, status: int, reply: dict[str, Any]) -> None:
    body = orjson.dumps(reply)
    await write(writer, status, "application/json", body)


async def _send_stream(writer: asyncio.StreamWriter, reply: dict[str, Any]) -> None:
    """Send the reply as two server-sent events: the text, then the end with the usage."""
    choice = reply["choices"][0]
    common = {key: reply[key] for key in ("id", "created", "model", "system_fingerprint")} | {
        "object": "chat.completion.chunk"
    }
    events = [
        common | {"choices": [{"index": 0, "delta": choice["message"], "finish_reason": None}]},
        common
        | {
            "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}],
            "usage": reply["usage"],
        },
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
    await write(writer, 200, "text/event-stream", body.encode())
