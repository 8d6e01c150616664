"""Results of a model on benchmarks, without a recipe, as frozen records.

    ModelScores ── "gsm8k" ──► BenchmarkScore ── "plain/1" ──► ConditionScore or RatingScore

A *condition* is one prompt layout under one system message. ``evaluation/scores.py`` writes these
records to ``scores.json``; field names are its keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orcinus.core.results import ArmScore, Comparison, TaskScores
from orcinus.core.sampling import SamplingConfig
from orcinus.tasks.benchmarks.published import Published


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionScore:
    """Results under one layout and one system message."""

    layout: str
    system: int
    """Number of the system message, from 1."""
    score: ArmScore
    clean: TaskScores | None
    """Accuracy without the flagged items; None when contamination was not checked."""
    flagged: int | None
    """Items found in what the model was trained on; None when that was not checked."""
    tokens_out: float
    """Mean tokens written per answer."""
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RatingScore:
    """A judge's ratings, from 1 to 10, of answers under one layout and one system message."""

    layout: str
    system: int
    """Number of the system message, from 1."""
    n: int
    """Answers sent to the judge."""
    n_none: int
    """Answers whose rating could not be read."""
    unanswered: int
    """Turns without an answer to rate."""
    mean: float | None
    """None without any rating."""
    low: float | None
    high: float | None
    """Bounds of the 95 % interval of ``mean``, with the turns of one conversation as a cluster."""
    by_turn: Mapping[str, float]
    """Mean rating by number of the turn, from 1."""
    by_category: Mapping[str, float]
    """Mean rating by the benchmark's own category."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The spread of the mean of tasks between conditions on the same items."""

    n: int
    """Conditions compared."""
    mean: float
    sd: float
    low: float
    """The lowest of them, not an interval's bound."""
    high: float
    spread: float
    """``high`` minus ``low``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScore:
    """Results of one benchmark."""

    title: str
    about: str
    url: str
    licence: str
    items: int
    """Questions under each condition."""
    subsets: int
    """Subsets whose files were found."""
    missing: tuple[str, ...]
    """Subsets without files."""
    skipped: tuple[str, ...]
    """Rows that could not be used, a line for each."""
    sampling: SamplingConfig
    layouts: Mapping[str, str]
    """Templates by name of the layout."""
    published: tuple[Published, ...]
    """Figures that others published."""
    conditions: Mapping[str, ConditionScore] = field(default_factory=dict)
    """By ``layout/system``; empty for a benchmark whose answers are rated."""
    against_first: tuple[Comparison, ...] = ()
    """Each further condition, ``a``, against the first, ``b``."""
    systems: Spread | None = None
    """Over system messages under the first layout; None with a single one."""
    layouts_spread: Spread | None = None
    """Over layouts under the first system message; None with a single one."""
    ratings: Mapping[str, RatingScore] | None = None
    """By ``layout/system``; None for a benchmark whose answers are right or wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """Results of one model on several benchmarks: the content of the folder's ``scores.json``."""

    model: str
    """Identity of the model."""
    date: str
    """Day of the evaluation in UTC, as ``2026-11-28``."""
    seed: int
    shots: int
    """Demonstrations before each question."""
    limit: int | None
    """Items of each subset at most."""
    learnt_from: tuple[str, ...]
    """Training data that was searched for the items."""
    overlap: int
    """Consecutive words shared with the training data from which an item is flagged."""
    systems: tuple[str, ...]
    """The system messages, in the order of their numbers."""
    macro: float | None
    """Mean over benchmarks of each first condition's mean of tasks."""
    orca2_six: float | None
    """The same over Orca 2's six benchmarks; None unless all six were evaluated."""
    benchmarks: Mapping[str, BenchmarkScore]
    versions: Mapping[str, str]
    """Versions of the packages that took part."""
    commit: str | None
    """Commit of the working folder; None outside a git checkout."""
