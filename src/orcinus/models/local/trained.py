"""Read what a trained student's folder says of its training: the system message and the weights.

    student/orcinus.json   {"system": "You are a cautious assistant. …", "weights": "folder:19f3…"}

A student answers best under the message that it was trained with. The file travels with the folder,
so every command that asks the student finds it.
"""

from pathlib import Path

import orjson

from orcinus.core.errors import ConfigError
from orcinus.core.files import write_atomically
from orcinus.models.local.config import folder_identity
from orcinus.runs import layout


def write_trained(folder: Path, system: str) -> None:
    """Write the file into the folder of a student that was trained under ``system``."""
    facts = {"system": system, "weights": folder_identity(folder)}
    write_atomically(folder / layout.TRAINED, orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def trained_system(folder: Path) -> str | None:
    """Return the system message of a student's training; empty where it had none.

    None stands for a folder that does not say.

    Raises:
        ConfigError: The file is damaged.
    """
    path = folder / layout.TRAINED
    if not path.is_file():
        return None
    try:
        return str(orjson.loads(path.read_bytes())["system"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is damaged ({error!r}); delete it") from error
