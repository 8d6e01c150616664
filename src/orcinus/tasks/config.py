"""The settings of tasks and of their split, which are read with every recipe.

{path: sums.jsonl, answer_type: number}    ──►    RecordsConfig(path="sums.jsonl", …)
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from orcinus.core.config import Config
from orcinus.core.imports import import_later
from orcinus.core.types import AnswerType

if TYPE_CHECKING:
    from orcinus.verifiers import verify
else:
    verify = import_later("orcinus.verifiers.verify")

Layout = Literal[
    "native", "bbh", "agieval", "openorca", "chat", "alpaca", "flan", "superni", "history", "plain"
]
MAX_CHOICES = 26
"""Options: each has a letter."""
_PARTS = (
    "id",
    "task",
    "prompt",
    "choices",
    "reference",
    "answer_type",
    "system",
    "response",
    "meta",
)
"""The parts of an example that ``columns`` may map."""


class RecordsConfig(Config):
    """One task or several in files."""

    path: str
    """A file, a folder, a glob, a URL (``s3://…``, ``https://…``; extra ``s3``) or a Hugging Face
    data set (``hf:owner/name``, ``hf:owner/name/subset@split``, or the folder of ``save_to_disk``).
    Formats: JSONL, JSON, CSV, TSV, Parquet and Arrow; plain, gzip, zstd, bz2 or xz. Keys of a store
    come from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …). A file behind a URL
    is assumed not to change: give a changed file another name."""
    name: str | None = None
    """Name of the task; None takes it from the rows, or from the file name if they have none."""
    columns: dict[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """Which column holds what, if the names are unusual:
    ``{prompt: problem, reference: solution}``. Several columns for ``prompt`` are joined by a blank
    line; for ``choices`` they are the options; for ``meta`` they are kept.
    ``orcinus tasks inspect PATH`` shows which column became what, and a mapping to paste where it
    finds no prompt."""
    instruction: str | None = Field(default=None, min_length=1)
    """Put before every question, for rows that hold only a text:
    ``Which team should get this ticket?``"""
    choices: tuple[str, ...] | Literal["auto"] | None = None
    """The options of every row, for rows that hold a text and its label:
    ``[billing, bug, feature request]``. ``auto`` takes the different labels of the rows, at most
    26, in alphabetical order. None takes the options from the rows."""
    answer_type: AnswerType | None = None
    """How answers are compared; None takes it from the rows, or infers it from the first
    references. With ``json`` a reference is a value, or a JSON Schema (with its ``$schema``;
    extra ``schema``)."""
    verifier: str | None = None
    """A registered verifier, or ``module:function``; None judges by the answer type. With a
    ``judge:`` in the recipe also ``judge_fallback`` (ask the judge if the rules reach no verdict),
    ``judge`` (ask it about every answer) and ``grounded`` (ask whether the question, or
    ``meta.context``, supports all that the answer claims)."""
    layout: Layout | None = None
    """Layout of the rows; None recognises it by the names of the columns."""
    limit: int | None = Field(default=None, ge=1)
    """Take at most this many examples, the first ones."""
    licence: str | None = None
    """Kept with every example and lesson."""
    collection: str | None = None
    """The collection that the task belongs to, for quotas and for Orca's system messages: ``cot``,
    ``niv2``, ``t0``, ``flan2021``."""
    prompt_layout: str = "{prompt}\nOptions:\n{options}"
    """How options are added to a question that does not show them."""
    unlabelled: bool = False
    """The rows have no right answers: only a judge or pseudo-labels can give verdicts."""
    answered: bool = False
    """Keep the rows' own answers and system messages as ``meta.response`` and ``meta.system``, and
    refuse a row without an answer. ``teacher: {kind: answered}`` sets this."""
    skip_bad: bool = False
    """Skip rows that cannot be used, instead of stopping at the first one. The report counts them,
    and ``dropped.parquet`` of the sample step lists them with file, row and reason.
    ``orcinus tasks inspect --skip-bad`` lists them beforehand."""

    @field_validator("columns")
    @classmethod
    def _columns_are_ours(
        cls, value: dict[str, str | tuple[str, ...]]
    ) -> dict[str, str | tuple[str, ...]]:
        for name in value:
            if name not in _PARTS:
                raise ValueError(
                    f"{name!r} is no part of an example; known: {', '.join(_PARTS)}. Other "
                    f"columns keep their names: meta: [{name}]"
                )
        return value

    @field_validator("choices")
    @classmethod
    def _choices_differ(
        cls, value: tuple[str, ...] | Literal["auto"] | None
    ) -> tuple[str, ...] | Literal["auto"] | None:
        if isinstance(value, tuple) and not 2 <= len(set(value)) == len(value) <= MAX_CHOICES:
            raise ValueError(f"needs 2 to {MAX_CHOICES} options that differ, or auto")
        return value

    @field_validator("verifier")
    @classmethod
    def _verifier_is_registered(cls, value: str | None) -> str | None:
        if value is not None:
            verify.find_verifier(value)
        return value

    @field_validator("prompt_layout")
    @classmethod
    def _layout_has_both_places(cls, value: str) -> str:
        if "{prompt}" not in value or "{options}" not in value:
            raise ValueError("the layout must hold {prompt} and {options}")
        return value


class PerturbedRecords(RecordsConfig):
    """A task in files whose items are replaced by copies; the keys are those of a file task."""

    seed: int = 0
    """Another seed makes other copies."""


class PerturbedConfig(Config):
    """A task of fresh copies of the items in files, to see whether the items were learnt by heart.

    Its name is that of the items' task with ``(perturbed)``.
    """

    perturbed: PerturbedRecords
    """The file with the items, as under ``tasks:``, and ``seed``."""


class Mixture(Config):
    """The amount that is taken of each task."""

    per_task: int | None = Field(default=None, ge=1)
    """Teach at most this many examples of a task, chosen by a hash; None takes all. Orca took 300
    of each task of NIv2."""
    total: int | None = Field(default=None, ge=0)
    """Teach this many examples of all tasks together, drawn by Orca's Algorithm 1: a task among
    those with examples left, all equally likely, then one of its examples. Small tasks are used up,
    large ones get equal shares. None takes all."""
    temperature: float | None = Field(default=None, ge=1)
    """With ``total``: draw tasks in proportion to size^(1/temperature); 1 is by size. None is
    Algorithm 1, where size does not count."""

    @model_validator(mode="after")
    def _a_temperature_divides_a_total(self) -> "Mixture":
        if self.temperature is not None and self.total is None:
            raise ValueError("temperature says how total is divided among tasks; set total too")
        return self

    @property
    def takes_all(self) -> bool:
        """True if nothing is left out."""
        return self.per_task is None and self.total is None


class SampleConfig(Mixture):
    """The shares of the splits, and how much of the pool is taken.

    A quota counts the examples that are taught. Of a task's probe and held-out sets the same share
    is taken as of its taught examples.
    """

    collections: Mapping[str, Mixture] = Field(default_factory=dict)
    """Collections with their own ``per_task``, ``total`` and ``temperature``, by name
    (``meta.collection``). Orca took
    ``{cot: {}, niv2: {per_task: 300}, flan2021: {total: 2500000}, t0: {total: 2000000}}``."""
    probe: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that the student is measured on: an exact count, at least 8 examples where
    that is at most a quarter of the task."""
    held_out: float = Field(default=0.2, ge=0, le=1)
    """Share of each task that is kept for evaluation, counted in the same way; the rest is
    taught."""
    ngram: int | None = Field(default=13, ge=3)
    """Remove a pool example that shares a run of this many words with an evaluation item; None
    compares whole texts only."""
    fuzzy_overlap: float | None = Field(default=None, gt=0, le=1)
    """Also remove a pool example that has this share of an evaluation item's runs of three words,
    e.g. 0.6. This finds copies with words changed, left out or put in, and the same question with
    other numbers. None turns it off."""
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """Remove a question this similar to an earlier one or to an evaluation item (share of runs of
    five words in common, e.g. 0.8). Meant for collections of texts: questions made from one
    template are all similar to each other. None removes equal questions only."""

    @model_validator(mode="after")
    def _something_is_left_to_teach(self) -> "SampleConfig":
        if self.probe + self.held_out >= 1:
            raise ValueError(
                f"probe {self.probe} and held_out {self.held_out} leave nothing to teach; "
                "their sum must be below 1"
            )
        return self
