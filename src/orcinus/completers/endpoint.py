"""Any OpenAI-compatible endpoint as a model: rate limits, retries, several base URLs, money.

    EndpointConfig(model="gpt-5-mini", base_urls=("https://api.openai.com/v1",), api_key_env="OPENAI_API_KEY")

A call goes to the base URL with the most free places. Connection failures, timeouts, 408/409/425/429 and 5xx are asked again
with growing, jittered pauses, or after the time the server asked for; a bad request, a wrong key or a content filter are not.
"""

import asyncio
import random
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import orjson
import yaml
from pydantic import Field
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    ConnectError,
    ConnectTimeoutError,
    PyreqwestError,
    ReadTimeoutError,
    RequestTimeoutError,
)
from pyreqwest.response import Response

from orcinus.completers.limits import InFlight, Rate, prompt_bound
from orcinus.completers.replies import parse_reply
from orcinus.config import Config
from orcinus.errors import CompleterError, ConfigError, ErrorClass
from orcinus.types import Completion, Messages, Sampling, Usage, WorstCase

MAX_BODY_BYTES = 64 * 2**20
"""No answer of a language model is longer; a body that does not end is cut here."""
MAX_PAUSE_S = 60.0
DEAD_FOR_S = 10.0
"""A base URL that could not be connected to is left alone this long while another one works."""
_RETRIED = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
_CLASSES: Mapping[int, ErrorClass] = {401: "auth", 403: "auth", 404: "not_found", 408: "timeout", 429: "rate_limit"}


class Price(Config):
    """Dollars per million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    """For the part of the input that the provider had cached; None is the price of other input."""


@cache
def price_list() -> Mapping[str, Price]:
    """The prices that come with the package, by model."""
    text = files("orcinus.completers").joinpath("prices.yaml").read_text(encoding="utf-8")
    return {model: Price(**price) for model, price in yaml.safe_load(text)["models"].items()}


class Limits(Config):
    """What the provider allows."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_in_per_minute: float | None = Field(default=None, gt=0)
    tokens_out_per_minute: float | None = Field(default=None, gt=0)
    in_flight: int = Field(default=1024, ge=1)
    """Calls in flight to one base URL at most; fewer when it refuses."""


class Patience(Config):
    """How long to wait, and how often to try."""

    connect_s: float = Field(default=20.0, gt=0)
    silence_s: float = Field(default=300.0, gt=0)
    """Longest time without a byte; until the first one the model is thinking."""
    total_s: float = Field(default=900.0, gt=0)
    """Longest time for one try."""
    tries: int = Field(default=6, ge=1)
    """How often one request is asked before it is recorded as an error."""
    first_pause_s: float = Field(default=0.5, gt=0)
    """Pause before the second try; it doubles with each further one."""


class EndpointConfig(Config):
    """A model behind an OpenAI-compatible HTTP interface."""

    kind: Literal["endpoint"] = "endpoint"
    model: str
    """The name the endpoint knows it by."""
    base_urls: tuple[str, ...] = Field(min_length=1)
    """One or several servers of the same model, each up to and including ``/v1``."""
    api_key_env: str | None = None
    """Name of the environment variable that holds the key; None sends none."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Further headers, sent as they are. Not for secrets: recipes are copied into runs."""
    secret_headers_env: Mapping[str, str] = Field(default_factory=dict)
    """Further headers whose values are in the environment variables named here."""
    system_role: Literal["system", "developer"] = "system"
    """The role in which the endpoint wants the system message."""
    max_tokens_field: str = "max_tokens"
    """Body field for the bound on written tokens; newer OpenAI models want ``max_completion_tokens``."""
    price: Price | None = None
    """What it costs; None takes it from the dated table in ``completers/prices.yaml``, where a model that is not in it costs nothing."""
    limits: Limits = Limits()
    patience: Patience = Patience()

    def identity(self) -> dict[str, Any]:
        """What decides the model's answers."""
        return {"model": self.model, "system_role": self.system_role}

    def known_price(self) -> Price | None:
        """The recipe's price, or the table's; None when nobody said."""
        return self.price or price_list().get(self.model)


