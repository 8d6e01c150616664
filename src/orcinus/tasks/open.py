"""Open a configured task of any kind, and identify what decides its examples."""

import hashlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orcinus.core.errors import ConfigError
from orcinus.core.imports import import_later
from orcinus.core.types import Example
from orcinus.core.urls import shown
from orcinus.tasks.authored.config import AuthoredConfig
from orcinus.tasks.config import PerturbedConfig, RecordsConfig
from orcinus.tasks.files.sources import sources_of
from orcinus.tasks.generators.environment import EnvironmentConfig, draw_environment
from orcinus.tasks.generators.function import FunctionTaskConfig, draw_function
from orcinus.tasks.generators.gym import GymConfig, draw_gym
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

if TYPE_CHECKING:
    from orcinus.tasks import author, perturbed
    from orcinus.tasks.files import records
else:
    author = import_later("orcinus.tasks.author")
    records = import_later("orcinus.tasks.files.records")
    perturbed = import_later("orcinus.tasks.perturbed")


TaskConfig = (
    RecordsConfig
    | ProceduralConfig
    | GymConfig
    | EnvironmentConfig
    | FunctionTaskConfig
    | AuthoredConfig
    | PerturbedConfig
)


def content_of(config: TaskConfig, base: Path) -> dict[str, Any]:
    """Return what decides a task's examples besides its settings.

    For files this is their hashes (URLs are taken to stay the same), for generators their version.

    Raises:
        ConfigError: A file is missing or cannot be read.
    """
    if isinstance(config, ProceduralConfig | GymConfig | EnvironmentConfig | FunctionTaskConfig):
        return config.identity()
    if isinstance(config, AuthoredConfig):
        return {"units": config.authored.content(base)}
    if isinstance(config, PerturbedConfig):
        return {**content_of(config.perturbed, base), "version": perturbed.VERSION}
    local = [Path(source) for source in sources_of(config, base) if "://" not in source]
    return {"files": [[path.name, _file_hash(path)] for path in local]}


def _file_hash(path: Path) -> str:
    try:
        stat = path.stat()
        return _content_hash(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


@lru_cache
def _content_hash(path: Path, stamp: int, size: int) -> str:
    """Return the hash of a file; a plan needs it twice, and the file may be large."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def open_task(
    config: TaskConfig, base: Path, authored: tuple[Path, int] | None = None
) -> tuple[str, Callable[[], Iterator[Example]]]:
    """Return a name for messages, and a function that starts a fresh pass over the examples.

    Args:
        config: The task.
        base: Where its relative paths start.
        authored: Of an authored task: the finished step that wrote it, and its place there.

    Raises:
        ConfigError: The task is authored, and nothing has written it.
    """
    if isinstance(config, AuthoredConfig):
        if authored is None:
            raise ConfigError(f"{config.name}: a model writes this task; only a run can read it")
        return config.name, author.open_authored(*authored)
    if isinstance(config, ProceduralConfig):
        return config.name or config.opened().name, lambda: draw(config)
    if isinstance(config, GymConfig):
        return config.name or config.gym, lambda: draw_gym(config)
    if isinstance(config, EnvironmentConfig):
        return config.name or config.environment, lambda: draw_environment(config)
    if isinstance(config, FunctionTaskConfig):
        return config.name or config.function, lambda: draw_function(config)
    if isinstance(config, PerturbedConfig):
        return f"{shown(config.perturbed.path)} (perturbed)", perturbed.Perturbed(
            config.perturbed, base
        )
    return config.name or shown(config.path), records.Records(config, base)
