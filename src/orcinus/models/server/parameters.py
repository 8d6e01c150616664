"""Check the parameters of a chat request as OpenAI's servers do.

sampling_of({"max_tokens": -5}, context=512) ──► HttpError 400, param "max_tokens"
"""

import math
from collections.abc import Mapping
from typing import Any

from orcinus.core.types import Message, Messages, Sampling, Scoring
from orcinus.models.server.http import HttpError

_ROLES = ("system", "developer", "user", "assistant")
"""Who may speak in a request. The server knows no tools."""
DEFAULT_MAX_TOKENS = 1024
"""Limit on written tokens for a client that sets none."""
MOST_STOPS = 16
"""Stop texts. OpenAI takes 4; each one is searched for after every token."""
LONGEST_STOP = 1000
"""Characters of a stop text."""
MOST_TOP = 100
"""Likeliest tokens for each token of a scored text. vLLM returns 20 unless told otherwise."""
HOTTEST = 2.0
"""The highest temperature, as OpenAI's."""


def sampling_of(asked: Mapping[str, Any], context: int | None) -> Sampling:
    """Return the sampling that a request asks for, within the model's context.

    Raises:
        HttpError: A parameter has a wrong type or is out of its range.
    """
    if _whole(asked, "n", 1, 1) != 1:
        raise _wrong("n", "must be 1")
    newer = "max_completion_tokens"
    name = newer if asked.get(newer) is not None else "max_tokens"
    most = _whole(asked, name, DEFAULT_MAX_TOKENS, least=1)
    seed = asked.get("seed")
    top_p = _number(asked, "top_p", 1.0, 1.0)
    return Sampling(
        # top_p 0 keeps the likeliest token alone, which is greedy decoding.
        temperature=_number(asked, "temperature", 0.0, HOTTEST) if top_p else 0.0,
        top_p=top_p or 1.0,
        max_tokens=most if context is None else min(most, context),
        stop=_stops(asked.get("stop")),
        seed=None if seed is None else _whole(asked, "seed", 0, least=-(2**63)),
        logprobs=flag(asked, "logprobs"),
    )


def scoring_of(asked: Mapping[str, Any], context: int | None) -> Scoring:
    """Return the text to score that a request holds, within the model's context.

    Raises:
        HttpError: A parameter has a wrong type or is out of its range.
    """
    if flag(asked, "stream"):
        raise _wrong("stream", "must be false: a text is scored at once")
    if _whole(asked, "n", 1, 1) != 1:
        raise _wrong("n", "must be 1")
    if _whole(asked, "max_tokens", 1, 0) > 1:
        raise _wrong("max_tokens", "must be 0 or 1: texts are scored here and not written")
    if asked.get("prompt_logprobs") is None:
        raise _wrong("prompt_logprobs", "must be given: texts are scored here and not written")
    top = _whole(asked, "prompt_logprobs", 0, 0)
    if top > MOST_TOP:
        raise _wrong("prompt_logprobs", f"must be at most {MOST_TOP}")
    prompt = asked.get("prompt")
    if isinstance(prompt, str) and prompt:
        return Scoring(prompt=(), response=(), top=top, plain=prompt)
    if not isinstance(prompt, list) or not all(type(token) is int for token in prompt):
        raise _wrong("prompt", "must be a text or a list of tokens")
    if len(prompt) < 2 or (context is not None and len(prompt) > context):
        limit = "" if context is None else f" and {context:,} at most"
        raise _wrong("prompt", f"must have two tokens at least{limit}, this has {len(prompt):,}")
    return Scoring(prompt=tuple(prompt[:1]), response=tuple(prompt[1:]), top=top)


def messages_of(asked: Mapping[str, Any]) -> Messages:
    """Return the turns of a request.

    Raises:
        HttpError: They are missing, or one has another shape.
    """
    given = asked.get("messages")
    if not isinstance(given, list) or not given:
        raise _wrong("messages", "must be a list of at least one message")
    return tuple(_message(item, f"messages[{i}]") for i, item in enumerate(given))


def flag(asked: Mapping[str, Any], name: str) -> bool:
    """Return a parameter that is true or false.

    Raises:
        HttpError: It is neither.
    """
    value = asked.get(name)
    if value not in (None, True, False):
        raise _wrong(name, "must be true or false")
    return bool(value)


def _message(item: Any, where: str) -> Message:
    if not isinstance(item, dict):
        raise _wrong(where, "must be an object with role and content")
    role: Any = item.get("role")
    content = item.get("content")
    if role not in _ROLES:
        raise _wrong(f"{where}.role", f"must be one of {', '.join(_ROLES)}")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        if not all(isinstance(part, str) for part in parts):
            raise _wrong(f"{where}.content", "must hold parts with a text, and no others")
        content = "".join(map(str, parts))
    if not isinstance(content, str):
        raise _wrong(f"{where}.content", "must be a text")
    return Message(role=role, content=content)


def _number(asked: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = asked.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, "must be a number")
    if not (math.isfinite(value) and 0 <= value <= most):
        raise _wrong(name, f"must be between 0 and {most:g}, this is {value:g}")
    return float(value)


def _whole(asked: Mapping[str, Any], name: str, default: int, least: int) -> int:
    value = asked.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(name, "must be a whole number")
    if not least <= value < 2**63:
        raise _wrong(name, f"must be at least {least}, this is {value}")
    return value


def _stops(given: Any) -> tuple[str, ...]:
    stops = [] if given is None else [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise _wrong("stop", "must be a text, or a list of texts that are not empty")
    if len(stops) > MOST_STOPS or any(len(stop) > LONGEST_STOP for stop in stops):
        raise _wrong("stop", f"takes {MOST_STOPS} texts of {LONGEST_STOP:,} characters at most")
    return tuple(stops)


def _wrong(name: str, why: str) -> HttpError:
    message = f"Invalid value for '{name}': it {why}."
    return HttpError(400, message, param=name, code="invalid_value")
