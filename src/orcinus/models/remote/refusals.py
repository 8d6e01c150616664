"""Explain a failed call in one line: what the server said, and which recipe key to change.

    400  "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        →  …; set teacher.max_tokens_field: max_completion_tokens

An error is ``permanent`` if the same request cannot succeed later, and ``fatal`` if no call of this
configuration can: a wrong key, an empty account, a refused parameter, a wrong URL.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import orjson

from orcinus.core.errors import CompleterError, ErrorClass

_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529}
_CLASSES: Mapping[int, ErrorClass] = {
    401: "auth",
    402: "quota",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    408: "timeout",
    429: "rate_limit",
}
CALL = "/chat/completions"
"""What is added to a base URL to get the address of a call."""

SCORE = "/completions"
"""The same for a call that scores a text."""

_NO_MONEY = re.compile(
    r"insufficient[ _]?(?:quota|balance|credit|fund)|exceeded your current quota|billing"
    r"|payment[ _]required|out of credits|credit balance is too low|no credits|arrears",
    re.IGNORECASE,
)
_CERTAINLY_NO_MONEY = re.compile(r"insufficient_quota|billing_(?:not_active|hard_limit)")
_ONLY_A_RATE = re.compile(
    r"rate[ _]limit|(?:retry|try again|available) (?:in|after)|per[ _-]?(?:minute|second|day)",
    re.IGNORECASE,
)
"""Words of a rate limit. Some providers mention billing in it, as a way to a higher limit."""
_REFUSED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed"
    r"|only the default|deprecated|not available|extra_forbidden|extra inputs|invalid"
    r"|instead|no longer|does not accept|cannot be (?:used|set)",
    re.IGNORECASE,
)
_CERTAINLY_REFUSED = re.compile(r"unsupported|not support|only the default", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context[ _](?:length|window)|too (?:large|long|many)|maximum|at most|exceed|greater than"
    r"|less than|must be (?:positive|between)|out of range",
    re.IGNORECASE,
)
"""Words about one request's size. They name parameters too, and other requests can succeed."""
_MODERATED = re.compile(
    r"moderat|\bflagged\b|content[ _-](?:policy|filter)|safety (?:policy|filter|system)",
    re.IGNORECASE,
)
"""Words about what a request says, in a 403."""
_NO_SYSTEM_TURN = re.compile(
    r"roles must alternate|system (?:role|messages?|prompts?) (?:is |are )?not (?:support|allow)ed"
    r"|only user and assistant roles|not support (?:the )?system",
    re.IGNORECASE,
)
"""Words of a chat template that has no system turn."""
_STREAM_ONLY = re.compile(
    r"only supports? stream|enable (?:the )?stream|stream\W+(?:must|has to|should) be (?:set|true)",
    re.IGNORECASE,
)
_FIELDS = ("temperature", "top_p", "seed", "stop", "logprobs", "presence_penalty", "n")
_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")
_STEPS = {"judge": "judging.sampling", "student": "probe.sampling"}
"""The sampling section that is asked of a role first; other roles have ``teach.sampling``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The facts about a configuration that an explanation names."""

    entry: str = "teacher"
    """The recipe's entry of the model: ``teacher``, ``judge`` …"""
    model: str = ""
    base_url: str = ""
    call: str = CALL
    """What is added to the base URL."""
    api_key_env: str | None = None
    max_tokens_field: str = "max_tokens"
    system_role: str = "system"


NOBODY = Caller()


def refusal(
    status: int,
    content: bytes,
    *,
    caller: Caller = NOBODY,
    location: str | None = None,
    retry_after_s: float | None = None,
) -> CompleterError:
    """Return the error for an HTTP status other than 200, with the provider's own message.

    Args:
        status: The status.
        content: The body of the reply.
        caller: Whose call it was.
        location: The address that a redirect names.
        retry_after_s: Seconds that the server asked to wait.
    """
    if 300 <= status < 400:
        return _moved(status, location, caller)
    said = parse_error(content)
    kind: ErrorClass = _CLASSES.get(status, "server" if status >= 500 else "bad_request")
    about_the_text = status == 403 and "account" not in said and _MODERATED.search(said)
    if about_the_text or "content_filter" in said or "content_policy" in said:
        return CompleterError(
            "content_filter", f"HTTP {status}: {said}", permanent=status not in _RETRIED
        )
    if _is_out_of_money(status, content, retry_after_s):
        advice = "the account has no credit left; top it up and run again"
        return CompleterError(
            "quota", f"HTTP {status}: {said}; {advice}", permanent=True, fatal=True
        )
    if status == 401:
        key = (
            f"key from {caller.api_key_env}"
            if caller.api_key_env
            else (f"the recipe names no {caller.entry}.api_key_env")
        )
        return CompleterError("auth", f"HTTP 401: {said} ({key})", permanent=True, fatal=True)
    advice = _advice(status, said, caller)
    return CompleterError(
        kind,
        f"HTTP {status}: {said}{advice and '; '}{advice}",
        permanent=status not in _RETRIED,
        fatal=status in (403, 404, 405) or (status in (400, 422) and bool(advice)),
        retry_after_s=retry_after_s,
    )


