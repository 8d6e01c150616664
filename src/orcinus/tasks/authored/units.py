"""The units that questions are written about: topics, or passages of documents.

read_topics("topics.txt", base)   →  Unit("levers", None), Unit("gases", None), …
read_corpus("docs/*.md", base)    →  Unit("docs/a.md", "first passage …"), …
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from orcinus.core.errors import ConfigError, DataError
from orcinus.core.fingerprint import fingerprint
from orcinus.tasks.files.documents import find_documents, passages_of, read_document

Level = Literal["concept", "relation", "chain"]
"""What a question about a document is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """The part of a passage that a question is about."""

    level: Level
    text: str
    """The concept, or the relations in words."""
    concepts: tuple[str, ...]
    """The concepts in it."""
    relations: tuple[str, ...] = ()
    """The relations in it, in words; none of a concept."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A topic, or a passage of a document."""

    name: str
    """The source unit: the topic, or the document's name. Passages of a document share it."""
    text: str | None
    """The passage; None for a topic."""
    focus: Focus | None = None
    """The part of it to ask about; None leaves it to the author."""


def read_topics(given: str | Sequence[str], base: Path) -> list[Unit]:
    """Return the topics of a list, or of a file of them.

    Raises:
        ConfigError: There is no such file.
        DataError: It cannot be read, or holds no topic.
    """
    where = "topics"
    if isinstance(given, str):
        path = base / Path(given).expanduser()
        where = str(path)
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: there is no such file of topics") from error
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: cannot be read as UTF-8 text: {error}") from error
        given = _listed(text, path) if path.suffix.lower() in (".yaml", ".yml") else _lines(text)
    topics = list(dict.fromkeys(" ".join(topic.split()) for topic in given))
    if not any(topics):
        raise DataError(f"{where}: holds no topic; write one on each line")
    return [Unit(topic, None) for topic in topics if topic]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith("#")]


def _listed(text: str, path: Path) -> list[str]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise DataError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, list) or not all(isinstance(item, str | int) for item in found):
        raise DataError(f"{path}: must be a list of topics; write `- topic` on each line")
    return [str(item) for item in found]


def read_corpus(given: str, base: Path) -> list[Unit]:
    """Return the passages of the documents that ``given`` names.

    Raises:
        ConfigError: There is no such document.
        DataError: A document cannot be read, or none holds text.
        MissingExtraError: Its format needs a reader that is not installed.
    """
    units = [
        Unit(name, passage)
        for name, path in find_documents(given, base)
        for passage in passages_of(read_document(path))
    ]
    if not units:
        raise DataError(f"{base / given}: no document in it holds text")
    return units


def units_content(given: str, base: Path) -> Any:
    """Return the name and a hash of each document."""
    return [
        [name, fingerprint(path.read_bytes().hex(), length=16)]
        for name, path in find_documents(given, base)
    ]
