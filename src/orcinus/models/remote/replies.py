"""Parse the replies of an OpenAI-compatible server.

    {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}], "usage": {…}}
        →  [Completion(text="4", finish="stop", usage=…)]

A reply that cannot be parsed is a CompleterError: nothing that a server sends can crash a run.
A reply is paid for, so it is read as leniently as its meaning allows. ``thinking.py`` tells the
reasoning in a text from the answer.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from orcinus.core.errors import CompleterError
from orcinus.core.scoring import TokenScores, written_scores
from orcinus.core.token_bytes import reply_bytes
from orcinus.core.tool_calls import read_calls, with_calls
from orcinus.core.types import Completion, Finish, Scoring, Usage
from orcinus.models.remote.refusals import parse_error, refusal
from orcinus.models.remote.thinking import split_thinking

_FINISHES: Mapping[Finish, str] = {
    "stop": "stop eos eos_token end_turn stop_sequence tool_calls tool_use function_call complete "
    "completed end done eot end_of_text finished",
    "length": "length max_tokens model_length max_output_tokens max_completion_tokens max_length "
    "max_new_tokens token_limit context_length model_context_window_exceeded incomplete truncated "
    "null",
    "refusal": "content_filter content_filtered safety sensitive refusal refused recitation "
    "prohibited_content blocklist spii image_safety guardrail_intervened blocked moderation",
    "error": "error abort aborted cancel cancelled canceled failed network_error server_error "
    "insufficient_system_resource overloaded timeout malformed_function_call load",
}
_FINISH: Mapping[str, Finish] = {
    word: finish for finish, words in _FINISHES.items() for word in words.split()
}
"""What servers call the end of a reply. A ``null`` means that the server has not finished."""
_REASONING_PARTS = ("think", "thought", "reason", "analysis")
"""Words in the ``type`` of a part that holds reasoning: ``thinking``, ``reasoning.text`` …"""
_STATUS_OF_CODE: tuple[tuple[str, int], ...] = (
    ("insufficient_quota", 402),
    ("billing", 402),
    ("rate_limit", 429),
    ("throttl", 429),
    ("too_many_requests", 429),
    ("resource_exhausted", 429),
    ("api_key", 401),
    ("authenti", 401),
    ("unauthorized", 401),
    ("permission", 403),
    ("not_found", 404),
    ("context_length", 400),
    ("content_filter", 400),
    ("content_policy", 400),
    ("invalid_request", 400),
    ("unsupported", 400),
    ("bad_request", 400),
    ("timeout", 408),
)
"""HTTP status for a word in an error's code or type; the first that occurs counts."""
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Fields of a message that hold its reasoning; the first that has any counts."""
_MORE_IN_A_MESSAGE = (*_REASONING_KEYS, "refusal", "tool_calls")
"""Fields of a message that change what its text means, unless they are empty."""
MOST_TOKENS = 10**9
"""Tokens. A larger count in a reply is not a count of tokens."""

Refuse = Callable[[int, bytes], CompleterError]
"""Returns the error for an HTTP status and the body that came with it."""


class NoAnswerError(CompleterError):
    """A whole reply that holds no answer: it is empty, or not of the form that was asked for."""


def parse_replies(
    body: bytes,
    wanted: int = 1,
    *,
    max_tokens: int | None = None,
    prompt: str | None = None,
    refuse: Refuse = refusal,
    is_chat: bool = True,
) -> list[Completion]:
    """Return the completions in the body of a 200 reply, without cost and latency.

    A reply counts its tokens once for all choices. The prompt's tokens go to the first choice; the
    written ones are shared out by length. Counts that are missing or cannot be right are all 0: no
    call reads 0 tokens.

    Args:
        body: The body.
        wanted: At most this many choices are taken.
        max_tokens: The limit that was asked for. An unknown end at that limit is a cut-off.
        prompt: All that was sent. A tag that it names is a format that it asks for, and no
            channel of the model. None when it is not known.
        refuse: Makes the error where the reply is an error with the status 200.
        is_chat: False if tokens were sent. Then a reply is what the model wrote: it may be empty,
            and its outer blanks are no part of the answer.

    Raises:
        CompleterError: The body is not a chat completion, or an error in place of one.
    """
    reply = _join_events(body) if body.lstrip().startswith(_EVENTS) else read_json(body)
    if (usual := _parse_usual(reply, prompt)) is not None:
        return [usual]
    if isinstance(reply, list) and len(reply) == 1:
        reply = reply[0]  # as Google wraps errors
    if not isinstance(reply, dict):
        raise NoAnswerError("bad_reply", f"not a JSON object; it starts {_quote_start(body)}")
    choices = reply.get("choices")
    listed = choices if isinstance(choices, list) else []
    for part in (reply, *listed[:wanted]):
        _raise_error_in(part, has_choices=bool(listed), refuse=refuse)
    if not listed or not all(isinstance(choice, dict) for choice in listed):
        raise NoAnswerError("bad_reply", f"no choices in it; it starts {_quote_start(body)}")
    for choice in listed:
        if not isinstance(choice.get("message"), dict) and isinstance(choice.get("text"), str):
            choice["message"] = {"content": choice["text"]}  # as in a completion without a chat
    if not all(isinstance(choice.get("message"), dict) for choice in listed):
        raise NoAnswerError("bad_reply", f"no message in a choice; it starts {_quote_start(body)}")
    usage = _parse_usage(reply.get("usage"))
    if usage.tokens_out == 0 and any(_has_text(choice["message"]) for choice in listed):
        usage = Usage()
    listed = listed[:wanted]
    shares = [usage] if len(listed) == 1 else _split_usage(usage, list(map(_length_of, listed)))
    return [
        _parse_choice(choice, share, max_tokens, prompt, is_chat=is_chat)
        for choice, share in zip(listed, shares, strict=True)
    ]


def parse_scores(body: bytes, scoring: Scoring, *, refuse: Refuse = refusal) -> Completion:
    """Return the scores in the body of a 200 reply, as the completion's text.

    Args:
        body: The body.
        scoring: What was asked.
        refuse: Makes the error where the reply is an error with the status 200.

    Raises:
        CompleterError: The reply has no scores of these tokens, or is an error.
    """
    reply = read_json(body)
    choices = reply.get("choices") if isinstance(reply, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else {}
    for part in (reply, choice):
        _raise_error_in(part, has_choices=bool(choices), refuse=refuse)
    listed = choice.get("prompt_logprobs") if isinstance(choice, dict) else None
    if not isinstance(listed, list):
        raise CompleterError(
            "bad_reply",
            "the server does not score a given text: its reply has no prompt_logprobs; vLLM and "
            "`orcinus serve` return them",
            permanent=True,
            fatal=True,
        )
    count = len(scoring.response)
    if len(listed) != len(scoring.prompt) + count:
        raise NoAnswerError("bad_reply", f"{len(listed)} scores for another number of tokens")
    try:
        scores = list(map(_scores_of, scoring.response, listed[len(listed) - count :]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NoAnswerError(
            "bad_reply", f"no scores of the text's own tokens ({error!r})"
        ) from error
    return Completion(
        text=written_scores(scores), finish="stop", usage=_parse_usage(reply.get("usage"))
    )


def _scores_of(token: int, found: Any) -> TokenScores:
    """Return the scores in place of one token, its own first."""
    values = {int(name): float(entry["logprob"]) for name, entry in found.items()}
    if any(math.isnan(value) or value > 1e-3 for value in values.values()):
        raise ValueError("a value is no log-probability")
    own = found[str(token)]
    others = sorted(values.items(), key=lambda pair: -pair[1])
    said = own.get("decoded_token")
    return TokenScores(
        said if isinstance(said, str) else None,
        ((token, values[token]), *(pair for pair in others if pair[0] != token)),
    )


def _parse_usual(reply: Any, prompt: str | None) -> Completion | None:
    """Return the completion of a reply of the usual form; None for any other one.

    Nearly all have one choice, a text, a plain end and whole counts, and no more that means
    anything. In them there is nothing to be lenient about, which takes a third of the time.
    """
    # By hand: a pattern for all of it would take twice the time.
    try:
        [choice] = reply["choices"]
        message, counts, finish = choice["message"], reply["usage"], choice["finish_reason"]
        content = message["content"]
        usual = (
            type(content) is str
            and (finish == "stop" or finish == "length")
            and type(counts["prompt_tokens"]) is int
            and type(counts["completion_tokens"]) is int
            and not (reply.get("error") or choice.get("error") or choice.get("logprobs"))
            and not any(map(message.get, _MORE_IN_A_MESSAGE))
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if usual:
        usage = _parse_usage(counts)
        reasoning, text = split_thinking(content, prompt)
        if usage.tokens_out and text and not text.isspace():
            return Completion(text=text, finish=finish, usage=usage, reasoning=reasoning)
    return None


def read_json(body: bytes) -> Any:
    """Return the value in a reply's JSON, also where it breaks the rules that paid replies break.

    Read all the same: half an emoji, NaN and Infinity (as None), raw line breaks in a text, a byte
    order mark, broken UTF-8, UTF-16, and a backslash that escapes nothing.

    Raises:
        CompleterError: It is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        strict = error
    text = body.decode(json.detect_encoding(body), "replace").lstrip("\ufeff").strip(" \t\r\n\0")
    for candidate in (text, _BACKSLASH.sub(_escape_backslash, text)):
        try:
            return _without_surrogates(
                json.loads(candidate, strict=False, parse_constant=lambda _: None)
            )
        except (ValueError, RecursionError):
            continue
    if text.startswith("<"):
        said = parse_error(body)
        raise CompleterError("server", f"a reply that is not JSON: {said}") from strict
    raise CompleterError(
        "bad_reply", f"not valid JSON ({strict}); it starts {_quote_start(body)}"
    ) from strict