def _is_out_of_money(status: int, content: bytes, retry_after_s: float | None) -> bool:
    """Return whether waiting cannot help, because the account has to be paid first."""
    text = content[:4000].decode("utf-8", "replace")
    if status == 402 or (status in (400, 403, 429) and _CERTAINLY_NO_MONEY.search(text)):
        return True
    return (
        status in (400, 403, 429)
        and retry_after_s is None
        and _NO_MONEY.search(text) is not None
        and _ONLY_A_RATE.search(text) is None
    )


def _moved(status: int, location: str | None, caller: Caller) -> CompleterError:
    """Return the error for a redirect, which is not followed: a key must not reach another host."""
    message = f"HTTP {status}: {without_password(caller.base_url)} redirects calls"
    if location:
        target = without_password(urljoin(caller.base_url + caller.call, location))
        if target.partition("?")[0].endswith(caller.call):
            target = target.replace(caller.call, "", 1)
            message += f" to {target}; set {caller.entry}.base_urls: [{target}]"
        else:
            message += (
                f" to {target}, and a redirect is not followed; check {caller.entry}.base_urls"
            )
    return CompleterError("not_found", message, permanent=True, fatal=True)


def _advice(status: int, said: str, caller: Caller) -> str:
    """Return what to change in the recipe; "" where only the server's own words help."""
    entry = caller.entry
    if status == 403 and caller.api_key_env:
        return f"check the rights of the key from {caller.api_key_env} ({entry}.api_key_env)"
    if status in (404, 405):
        return _advice_on_url(said, caller)
    if status not in (400, 422):
        return ""
    if _NO_SYSTEM_TURN.search(said) and caller.system_role == "system":
        return f"set {entry}.system_role: user"
    if _STREAM_ONLY.search(said) and entry != "model":
        return f"set {_STEPS.get(entry, 'teach.sampling')}.extra: {{stream: true}}"
    if not _REFUSED.search(said):
        return ""
    other = "system" if caller.system_role == "developer" else "developer"
    if "role" in said.lower() and {other, caller.system_role} <= set(re.findall(r"\w+", said)):
        return f"set {entry}.system_role: {other}"
    if _TOO_LONG.search(said) and not _CERTAINLY_REFUSED.search(said):
        return ""
    return _advice_on_field(said, caller)


def _advice_on_field(said: str, caller: Caller) -> str:
    """Return what to do about the body's field that the server refuses."""
    named = re.findall(r"[a-z_]+", said.lower())
    limits = [name for name in _LIMITS if name in named and name != caller.max_tokens_field]
    if caller.max_tokens_field in named:
        other = limits[0] if limits else _other_limit(caller.max_tokens_field)
        return f"set {caller.entry}.max_tokens_field: {other}"
    for field in _FIELDS:
        if field not in named or (len(field) < 5 and not _is_named_as_field(field, said)):
            continue
        if field == "n":
            return f"set {caller.entry}.choices_per_call: 1"
        step = _STEPS.get(caller.entry, "teach.sampling")
        also = ""
        if caller.entry != "model":  # a model outside a recipe has no steps
            also = f", or {step}.temperature: null" if field == "temperature" else ""
            also = f", or {step}.seeded: false" if field == "seed" else also
        return f"set {caller.entry}.omit: [{field}]{also}, to send none"
    return ""


def _is_named_as_field(field: str, said: str) -> bool:
    """Return whether a short name such as ``n`` or ``stop`` stands for a field, not for a word."""
    quoted = rf"[`'\"\[(.]{field}[`'\"\]).]"
    called = rf"\b{field}\b \w*parameter|parameter:? \b{field}\b"
    return re.search(f"{quoted}|{called}", said) is not None


def _other_limit(field: str) -> str:
    return "max_tokens" if field != "max_tokens" else "max_completion_tokens"


def _advice_on_url(said: str, caller: Caller) -> str:
    """Return what may be wrong with the base URL, or with the model's name."""
    url, entry = without_password(caller.base_url), caller.entry
    if caller.model and re.search(r"model|deployment", said, re.IGNORECASE):
        return f"check {entry}.model, {caller.model!r}"
    if not url:
        return ""
    if not re.search(r"/v\d", urlsplit(url).path):
        return f"no such address at {url}; it may lack /v1: set {entry}.base_urls: [{url}/v1]"
    if caller.call == SCORE:
        return (
            f"the server at {url} does not score a given text (POST {SCORE}); vLLM and `orcinus "
            "serve` do"
        )
    return f"no such address at {url}{caller.call}; check {entry}.base_urls and {entry}.model"


def without_password(url: str) -> str:
    """Return a URL without the user and password that it may contain."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def parse_error(content: bytes) -> str:
    """Return the code and the message in the body of an error, on one line."""
    try:
        reply = orjson.loads(content)
        if isinstance(reply, list) and len(reply) == 1:
            reply = reply[0]  # as Google wraps errors
        error = reply["error"] if "error" in reply else reply.get("detail") or reply["message"]
        said = (
            f"{error.get('code') or error.get('type') or ''} {error['message']}"
            if isinstance(error, dict)
            else str(error)
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        said = content[:200].decode("utf-8", "replace")
        if said.lstrip().lower().startswith(("<!doctype", "<html")):
            title = re.search(rb"<title>(.*?)</title>", content[:20_000], re.DOTALL | re.IGNORECASE)
            said = "an HTML page" + (f": {title[1].decode('utf-8', 'replace')}" if title else "")
    return " ".join(said.split())[:300] or "no reason given"
