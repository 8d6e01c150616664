"""Recorded outputs as a model: a real model's earlier answers, found by question and strategy.

    {"prompt": "If you follow …", "response": "We start at …"}      a line of a recording

The question is the last message, blanks ignored; the strategy is the one that the request names.
A question that was not recorded is an error of the request, never an invented answer.
"""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import Field, field_validator

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError, DataError
from orcinus.core.requests import ANY_STRATEGY
from orcinus.core.types import Completion, Request, Traits, Usage, WorstCase
from orcinus.models.bounds import free_call

CHARACTERS_PER_TOKEN = 4
"""Recordings have no token counts; four is the usual estimate for English text."""


class ReplayConfig(Config):
    """Files of recorded outputs."""

    kind: Literal["replay"] = "replay"
    """Answers come from files of recorded outputs; no model is asked."""
    model: str
    """The name of the model that was recorded."""
    files: Mapping[str, tuple[str, ...]] = Field(min_length=1)
    """Strategy → JSONL files (plain or gzip); ``"*"`` is for every other strategy."""

    @field_validator("files", mode="before")
    @classmethod
    def _wrap_single_files(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {
                name: (paths,) if isinstance(paths, str) else paths for name, paths in value.items()
            }
        return value

    def identity(self) -> dict[str, Any]:
        """Return what decides the answers."""
        return {
            "model": self.model,
            "files": {name: list(paths) for name, paths in self.files.items()},
        }


@dataclass(frozen=True, slots=True)
class Recordings:
    """Outputs by strategy and question."""

    by_strategy: Mapping[str, Mapping[str, str]]

    @classmethod
    def read(cls, files: Mapping[str, tuple[str, ...]], base: Path) -> Self:
        """Read all files.

        Args:
            files: Strategy → paths.
            base: Folder that relative paths start from.

        Raises:
            DataError: A file is missing or a row is no recording; says file and line.
        """
        return cls(
            {
                name: dict(row for path in paths for row in _read_rows(base / path))
                for name, paths in files.items()
            }
        )

    def find(self, strategy: str, question: str) -> str | None:
        """Return the answer to ``question`` under ``strategy``; None if it was not recorded."""
        answers = self.by_strategy.get(strategy) or self.by_strategy.get(ANY_STRATEGY) or {}
        return answers.get(_normalize(question))


class Replay:
    """The Completer of recorded outputs."""

    def __init__(self, recordings: Recordings, *, model: str) -> None:
        self._recordings = recordings
        self._model = model

    @property
    def model(self) -> str:
        """The name of the recorded model."""
        return self._model

    @property
    def traits(self) -> Traits:
        """None: a recording holds one whole answer."""
        return Traits()

    async def complete(self, request: Request) -> Completion:
        """Look the answer up.

        Raises:
            CompleterError: The question was not recorded under the request's strategy.
        """
        question = request.messages[-1].content
        text = self._recordings.find(request.strategy, question)
        if text is None:
            raise CompleterError(
                "not_found",
                f"{self._model} has no recorded answer under {request.strategy!r} "
                f"to {question[:60]!r}",
                permanent=True,
            )
        return recorded_completion(request, text, text)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs nothing."""
        return free_call(request)

    async def aclose(self) -> None:
        """Do nothing: everything is in memory."""


def recorded_completion(
    request: Request, recorded: str, text: str, reasoning: str | None = None
) -> Completion:
    """Return a recorded reply as a Completion, its tokens estimated.

    Args:
        request: The question.
        recorded: The whole recorded reply.
        text: The part of it that is the answer.
        reasoning: The part of it that is reasoning.
    """
    characters_in = sum(len(message.content) for message in request.messages)
    usage = Usage(
        tokens_in=characters_in // CHARACTERS_PER_TOKEN,
        tokens_out=len(recorded) // CHARACTERS_PER_TOKEN,
    )
    return Completion(text=text, finish="stop", reasoning=reasoning, usage=usage)


def _read_rows(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield _parse_row(line, path, number)
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: recorded outputs cannot be read: {error}") from error


def _parse_row(line: bytes, path: Path, number: int) -> tuple[str, str]:
    try:
        row = orjson.loads(line)
        return _normalize(row["prompt"]), str(row["response"])
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}:{number}: a recording needs a prompt and a response: {error!r}"
        ) from error


def _normalize(text: str) -> str:
    return " ".join(text.split())