class Endpoint:
    """The Completer of an ``EndpointConfig``."""

    def __init__(self, config: EndpointConfig, *, secrets: Mapping[str, str]) -> None:
        """Make it ready; nothing is connected yet.

        Args:
            config: Which model, where.
            secrets: The environment, in which the configuration names keys.

        Raises:
            ConfigError: A named variable is not set.
        """
        self.config = config
        self._price = config.known_price() or Price()
        self._headers = dict(config.headers)
        self._secrets: list[bytes] = []
        if config.api_key_env is not None:
            self._headers["authorization"] = f"Bearer {self._secret(config.api_key_env, secrets)}"
        for header, variable in config.secret_headers_env.items():
            self._headers[header] = self._secret(variable, secrets)
        self._servers = [_Server(url, config.limits.in_flight) for url in config.base_urls]
        limits = config.limits
        self._requests = Rate(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens_in = Rate(limits.tokens_in_per_minute) if limits.tokens_in_per_minute else None
        self._tokens_out = Rate(limits.tokens_out_per_minute) if limits.tokens_out_per_minute else None
        self._client: Client | None = None

    @property
    def model(self) -> str:
        """The name the endpoint knows it by."""
        return self.config.model

    async def complete(self, messages: Messages, sampling: Sampling) -> Completion:
        """Ask until an answer comes or asking again makes no sense.

        Raises:
            CompleterError: No answer came.
        """
        body = self._body(messages, sampling)
        for tried in range(1, self.config.patience.tries + 1):
            await self._take_rates(messages, sampling)
            server = self._choose()
            await server.rested()
            await server.in_flight.enter()
            started = time.perf_counter()
            try:
                completion = await self._ask(server, body)
            except CompleterError as error:
                server.failed(error)
                if error.permanent or tried == self.config.patience.tries:
                    raise
                await asyncio.sleep(self._pause(error, tried))
            else:
                server.in_flight.answered()
                return self._priced(completion, time.perf_counter() - started)
            finally:
                server.in_flight.leave()
        raise AssertionError("unreachable: the last try raises")

    def worst_case(self, messages: Messages, sampling: Sampling) -> WorstCase:
        """Every byte of the prompt a token, every token that may be written written."""
        tokens_in = prompt_bound(messages)
        price = self._price
        usd = (tokens_in * price.input + sampling.max_tokens * price.output) / 1e6
        return WorstCase(usd=usd, tokens=tokens_in + sampling.max_tokens)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _body(self, messages: Messages, sampling: Sampling) -> bytes:
        role = self.config.system_role
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [
                {"role": role if message.role == "system" else message.role, "content": message.content}
                for message in messages
            ],
            "temperature": sampling.temperature,
            self.config.max_tokens_field: sampling.max_tokens,
        }
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = sampling.stop
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.logprobs:
            body["logprobs"] = True
        return orjson.dumps({**body, **sampling.extra})

    async def _take_rates(self, messages: Messages, sampling: Sampling) -> None:
        if self._requests is not None:
            await self._requests.take(1)
        if self._tokens_in is not None:
            await self._tokens_in.take(prompt_bound(messages) / 4)
        if self._tokens_out is not None:
            await self._tokens_out.take(sampling.max_tokens)

    def _choose(self) -> "_Server":
        """The server with the most free places among those that are not dead, or the one that may be back first."""
        now = time.monotonic()
        alive = [server for server in self._servers if max(server.dead_until, server.rests_until) <= now]
        if not alive:
            return min(self._servers, key=lambda server: max(server.dead_until, server.rests_until))
        return max(alive, key=lambda server: server.in_flight.free)

    async def _ask(self, server: "_Server", body: bytes) -> Completion:
        """One try at one server."""
        try:
            async with self._connected().post(server.url).body_bytes(body).build_streamed() as response:
                content = await _bounded_body(response)
                server.heed(response)
        except (ConnectError, ConnectTimeoutError) as error:
            raise CompleterError("connection", f"{server.url} cannot be reached: {_first_line(error)}") from error
        except (ReadTimeoutError, RequestTimeoutError) as error:
            raise CompleterError("timeout", f"{server.url} did not answer in time: {_first_line(error)}") from error
        except PyreqwestError as error:
            raise CompleterError("connection", f"{server.url} broke off: {_first_line(error)}") from error
        if response.status == 200:
            return parse_reply(content)
        for secret in self._secrets:  # some servers repeat the key they refuse, and errors are written down
            content = content.replace(secret, b"[secret]")
        raise _refusal(response, content, self.config)

    def _secret(self, variable: str, secrets: Mapping[str, str]) -> str:
        value = _secret(variable, secrets)
        self._secrets.append(value.encode())
        return value

    def _connected(self) -> Client:
        if self._client is None:
            patience = self.config.patience
            self._client = (
                ClientBuilder()
                .default_headers({"content-type": "application/json", **self._headers})
                .connect_timeout(timedelta(seconds=patience.connect_s))
                .read_timeout(timedelta(seconds=patience.silence_s))
                .timeout(timedelta(seconds=patience.total_s))
                .build()
            )
        return self._client

    def _pause(self, error: CompleterError, tried: int) -> float:
        if error.retry_after_s is not None:
            # Not all at the same moment again.
            return min(error.retry_after_s, MAX_PAUSE_S) * random.uniform(1.0, 1.2)
        pause: float = min(self.config.patience.first_pause_s * 2.0 ** (tried - 1), MAX_PAUSE_S)
        return pause * random.uniform(0.5, 1.5)

    def _priced(self, completion: Completion, latency_s: float) -> Completion:
        return Completion(
            text=completion.text,
            finish=completion.finish,
            usage=completion.usage,
            reasoning=completion.reasoning,
            logprobs=completion.logprobs,
            cost_usd=cost_of(completion.usage, self._price),
            latency_s=latency_s,
        )


