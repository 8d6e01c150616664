"""Load the description of a benchmark from its YAML file.

    load("gsm8k")  →  Benchmark(name="gsm8k", rows="gsm8k", answer_type="number", layouts={…}, …)

Your own YAML file with the same keys is a benchmark too. ``reading.py`` makes Examples of it.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import AnswerType
from orcinus.tasks.benchmarks.items import READERS
from orcinus.verifiers.verify import find_verifier

_SHARED_LAYOUTS = "_layouts.yaml"


class Shots(Config):
    """The sources of demonstrations."""

    hub: str | None = None
    """A hub data set in the benchmark's own layout; ``{subset}`` stands for the subset."""
    files: tuple[str, ...] = ()
    """Patterns of files in the benchmark's own layout, under the data folder."""
    prompts: tuple[str, ...] = ()
    """Patterns of text files with whole demonstrations, as in BIG-Bench Hard."""
    answer: str = "{reference}"
    """How a demonstration's answer is written: ``{reference}`` (a letter in brackets, or the
    answer) or ``{solution}``."""


class Benchmark(Config):
    """One benchmark."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    about: str
    """What it asks, and what to know about our version, in a sentence or two."""
    url: str
    """Where it is published."""
    licence: str
    split: str = "test"
    """The split that is used."""
    hub: str | None = None
    """Address on the hub; ``{subset}`` stands for the subset. None if it is not there."""
    files: tuple[str, ...]
    """Patterns of its files in the original layout, under the data folder; the first pattern that
    matches is used."""
    subsets: tuple[str, ...] = ("",)
    """Its parts, each a task of its own; a single empty name if it has none."""
    rows: str
    """Name of the reader of its rows (``items.py``), for the original layout and the hub's."""
    delimiter: str | None = None
    """Separator of a text table; None is a comma."""
    header: tuple[str, ...] | None = None
    """Column names of a text table without a header."""
    answer_type: AnswerType | None = None
    """How answers are compared; None infers it from the first references of each subset."""
    answer_types: Mapping[str, AnswerType] = Field(default_factory=dict)
    """The same by subset, if it cannot be inferred."""
    options: Mapping[str, Mapping[str, str]] = Field(default_factory=dict)
    """By subset, the option to show for each answer of a source without options:
    ``{navigate: {"Yes": "True"}}``."""
    shuffle: bool = False
    """Shuffle the options by a hash of the question, because the source lists the right one
    first."""
    verifier: str | None = None
    """Name of a verifier; None judges by the answer type."""
    rated: bool = False
    """A judge rates each answer from 1 to 10, because no answer is right or wrong."""
    judge_task: str | None = None
    """The judge's instructions, in place of the default ones."""
    layouts: Mapping[str, str]
    """Prompt templates by name; the first one is the default. An empty text stands for the shared
    layout of that name. Places: ``{description}``, ``{passage}``, ``{question}``, ``{input}``,
    ``{options}``, ``{options_inline}``, ``{options_joined}``, ``{options_dotted}``, ``{first}`` and
    ``{last}``."""
    shots: Shots | None = None
    """Sources of demonstrations, if it has any."""
    sampling: SamplingConfig = SamplingConfig()
    """How answers are sampled: greedily, as in Orca 2."""
    published: tuple[str, ...] = ()
    """Columns of ``_published.yaml`` that may be shown beside our figures."""

    @field_validator("rows")
    @classmethod
    def _reader_is_known(cls, value: str) -> str:
        if value not in READERS:
            raise ValueError(f"no reader of rows named {value!r}; known: {', '.join(READERS)}")
        return value

    @field_validator("verifier")
    @classmethod
    def _verifier_is_registered(cls, value: str | None) -> str | None:
        if value is not None:
            find_verifier(value)
        return value

    @model_validator(mode="after")
    def _there_is_a_layout(self) -> "Benchmark":
        if not self.layouts:
            raise ValueError("at least one layout is needed")
        for name in self.layouts:
            self.layout(name)
        return self

    def layout(self, name: str) -> str:
        """Return the text of a layout.

        Raises:
            ConfigError: There is none of that name.
        """
        if name not in self.layouts:
            raise ConfigError(
                f"{self.name} has no layout {name!r}; it has: {', '.join(self.layouts)}"
            )
        text = self.layouts[name] or _shared_layouts().get(name)
        if text is None:
            raise ConfigError(
                f"{self.name}: no shared layout {name!r}; known: {', '.join(_shared_layouts())}"
            )
        return text

    @property
    def default_layout(self) -> str:
        """The name of the layout that is used by default."""
        return next(iter(self.layouts))

    @property
    def needs(self) -> Literal["judge", "library", ""]:
        """The need of a run beyond the model: a judge, an extra library, or nothing."""
        if self.rated or self.verifier in ("judge", "grounded"):
            return "judge"
        return "library" if self.verifier == "ifeval" else ""


def names() -> list[str]:
    """Return the names of the built-in benchmarks."""
    found = (item.name for item in files("orcinus.tasks.benchmarks").iterdir())
    return sorted(
        name.removesuffix(".yaml") for name in found if name.endswith(".yaml") and name[0] != "_"
    )


def load(name: str) -> Benchmark:
    """Return the built-in benchmark ``name``, or the one that the YAML file ``name`` describes.

    Raises:
        ConfigError: There is none, or the file is wrong.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{name}: there is no such benchmark file")
        return _parsed(path.stem, path.read_text(encoding="utf-8"), name)
    if name not in names():
        raise ConfigError(f"no benchmark named {name!r}; known: {', '.join(names())}")
    return _built_in(name)


@cache
def _built_in(name: str) -> Benchmark:
    text = files("orcinus.tasks.benchmarks").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return _parsed(name, text, f"{name}.yaml")


def _parsed(name: str, text: str, where: str) -> Benchmark:
    try:
        fields: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(fields, dict):
        raise ConfigError(
            f"{where}: a benchmark is a mapping of keys; orcinus benchmarks lists the built-in ones"
        )
    try:
        return Benchmark(**{"name": name, **fields})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"{where}: {key}: {first['msg']}") from error


@cache
def _shared_layouts() -> Mapping[str, str]:
    texts: dict[str, str] = yaml.safe_load(
        files("orcinus.tasks.benchmarks").joinpath(_SHARED_LAYOUTS).read_text(encoding="utf-8")
    )
    return texts
