"""The settings of a student made from scratch, without importing torch."""

from typing import Any, Literal

from pydantic import Field

from orcinus.core.config import Config
from orcinus.models.local.config import LocalConfig

PIECES = r" ?\d| ?\p{L}+| ?[^\s\d\p{L}]+|\s+"
"""How the tokenizer of a new student splits a text: "4 7" is two pieces."""


class ScratchConfig(Config):
    """A new Llama-style student with random weights and its own byte-level BPE tokenizer."""

    kind: Literal["scratch"] = "scratch"
    """A new model with random weights."""
    layers: int = Field(default=4, ge=1)
    """Transformer layers."""
    hidden: int = Field(default=128, ge=8)
    """Width; a multiple of ``heads``."""
    heads: int = Field(default=4, ge=1)
    """Attention heads of a layer."""
    vocabulary: int = Field(default=2048, ge=300)
    """At most this many tokens: 256 bytes, the special ones, and merges learnt from the prompts."""
    context: int = Field(default=2048, ge=64)
    """Longest sequence it can read, in tokens."""
    seed: int = 0
    """Seed of the weights."""

    def local(self) -> LocalConfig:
        """Return the settings that open the finished student; the caller fills in its path."""
        return LocalConfig(path="", dtype="float32", chat_template="chatml")

    def identity(self) -> dict[str, Any]:
        """Return what decides the student."""
        return dict(self.model_dump(mode="json"))
