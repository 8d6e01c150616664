"""Any OpenAI-compatible endpoint as a model: rate limits, retries, several base URLs, money.

    EndpointConfig(model="gpt-5-mini", base_urls=("https://api.openai.com/v1",), api_key_env="OPENAI_API_KEY")

A call goes to the base URL with the most free places. Connection failures, timeouts, 408/409/425/429 and 5xx are asked again
with growing, jittered pauses, or after the time the server asked for; a bad request, a wrong key or a content filter are not.
With ``batch`` in the configuration ``batch.py`` asks instead.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import orjson
import yaml
from pydantic import Field
from pyreqwest.response import Response

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError
from orcinus.core.requests import as_sent
from orcinus.core.types import Completion, Request, Traits, Usage, WorstCase
from orcinus.models.bounds import prompt_bound
from orcinus.models.remote.limits import InFlight, Rate
from orcinus.models.remote.replies import parse_replies
from orcinus.models.remote.wire import MAX_PAUSE_S, Patience, Wire, duration_of

DEAD_FOR_S = 10.0
"""A base URL that could not be connected to is left alone this long while another one works."""
HEED_S = 0.02
"""Rate-limit headers are read this often: reading them in every reply took 6 % of the client's time."""
GATHER_S = 0.01
"""How long the samples of one question wait for each other when they share a call."""


class Price(Config):
    """Dollars per million tokens."""

    input: float = Field(default=0.0, ge=0)
    output: float = Field(default=0.0, ge=0)
    cached_input: float | None = Field(default=None, ge=0)
    """For the part of the input that the provider had cached; None is the price of other input."""
    batch: float = Field(default=1.0, gt=0)
    """Factor on all of these for what is asked in a batch, e.g. 0.5."""


@cache
def price_list() -> Mapping[str, Price]:
    """The prices that come with the package, by model."""
    text = files("orcinus.models.remote").joinpath("prices.yaml").read_text(encoding="utf-8")
    return {model: Price(**price) for model, price in yaml.safe_load(text)["models"].items()}


