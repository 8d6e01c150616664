"""A model behind a real HTTP endpoint: recorded outputs for offline runs, or a trained student.

    POST /v1/chat/completions {"messages": [{"role": "user", "content": "2 + 2?"}]}
        →  {"choices": [{"message": {"role": "assistant", "content": "4"}, …}], …}

It speaks enough of the OpenAI chat API for the ``openai`` package to use it unchanged: chat
completions, also as a stream, ``/v1/models``, and errors in OpenAI's format. It listens on this
machine alone unless ``host`` says otherwise, and asks for no key.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson

from orcinus.core.errors import CompleterError
from orcinus.core.protocols import Completer
from orcinus.core.requests import ANY_STRATEGY, chat_request
from orcinus.core.types import Completion, Message, Messages, Request, Sampling
from orcinus.models.server.sockets import socket_server

MAX_REQUEST_BYTES = 16 * 2**20
"""Bytes of a request, at most."""
DEFAULT_MAX_TOKENS = 1024
"""Limit on written tokens for a client that sets none."""
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
}


class _HttpError(Exception):
    """An HTTP error to send back."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def any_strategy(messages: Messages) -> str:
    """Return the name of no strategy in particular: over HTTP only the text is known."""
    return ANY_STRATEGY


@dataclass(frozen=True, slots=True)
class _ServedModel:
    model: Completer
    name: str
    before: Messages
    strategy_of: Callable[[Messages], str]
    fingerprint: str | None


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
        name: The model's name for clients; None takes ``model.model``.
        before: Turns that precede a conversation without a system message.
        strategy_of: Finds the strategy of a conversation by its text, for recorded outputs.
        fingerprint: Hash of what decides the answers, which clients make part of the model's
            identity; None publishes none.

    Yields:
        The base URL, up to and including ``/v1``.
    """
    served = _ServedModel(model, name or model.model, before, strategy_of, fingerprint)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await _answer_one(reader, writer, served):
            pass

    async with socket_server(converse, host=host, port=port, limit=MAX_REQUEST_BYTES) as chosen:
        yield f"http://{host}:{chosen}/v1"


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
    head = await reader.readuntil(b"\r\n\r\n")
    request_line, *header_lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in header_lines)
    }
    keep = headers.get("connection", "").lower() != "close"
    try:
        method, path = request_line.split(" ")[:2]
        length = int(headers.get("content-length", "0"))
        if length > MAX_REQUEST_BYTES:
            keep = False
            raise _HttpError(413, "the request is too large")
        body = await reader.readexactly(length)
        reply, stream = await _route(method, path.partition("?")[0], body, served)
        if stream:
            await _send_stream(writer, reply)
        else:
            await _send(writer, 200, reply)
    except _HttpError as error:
        await _send(writer, error.status, _format_error(str(error)))
    except ValueError as error:
        keep = False
        await _send(writer, 400, _format_error(f"not an HTTP request: {error}"))
    return keep


async def _route(
    method: str, path: str, body: bytes, served: _ServedModel
) -> tuple[dict[str, Any], bool]:
    if path == "/v1/models" and method == "GET":
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
    if path != "/v1/chat/completions":
        raise _HttpError(404, f"there is no {path} here; POST /v1/chat/completions")
    if method != "POST":
        raise _HttpError(405, f"{path} takes POST")
    asked = _parse(body, served)
    try:
        completion = await served.model.complete(asked.request)
    except CompleterError as error:
        # 400 and not 404: the endpoint and the model are there, this question is not.
        raise _HttpError(400, str(error)) from error
    if asked.request.partial is not None and not asked.keep_stop:
        completion = _without_stop(completion, asked.request.sampling.stop)
    return _format_completion(served, completion), asked.stream


def _parse(body: bytes, served: _ServedModel) -> _ChatRequest:
    """Read one chat request."""
    try:
        asked = orjson.loads(body)
        messages = tuple(
            Message(role=item["role"], content=_parse_content(item["content"]))
            for item in asked["messages"]
        )
        stop = asked.get("stop") or ()
        sampling = Sampling(
            temperature=float(asked.get("temperature") or 0.0),
            top_p=float(asked.get("top_p") or 1.0),
            max_tokens=int(
                asked.get("max_completion_tokens") or asked.get("max_tokens") or DEFAULT_MAX_TOKENS
            ),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            seed=asked.get("seed"),
            logprobs=bool(asked.get("logprobs")),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _HttpError(400, f"not a chat request: {error!r}") from error
    if not messages:
        raise _HttpError(400, "messages is empty")
    keep_stop = bool(asked.get("include_stop_str_in_output"))
    partial = "" if keep_stop else None
    if asked.get("continue_final_message"):
        messages, partial = _partial_reply(messages, served)
    if messages[0].role not in ("system", "developer"):
        messages = (*served.before, *messages)
    strategy = served.strategy_of(messages)
    return _ChatRequest(
        chat_request(messages, sampling, strategy=strategy, partial=partial),
        stream=bool(asked.get("stream")),
        keep_stop=keep_stop,
    )


def _partial_reply(messages: Messages, served: _ServedModel) -> tuple[Messages, str]:
    """Split a conversation from the partial reply that it ends with."""
    *before, last = messages
    if not served.model.traits.continues:
        raise _HttpError(400, f"continue_final_message: {served.name} cannot continue a text")
    if last.role != "assistant" or not before:
        raise _HttpError(400, "continue_final_message: the last message is not the assistant's")
    return tuple(before), last.content


def _without_stop(completion: Completion, stops: Sequence[str]) -> Completion:
    """Return the completion without the stop text that ended it and without outer blanks."""
    stop = next((stop for stop in stops if completion.text.endswith(stop)), "")
    return replace(completion, text=completion.text.removesuffix(stop).strip())


def _parse_content(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def _format_completion(served: _ServedModel, completion: Completion) -> dict[str, Any]:
    usage = completion.usage
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
                else {"content": _format_logprobs(completion.logprobs)},
                "finish_reason": completion.finish,
            }
        ],
        "usage": {
            "prompt_tokens": usage.tokens_in,
            "completion_tokens": usage.tokens_out,
            "total_tokens": usage.tokens_in + usage.tokens_out,
        },
    }


def _format_logprobs(logprobs: Sequence[float]) -> list[dict[str, Any]]:
    """Return one entry for each token, in OpenAI's format; the token's text is not known."""
    return [
        {"token": "", "logprob": value, "bytes": None, "top_logprobs": []} for value in logprobs
    ]


def _format_error(message: str) -> dict[str, Any]:
    return {
        "error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    }


async def _send(writer: asyncio.StreamWriter, status: int, reply: dict[str, Any]) -> None:
    body = orjson.dumps(reply)
    await _write_response(writer, status, "application/json", body)


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
    await _write_response(writer, 200, "text/event-stream", body.encode())


async def _write_response(
    writer: asyncio.StreamWriter, status: int, content_type: str, body: bytes
) -> None:
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
    )
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
