"""Settings and identity of a Hugging Face model on this machine, without importing torch."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.models.local import gguf
from orcinus.runs.model_names import LLAMA_CPP

_HASHED_FILES = (
    "*.safetensors",
    "*.bin",
    "config.json",
    "tokenizer*",
    "chat_template*",
    "adapter_config.json",
)
"""Files of a model folder that affect its answers."""
CONTEXT_FIELDS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""Names of the number of positions in a model's configuration."""


class LocalConfig(Config):
    """A causal language model on this machine."""

    kind: Literal["local"] = "local"
    """A model on this machine."""
    path: str
    """A model folder or a GGUF file (relative to the recipe), or the id of a model
    on the Hugging Face hub. A GGUF file is converted once, to a folder beside it."""
    revision: str | None = None
    """Commit or tag on the hub; None is the newest, which can change between runs."""
    adapter: str | None = None
    """Folder of a LoRA adapter to merge into the model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights. auto is the checkpoint's, and float32 on a CPU."""
    chat_template: Literal["chatml", "plain"] = "plain"
    """The chat template to use when the tokenizer has none."""
    batch_tokens: int = Field(default=32_768, ge=1)
    """Prompt and written tokens decoded at once; lower it if memory runs out. It does not change
    results."""
    server: str = "auto"
    """Where the model runs; it does not change the model's identity. ``auto``: behind vLLM if that
    is installed and there is a GPU, otherwise in this process. ``none``: in this process.
    ``llama.cpp``: behind its server (``llama-server``, or ``pip install xllamacpp``), which rounds
    in its own way and may write other texts, so its answers count as those of another model.
    Anything else is a command that serves it over OpenAI's HTTP API, with ``{path}``, ``{port}``
    and optionally ``{chat_template}`` (a file)."""

    def at(self, base: Path) -> Self:
        """Return the settings with their paths resolved from ``base``."""
        update: dict[str, Any] = {}
        if (folder := model_folder(self.path, base)) is not None:
            update["path"] = str(folder.resolve())
        if self.adapter is not None:
            update["adapter"] = str((base / Path(self.adapter).expanduser()).resolve())
        return self.model_copy(update=update)


def model_folder(path: str, base: Path) -> Path | None:
    """Return the model folder at ``path``, or None if it is the id of a model on the hub.

    A GGUF file is converted first, once.

    Raises:
        ConfigError: It looks like a folder that does not exist, or the folder holds no model.
        MissingExtraError: The packages that read GGUF files are missing.
    """
    folder = base / Path(path).expanduser()
    if folder.suffix == gguf.SUFFIX and folder.is_file():
        return gguf.converted(folder)
    if folder.is_dir():
        if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
            raise ConfigError(
                f"{folder}: holds a LoRA adapter and no model; name its base as path: and this "
                "folder as adapter:"
            )
        if not (folder / "config.json").is_file():
            raise ConfigError(
                f"{folder}: not a model folder: it has no config.json; name the folder that has one"
            )
        return folder
    if folder.suffix == gguf.SUFFIX:
        raise ConfigError(f"{folder}: there is no such file; correct the path")
    if path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise ConfigError(f"{folder}: there is no such model folder; correct the path")
    return None


def local_identity(config: LocalConfig, base: Path) -> str:
    """Return the model's identity: a hash of its folder, or its hub id with the revision."""
    if (folder := model_folder(config.path, base)) is not None:
        identity = folder_identity(folder)
    else:
        identity = f"hf:{config.path}@{config.revision or 'main'}"
    if config.adapter is not None:
        identity += "+" + folder_identity(base / Path(config.adapter).expanduser())
    return f"{identity}+{LLAMA_CPP}" if config.server == LLAMA_CPP else identity


def folder_identity(folder: Path) -> str:
    """Return ``folder:`` and a hash of the files in it that affect the model's answers."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted({path for pattern in _HASHED_FILES for path in folder.glob(pattern)}):
        digest.update(path.name.encode() + b"\0")
        facts = path.stat()
        digest.update(_digest_file(path, facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return f"folder:{digest.hexdigest()}"


@lru_cache(maxsize=1024)
def _digest_file(path: Path, inode: int, size: int, changed_ns: int) -> bytes:
    """Return the hash of a file, read once for as long as nothing tells that it changed.

    A plan asks for the student's identity a dozen times, and weights are gigabytes.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()
