"""A Hugging Face model on this machine: where it is and what it is, without importing torch."""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError

_DECISIVE = (
    "*.safetensors",
    "*.bin",
    "config.json",
    "tokenizer*",
    "chat_template*",
    "adapter_config.json",
)
"""Files of a model folder that decide what it writes."""


class LocalConfig(Config):
    """A causal language model in this process."""

    kind: Literal["local"] = "local"
    path: str
    """A model folder (relative to the recipe), or the id of one on the Hugging Face hub."""
    revision: str | None = None
    """Commit or tag on the hub; None is the newest, which changes under your feet."""
    adapter: str | None = None
    """Folder of a LoRA adapter to put on it."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights; auto is what the checkpoint says, and float32 on a CPU."""
    chat_template: Literal["chatml", "plain"] = "plain"
    """What stands in for a chat template when the tokenizer has none."""
    batch_tokens: int = Field(default=32_768, ge=1)
    """Prompt and written tokens that are decoded at once; lower it when memory runs out. Does not change results."""

    server: str = "auto"
    """auto: by vLLM where it is installed and a GPU is there, else in this process; none: in this process; or a command that serves it
    over HTTP as OpenAI does, with ``{path}``, ``{port}`` and, for those that want one, ``{chat_template}`` (a file). Does not change what the model is."""

    def at(self, base: Path) -> Self:
        """The same with its paths resolved from ``base``."""
        update: dict[str, Any] = {}
        if is_folder(self.path, base):
            update["path"] = str((base / self.path).resolve())
        if self.adapter is not None:
            update["adapter"] = str((base / self.adapter).resolve())
        return self.model_copy(update=update)


def is_folder(path: str, base: Path) -> bool:
    """Whether ``path`` means a folder and not a hub id.

    Raises:
        ConfigError: It is written like a folder, and there is none; or the folder holds no model.
    """
    folder = base / path
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{folder}: no model, for it has no config.json")
        return True
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ConfigError(f"{folder}: there is no such model folder")
    return False


def local_identity(config: LocalConfig, base: Path) -> str:
    """What the model is: the hash of a folder's decisive files, or the hub's id with its revision."""
    if is_folder(config.path, base):
        identity = folder_identity(base / config.path)
    else:
        identity = f"hf:{config.path}@{config.revision or 'main'}"
    if config.adapter is not None:
        identity += "+" + folder_identity(base / config.adapter)
    return identity


def folder_identity(folder: Path) -> str:
    """``folder:`` and the hash of the files in it that decide what the model writes."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted({path for pattern in _DECISIVE for path in folder.glob(pattern)}):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return f"folder:{digest.hexdigest()}"
