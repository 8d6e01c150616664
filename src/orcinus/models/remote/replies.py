"""Parse the replies of an OpenAI-compatible server.

    {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}], "usage": {…}}
        →  [Completion(text="4", finish="stop", usage=…)]

A reply that cannot be parsed is a CompleterError: nothing that a server sends can crash a run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from orcinus.core.errors import CompleterError
from orcinus.core.types import Completion, Finish, Usage

_THINK = re.compile(r"\A\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
_FINISH: Mapping[Any, Finish] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "refusal",
    "eos": "stop",
}


def parse_replies(body: bytes, wanted: int = 1) -> list[Completion]:
    """Return the completions in the body of a 200 reply, without cost and latency.

    A reply counts its tokens once for all choices. The prompt's tokens go to the first choice; the
    written ones are shared out by length.

    Args:
        body: The body.
        wanted: At most this many choices are taken.

    Raises:
        CompleterError: The body is no chat completion.
    """
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CompleterError(
            "bad_reply", f"not valid JSON ({error}); it starts {_quote_start(body)}"
        ) from error
    if not isinstance(reply, dict):
        raise CompleterError("bad_reply", f"not a JSON object; it starts {_quote_start(body)}")
    choices = reply.get("choices")
    if (
        not isinstance(choices, list)
        or not choices
        or not all(isinstance(choice, dict) for choice in choices)
    ):
        raise CompleterError("bad_reply", f"no choices in it; it starts {_quote_start(body)}")
    if not all(isinstance(choice.get("message"), dict) for choice in choices):
        raise CompleterError("bad_reply", f"no message in a choice; it starts {_quote_start(body)}")
    usage = _parse_usage(reply.get("usage"))
    choices = choices[:wanted]
    if len(choices) == 1:
        return [_parse_choice(choices[0], choices[0]["message"], usage)]
    shares = _split_usage(usage, [len(orjson.dumps(choice["message"])) for choice in choices])
    return [
        _parse_choice(choice, choice["message"], share)
        for choice, share in zip(choices, shares, strict=True)
    ]


def _split_usage(usage: Usage, lengths: Sequence[int]) -> Iterator[Usage]:
    """Yield each choice's share of the usage; the shares add up to it."""
    left_out, left_reasoning, left_length = usage.tokens_out, usage.tokens_reasoning, sum(lengths)
    for place, length in enumerate(lengths):
        out, reasoning = left_out * length // left_length, left_reasoning * length // left_length
        left_out, left_reasoning, left_length = (
            left_out - out,
            left_reasoning - reasoning,
            left_length - length,
        )
        first = place == 0
        yield Usage(
            tokens_in=usage.tokens_in if first else 0,
            tokens_out=out,
            tokens_cached=usage.tokens_cached if first else 0,
            tokens_reasoning=reasoning,
        )


def split_thinking(text: str) -> tuple[str | None, str]:
    """Split a text that may start with a ``<think>`` block into (reasoning, answer).

    The reasoning is None without a block. A block that is not closed leaves an empty answer.
    """
    match = _THINK.match(text)
    if match is None:
        return None, text
    return match[1].strip(), text[match.end() :]


def _parse_choice(choice: dict[str, Any], message: dict[str, Any], usage: Usage) -> Completion:
    refusal = message.get("refusal")
    text = _parse_content(message.get("content"))
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(reasoning, str):
        reasoning, text = split_thinking(text)
    finish = _FINISH.get(choice.get("finish_reason"), "stop")
    if isinstance(refusal, str) and refusal:
        text, finish = text or refusal, "refusal"
    return Completion(
        text=text,
        finish=finish,
        usage=usage,
        reasoning=reasoning,
        logprobs=_parse_logprobs(choice.get("logprobs")),
    )


def _parse_content(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # parts, as some servers send them
        return "".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def _parse_usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        tokens_in=_count_at(usage, "prompt_tokens"),
        tokens_out=_count_at(usage, "completion_tokens"),
        tokens_cached=_count_at(prompt, "cached_tokens"),
        tokens_reasoning=_count_at(completion, "reasoning_tokens"),
    )


def _count_at(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _parse_logprobs(logprobs: Any) -> tuple[float, ...] | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    values = [item.get("logprob") if isinstance(item, dict) else None for item in content]
    return tuple(float(value) for value in values if isinstance(value, int | float))


def _quote_start(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace"))
