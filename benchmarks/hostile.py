"""A provider on the loopback that fails in every way it can, and charges for most of it.

    python -m benchmarks.hostile --faults 0.3 --latency-ms 5    prints its base URL, then serves

Every try that it works on costs $1 per million prompt tokens and $2 per million written tokens,
whether its reply arrives or not. ``GET /stats`` tells what it charged, and how often each case was
answered in full.
"""

import argparse
import asyncio
import hashlib
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

INPUT, OUTPUT = 1.0, 2.0
"""Dollars per million tokens."""
PROMPT_TOKENS = 10
CASE = re.compile(rb"Case (\d+)\.")
UNBILLED = ("429",)
LOST = ("reset", "cut", "empty", "500", "silence", "garbage")
"""Faults after which no answer is read. They are charged."""
ODD = ("no_usage", "text_usage", "float_usage", "huge_usage", "cached", "finish_list", "fewer")
"""Answers that are read, with an odd usage, end or number of choices. They are charged."""
FAULTS = (*UNBILLED, *LOST, *ODD)


def http(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


class Hostile:
    """The provider's state."""

    def __init__(
        self,
        *,
        faults: float = 0.0,
        kinds: Sequence[str] = FAULTS,
        latency_s: float = 0.0,
        silence_s: float = 5.0,
        seed: int = 0,
    ) -> None:
        self.faults, self.kinds = faults, tuple(kinds)
        self.latency_s, self.silence_s = latency_s, silence_s
        self.random = random.Random(seed)
        self.billed_usd = 0.0
        self.answered: Counter[int] = Counter()
        self.faulted: Counter[str] = Counter()

    async def serve(self) -> tuple[asyncio.Server, str]:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, limit=2**24)
        return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"

    def stats(self) -> dict[str, Any]:
        return {
            "billed_usd": self.billed_usd,
            "answered": self.answered.total(),
            "answered_again": self.answered.total() - len(self.answered),
            "faults": self.faulted.total(),
        }

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"content-length: *(\d+)", head.lower())
                body = await reader.readexactly(int(found[1]) if found else 0)
                if head.startswith(b"GET "):
                    writer.write(http("200 OK", json.dumps(self.stats()).encode()))
                elif not await self._answer(head, body, writer):
                    return
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> bool:
        """Write a reply, or the start of one; return False when the connection is to be closed."""
        asked = json.loads(body)
        found = CASE.search(body)
        case, choices = int(found[1]) if found else 0, int(asked.get("n", 1))
        kind = "" if self.random.random() >= self.faults else self.random.choice(self.kinds)
        self.faulted.update([kind] if kind else [])
        if kind == "429":
            writer.write(http("429 Too Many Requests", b"{}"))
            return True
        written = choices * int(asked["max_tokens"])
        self.billed_usd += (PROMPT_TOKENS * INPUT + written * OUTPUT) / 1e6
        await asyncio.sleep(self.latency_s)
        whole = json.dumps(self._reply(kind, body, choices, written)).encode()
        if kind == "reset":
            writer.transport.abort()
            return False
        if kind == "silence":
            await asyncio.sleep(self.silence_s)
            return False
        if kind == "cut":
            writer.write(http("200 OK", whole)[: -len(whole) // 2])
            return False
        if kind == "500":
            key = re.search(rb"authorization: ([^\r]*)", head, re.IGNORECASE)
            said = f"broken for {key[1].decode() if key else 'you'}"
            writer.write(http("500 Oops", json.dumps({"error": {"message": said}}).encode()))
            return True
        if kind == "garbage":
            writer.write(http("200 OK", b"you sent " + head[:200]))
            return True
        if kind not in ("empty", "fewer"):
            self.answered[case] += 1
        writer.write(http("200 OK", whole))
        return True

    def _reply(self, kind: str, body: bytes, choices: int, written: int) -> dict[str, Any]:
        text = f"The answer is {hashlib.sha256(body).hexdigest()[:8]}."
        choice: dict[str, Any] = {
            "message": {"role": "assistant", "content": text},
            "finish_reason": ["stop"] if kind == "finish_list" else "stop",
        }
        count = {"empty": 0, "fewer": max(1, choices - 1)}.get(kind, choices)
        usage: Any = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": written}
        if kind == "no_usage":
            usage = None
        elif kind == "text_usage":
            usage = {name: f"{value} tokens" for name, value in usage.items()}
        elif kind == "float_usage":
            usage = {name: float(value) for name, value in usage.items()}
        elif kind == "huge_usage":
            usage = {name: 2 ** self.random.choice((62, 63, 64)) for name in usage}
        elif kind == "cached":
            usage["prompt_tokens_details"] = {"cached_tokens": 1000 * PROMPT_TOKENS}
        return {"choices": [choice] * count, "usage": usage}


async def main(arguments: argparse.Namespace) -> None:
    provider = Hostile(
        faults=arguments.faults,
        latency_s=arguments.latency_ms / 1000,
        silence_s=arguments.silence_s,
        seed=arguments.seed,
    )
    server, url = await provider.serve()
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency-ms", type=float, default=5.0)
    parser.add_argument("--faults", type=float, default=0.3)
    parser.add_argument("--silence-s", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    asyncio.run(main(parser.parse_args()))