class Limits(Config):
    """What the provider allows."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_in_per_minute: float | None = Field(default=None, gt=0)
    tokens_out_per_minute: float | None = Field(default=None, gt=0)
    in_flight: int = Field(default=1024, ge=1)
    """Calls in flight to one base URL at most; fewer when it refuses."""


class BatchConfig(Config):
    """Asking through the provider's batch interface (``/files`` and ``/batches``, as OpenAI's): slower and cheaper."""

    size: int = Field(default=10_000, ge=1, le=50_000)
    """Requests in one batch at most."""
    linger_s: float = Field(default=5.0, gt=0)
    """A batch that is not full is sent when no further request came for this long."""
    poll_s: float = Field(default=30.0, gt=0)
    """Pause between two looks at a batch that is not done."""
    window: str = "24h"
    """Within which the provider is to answer; what is not answered by then is asked again."""


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
    choices_per_call: int = Field(default=1, ge=1)
    """Samples of one question that share a call (``n``), so that its prompt is paid once. They must be asked with
    ``seeded: false``: samples with seeds of their own are calls of their own."""
    continues: bool = False
    """It can go on with a half-written answer, as tree search asks it to (``continue_final_message`` and ``include_stop_str_in_output``, as
    of vLLM and ``orcinus serve``)."""
    batch: BatchConfig | None = None
    """Ask in batches, not call by call. The answers are the same to the ledger."""
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
        self.price = config.known_price() or Price()
        self.wire = Wire(
            headers=config.headers,
            secret_headers_env=config.secret_headers_env,
            api_key_env=config.api_key_env,
            patience=config.patience,
            secrets=secrets,
        )
        self._servers = [_Server(url, config.limits.in_flight) for url in config.base_urls]
        limits = config.limits
        self._groups: dict[bytes, list[asyncio.Future[Completion]]] = {}
        self._requests = Rate(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens_in = Rate(limits.tokens_in_per_minute) if limits.tokens_in_per_minute else None
        self._tokens_out = (
            Rate(limits.tokens_out_per_minute) if limits.tokens_out_per_minute else None
        )

    @property
    def model(self) -> str:
        """The name the endpoint knows it by."""
        return self.config.model

    @property
    def traits(self) -> Traits:
        """It continues partial replies where the configuration says so."""
        return Traits(continues=self.config.continues)

    async def complete(self, request: Request) -> Completion:
        """Send the request, with retries, until an answer comes or another try cannot help.

        Raises:
            CompleterError: No answer came.
        """
        if self.config.choices_per_call > 1:
            return await self._share(request)
        return (await self._send(request))[0]

    async def _send(self, request: Request, choices: int | None = None) -> list[Completion]:
        """Make one call: wait for the rates and for a server, try, and retry after a pause.

        Args:
            request: What is asked.
            choices: How many replies to ask for (``n``); None sends no number and takes one reply.
        """
        body = self.body(request)
        content = orjson.dumps(body if choices is None else {**body, "n": choices})
        need_in, need_out = prompt_bound(request) / 4, float(request.sampling.max_tokens)
        for tried in range(1, self.config.patience.tries + 1):
            await self._take_rates(need_in, need_out)
            server = self._choose()
            await server.ready(need_in + need_out)
            await server.in_flight.enter()
            started = time.perf_counter()
            try:
                completions = await self._ask(server, content, choices or 1)
            except CompleterError as error:
                server.failed(error)
                if error.permanent or tried == self.config.patience.tries:
                    raise
                await asyncio.sleep(self.config.patience.pause_s(error, tried))
            else:
                latency_s = time.perf_counter() - started
                server.in_flight.answered(
                    latency_s / (50 + sum(item.usage.tokens_out for item in completions))
                )
                self._give_back(need_in, need_out, completions)
                return [self.priced(item, latency_s) for item in completions]
            finally:
                server.in_flight.leave()
        raise AssertionError("unreachable: the last try raises")

    async def _share(self, request: Request) -> Completion:
        """Answer one of several samples of a question: the first waits ``GATHER_S`` and asks for all that came."""
        key = orjson.dumps(self.body(request))
        if (group := self._groups.get(key)) is not None:
            mine: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
            group.append(mine)
            if 1 + len(group) == self.config.choices_per_call:
                del self._groups[key]  # full: the next one starts another
            return await mine
        others = self._groups[key] = []
        try:
            await asyncio.sleep(GATHER_S)
            if self._groups.get(key) is others:
                del self._groups[key]
            count = 1 + len(others)
            first, *rest = await self._send(request, choices=count)
        except CompleterError as error:
            _settle(others, [], error)
            raise
        except BaseException:
            for future in others:
                future.cancel()
            raise
        _settle(
            others,
            rest,
            CompleterError("bad_reply", f"{count} choices were asked for, {1 + len(rest)} came"),
        )
        return first

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of one call: a token for each byte of the prompt, and ``max_tokens`` written."""
        tokens_in, tokens_out = prompt_bound(request), request.sampling.max_tokens
        usd = (tokens_in * self.price.input + tokens_out * self.price.output) / 1e6
        return WorstCase(usd=usd, tokens=tokens_in + tokens_out)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.wire.aclose()

    def body(self, request: Request) -> dict[str, Any]:
        """Return the JSON body that is sent for ``request``."""
        messages, sampling = as_sent(request)
        role = self.config.system_role
        body: dict[str, Any] = {
            "model": self.config.model,
            "messages": [
                {
                    "role": role if message.role == "system" else message.role,
                    "content": message.content,
                }
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
        return {**body, **sampling.extra}

    async def _take_rates(self, need_in: float, need_out: float) -> None:
        if self._requests is not None:
            await self._requests.take(1)
        if self._tokens_in is not None:
            await self._tokens_in.take(need_in)
        if self._tokens_out is not None:
            await self._tokens_out.take(need_out)

    def _give_back(
        self, need_in: float, need_out: float, completions: Sequence[Completion]
    ) -> None:
        """A call was reckoned at its largest; what it did not use may be used now."""
        used_in = sum(item.usage.tokens_in for item in completions)
        used_out = sum(item.usage.tokens_out for item in completions)
        if self._tokens_in is not None and used_in:
            self._tokens_in.give_back(need_in - used_in)
        if self._tokens_out is not None and used_out:
            self._tokens_out.give_back(need_out - used_out)

    def _choose(self) -> "_Server":
        """The server with the most free places among those that are not dead, or the one that may be back first."""
        now = time.monotonic()
        alive = [
            server for server in self._servers if max(server.dead_until, server.rests_until) <= now
        ]
        if not alive:
            return min(self._servers, key=lambda server: max(server.dead_until, server.rests_until))
        return max(alive, key=lambda server: server.in_flight.free)

    async def _ask(self, server: "_Server", body: bytes, choices: int) -> list[Completion]:
        """One try at one server."""
        content, response = await self.wire.exchange("POST", server.url, body=body)
        server.heed(response)
        return parse_replies(content, choices)

    def priced(
        self, completion: Completion, latency_s: float, *, factor: float = 1.0
    ) -> Completion:
        """The completion with what it cost and how long it took."""
        return Completion(
            text=completion.text,
            finish=completion.finish,
            usage=completion.usage,
            reasoning=completion.reasoning,
            logprobs=completion.logprobs,
            cost_usd=factor * cost_of(completion.usage, self.price),
            latency_s=latency_s,
        )


class _Server:
    """One base URL: how many calls it bears, until when it is left alone, and until when it wants to rest."""

    def __init__(self, base_url: str, in_flight: int) -> None:
        self.url = f"{base_url.rstrip('/')}/chat/completions"
        self.in_flight = InFlight(in_flight)
        self.dead_until = 0.0
        self.rests_until = 0.0
        self._learned: dict[str, Rate] = {}
        self._heeded = 0.0

    def heed(self, response: Response) -> None:
        """Learn from ``x-ratelimit-*`` how much the server will take, before it has to refuse."""
        now = time.monotonic()
        if now - self._heeded < HEED_S:
            return
        self._heeded = now
        for what in ("requests", "tokens"):
            remaining = _number(response.get_header(f"x-ratelimit-remaining-{what}"))
            if remaining is None:
                continue
            reset_s = min(
                duration_of(response.get_header(f"x-ratelimit-reset-{what}") or ""), MAX_PAUSE_S
            )
            limit = _number(response.get_header(f"x-ratelimit-limit-{what}"))
            if limit is not None and limit > remaining and reset_s > 0:
                # It fills up at a rate that brings it from what remains to the limit by the time of the reset.
                self._learned.setdefault(what, Rate(60.0)).learn(
                    level=remaining, size=limit, per_s=(limit - remaining) / reset_s
                )
            elif remaining == 0:
                self.rests_until = max(self.rests_until, time.monotonic() + reset_s)

    async def ready(self, tokens: float) -> None:
        """Wait until the server has rested and may be asked for so many tokens."""
        while (pause := self.rests_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if "requests" in self._learned:
            await self._learned["requests"].take(1)
        if "tokens" in self._learned:
            await self._learned["tokens"].take(tokens)

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
    return (
        fresh * price.input + usage.tokens_cached * cached + usage.tokens_out * price.output
    ) / 1e6


def _settle(
    waiting: Sequence[asyncio.Future[Completion]],
    completions: Sequence[Completion],
    otherwise: CompleterError,
) -> None:
    """Give each who waits a completion, or the error where there is none."""
    for place, future in enumerate(waiting):
        if future.done():
            continue
        if place < len(completions):
            future.set_result(completions[place])
        else:
            future.set_exception(otherwise)


def _number(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
