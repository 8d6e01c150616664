"""Any OpenAI-compatible endpoint as a model: rate limits, retries, several base URLs, cost.

    teacher:
      kind: endpoint
      model: gpt-5-mini
      base_urls: [https://api.openai.com/v1]
      api_key_env: OPENAI_API_KEY
      max_tokens_field: max_completion_tokens
      omit: [temperature]

A call goes to the base URL with the most free capacity. Connection failures, timeouts,
408/409/425/429 and 5xx are retried after growing, jittered pauses, or after the time the server
asked for. A bad request, a wrong key and a content filter are not retried. With ``batch`` in the
configuration (``endpoint_config.py``), ``batch.py`` sends the requests instead.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from pyreqwest.response import Response

from orcinus.core.errors import CompleterError
from orcinus.core.fingerprint import fingerprint
from orcinus.core.requests import as_sent, chat_request
from orcinus.core.tool_calls import as_turns, definitions_in, has_tools
from orcinus.core.types import (
    Completion,
    Message,
    Messages,
    Remote,
    Request,
    Sampling,
    Traits,
    Usage,
    WorstCase,
)
from orcinus.models.bounds import (
    Tries,
    book_lost_try,
    current_tries,
    mark_sent,
    prompt_bound,
)
from orcinus.models.remote.endpoint_config import EndpointConfig, Price, cost_of
from orcinus.models.remote.limits import InFlight, Rate, Refusals
from orcinus.models.remote.refusals import SCORE, Caller, refusal, without_password
from orcinus.models.remote.replies import NoAnswerError, parse_replies, parse_scores
from orcinus.models.remote.wire import MAX_PAUSE_S, Wire, parse_duration

DEAD_FOR_S = 10.0
"""Seconds that a base URL which refused the connection is not used, if another one works."""
HEADERS_EVERY_S = 0.02
"""Seconds between two looks at rate-limit headers. Reading every reply's took 6 % of the client's
time."""
NO_ANSWER_TRIES = 2
"""Tries of a request whose reply holds no answer: each is paid, and most repeat themselves."""
GATHER_S = 0.01
"""Seconds that the samples of one question wait for each other when they share a call."""

_LIMITS_OF_TOKENS = ("max_tokens", "max_completion_tokens")
_COUNTS_OF_CHOICES = ("n", "best_of")
"""Body parameters that raise the worst case when a recipe sends them in ``extra``."""


def _as_turns(messages: Messages, system_role: str) -> list[dict[str, Any]]:
    """Return a conversation as it is sent; turns of the user that follow each other are one."""
    turns: list[dict[str, Any]] = []
    if has_tools(messages):
        turns = as_turns(messages, arguments_as_text=True)
        return [{**t, "role": system_role} if t["role"] == "system" else t for t in turns]
    for message in messages:
        role = system_role if message.role == "system" else message.role
        if system_role == role == "user" and turns and turns[-1]["role"] == "user":
            turns[-1]["content"] += f"\n\n{message.content}"
        else:
            turns.append({"role": role, "content": message.content})
    return turns


class Endpoint:
    """The Completer of an ``EndpointConfig``."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        secrets: Mapping[str, str],
        entry: str = "teacher",
        tokenize: Callable[[Messages], Sequence[int]] | None = None,
    ) -> None:
        """Read keys and limits; nothing is connected yet.

        Args:
            config: The model and its URLs.
            secrets: The environment, in which the configuration names keys.
            entry: The recipe's entry of the model, which errors name: ``teacher``, ``judge`` …
            tokenize: Returns the tokens of a conversation. They are sent in its place, so the
                server needs no chat template.

        Raises:
            ConfigError: A named variable is not set.
        """
        self.config, self._tokenize = config, tokenize
        self.price = config.known_price() or Price()
        self.wire = Wire(
            headers=config.headers,
            secret_headers_env=config.secret_headers_env,
            api_key_env=config.api_key_env,
            patience=config.patience,
            secrets=secrets,
        )
        caller = Caller(
            entry=entry,
            model=config.model,
            api_key_env=config.api_key_env,
            max_tokens_field=config.max_tokens_field,
            system_role=config.system_role,
        )
        self._servers = [
            _Server(replace(caller, base_url=url.rstrip("/")), config.limits.in_flight)
            for url in config.base_urls
        ]
        self._refusals = Refusals()
        self._remote = Remote(
            addresses=tuple(server.address for server in self._servers),
            settings=self._settings_hash(),
            refusals=self._refusals.describe,
        )
        limits = config.limits
        self._groups: dict[bytes, list[tuple[asyncio.Future[Completion], list[Tries]]]] = {}
        self._requests = Rate(limits.requests_per_minute) if limits.requests_per_minute else None
        self._tokens_in = Rate(limits.tokens_in_per_minute) if limits.tokens_in_per_minute else None
        self._tokens_out = (
            Rate(limits.tokens_out_per_minute) if limits.tokens_out_per_minute else None
        )
        self._has_rates = any((self._requests, self._tokens_in, self._tokens_out))

    @property
    def model(self) -> str:
        """Its name, revision and omitted fields."""
        return self.config.known_as()

    @property
    def traits(self) -> Traits:
        """Its servers; it continues partial replies if the configuration says so.

        Whether it scores texts, only a call can tell.
        """
        return Traits(continues=self.config.continues, scores=True, remote=self._remote)

    async def complete(self, request: Request) -> Completion:
        """Send the request, and retry until an answer comes or a retry cannot help.

        Raises:
            CompleterError: No answer came.
        """
        if self.config.choices_per_call > 1 and request.scoring is None:
            return await self._share_call(request)
        return (await self._call(request, current_tries()))[0]

    async def _call(
        self, request: Request, calls: list[Tries], choices: int | None = None
    ) -> list[Completion]:
        """Make one call: wait for the rate limits and a server, try, and retry after a pause.

        Args:
            request: The question.
            calls: The calls that share this exchange, for their budget.
            choices: Number of replies to ask for (``n``); None leaves ``n`` out and takes one.
        """
        mark_sent(calls, False)
        body = self.body(request)
        content = orjson.dumps(body if choices is None else {**body, "n": choices})
        for tried in range(1, self.config.patience.tries + 1):
            # Without limits there is nothing to wait for, and a coroutine for it takes time.
            if self._has_rates:
                await self._wait_for_rates(request)
            server = self._choose_server()
            if not server.is_ready:
                await server.ready(sum(_expected_tokens(request)))
            if not server.in_flight.enter_now():
                await server.in_flight.enter()
            started = time.perf_counter()
            mark_sent(calls, True)
            try:
                completions = await self._try(server, content, request, choices or 1)
            except CompleterError as error:
                server.record_failure(error)
                again = not isinstance(error, NoAnswerError) or tried < NO_ANSWER_TRIES
                if error.permanent or not again or tried == self.config.patience.tries:
                    raise
                if error.cost_unknown and not await book_lost_try(calls):
                    raise
                mark_sent(calls, False)
                pause_s = self.config.patience.pause_s(error, tried)
                self._refusals.add(error, pause_s)
                for call in calls:
                    call.retries += 1
                await asyncio.sleep(pause_s)
            else:
                latency_s = time.perf_counter() - started
                used_in = used_out = 0
                for item in completions:
                    used_in += item.usage.tokens_in
                    used_out += item.usage.tokens_out
                server.in_flight.record_answer(latency_s / (50 + used_out))
                if self._has_rates:
                    self._give_back(request, used_in, used_out)
                source = server.address
                if not used_in:
                    return [
                        self.priced_at_worst(item, latency_s, request, source=source)
                        for item in completions
                    ]
                return [self.priced(item, latency_s, source=source) for item in completions]
            finally:
                server.in_flight.leave()
        raise AssertionError("unreachable: the last try raises")

    async def _share_call(self, request: Request) -> Completion:
        """Answer one of several samples of a question.

        The first one waits ``GATHER_S`` for the others, then makes one call for all of them.
        """
        key = orjson.dumps(self.body(request))
        if (group := self._groups.get(key)) is not None:
            mine: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
            group.append((mine, current_tries()))
            if 1 + len(group) == self.config.choices_per_call:
                del self._groups[key]  # full: the next one starts another
            return await mine
        group = self._groups[key] = []
        calls = current_tries()
        try:
            mark_sent(calls, False)
            await asyncio.sleep(GATHER_S)
            if self._groups.get(key) is group:
                del self._groups[key]
            count = 1 + len(group)
            for _, tries in group:
                calls += tries
            first, *rest = await self._call(request, calls, choices=count)
        except CompleterError as error:
            _settle(group, [], error)
            raise
        except BaseException:
            for future, _ in group:
                future.cancel()
            raise
        missing = CompleterError(
            "bad_reply",
            f"asked for {count} choices, got {1 + len(rest)}",
            cost_unknown=first.usage.tokens_unreported > 0,
        )
        _settle(group, rest, missing)
        return first

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of one try: a token for each byte in, ``max_tokens`` out.

        The dollars are infinite where no price is known.
        """
        if self.config.known_price() is None:
            return WorstCase(usd=math.inf, tokens=self._bound(request).tokens)
        return self._bound(request)

    def _bound(self, request: Request) -> WorstCase:
        """Return the bounds of one try; without a price it costs nothing."""
        extra = as_sent(request)[1].extra
        limits = [extra.get(name) for name in _LIMITS_OF_TOKENS]
        counts = [extra.get(name) for name in _COUNTS_OF_CHOICES]
        tokens_in = prompt_bound(request)
        tokens_out = max(request.sampling.max_tokens, *map(_whole_number, limits))
        tokens_out *= max(1, *map(_whole_number, counts))
        price_in = max(self.price.input, self.price.cached_input or 0.0)
        usd = (tokens_in * price_in + tokens_out * self.price.output) / 1e6
        return WorstCase(usd=usd, tokens=tokens_in + tokens_out)

    async def aclose(self) -> None:
        """Close the connections."""
        await self.wire.aclose()

    def body(self, request: Request) -> dict[str, Any]:
        """Return the JSON body that is sent for ``request``."""
        if (scoring := request.scoring) is not None:
            return {
                "model": self.config.model,
                "prompt": [*scoring.prompt, *scoring.response],
                "max_tokens": 1,  # the fewest that vLLM writes
                "temperature": 0,
                "prompt_logprobs": scoring.top,
            }
        messages, sampling = as_sent(request)
        body: dict[str, Any] = {"model": self.config.model}
        if self._tokenize is not None:
            body["prompt"] = self._tokenize(messages)
        else:
            body["messages"] = _as_turns(messages, self.config.system_role)
        body[self.config.max_tokens_field] = sampling.max_tokens
        if self._tokenize is None and (tools := definitions_in(messages)):
            body["tools"] = tools
        if sampling.sends_temperature:
            body["temperature"] = sampling.temperature
        if sampling.top_p != 1.0:
            body["top_p"] = sampling.top_p
        if sampling.stop:
            body["stop"] = sampling.stop
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if sampling.logprobs:
            # A completion without a chat takes the number of alternatives.
            body["logprobs"] = True if self._tokenize is None else 1
        for field in self.config.omit:
            body.pop(field, None)
        return {**body, **sampling.extra} if sampling.extra else body

    async def _wait_for_rates(self, request: Request) -> None:
        need_in, need_out = _expected_tokens(request)
        if self._requests is not None:
            await self._requests.take(1)
        if self._tokens_in is not None:
            await self._tokens_in.take(need_in)
        if self._tokens_out is not None:
            await self._tokens_out.take(need_out)

    def _give_back(self, request: Request, used_in: int, used_out: int) -> None:
        """Return to the rate limits what a call was charged at its worst case and did not use."""
        need_in, need_out = _expected_tokens(request)
        if self._tokens_in is not None and used_in:
            self._tokens_in.give_back(need_in - used_in)
        if self._tokens_out is not None and used_out:
            self._tokens_out.give_back(need_out - used_out)

    def _choose_server(self) -> "_Server":
        """Return the usable server with the most free capacity, or the first to be usable again."""
        if len(self._servers) == 1:
            return self._servers[0]
        now = time.monotonic()
        alive = [
            server for server in self._servers if max(server.dead_until, server.rests_until) <= now
        ]
        if not alive:
            return min(self._servers, key=lambda server: max(server.dead_until, server.rests_until))
        return max(alive, key=lambda server: server.in_flight.free)

    async def _try(
        self, server: "_Server", body: bytes, request: Request, choices: int
    ) -> list[Completion]:
        """Make one try at one server."""
        scoring = request.scoring
        is_chat = scoring is None and self._tokenize is None
        caller = server.caller if is_chat else replace(server.caller, call=SCORE)
        content, response = await self.wire.exchange(
            "POST", caller.base_url + caller.call, body=body, caller=caller
        )
        server.read_limits(response)
        try:
            if scoring is not None:
                return [parse_scores(content, scoring, refuse=server.refuse)]
            return parse_replies(
                content,
                choices,
                max_tokens=request.sampling.max_tokens,
                prompt="\n".join([message.content for message in request.messages]),
                refuse=server.refuse,
                is_chat=is_chat,
            )
        except CompleterError as error:
            error.cost_unknown = True  # a reply came: it was written, and may be charged
            raise

    def _settings_hash(self) -> str:
        """Return a hash of all that a call sends besides what a request decides.

        Of the secrets, 16 bits go into it: enough to see that a key was changed, and too few to
        find a key by trying.
        """
        sampling = Sampling(top_p=0.5, stop=(".",), seed=0, logprobs=True)
        messages = (Message(role="system", content=""), Message(role="user", content=""))
        sent = {
            "urls": sorted(server.address for server in self._servers),
            "headers": sorted(self.config.headers.items()),
            "secret_headers": sorted(self.config.secret_headers_env),
            "body": self.body(chat_request(messages, sampling)),
            "choices": self.config.choices_per_call,
            "secrets": self.wire.secrets_hash(),
        }
        return fingerprint(sent)[:18]

    def priced(
        self, completion: Completion, latency_s: float, *, factor: float = 1.0, source: str = ""
    ) -> Completion:
        """Return the completion with its cost in dollars, times ``factor``, latency and source."""
        cost_usd = factor * cost_of(completion.usage, self.price)
        return _completed(completion, completion.usage, cost_usd, latency_s, source)

    def priced_at_worst(
        self,
        completion: Completion,
        latency_s: float,
        request: Request,
        *,
        factor: float = 1.0,
        source: str = "",
    ) -> Completion:
        """Return a completion whose usage the server did not report, at its worst case."""
        worst = self._bound(request)
        usage = Usage(tokens_unreported=worst.tokens)
        return _completed(completion, usage, factor * worst.usd, latency_s, source)


class _Server:
    """One base URL: its calls in flight, and the times until which it is dead or rests."""

    def __init__(self, caller: Caller, in_flight: int) -> None:
        self.caller = caller
        self.refuse = partial(refusal, caller=caller)
        self.address = without_password(caller.base_url)
        self.in_flight = InFlight(in_flight)
        self.dead_until = 0.0
        self.rests_until = 0.0
        self._learned: dict[str, Rate] = {}
        self._headers_read = 0.0

    def read_limits(self, response: Response) -> None:
        """Learn the server's rate limits from ``x-ratelimit-*``, before it refuses a call."""
        now = time.monotonic()
        if now - self._headers_read < HEADERS_EVERY_S:
            return
        self._headers_read = now
        for what in ("requests", "tokens"):
            remaining = _number(response.get_header(f"x-ratelimit-remaining-{what}"))
            if remaining is None:
                continue
            reset_s = min(
                parse_duration(response.get_header(f"x-ratelimit-reset-{what}") or ""), MAX_PAUSE_S
            )
            limit = _number(response.get_header(f"x-ratelimit-limit-{what}"))
            if limit is not None and limit > remaining and reset_s > 0:
                # A bucket that is full again at the reset: its rate follows from what remains now.
                self._learned.setdefault(what, Rate(60.0)).learn(
                    level=remaining, size=limit, per_s=(limit - remaining) / reset_s
                )
            elif remaining == 0:
                self.rests_until = max(self.rests_until, time.monotonic() + reset_s)

    @property
    def is_ready(self) -> bool:
        """True when a call may be sent now, whatever its size."""
        return not self._learned and self.rests_until <= time.monotonic()

    async def ready(self, tokens: float) -> None:
        """Wait until the server may be sent a call of ``tokens`` tokens."""
        while (pause := self.rests_until - time.monotonic()) > 0:
            await asyncio.sleep(pause)
        if "requests" in self._learned:
            await self._learned["requests"].take(1)
        if "tokens" in self._learned:
            await self._learned["tokens"].take(tokens)

    def record_failure(self, error: CompleterError) -> None:
        """Lower the calls in flight, or mark the server as dead, after a failed try."""
        if error.kind in ("rate_limit", "server"):
            self.in_flight.record_refusal()
        if error.kind == "connection":
            self.dead_until = time.monotonic() + DEAD_FOR_S


