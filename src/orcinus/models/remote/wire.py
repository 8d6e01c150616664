"""One HTTP exchange with a provider: bounded in size and time, its failures classified.

A redirect is not followed: it would send the key to another host.
"""

import hashlib
import random
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache

from pydantic import Field
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import PyreqwestError, RequestTimeoutError
from pyreqwest.http import Url
from pyreqwest.multipart import FormBuilder
from pyreqwest.response import Response

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError, ConfigError, ErrorClass
from orcinus.core.secrets import remember, scrub_bytes, shown_name
from orcinus.models.remote.refusals import NOBODY, Caller, refusal, without_password

MAX_BODY_BYTES = 64 * 2**20
"""No reply of a language model is longer. A longer body is an error."""
MAX_PAUSE_S = 60.0
"""Longest pause between two tries, also where a server asks for more."""


class Patience(Config):
    """Timeouts and retries."""

    connect_s: float = Field(default=20.0, gt=0)
    """Longest time to connect, in seconds."""
    silence_s: float = Field(default=300.0, gt=0)
    """Longest time without a byte, in seconds. Before the first byte the model may be thinking."""
    total_s: float = Field(default=900.0, gt=0)
    """Longest time for one try, in seconds."""
    tries: int = Field(default=6, ge=1)
    """Tries of one request before it is recorded as an error."""
    first_pause_s: float = Field(default=0.5, gt=0)
    """Seconds before the second try; the pause doubles with each further one."""

    def pause_s(self, error: CompleterError, tried: int) -> float:
        """Return the seconds to wait after the ``tried``-th try.

        The server's own wish comes first; otherwise the pause doubles with each try. Both are
        jittered, so that waiting calls do not come back at the same moment.
        """
        if error.retry_after_s is not None:
            return min(error.retry_after_s, MAX_PAUSE_S) * random.uniform(1.0, 1.2)
        pause: float = min(self.first_pause_s * 2.0 ** (tried - 1), MAX_PAUSE_S)
        return pause * random.uniform(0.5, 1.5)


class Wire:
    """A connection pool with a provider's headers. It opens on first use."""

    def __init__(
        self,
        *,
        headers: Mapping[str, str],
        secret_headers_env: Mapping[str, str],
        api_key_env: str | None,
        patience: Patience,
        secrets: Mapping[str, str],
    ) -> None:
        """Read keys from the environment; nothing is connected yet.

        Raises:
            ConfigError: A named variable is not set.
        """
        self._headers = {"content-type": "application/json", **headers}
        self._patience = patience
        if api_key_env is not None:
            self._headers["authorization"] = f"Bearer {self._read_secret(api_key_env, secrets)}"
        for header, variable in secret_headers_env.items():
            self._headers[header] = self._read_secret(variable, secrets)
        self._client: Client | None = None

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        body: bytes | None = None,
        form: FormBuilder | None = None,
        limit: int | None = None,
        caller: Caller = NOBODY,
    ) -> tuple[bytes, Response]:
        """Send one HTTP request, without a retry.

        Args:
            method: The HTTP verb.
            url: The address.
            body: The body to send, or
            form: a form with files.
            limit: Most bytes that the reply may have; None is ``MAX_BODY_BYTES``.
            caller: Whose call it is, for the words of an error.

        Returns:
            The body of a 200 reply, and the reply for its headers.

        Raises:
            CompleterError: No such reply came. It gives the class of the failure, and says whether
                a retry can help.
        """
        request = self._connect().request(method, _parse_url(url))
        if body is not None:
            request = request.body_bytes(body)
        if form is not None:
            request = request.multipart(form)
        started = time.monotonic()
        try:
            async with request.build_streamed() as response:
                most = limit or MAX_BODY_BYTES
                length = response.get_header("content-length")
                if length is not None and length.isdigit() and int(length) <= most:
                    content = bytes(await response.bytes())
                else:
                    content = await _read_parts(response, most)
        except PyreqwestError as error:
            raise self._broken(error, url, time.monotonic() - started) from error
        # Some servers repeat the key, and what they say is written to the ledger.
        content = scrub_bytes(content)
        if response.status == 200:
            return content, response
        refused = refusal(
            response.status,
            content,
            caller=caller,
            location=response.get_header("location"),
            retry_after_s=_parse_retry_after(response),
        )
        refused.cost_unknown = may_be_charged(response.status, refused)
        raise refused

    def _broken(self, error: PyreqwestError, url: str, seconds: float) -> CompleterError:
        """Return the error for an exchange that ended without a whole reply, in plain words."""
        url, causes = without_password(url), _causes(error)
        patience = self._patience
        if "client error (Connect)" in causes:
            return CompleterError(
                "connection", f"cannot connect to {url}: {_plain_cause(causes, patience.connect_s)}"
            )
        if isinstance(error, RequestTimeoutError) or "operation timed out" in causes:
            if seconds >= 0.99 * patience.total_s:
                limit = f"{patience.total_s:g} s (patience.total_s)"
                return _lost("timeout", f"{url} did not answer in full within {limit}")
            limit = f"{patience.silence_s:g} s (patience.silence_s)"
            return _lost("timeout", f"{url} sent nothing for {limit}")
        return _lost("connection", f"{url} broke off: {causes[-1]}")

    def secrets_hash(self) -> str:
        """Return 16 bits of a hash of the headers, secret ones among them."""
        return hashlib.sha256("\0".join(self._headers.values()).encode()).hexdigest()[:4]

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _read_secret(self, variable: str, secrets: Mapping[str, str]) -> str:
        value = secrets.get(variable, "").strip()
        if not value:
            raise ConfigError(
                f"the environment variable {shown_name(variable)} is not set, and the recipe takes "
                f"a key from it: export {shown_name(variable)}=…"
            )
        remember(value)
        return value

    def _connect(self) -> Client:
        if self._client is None:
            patience = self._patience
            self._client = (
                ClientBuilder()
                .default_headers(self._headers)
                .follow_redirects(False)
                .connect_timeout(timedelta(seconds=patience.connect_s))
                .read_timeout(timedelta(seconds=patience.silence_s))
                .timeout(timedelta(seconds=patience.total_s))
                .build()
            )
        return self._client


