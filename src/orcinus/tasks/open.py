"""Opening a configured task, whatever its kind, and saying what decides its examples."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.core.types import Example
from orcinus.tasks.files.records import Records, RecordsConfig, sources_of
from orcinus.tasks.files.sources import shown
from orcinus.tasks.generators import gym_verifier as gym_verifier
from orcinus.tasks.generators.gym import GymConfig, draw_gym
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

TaskConfig = RecordsConfig | ProceduralConfig | GymConfig


def content_of(config: TaskConfig, base: Path) -> dict[str, Any]:
    """What besides its settings decides a task's examples: hashes of its local files, the program's version.

    Raises:
        ConfigError: A file is not there, or cannot be read.
    """
    if isinstance(config, ProceduralConfig | GymConfig):
        return config.identity()
    local = [Path(source) for source in sources_of(config, base) if "://" not in source]
    return {"files": [[path.name, _hash(path)] for path in local]}


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def open_task(config: TaskConfig, base: Path) -> tuple[str, Callable[[], Iterator[Example]]]:
    """A name for messages, and the examples; call it for a fresh pass."""
    if isinstance(config, ProceduralConfig):
        return config.name or config.generator, lambda: draw(config)
    if isinstance(config, GymConfig):
        return config.name or config.gym, lambda: draw_gym(config)
    return config.name or shown(config.path), Records(config, base)