def _completed(
    parsed: Completion, usage: Usage, cost_usd: float, latency_s: float, source: str
) -> Completion:
    """Return a parsed completion with what its call adds, in a fifth of the time of ``replace``."""
    return Completion(
        text=parsed.text,
        finish=parsed.finish,
        usage=usage,
        reasoning=parsed.reasoning,
        logprobs=parsed.logprobs,
        token_bytes=parsed.token_bytes,
        cost_usd=cost_usd,
        latency_s=latency_s,
        unknown_finish=parsed.unknown_finish,
        source=source or parsed.source,
    )


def _settle(
    waiting: Sequence[tuple[asyncio.Future[Completion], list[Tries]]],
    completions: Sequence[Completion],
    otherwise: CompleterError,
) -> None:
    """Set a completion on each waiting future, or the error once there are no more."""
    for place, (future, _) in enumerate(waiting):
        if future.done():
            continue
        if place < len(completions):
            future.set_result(completions[place])
        else:
            future.set_exception(otherwise)


def _expected_tokens(request: Request) -> tuple[float, float]:
    """Return the tokens that a call is charged by rate limits, before it is known: in and out."""
    return prompt_bound(request) / 4, float(request.sampling.max_tokens)


def _whole_number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < math.inf else 0


def _number(header: str | None) -> float | None:
    try:
        return None if header is None else float(header)
    except ValueError:
        return None
