"""The configuration of an endpoint: its URLs and keys, limits, patience and price.

    EndpointConfig(model="gpt-5-mini", base_urls=["https://api.openai.com/v1"], api_key_env="KEY")

Keys are named here and never held. A pasted one is refused, and shown nowhere.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.secrets import looks_like_key, remember, remember_header, remember_url
from orcinus.core.types import Usage
from orcinus.models.remote.refusals import CALL
from orcinus.models.remote.wire import Patience


class Price(Config):
    """Dollars per million tokens."""

    input: float = Field(default=0.0, ge=0)
    """For tokens that the model reads."""
    output: float = Field(default=0.0, ge=0)
    """For tokens that it writes, reasoning included."""
    cached_input: float | None = Field(default=None, ge=0)
    """For input tokens that the provider had cached; None charges ``input`` for them."""
    batch: float = Field(default=1.0, gt=0)
    """Factor on all prices for requests sent in a batch, e.g. 0.5."""


@cache
def price_list() -> Mapping[str, Price]:
    """Return the prices that come with the package, by model."""
    text = files("orcinus.models.remote").joinpath("prices.yaml").read_text(encoding="utf-8")
    return {model: Price(**price) for model, price in yaml.safe_load(text)["models"].items()}


class Limits(Config):
    """The provider's rate limits."""

    requests_per_minute: float | None = Field(default=None, gt=0)
    """Calls started in a minute, at most. None sets no limit, here and below."""
    tokens_in_per_minute: float | None = Field(default=None, gt=0)
    """Tokens sent in a minute, at most."""
    tokens_out_per_minute: float | None = Field(default=None, gt=0)
    """Tokens written in a minute, at most."""
    in_flight: int = Field(default=1024, ge=1)
    """Calls in flight to one base URL, at most; fewer after it refuses some."""


class BatchConfig(Config):
    """The provider's batch interface (``/files``, ``/batches``, as OpenAI's): slower, cheaper."""

    size: int = Field(default=10_000, ge=1, le=50_000)
    """Requests in one batch, at most."""
    linger_s: float = Field(default=5.0, gt=0)
    """Seconds without a new request after which a batch that is not full is sent."""
    poll_s: float = Field(default=30.0, gt=0)
    """Seconds between two looks at a batch that is not done."""
    window: str = "24h"
    """Time in which the provider is to answer. Requests that it has not answered are retried."""


class EndpointConfig(Config):
    """A model behind an OpenAI-compatible HTTP interface."""

    kind: Literal["endpoint"] = "endpoint"
    """A server that speaks OpenAI's chat API."""
    model: str
    """The name the endpoint knows it by."""
    revision: str | None = None
    """Your name for the model's state, e.g. a date: part of its identity. Change it when another
    model answers under the same name, so that the ledger recalls no answer of the old one."""
    base_urls: tuple[str, ...] = Field(min_length=1)
    """One or more servers of the same model, each up to and including ``/v1``."""
    api_key_env: str | None = None
    """Environment variable that holds the key; None sends no key."""
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Additional headers, sent unchanged. Not for secrets: recipes are copied into runs."""
    secret_headers_env: Mapping[str, str] = Field(default_factory=dict)
    """Additional headers: header → environment variable that holds its value."""
    system_role: Literal["system", "developer", "user"] = "system"
    """The role that the endpoint expects for the system message. ``user`` puts the message before
    the question, for models whose chat template has no system turn (Gemma, Mistral)."""
    max_tokens_field: str = "max_tokens"
    """Body field for the limit on written tokens; newer OpenAI models want
    ``max_completion_tokens``."""
    omit: tuple[Literal["temperature", "top_p", "seed", "stop", "logprobs"], ...] = ()
    """Body fields that are never sent, because the model refuses them: some reasoning models take
    no ``temperature``. Part of the model's identity."""
    choices_per_call: int = Field(default=1, ge=1)
    """Samples of one question that share a call (``n``), so that its prompt is paid once. Set
    ``seeded: false`` for them: samples with different seeds cannot share a call."""
    continues: bool = False
    """True when it can continue a partial reply, which tree search needs
    (``continue_final_message`` and ``include_stop_str_in_output``, as in vLLM and
    ``orcinus serve``)."""
    batch: BatchConfig | None = None
    """Send requests in batches instead of single calls. The ledger treats both alike."""
    price: Price | None = None
    """Price of the model. None takes it from the dated table in ``models/remote/prices.yaml``; a
    model that is not in the table costs nothing."""
    limits: Limits = Limits()
    """How fast it may be asked."""
    patience: Patience = Patience()
    """How long to wait, and how often to try again."""

    @field_validator("base_urls")
    @classmethod
    def _urls_are_whole(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(_checked_url, value))

    @field_validator("api_key_env")
    @classmethod
    def _key_is_named(cls, value: str | None) -> str | None:
        return None if value is None else _checked_variable(value)

    @field_validator("secret_headers_env")
    @classmethod
    def _secrets_are_named(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        return {header: _checked_variable(variable) for header, variable in value.items()}

    @model_validator(mode="after")
    def _keep_secrets(self) -> Self:
        for url in self.base_urls:
            remember_url(url)
        for header, value in self.headers.items():
            remember_header(header, value)
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the model's answers."""
        return {"model": self.known_as(), "system_role": self.system_role}

    def known_as(self) -> str:
        """Return the model's name in fingerprints: with its revision, and what it is not sent."""
        revision = f"@{self.revision}" if self.revision else ""
        without = f" (without {', '.join(sorted(self.omit))})" if self.omit else ""
        return f"{self.model}{revision}{without}"

    def known_price(self) -> Price | None:
        """Return the recipe's price, or the table's; None if there is neither."""
        return self.price or price_list().get(self.model)


def _checked_url(url: str) -> str:
    """Return a base URL that calls can be sent to; raise ValueError with what is wrong."""
    url = url.strip()
    if not url.lower().startswith(("http://", "https://")):
        bare = re.sub(r"^[a-z]*:?/+", "", url, flags=re.IGNORECASE)
        local = re.match(r"localhost|127\.|\[|10\.|192\.168\.|[^/:]*:\d", bare)
        scheme = "http" if local else "https"
        raise ValueError(
            f"{url!r} does not start with http:// or https://; write {scheme}://{bare}"
        )
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(f"{url!r} names no host; write https://HOST/v1")
    if parts.path.rstrip("/").endswith(CALL):
        shorter = url.rstrip("/").removesuffix(CALL)
        raise ValueError(f"a base URL ends before {CALL}, which is added to it; write {shorter}")
    return url


def _checked_variable(name: str) -> str:
    """Return the name of an environment variable; raise ValueError for a key in its place."""
    if looks_like_key(name):
        remember(name)
        raise ValueError(
            "this is not the name of an environment variable (a pasted key? it is not shown); "
            "export the key under a name, such as TEACHER_KEY, and write the name here"
        )
    return name


def cost_of(usage: Usage, price: Price) -> float:
    """Return the cost in dollars of one call's tokens."""
    cached = price.input if price.cached_input is None else price.cached_input
    tokens_cached = min(usage.tokens_cached, usage.tokens_in)
    fresh = usage.tokens_in - tokens_cached
    return (fresh * price.input + tokens_cached * cached + usage.tokens_out * price.output) / 1e6