class _Server:
    """One base URL: how many calls it bears, until when it is left alone, and until when it wants to rest."""

    def __init__(self, base_url: str, in_flight: int) -> None:
        self.url = f"{base_url.rstrip('/')}/chat/completions"
        self.in_flight = InFlight(in_flight)
        self.dead_until = 0.0
        self.rests_until = 0.0

    def heed(self, response: Response) -> None:
        """Rest when the server says that its minute is used up (``x-ratelimit-remaining-…: 0``), before it has to refuse."""
        for what in ("requests", "tokens"):
            remaining = response.get_header(f"x-ratelimit-remaining-{what}")
            if remaining is not None and remaining.strip() == "0":
                pause = duration_of(response.get_header(f"x-ratelimit-reset-{what}") or "")
                self.rests_until = max(self.rests_until, time.monotonic() + min(pause, MAX_PAUSE_S))

    async def rested(self) -> None:
        """Wait until the server has rested."""
        while (pause := self.rests_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)

    def failed(self, error: CompleterError) -> None:
        """Remember what a failed try says about the server."""
        if error.kind in ("rate_limit", "server"):
            self.in_flight.refused()
        if error.kind == "connection":
            self.dead_until = time.monotonic() + DEAD_FOR_S


def cost_of(usage: Usage, price: Price) -> float:
    """Dollars for one call's tokens."""
    cached = price.input if price.cached_input is None else price.cached_input
    fresh = usage.tokens_in - usage.tokens_cached
    return (fresh * price.input + usage.tokens_cached * cached + usage.tokens_out * price.output) / 1e6


async def _bounded_body(response: Response) -> bytes:
    """The whole body, or an error as soon as it is longer than any answer can be."""
    length = response.get_header("content-length")
    if length is not None and length.isdigit() and int(length) <= MAX_BODY_BYTES:
        return bytes(await response.bytes())
    parts, size = [], 0
    reader = response.body_reader
    while (part := await reader.read_chunk()) is not None:
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise CompleterError("bad_reply", f"longer than {MAX_BODY_BYTES // 2**20} MiB")
        parts.append(bytes(part))
    return b"".join(parts)


def _refusal(response: Response, content: bytes, config: EndpointConfig) -> CompleterError:
    """The error that an HTTP status other than 200 means."""
    status = response.status
    said = _error_text(content)
    kind: ErrorClass = _CLASSES.get(status, "server" if status >= 500 else "bad_request")
    if "content_filter" in said or "content_policy" in said:
        kind = "content_filter"
    if status == 401:
        key = f" (key from {config.api_key_env})" if config.api_key_env else " (the recipe names no api_key_env)"
        return CompleterError("auth", f"HTTP 401: {said}{key}", permanent=True, fatal=True)
    fatal = status in (403, 404) and kind != "content_filter"
    return CompleterError(
        kind,
        f"HTTP {status}: {said}",
        permanent=status not in _RETRIED,
        fatal=fatal,
        retry_after_s=_retry_after(response),
    )


def _error_text(content: bytes) -> str:
    try:
        error = orjson.loads(content)["error"]
        said = (
            f"{error.get('code') or error.get('type') or ''} {error['message']}"
            if isinstance(error, dict)
            else str(error)
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = content[:200].decode("utf-8", "replace")
    return " ".join(said.split())[:300] or "no reason given"


def _retry_after(response: Response) -> float | None:
    for header, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = response.get_header(header)
        try:
            if value is not None and float(value) >= 0:
                return float(value) * scale
        except ValueError:
            continue  # an HTTP date: rare, and our own pauses do as well
    return None


_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")


def duration_of(text: str) -> float:
    """Seconds of ``6m0s``, ``1.5s``, ``20ms`` or ``3``; 0 for anything else."""
    text = text.strip().lower()
    try:
        return max(0.0, float(text))
    except ValueError:
        match = _DURATION.fullmatch(text)
    scales = (3600.0, 60.0, 1.0, 1e-3)
    return (
        sum(float(part) * scale for part, scale in zip(match.groups(), scales, strict=True) if part) if match else 0.0
    )


def _secret(variable: str, secrets: Mapping[str, str]) -> str:
    value = secrets.get(variable, "").strip()
    if not value:
        raise ConfigError(
            f"the environment variable {variable} is not set, and the recipe takes a key from it: export {variable}=…"
        )
    return value


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
