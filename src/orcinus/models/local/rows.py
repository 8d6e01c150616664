"""The requests that a local model is answering, without importing torch."""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Literal

from orcinus.core.types import Completion, Finish, Sampling, Scoring

if TYPE_CHECKING:
    import torch

Way = Literal["slots", "batch", "alone"]
"""How rows are decoded; ``decoding.py`` says what each way is."""


@dataclass(slots=True)
class Script:
    """Tokens that a row writes whatever the model chooses, with the logits seen at each step."""

    tokens: Sequence[int]
    logits_V: "list[torch.Tensor]" = field(default_factory=list)

    def follow(self, logits_V: "torch.Tensor") -> int:
        """Keep the logits; return the next token."""
        self.logits_V.append(logits_V.clone())
        return self.tokens[len(self.logits_V) - 1]


@dataclass(slots=True)
class Row:
    """One request while it is being answered."""

    prompt: list[int]
    partial: int
    """Number of tokens at the prompt's end that are the partial reply."""
    verbatim: bool
    """True for a part of a reply: it is returned with its stop text and outer blanks."""
    sampling: Sampling
    future: "Future[Completion]"
    random: Random
    started: float = field(default_factory=time.perf_counter)
    written: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False
    """True if its last token ended the turn: it counts as written and is not in the text."""
    finish: Finish | None = None
    script: Script | None = None
    """For the self-check: what to write. None lets the model choose."""


@dataclass(frozen=True, slots=True)
class ScoredText:
    """A request to score a text, while it waits for the model."""

    scoring: Scoring
    future: "Future[Completion]"


def length_of(row: Row) -> int:
    """Return the most tokens that a row can reach."""
    return len(row.prompt) + row.sampling.max_tokens
