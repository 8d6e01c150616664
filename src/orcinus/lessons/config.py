"""The settings of the steps that make lessons, which are read with every recipe.

curate: {keep: best, min_words: 20}    ──►    CurateConfig(keep="best", min_words=20)
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from orcinus.core import registry
from orcinus.core.config import Config
from orcinus.core.imports import import_later
from orcinus.core.protocols import Selector
from orcinus.core.registry import find_function
from orcinus.core.sampling import SamplingConfig
from orcinus.strategies.library import generic_messages

if TYPE_CHECKING:
    from orcinus.lessons import filters, selectors
else:
    filters = import_later("orcinus.lessons.filters")
    selectors = import_later("orcinus.lessons.selectors")

Role = Literal["teacher", "assistant"]
"""The models that explain."""


def check_samples(sampling: SamplingConfig) -> SamplingConfig:
    """Return ``sampling``, which must give different answers to one question.

    Raises:
        ValueError: It gives a single answer, or the same one again.
    """
    if sampling.samples < 2 or sampling.temperature == 0:
        raise ValueError(
            "needs at least 2 samples at a temperature over 0: one answer is no pass rate"
        )
    return sampling


class SelectorConfig(Config):
    """One selector and its settings, written beside its name."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """``teachable``, ``matched``, ``balanced``, ``diverse``, the name of a registered one, or
    ``module:function``."""

    @model_validator(mode="before")
    @classmethod
    def _read_bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _selector_exists(self) -> "SelectorConfig":
        self.open()
        return self

    def open(self) -> Selector:
        """Return the selector with its settings.

        Raises:
            ConfigError: There is none, it does not have the shape of a selector, or it does not
                take the settings.
        """
        function = registry.find("selector", self.name, selectors.BUILT_IN)
        return registry.with_settings("selector", self.name, function, self.model_extra or {})

    @property
    def needs_pass_rate(self) -> bool:
        """True when the selector needs the student's share of right answers."""
        function = registry.find("selector", self.name, selectors.BUILT_IN)
        return bool(registry.declared_by(function).get("needs_pass_rate", False))


class SelectConfig(Config):
    """The choice of the examples of the teach split that are taught."""

    by: tuple[SelectorConfig, ...] = Field(min_length=1)
    """Selectors with their settings, e.g. ``{name: teachable, low: 0.2, high: 0.8}``. Each one
    chooses among the examples that the ones before it took."""
    sampling: SamplingConfig = SamplingConfig(samples=4, temperature=0.7)
    """How the student answers each teach question, where a selector (``teachable``) needs pass
    rates. It costs this many answers to every question."""
    # Excluded by default, so that the step keeps the fingerprint it had before this key existed.
    under: Literal["strategy", "erased"] = Field(
        default="strategy", exclude_if=lambda value: value == "strategy"
    )
    """Where the student is asked for pass rates: under its assigned ``strategy``, or under the
    ``erased`` message, as it will be asked after training."""

    @field_validator("sampling")
    @classmethod
    def _more_than_one_answer(cls, value: SamplingConfig) -> SamplingConfig:
        return check_samples(value)

    @property
    def needs_pass_rate(self) -> bool:
        """True when a selector needs pass rates, so that the student is asked."""
        return any(item.needs_pass_rate for item in self.by)


class TeachConfig(Config):
    """The settings of the calls to the teacher."""

    sampling: SamplingConfig = SamplingConfig(max_tokens=1024)
    """How the teacher writes, and how many explanations of each example it gives."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the teach split that is asked, drawn by a hash. Orca's GPT-4 explained a fifth of
    what its assistant, ChatGPT, did."""


class ToxicityConfig(Config):
    """The treatment of unsafe traces, scored by a function of yours or by a learnt classifier."""

    function: str | None = None
    """``module:name`` of a function that gives a text a score from 0.0 (harmless) to 1.0; none is
    built in."""
    labelled: int | None = Field(default=None, ge=50, exclude_if=lambda value: value is None)
    """In place of a function: the judge rates this many traces, drawn by a hash, for safety. A
    classifier learns from the ratings and scores all traces, if it is clearly better than
    chance."""
    limit: float = Field(default=0.5, gt=0, le=1)
    """A trace with this score or a higher one is unsafe."""
    instead: Literal["drop", "refuse"] = Field(
        default="drop", exclude_if=lambda value: value == "drop"
    )
    """Drop an unsafe trace, or put a refusal in its place; the lesson has ``meta.replaced``."""

    @field_validator("function")
    @classmethod
    def _function_exists(cls, value: str | None) -> str | None:
        if value is not None:
            find_function(value)
        return value

    @model_validator(mode="after")
    def _one_of_both_scores(self) -> "ToxicityConfig":
        if (self.function is None) == (self.labelled is None):
            raise ValueError(
                "toxicity needs either function: or labelled: (with a judge:), not both"
            )
        return self


class QualityConfig(Config):
    """A classifier that learns from a judge's ratings of some traces, and scores all of them.

    Source: phi-1, arXiv:2306.11644.
    """

    labelled: int = Field(default=500, ge=50)
    """Traces that the judge rates, drawn by a hash; one call each."""
    keep: float = Field(default=0.8, gt=0, lt=1)
    """Share of the traces that is kept, the best by score. All are kept where the classifier is not
    clearly better than chance."""


