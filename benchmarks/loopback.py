"""A teacher on the loopback: an OpenAI-compatible server that costs little, so that the client is what is measured.

python -m benchmarks.loopback --latency-ms 50      prints its base URL, serves until killed
"""

import argparse
import asyncio
import json
import random
import sys
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
    "on",
    "the",
    "one",
    "before",
    "it",
]
TEXTS = 64


def replies() -> list[bytes]:
    """Complete HTTP responses of about 300 tokens."""
    draw = random.Random(7)
    made = []
    for number in range(TEXTS):
        text = f"Solution {number}.\n" + " ".join(draw.choice(WORDS) for _ in range(270)) + "\nThe answer is 42."
        body = json.dumps(
            {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion",
                "model": "loopback",
                "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 210, "completion_tokens": 300, "total_tokens": 510},
            }
        ).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


class Teacher(asyncio.Protocol):
    """One connection: reads requests by their content-length, answers each after the latency."""

    def __init__(self, answers: list[bytes], latency_s: float) -> None:
        self._answers, self._latency_s = answers, latency_s
        self._buffer = b""
        self._number = 0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's has its methods and not its class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._number += 1
            answer = self._answers[self._number % TEXTS]
            asyncio.get_running_loop().call_later(self._latency_s, self._send, answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def serve(latency_s: float) -> None:
    answers = replies()
    server = await asyncio.get_running_loop().create_server(lambda: Teacher(answers, latency_s), "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=50.0)
    uvloop.run(serve(parser.parse_args().latency_ms / 1000))