_parse_url = lru_cache(maxsize=64)(Url)
"""Parse a URL, once: each call of a step has the same one, and to parse it takes 7 µs."""


def may_be_charged(status: int, refused: CompleterError) -> bool:
    """Return True if a provider may charge for a request that it answered with this status.

    None charges for a request that it refuses, but some for one that they filter.
    """
    return not 300 <= status < 500 or status == 408 or refused.kind == "content_filter"


def _lost(kind: ErrorClass, message: str) -> CompleterError:
    """Return the error for a reply that was lost after the request was sent."""
    return CompleterError(kind, message, cost_unknown=True)


async def _read_parts(response: Response, limit: int) -> bytes:
    """Read a body of unknown length; raise as soon as it is longer than ``limit`` bytes."""
    parts, size = [], 0
    reader = response.body_reader
    while (part := await reader.read_chunk()) is not None:
        size += len(part)
        if size > limit:
            raise _lost("bad_reply", f"longer than {limit // 2**20} MiB")
        parts.append(bytes(part))
    return b"".join(parts)


def _parse_retry_after(response: Response) -> float | None:
    for header, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = response.get_header(header)
        try:
            if value is not None and float(value) >= 0:
                return float(value) * scale
        except ValueError:
            continue  # an HTTP date: rare, and our own pauses serve as well
    return None


_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)


def parse_duration(text: str) -> float:
    """Return the seconds in ``6m0s``, ``1.5s``, ``20ms`` or ``3``; 0 for anything else."""
    text = text.strip().lower()
    try:
        return max(0.0, float(text))
    except ValueError:
        match = _DURATION.fullmatch(text)
    scales = (3600.0, 60.0, 1.0, 1e-3)
    return (
        sum(float(part) * scale for part, scale in zip(match.groups(), scales, strict=True) if part)
        if match
        else 0.0
    )


_PLAIN_CAUSES: tuple[tuple[str, str], ...] = (
    ("refused", "connection refused (is the server running?)"),
    ("dns error", "no such host (check the name in base_urls, and the network)"),
    ("certificate", "its certificate is not trusted"),
    ("tls", "it does not speak TLS (is it http:// instead of https://?)"),
    ("wrong version number", "it does not speak TLS (is it http:// instead of https://?)"),
    ("unreachable", "the network cannot reach it"),
)
"""What a failed connection means, by a word in its causes; the first that occurs counts."""


def _plain_cause(causes: list[str], connect_s: float) -> str:
    """Return why no connection was made."""
    said = " ".join(causes).lower()
    for word, plain in _PLAIN_CAUSES:
        if word in said:
            detail = f": {causes[-1]}" if word == "certificate" else ""
            return plain + detail
    return f"no answer within {connect_s:g} s" if "timed out" in said else causes[-1]


def _causes(error: PyreqwestError) -> list[str]:
    """Return the messages of an error and its causes, the innermost last; at least one."""
    details = getattr(error, "details", None) or {}
    causes = [str(cause.get("message", "")) for cause in details.get("causes") or ()]
    return [*filter(None, causes)] or [str(error).partition("\n")[0] or type(error).__name__]
