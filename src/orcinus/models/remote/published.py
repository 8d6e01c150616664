"""Find out which weights a server answers with, where it says so.

    GET http://127.0.0.1:8124/v1/models → {"data": [{"id": "sums", "fingerprint": "5c1f…"}]}
        →  EndpointConfig(model="sums", revision="5c1f…")

``orcinus serve`` publishes such a fingerprint. It becomes the model's revision, so another student
under the same name gets no answers of the old one. Only plain ``http`` servers are asked: those of
one's own.
"""

import asyncio
from collections.abc import Callable, Mapping

import orjson

from orcinus.core.errors import CompleterError, ConfigError
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.wire import Patience, Wire

WAIT_S = 5.0
"""Seconds. A server of one's own answers this in milliseconds, and one that is down is found out
when it is asked a question."""


async def served_models(
    url: str, api_key_env: str | None, secrets: Mapping[str, str], headers: Mapping[str, str] = {}
) -> dict[str, str | None]:
    """Return the fingerprint of each model that an endpoint lists; None where it gives none.

    Raises:
        CompleterError: It cannot be reached, or it lists no models.
        ConfigError: The key's variable is not set.
    """
    wire = Wire(
        headers=dict(headers),
        secret_headers_env={},
        api_key_env=api_key_env,
        patience=Patience(),
        secrets=secrets,
    )
    try:
        content, _ = await wire.exchange("GET", f"{url.rstrip('/')}/models")
        listed = orjson.loads(content)["data"]
        return {str(item["id"]): item.get("fingerprint") for item in listed}
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CompleterError("bad_reply", f"{url}: it does not list its models") from error
    finally:
        await wire.aclose()


async def with_revision(
    config: EndpointConfig,
    secrets: Mapping[str, str],
    *,
    last_known: Callable[[], str | None] = lambda: None,
) -> EndpointConfig:
    """Return an endpoint with the fingerprint that its server publishes as its revision.

    A configuration that names a revision comes back as it is.

    Args:
        config: The endpoint.
        secrets: The environment, in which the configuration names keys.
        last_known: Returns the revision to assume when the server does not answer.
    """
    url = config.base_urls[0]
    if config.revision or config.batch is not None or not url.startswith("http://"):
        return config
    try:
        served = await asyncio.wait_for(
            served_models(url, config.api_key_env, secrets, config.headers), WAIT_S
        )
    except (CompleterError, ConfigError, TimeoutError):
        fingerprint = last_known()
    else:
        fingerprint = served.get(config.model)
    return config.model_copy(update={"revision": fingerprint}) if fingerprint else config