class CurateConfig(Config):
    """The rules that decide which traces are kept."""

    keep: Literal["correct", "best", "all"] = "correct"
    """correct: every trace whose answer is right; best: the shortest right one of each example;
    all: wrong ones too."""
    per_example: int | None = Field(default=None, ge=1)
    """Keep at most this many traces of one example, the shortest first; None keeps all."""
    unjudged: Literal["drop", "keep"] = "drop"
    """Drop or keep traces that could not be judged although there is a reference. Traces without a
    reference are kept."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Longest trace, in tokens that the teacher wrote; None sets no limit. ``train.too_long``
    decides about traces that do not fit a training row."""
    ngram: int | None = Field(default=13, ge=3)
    """Drop a trace that shares a run of this many words with a held-out question; None skips
    this."""
    near_duplicates: float | None = Field(default=None, gt=0, le=1)
    """Drop a trace when this share of its runs of five words, question included, is in a kept one
    too, e.g. 0.9; None skips this."""
    fuzzy_overlap: float | None = Field(default=None, gt=0, le=1)
    """Drop a trace that has this share of a held-out question's runs of three words, e.g. 0.6; None
    skips this."""
    min_words: int | None = Field(default=None, ge=1)
    """Drop a trace with fewer words."""
    max_words: int | None = Field(default=None, ge=1)
    """Drop a trace with more words."""
    languages: tuple[str, ...] = ()
    """ISO codes such as ``en``: drop a trace that is surely in another language; empty skips this.
    Needs the extra ``language``."""
    toxicity: ToxicityConfig | None = None
    """Drop or replace unsafe traces; None skips this."""
    quality: QualityConfig | None = None
    """Learn from the judge's ratings of some traces which of all are worth keeping; None skips
    this."""
    filters: tuple[str, ...] = ()
    """Further filters: ``boilerplate`` (the trace speaks of itself as a language model),
    ``personal_data`` (e-mail addresses, phone and card numbers, IBANs, IP addresses),
    ``label_agreement`` (a stored answer that lacks the dataset's label), the names of registered
    ones, and ``module:name`` of a function of yours in a module beside the recipe or an installed
    one."""
    max_per_task: int | None = Field(default=None, ge=1)
    """Keep at most this many traces of one task, in the order of the examples; None sets no
    quota."""

    @field_validator("filters")
    @classmethod
    def _filters_exist(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            filters.find_filter(name)
        return value

    @model_validator(mode="after")
    def _some_length_is_left(self) -> "CurateConfig":
        if (
            self.min_words is not None
            and self.max_words is not None
            and self.min_words > self.max_words
        ):
            raise ValueError(
                f"min_words {self.min_words} is more than max_words {self.max_words}; "
                "nothing would be kept"
            )
        return self


class RehearseConfig(Config):
    """The student's answers to the taught questions before it learns."""

    sampling: SamplingConfig = SamplingConfig(samples=4, temperature=0.9, top_p=0.95)
    """How the student writes, and how many answers to each question. It costs this many answers to
    every taught question."""
    lessons: Literal["none", "right"] = "none"
    """right: the student's own right answers become lessons too, of the role ``self``; nearly equal
    ones once. none: they are only counted."""

    @field_validator("sampling")
    @classmethod
    def _more_than_one_answer(cls, value: SamplingConfig) -> SamplingConfig:
        return check_samples(value)


POOL = 16
"""Lessons of a task that are held in memory to be shown: at least the largest number of shots."""


class FewShotConfig(Config):
    """The way in which few-shot lessons are made of other lessons (Orca 2, section 4.1)."""

    share: float = Field(default=0.1, gt=0, le=1)
    """Share of lessons of which a few-shot lesson is made in addition."""
    shots: tuple[int, int] = (3, 5)
    """Fewest and most solved questions; the number is drawn for each lesson."""
    form: Literal["prompt", "turns"] = "prompt"
    """How they are shown. prompt: all in one message, as in Orca 2; turns: as earlier turns of the
    conversation."""

    @field_validator("shots")
    @classmethod
    def _shots_are_a_range(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1] <= POOL:
            raise ValueError(f"is {list(value)}, but must be [fewest, most] within 1 … {POOL}")
        return value


Mode = Literal["generic", "empty", "paraphrase", "kept"]


Layout = Literal["as_written", "think", "text_only", "adaptive"]


class EraseConfig(Config):
    """The message that replaces the teacher's strategy in lessons."""

    mode: Mode = "generic"
    """generic: one message for all; empty: no system message; paraphrase: one of several generic
    messages, drawn for each lesson; kept: the strategy stays (an ablation)."""
    message: str = "cautious"
    """Name of a built-in generic message, or your own text."""
    keep_probability: float = 0.0
    """Share of lessons, 0 to 1, whose strategy is kept, so that the student still follows one."""
    layout: Layout = "as_written"
    """as_written: the trace as it is, with its separate reasoning if it has one; think: the
    explanation as reasoning (the ``<think>`` part of the student's chat template), then only the
    answer; text_only: without separate reasoning; adaptive: like think, but with an empty think
    block in lessons of the strategy ``direct``, so that the student learns when not to think."""
    few_shot: FewShotConfig | None = None
    """Add lessons that show solved questions before the question, like Orca 2's 55,000 few-shot
    rows; None adds none."""


def generic_text(config: EraseConfig) -> str:
    """Return the system message that a student sees at evaluation, and in most lessons."""
    if config.mode in ("empty", "kept"):
        return ""
    return generic_messages().get(config.message, config.message)
