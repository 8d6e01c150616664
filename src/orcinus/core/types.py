"""The nouns of explanation distillation, as frozen records without behaviour.

    Example × Strategy ──model──► Attempt ──verifier──► Verdict
    the student's Attempts and Verdicts ──choose──► Assignment
    Assignment ──teacher──► Attempt (a trace) ──curate, erase──► Lesson
    Lessons in Stages (a Curriculum) ──train──► a student

To change a record use ``dataclasses.replace``. One module knows how a record becomes a row: ``store/tables.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "developer", "user", "assistant"]
Finish = Literal["stop", "length", "refusal", "error"]
AnswerType = Literal[
    "choice", "bool", "number", "math", "list", "exact", "spans", "json", "program", "free"
]
Split = Literal["probe", "teach", "held_out", "retention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One problem of a task."""

    id: str
    """Unique within its task."""
    task: str
    prompt: str
    answer_type: AnswerType
    choices: tuple[str, ...] | None = None
    """The option texts in order (A, B, …); None when the task is not multiple choice."""
    reference: str | tuple[str, ...] | None = None
    """The right answer: an option letter for ``choice``; the words in order for ``list``; for ``exact`` and ``spans`` a tuple
    means any one of them is right; for ``json`` a value, or a JSON Schema (with its ``$schema``) that allows the right ones. None when there is none, and then only a judge or a proxy can give a verdict."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Whatever the source said besides: licence, collection, difficulty, passage id. JSON values only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A named way to reason, given to a model as its system message (Orca 2, section 3)."""

    name: str
    system: str
    """The system message. Empty means that no system message is sent."""
    source: str = ""
    """Where the idea comes from."""
    answer_types: tuple[AnswerType, ...] = ()
    """The answer types it makes sense for; empty means all."""
    demonstrations: tuple[tuple[str, str], ...] = ()
    """(prompt, answer) pairs shown as earlier turns before the question."""
    system_from: Literal["strategy", "collection", "row"] = "strategy"
    """Where an example's system message comes from: ``system``; drawn from Orca's sixteen by the example's collection (Orca, Figure 6); or
    from the example's own row, where it is already answered."""
    cost_rank: int = 0
    """Breaks ties before anything was measured: lower is expected to need fewer tokens."""
    groups: tuple[str, ...] = ()
    """Patterns of the tasks, or ``task/category``, that it was written for; empty means all."""
    fallback: "Strategy | None" = None
    """What is asked instead when no answer comes of it, as when a program fails (MAmmoTH, arXiv:2309.05653)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a model is asked to write. All of it is part of a request's identity."""

    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    max_tokens: int = 512
    """Upper bound on written tokens, reasoning included."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: bool = False
    """Keep the log-probability of each written token, where the model gives them."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further body parameters, sent as they are. JSON values only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, as the model counted them."""

    tokens_in: int = 0
    tokens_out: int = 0
    """All written tokens, reasoning included."""
    tokens_cached: int = 0
    """The part of ``tokens_in`` that was read from the provider's cache."""
    tokens_reasoning: int = 0
    """The part of ``tokens_out`` that was hidden or tagged reasoning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a Completer gives back for one request."""

    text: str
    """The visible answer; reasoning tags are kept apart."""
    finish: Finish
    usage: Usage = field(default_factory=Usage)
    reasoning: str | None = None
    """The model's separate reasoning (``reasoning_content`` or a leading ``<think>`` block); None when it gave none."""
    logprobs: tuple[float, ...] | None = None
    """Natural log-probability of each written token; None unless asked for and given."""
    cost_usd: float = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Abilities of a Completer beyond answering one request."""

    in_flight: int | None = None
    """Calls it wants in flight at once, as a batch interface does; None leaves the number to the run."""
    continues: bool = False
    """True when it can continue a partial reply (``Request.partial``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """Upper bounds of what one call can use, retries included."""

    usd: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to one model, before it is asked."""

    example: Example
    strategy: str
    """Name of the strategy whose words are in ``messages``."""
    messages: Messages
    sampling: Sampling
    sample: int = 0
    """0 … k-1 when the same question is asked k times."""
    partial: str | None = None
    """The reply written so far, which the model continues; "" begins a reply that is written in
    parts. Each part is returned as written, with its stop text and outer blanks: joined, the parts
    are the reply. None asks for a whole reply."""
    fallback: "Request | None" = None
    """What is asked when no answer is found in the reply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One model's one try at one Example under one Strategy: student, teacher, judge and benchmark alike."""

    id: str
    """Fingerprint of (example, model, messages, sampling, sample): what was sent decides identity."""
    example_id: str
    task: str
    strategy: str
    model: str
    messages: Messages
    sampling: Sampling
    sample: int
    text: str
    finish: Finish
    """``error`` means that no answer came: its verdict is None and it is asked again by the next run."""
    reasoning: str | None = None
    usage: Usage = field(default_factory=Usage)
    logprobs: tuple[float, ...] | None = None
    cost_usd: float = 0.0
    latency_s: float = 0.0
    error: str | None = None
    """Class and text of what went wrong, e.g. ``rate_limit: 429 …``; None when an answer came."""
    permanent: bool = False
    """True for an error that asking again cannot mend (the request itself was bad), so that it is not asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A verifier's judgement of one Attempt."""

    attempt_id: str
    verifier: str
    """Name with version, e.g. ``choice@1``."""
    value: float | None
    """1.0 right, 0.0 wrong, None when it could not be judged (never silently 0.0)."""
    answer: str | None
    """The final answer as it was understood; None when none was found."""
    reason: str
    """The rule that found the answer, or why nothing could be judged."""

    @property
    def right(self) -> bool:
        """True when the answer is right."""
        return self.value == 1.0

    @property
    def wrong(self) -> bool:
        """True when the answer is wrong."""
        return self.value == 0.0

    @property
    def none(self) -> bool:
        """True when the answer could not be judged."""
        return self.value is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An attempt with its verdict: what flows out of ``attempt_all``."""

    attempt: Attempt
    verdict: Verdict
    recalled: bool = False
    """True when the ledger already had the attempt, so that nothing was asked or paid."""
    instead: "Judged | None" = None
    """What was asked because no answer was found in this attempt; the verdict is that one's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """An aggregate over verdicts."""

    mean: float | None
    """Accuracy in 0..1 over all n, where what could not be judged counts as not right; None when n is 0."""
    n: int
    """How many attempts were counted: right, wrong and not judgeable; errors are left out."""
    n_none: int
    """How many of n could not be judged (no answer found, refused, cut off)."""
    n_error: int
    """How many calls failed; these are in no other count."""
    low: float | None
    high: float | None
    """Bounds of the 95 % interval of ``mean``."""
    format_ok: float | None
    """Share of n in which an answer was found."""
    mean_given_ok: float | None
    """Accuracy over those in which an answer was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the probe showed of one strategy in one group."""

    strategy: str
    score: Score
    tokens_out: float
    """Mean written tokens per attempt: the price of the strategy."""
    held_out: Score | None = None
    """Re-estimated on examples that were not used to choose; None where there were too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The strategy that the teacher shows for a group of examples, and why (Orca 2, section 3)."""

    group: str
    """A task, cluster or example, as the granularity says."""
    strategy: str | None
    """None: the group is left out of teaching."""
    evidence: tuple[Evidence, ...]
    """One for each strategy that was measured, the chosen one first."""
    runner_up: str | None
    p_value: float | None
    """Paired test of the chosen against the pooled winner or the runner-up; None when there was nothing to compare."""
    reason: str
    """In words: how the choice was made."""
    learnable: bool = True
    """False when no strategy reached the floor, and ``strategy`` is the fallback."""
    proxy: str | None = None
    """None when verdicts compare with a reference; else what stood in for it (agreement, judge, teacher)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One row of supervised fine-tuning as the student sees it, and where it came from."""

    id: str
    example_id: str
    task: str
    strategy: str
    """The strategy the teacher used; the student does not see it once the prompt is erased."""
    messages: Messages
    """What the student is given: the erased system message (if any) and the question."""
    completion: str
    """What the student learns to write."""
    reasoning: str | None
    """A trace's separate reasoning, for chat templates with a place for it."""
    teacher: str
    attempt_id: str
    """The teacher's attempt in the ledger."""
    erased: str
    """How the prompt was erased: ``generic``, ``empty``, ``kept`` …"""
    weight: float = 1.0
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Licence, cost, verdict, difficulty. JSON values only."""
