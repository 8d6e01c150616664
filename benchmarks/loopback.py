"""A teacher on the loopback: an OpenAI-compatible server so cheap that the client is measured.

    python -m benchmarks.loopback --latency-ms 50 --faults 0.3    prints its base URL, then serves

It can misbehave. A fifth of the faults each are 429, 500, a connection that breaks before the
answer, one that breaks within it, and an answer that is not JSON. ``GET /stats`` counts the calls
that were answered in full, and those that were answered twice.
"""

import argparse
import asyncio
import json
import random
import re
import sys
from collections import Counter
from typing import cast

import uvloop

WORDS = [
    "the",
    "sum",
    "of",
    "both",
    "parts",
    "is",
    "taken",
    "first",
    "and",
    "then",
    "shared",
    "so",
    "that",
    "each",
    "step",
    "rests",
]
TEXTS = 64
CASE = re.compile(rb"Case (\d+)\.")
FAULTS = ("429", "500", "reset", "truncated", "garbage")


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def replies() -> list[bytes]:
    """Make complete HTTP responses of about 300 tokens."""
    draw = random.Random(7)
    made = []
    for number in range(TEXTS):
        text = (
            f"Solution {number}.\n"
            + " ".join(draw.choice(WORDS) for _ in range(270))
            + "\nThe answer is 42."
        )
        body = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "model": "loopback",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 210, "completion_tokens": 300, "total_tokens": 510},
        }
        made.append(http("200 OK", json.dumps(body).encode()))
    return made


class Shared:
    """The state that all connections share."""

    def __init__(self, latency_s: float, faults: float) -> None:
        self.answers = replies()
        self.latency_s, self.faults = latency_s, faults
        self.random = random.Random(1)
        self.answered: Counter[int] = Counter()
        self.faulted: Counter[str] = Counter()

    def stats(self) -> bytes:
        figures = {
            "answered": self.answered.total(),
            "cases": len(self.answered),
            "answered_again": self.answered.total() - len(self.answered),
            "faults": dict(self.faulted),
        }
        return http("200 OK", json.dumps(figures).encode())


class Teacher(asyncio.Protocol):
    """One connection: reads requests by content-length, and answers each after the latency."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._buffer = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(
            asyncio.WriteTransport, transport
        )  # uvloop's has its methods and not its class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = (
                self._buffer[end + 4 : end + 4 + length],
                self._buffer[end + 4 + length :],
            )
            if head.startswith(b"get "):
                self._write(self._shared.stats())
                continue
            found = CASE.search(body)
            asyncio.get_running_loop().call_later(
                self._shared.latency_s, self._answer, int(found[1]) if found else 0
            )

    def _answer(self, case: int) -> None:
        shared = self._shared
        whole = shared.answers[case % TEXTS]
        if shared.faults and shared.random.random() < shared.faults:
            self._misbehave(whole)
        elif self._transport is not None and not self._transport.is_closing():
            shared.answered[case] += 1
            self._write(whole)

    def _misbehave(self, whole: bytes) -> None:
        kind = self._shared.random.choice(FAULTS)
        self._shared.faulted[kind] += 1
        if kind == "429":
            self._write(http("429 Too Many Requests", b"{}", "retry-after: 0"))
        elif kind == "500":
            self._write(http("500 Internal Server Error", b'{"error": {"message": "oops"}}'))
        elif kind == "garbage":
            self._write(http("200 OK", b'{"choices": [{"message"'))
        else:
            if kind == "truncated":
                self._write(whole[: len(whole) // 2])
            if self._transport is not None:
                self._transport.close()

    def _write(self, content: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(content)


async def serve(latency_s: float, faults: float) -> None:
    shared = Shared(latency_s, faults)
    server = await asyncio.get_running_loop().create_server(lambda: Teacher(shared), "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    parser.add_argument("--faults", type=float, default=0.0)
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.latency_ms / 1000, arguments.faults))
