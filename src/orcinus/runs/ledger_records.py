"""Store an attempt in the ledger: its identity, its row, and the attempt of a row.

Request ──record_json──► b'{"example": …, "messages": …}' ──hashed──► "0x3f2a…", the attempt's id
Attempt ──attempt_row──► values of ATTEMPT_COLUMNS       RECALLED_COLUMNS ──attempt_of──► Attempt
"""

import time
from typing import Any

import orjson

from orcinus.core.fingerprint import canonical, hashed
from orcinus.core.requests import as_sent
from orcinus.core.types import Attempt, Request, Usage
from orcinus.runs.ledger_schema import REPLY, reply_hash


def attempt_id(request: Request, model: str) -> str:
    """Return the id of an attempt: equal requests to a model share it, in this run or the next."""
    return hashed(record_json(request, model))


def record_json(request: Request, model: str) -> bytes:
    """Return ``request_record`` as canonical JSON.

    Only ``extra`` is walked: the other types are canonical, and a full walk takes five times as
    long.
    """
    return orjson.dumps(request_record(request, model), option=orjson.OPT_SORT_KEYS)


def request_record(request: Request, model: str) -> dict[str, Any]:
    """Return what was sent, in the form that is stored and fingerprinted."""
    messages, sampling = as_sent(request)
    temperature = float(sampling.temperature) if sampling.sends_temperature else None
    return {
        "task": request.example.task,
        "example": request.example.id,
        "model": model,
        "messages": [[message.role, message.content] for message in messages],
        "sampling": {
            "temperature": temperature,
            "top_p": float(sampling.top_p),
            "max_tokens": sampling.max_tokens,
            "stop": sampling.stop,
            "seed": sampling.seed,
            "logprobs": sampling.logprobs,
            "extra": canonical(sampling.extra) if sampling.extra else {},
        },
        "sample": request.sample,
    }


def attempt_row(attempt: Attempt, record: bytes, run: str, step: str) -> tuple[Any, ...]:
    """Return the values of ``ATTEMPT_COLUMNS``; ``record`` is what ``record_json`` gives."""
    usage, reply = attempt.usage, _reply(attempt)
    plain = (
        attempt.id,
        run,
        step,
        attempt.task,
        attempt.example_id,
        attempt.strategy,
        attempt.model,
        attempt.sample,
        usage.tokens_in,
        usage.tokens_out,
        float(attempt.cost_usd),
        float(attempt.latency_s),
        attempt.error,
        int(attempt.permanent),
        time.time(),
        usage.tokens_unreported,
    )
    return (*plain[:REPLY], record, reply, *plain[REPLY:], reply_hash(plain, reply))


def _reply(attempt: Attempt) -> bytes:
    """Return the reply as JSON without empty fields, which are usually half of them."""
    usage = attempt.usage
    reply: dict[str, Any] = {
        "text": attempt.text,
        "finish": attempt.finish,
        "usage": [usage.tokens_in, usage.tokens_out, usage.tokens_cached, usage.tokens_reasoning],
    }
    if usage.tokens_unreported:
        reply["usage"].append(usage.tokens_unreported)
    if attempt.reasoning is not None:
        reply["reasoning"] = attempt.reasoning
    if attempt.logprobs is not None:
        reply["logprobs"] = [round(value, 5) for value in attempt.logprobs]
    if attempt.token_bytes is not None:
        reply["token_bytes"] = attempt.token_bytes
    if attempt.source:
        reply["source"] = attempt.source
    if attempt.settings:
        reply["settings"] = attempt.settings
    return orjson.dumps(reply)


def attempt_of(request: Request, row: tuple[Any, ...], model: str) -> Attempt:
    """Return the attempt of a row of ``RECALLED_COLUMNS`` that answered a request."""
    identity, _, _, _, _, _, _, _, reply_json, _, _, cost_usd, latency_s, error, *rest = row
    permanent, created, tokens_unreported, _ = rest
    reply = orjson.loads(reply_json)
    logprobs, token_bytes = reply.get("logprobs"), reply.get("token_bytes")
    tokens_in, tokens_out, tokens_cached, tokens_reasoning, *_ = reply["usage"]
    messages, sampling = as_sent(request)
    return Attempt(
        id=identity,
        example_id=request.example.id,
        task=request.example.task,
        strategy=request.strategy,
        model=model,
        messages=messages,
        sampling=sampling,
        sample=request.sample,
        text=reply["text"],
        finish=reply["finish"],
        reasoning=reply.get("reasoning"),
        usage=Usage(
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tokens_cached=tokens_cached,
            tokens_reasoning=tokens_reasoning,
            tokens_unreported=tokens_unreported,
        ),
        logprobs=None if logprobs is None else tuple(logprobs),
        token_bytes=None if token_bytes is None else tuple(token_bytes),
        cost_usd=cost_usd,
        latency_s=latency_s,
        error=error,
        permanent=bool(permanent),
        source=reply.get("source", ""),
        settings=reply.get("settings", ""),
        created=created,
    )
