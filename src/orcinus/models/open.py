"""Open a model from its configuration."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer
from orcinus.models.function import FunctionConfig
from orcinus.models.local import open_local
from orcinus.models.local.config import LocalConfig
from orcinus.models.recorded import Recordings, Replay, ReplayConfig
from orcinus.models.remote.endpoint_config import EndpointConfig

if TYPE_CHECKING:
    from orcinus.models.remote import batch, endpoint
else:
    batch = import_later("orcinus.models.remote.batch")
    endpoint = import_later("orcinus.models.remote.endpoint")


def open_completer(
    config: Config,
    *,
    base: Path,
    device: str,
    secrets: Mapping[str, str],
    journal: Path | None = None,
    replicas: int = 0,
    entry: str = "teacher",
    note: Callable[[str], None] | None = None,
) -> Completer:
    """Return the model that ``config`` describes; nothing is loaded or connected yet.

    Args:
        config: A model of any kind.
        base: Folder that relative paths start from.
        device: Device of a local model.
        secrets: The environment, in which configurations name keys.
        journal: Folder in which batches are recorded; None sends single calls instead of batches.
        replicas: Copies of a local model on the Ray cluster that this process is connected to;
            0 keeps it on this machine.
        entry: The recipe's entry of the model, which errors name.
        note: Gets one line when the model answers in another way than the user expects.

    Raises:
        ConfigError: A key is not set, or the model is not there.
        MissingExtraError: A local model needs the extra ``train``.
    """
    match config:
        case EndpointConfig() if config.batch is not None and journal is not None:
            return batch.BatchEndpoint(config, secrets=secrets, journal=journal, entry=entry)
        case EndpointConfig():
            return endpoint.Endpoint(config, secrets=secrets, entry=entry)
        case LocalConfig():
            if find_spec("torch") is None or find_spec("transformers") is None:
                raise MissingExtraError("a model in this process", "train")
            if replicas:
                from orcinus.models.local.replicas import Replicas

                return Replicas(config.at(base), replicas=replicas, device=device, note=note)
            return open_local(config.at(base), device, note)
        case ReplayConfig():
            return Replay(Recordings.read(config.files, base), model=config.model)
        case FunctionConfig():
            return config.open()
    raise ConfigError(f"a {type(config).__name__} is not a model that can answer")
