"""What an OpenAI-compatible server sends back, understood and bounded; nothing it sends can crash a run."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from orcinus.errors import CompleterError
from orcinus.types import Completion, Finish, Usage

_THINK = re.compile(r"\A\s*<think>(.*?)(?:</think>\s*|\Z)", re.DOTALL)
_FINISH: Mapping[Any, Finish] = {"stop": "stop", "length": "length", "content_filter": "refusal", "eos": "stop"}


def parse_reply(body: bytes) -> Completion:
    """The completion in the body of a 200 reply, without cost and latency.

    Raises:
        CompleterError: The body is no chat completion.
    """
    try:
        reply = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise CompleterError("bad_reply", f"not valid JSON ({error}); it starts {_start(body)}") from error
    if not isinstance(reply, dict):
        raise CompleterError("bad_reply", f"not a JSON object; it starts {_start(body)}")
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise CompleterError("bad_reply", f"no choices in it; it starts {_start(body)}")
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise CompleterError("bad_reply", f"no message in its first choice; it starts {_start(body)}")
    return _completion(choice, message, reply.get("usage"))


def split_thinking(text: str) -> tuple[str | None, str]:
    """(reasoning, answer) of a text that may start with a ``<think>`` block; an unclosed block leaves no answer."""
    match = _THINK.match(text)
    if match is None:
        return None, text
    return match[1].strip(), text[match.end() :]


def _completion(choice: dict[str, Any], message: dict[str, Any], usage: Any) -> Completion:
    refusal = message.get("refusal")
    text = _text(message.get("content"))
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(reasoning, str):
        reasoning, text = split_thinking(text)
    finish = _FINISH.get(choice.get("finish_reason"), "stop")
    if isinstance(refusal, str) and refusal:
        text, finish = text or refusal, "refusal"
    return Completion(
        text=text, finish=finish, usage=_usage(usage), reasoning=reasoning, logprobs=_logprobs(choice.get("logprobs"))
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):  # parts, as some servers send them
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
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
