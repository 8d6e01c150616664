"""Write the commented recipe of ``orcinus init``, which runs after three edits."""

from importlib.resources import files
from pathlib import Path

from orcinus.core.errors import ConfigError


def write_recipe(path: Path, *, force: bool = False) -> None:
    """Write the commented recipe to ``path``.

    Raises:
        ConfigError: The file exists and ``force`` is not set, or the folder does not exist.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path} exists; choose another name, or add --force to overwrite it")
    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent}: there is no such folder")
    path.write_text(
        files("orcinus.pipeline").joinpath("scaffold.yaml").read_text(encoding="utf-8"),
        encoding="utf-8",
    )