_EVENTS = (b"data:", b"event:")
"""How a streamed reply begins."""


def _join_events(body: bytes) -> dict[str, Any]:
    """Return the reply that the events of a stream add up to. Some servers know no other form.

    Raises:
        CompleterError: An event is not JSON.
    """
    joined: dict[str, Any] = {}
    choices: dict[Any, dict[str, Any]] = {}
    for line in body.splitlines():
        data = line.removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data in (b"", b"[DONE]"):
            continue
        event = read_json(data)
        if not isinstance(event, dict):
            continue
        joined |= {name: event[name] for name in ("usage", "error") if event.get(name)}
        parts = event.get("choices")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict):
                _add_part(choices.setdefault(str(part.get("index")), {"finish_reason": None}), part)
    return {**joined, "choices": list(choices.values())}


def _add_part(choice: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Append the texts of one event to its choice."""
    message = choice.setdefault("message", {})
    delta = part.get("delta") or part.get("message")
    for name, said in delta.items() if isinstance(delta, dict) else ():
        if isinstance(said, str):
            message[name] = message.get(name, "") + said
    choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]


_BACKSLASH = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')


def _escape_backslash(match: re.Match[str]) -> str:
    return match[0] if len(match[0]) > 1 else "\\\\"


def _without_surrogates(value: Any) -> Any:
    """Return a JSON value with every half of a character replaced; such text cannot be stored."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(value[key]) for key in value}
    return value


def _raise_error_in(part: Any, *, has_choices: bool, refuse: Refuse) -> None:
    """Raise the error that a reply, or a choice of it, is in place of an answer."""
    if not isinstance(part, dict):
        return
    error = part.get("error")
    if not error and not has_choices:
        # {"code": 429, "message": …}, {"detail": …}, {"errors": [{…}]}: errors without the word
        errors = part.get("errors")
        error = errors[0] if isinstance(errors, list) and errors else None
        error = error or (part if isinstance(part.get("message"), str) else part.get("detail"))
    if not error:
        return
    if error is True:
        error = part
    status = _status_of(error)
    raise refuse(status, orjson.dumps({"error": error}, default=str))


def _status_of(error: Any) -> int:
    """Return the HTTP status that an error in a 200 reply stands for; 502 if it names none."""
    named = error if isinstance(error, dict) else {"message": error}
    words = []
    for key in ("code", "status", "status_code", "type", "message"):
        value = named.get(key)
        number = _as_number(value)
        if number is not None and 400 <= number < 600:
            return int(number)
        if isinstance(value, str) and (key != "message" or len(named) == 1):
            words.append(value.lower().replace("-", "_").replace(" ", "_"))
    return next(
        (status for word, status in _STATUS_OF_CODE if any(word in said for said in words)), 502
    )


def _length_of(choice: dict[str, Any]) -> int:
    return len(orjson.dumps(choice["message"], default=str))


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


def _parse_choice(
    choice: dict[str, Any],
    usage: Usage,
    max_tokens: int | None,
    prompt: str | None,
    *,
    is_chat: bool = True,
) -> Completion:
    message = choice["message"]
    content, thought = _parse_content(message.get("content"))
    tagged, text = split_thinking(content, prompt)
    separate = next(
        (said for key in _REASONING_KEYS if message.get(key) and (said := text_in(message[key]))),
        "",
    )
    parts = [part for part in (separate, thought, tagged) if part]
    reasoning = "\n\n".join(parts) if parts else tagged
    finish, unknown = _parse_finish(choice, usage, max_tokens)
    if calls := message.get("tool_calls"):
        text = with_calls(text, read_calls(calls))
    refused = text_in(message.get("refusal"))
    if refused:
        text, finish = text or refused, "refusal"
    if finish == "error":
        raise CompleterError("server", f"the reply ended in {choice.get('finish_reason')!r}")
    if not is_chat:
        text = text.strip()
    elif finish == "stop" and not text.strip() and not reasoning:
        raise NoAnswerError("bad_reply", "the reply is empty: no text, reasoning or refusal")
    logprobs, tokens = _parse_logprobs(choice.get("logprobs"))
    return Completion(
        text=text,
        finish=finish,
        usage=usage,
        reasoning=reasoning,
        logprobs=logprobs,
        token_bytes=None if tokens is None else reply_bytes(tokens, reasoning, text),
        unknown_finish=unknown,
    )


def _parse_finish(
    choice: dict[str, Any], usage: Usage, max_tokens: int | None
) -> tuple[Finish, str | None]:
    """Return how the reply ended, and the server's word for it where it is not in the table.

    An unknown word is a cut-off if the reply is as long as it may be, and a plain end otherwise.
    """
    said = choice.get("finish_reason", "")
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    if isinstance(said, dict):
        said = said.get("type", said.get("reason", str(said)))
    word = "null" if said is None else str(said)
    finish = read_finish(word)
    if finish is not None:
        return finish, None
    full = max_tokens is not None and usage.tokens_out >= max_tokens
    return "length" if full else "stop", word[:40] or "(none)"


def read_finish(word: str) -> Finish | None:
    """Return how a reply ended by a server's word for it; None if the word is unknown."""
    return _FINISH.get(word.strip().lower().replace("-", "_"))


def _parse_content(content: Any) -> tuple[str, str]:
    """Return the text and the reasoning in a message's content: a text, or parts with types."""
    if isinstance(content, dict):
        content = content.get("parts", [content])
    if not isinstance(content, list):
        return text_in(content), ""
    texts, thoughts = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        is_thought = isinstance(kind, str) and any(word in kind for word in _REASONING_PARTS)
        if is_thought or (isinstance(part, dict) and part.get("thought") is True):
            thoughts.append(text_in(part))
        else:
            texts.append(text_in(part))
    return "".join(texts), "".join(thoughts)


def text_in(value: Any) -> str:
    """Return the text in a value that should be one: a text, a part with one, or a list of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(map(text_in, value))
    if isinstance(value, dict):
        for key in ("text", "thinking", "content", "reasoning", "summary", "value", "refusal"):
            if text := text_in(value.get(key)):
                return text
    return ""


def _parse_usage(usage: Any) -> Usage:
    if not isinstance(usage, dict):
        return Usage()
    prompt = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    completion = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    # Most replies say no more than the two counts, and this is done for every reply.
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if (
        type(tokens_in) is type(tokens_out) is int
        and 0 < tokens_in <= MOST_TOKENS
        and 0 < tokens_out <= MOST_TOKENS
        and not (prompt or completion or usage.get("prompt_cache_hit_tokens"))
    ):
        return Usage(tokens_in=tokens_in, tokens_out=tokens_out)
    tokens_in = _count_at(usage, "prompt_tokens", "input_tokens")
    tokens_out = _count_at(usage, "completion_tokens", "output_tokens")
    if tokens_out == 0:
        tokens_out = max(0, _count_at(usage, "total_tokens") - tokens_in)
    if tokens_in == 0:
        return Usage()
    cached = _count_at(prompt, "cached_tokens") or _count_at(usage, "prompt_cache_hit_tokens")
    return Usage(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=min(cached, tokens_in),
        tokens_reasoning=min(_count_at(completion, "reasoning_tokens"), tokens_out),
    )


def _has_text(message: Mapping[str, Any]) -> bool:
    return any(_parse_content(message.get("content")))


def _count_at(counts: Any, *names: str) -> int:
    """Return the first count of tokens under one of the names; 0 where there is none."""
    if not isinstance(counts, dict):
        return 0
    for name in names:
        value = counts.get(name)
        if type(value) is not int:  # nearly all are, and this is done for every reply
            value = _as_number(value)
        if value is not None and 0 < value <= MOST_TOKENS:
            return int(value)
    return 0


def _as_number(value: Any) -> float | None:
    """Return a number that may be written as a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _parse_logprobs(logprobs: Any) -> tuple[tuple[float, ...] | None, list[bytes] | None]:
    """Return the log-probability of each token, and the tokens; None for what is not there."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None, None
    items = [item for item in content if isinstance(item, dict)]
    found = [
        (value, item) for item in items if (value := _as_number(item.get("logprob"))) is not None
    ]
    tokens = [_token_of(item) for _, item in found]
    known = [token for token in tokens if token is not None]
    whole = len(known) == len(content) and any(known)
    return tuple(value for value, _ in found), known if whole else None


def _token_of(item: Mapping[str, Any]) -> bytes | None:
    """Return a token's bytes, by ``bytes`` or by its text; None where neither is there."""
    match item:
        case {"bytes": [*numbers]} if all(type(n) is int and 0 <= n < 256 for n in numbers):
            return bytes(numbers)
        case {"token": str(text)}:
            return text.encode(errors="replace")
    return None


def _quote_start(body: bytes) -> str:
    return repr(body[:120].decode("utf-8", "replace"))
