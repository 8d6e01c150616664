"""What an OpenAI-compatible server sends back, understood and bounded; nothing it sends can crash a run."""

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
    """The completions in the body of a 200 reply, one for each choice up to ``wanted``, without cost and latency.

    A reply counts its tokens once for all choices: the prompt's go to the first choice, the written ones to each by its length.

    Raises:
        CompleterError: The body is no chat completion.
    """
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CompleterError(
            "bad_reply", f"not valid JSON ({error}); it starts {_start(body)}"
        ) from error
    if not isinstance(reply, dict):
        raise CompleterError("bad_reply", f"not a JSON object; it starts {_start(body)}")
    choices = reply.get("choices")
    if (
        not isinstance(choices, list)
        or not choices
        or not all(isinstance(choice, dict) for choice in choices)
    ):
        raise CompleterError("bad_reply", f"no choices in it; it starts {_start(body)}")
    if not all(isinstance(choice.get("message"), dict) for choice in choices):
        raise CompleterError("bad_reply", f"no message in a choice; it starts {_start(body)}")
    usage = _usage(reply.get("usage"))
    choices = choices[:wanted]
    if len(choices) == 1:
        return [_completion(choices[0], choices[0]["message"], usage)]
    shares = _shares(usage, [len(orjson.dumps(choice["message"])) for choice in choices])
    return [
        _completion(choice, choice["message"], share)
        for choice, share in zip(choices, shares, strict=True)
    ]


def _shares(usage: Usage, lengths: Sequence[int]) -> Iterator[Usage]:
    """What each choice has of the usage; they add up to it."""
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
    """(reasoning, answer) of a text that may start with a ``<think>`` block; an unclosed block leaves no answer."""
    match = _THINK.match(text)
    if match is None:
        return None, text
    return match[1].strip(), text[match.end() :]


def _completion(choice: dict[str, Any], message: dict[str, Any], usage: Usage) -> Completion:
    refusal = message.get("refusal")
    text = _text(message.get("content"))
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
        logprobs=_logprobs(choice.get("logprobs")),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # parts, as some servers send them
        return "".join(
            part["text"]
            for part in content
            if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def _usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    return Usage(
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
        tokens_cached=_count(prompt, "cached_tokens"),
        tokens_reasoning=_count(completion, "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int:
    value = counts.get(name) if isinstance(counts, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0


def _logprobs(logprobs: Any) -> tuple[float, ...] | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    values = [item.get("logprob") if isinstance(item, dict) else None for item in content]
    return tuple(float(value) for value in values if isinstance(value, int | float))


def _start(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace"))
