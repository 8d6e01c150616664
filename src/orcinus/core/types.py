"""The nouns of explanation distillation, as frozen records.

    Example × Strategy ──model──► Attempt ──verifier──► Verdict
    the student's Attempts and Verdicts ──choose──► Assignment
    Assignment ──teacher──► Attempt (a trace) ──curate, erase──► Lesson
    Lessons in Stages (a Curriculum) ──train──► a student

To change a record use ``dataclasses.replace``. ``runs/tables.py`` alone turns records into rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orcinus.core.records import quick_init

Role = Literal["system", "developer", "user", "assistant", "tools", "tool"]
"""Who speaks. ``tools`` says what may be called and ``tool`` what a call gave: see
``core/tool_calls.py``."""
Finish = Literal["stop", "length", "refusal", "error"]
Confidence = Literal["explicit", "only candidate", "guessed"]
"""How an answer was found: announced; the only one that the text holds; or picked among several."""
AnswerType = Literal[
    "choice", "bool", "number", "math", "list", "exact", "spans", "json", "program", "free"
]
Split = Literal["probe", "teach", "held_out", "retention", "lecture"]
LECTURE: Literal["lecture"] = "lecture"
"""An authored text without a question: its kind, its split and the strategy of its trace."""
TAUGHT: tuple[Split, ...] = ("teach", "lecture")
"""The splits whose traces become lessons, in the order of all tables: questions, then texts."""


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn of a conversation."""

    role: Role
    """Who speaks."""
    content: str
    """The text."""


Messages = tuple[Message, ...]


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One problem of a task."""

    id: str
    """Unique within its task."""
    task: str
    """Name of its task."""
    prompt: str
    """The question, as the model reads it."""
    answer_type: AnswerType
    """Decides the rules by which answers are judged."""
    choices: tuple[str, ...] | None = None
    """The option texts in order (A, B, …); None when the task is not multiple choice."""
    reference: str | tuple[str, ...] | None = None
    """The right answer. For ``choice`` an option letter; for ``list`` the words in order; for
    ``exact`` and ``spans`` a tuple means that any one of them is right. For ``json`` a value, or a
    JSON Schema (with its ``$schema``) that the right values satisfy. None when there is none: then
    only a judge or pseudo-labels can give a verdict."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Further facts from the source: licence, collection, difficulty, passage id. JSON values
    only. ``history`` holds the turns before the question, as ``{"role", "content"}``."""

    @property
    def history(self) -> tuple["Message", ...]:
        """The turns of the conversation before the question; empty for a single question."""
        return tuple(Message(**turn) for turn in self.meta.get("history", ()))

    @property
    def whole_prompt(self) -> str:
        """The question after the turns before it: what two equal examples have in common."""
        return whole_prompt_of(self.prompt, self.meta)


def whole_prompt_of(prompt: str, meta: Mapping[str, Any]) -> str:
    """Return ``Example.whole_prompt`` of an example's prompt and ``meta``."""
    turns = meta.get("history")
    if not turns:
        return prompt
    return "\n\n".join([*(turn["content"] for turn in turns), prompt])


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A named way to reason, given to a model as its system message (Orca 2, section 3)."""

    name: str
    """Unique among the recipe's strategies."""
    system: str
    """The system message. Empty means that no system message is sent."""
    source: str = ""
    """Where the idea comes from."""
    answer_types: tuple[AnswerType, ...] = ()
    """The answer types it makes sense for; empty means all."""
    demonstrations: tuple[tuple[str, str], ...] = ()
    """(prompt, answer) pairs shown as earlier turns before the question."""
    system_from: Literal["strategy", "collection", "row"] = "strategy"
    """Where an example's system message comes from. ``strategy``: the field ``system``.
    ``collection``: one of Orca's sixteen, drawn by the example's collection (Orca, Figure 6).
    ``row``: the example's own row, which is already answered."""
    cost_rank: int = 0
    """Breaks ties before anything is measured: a lower rank should need fewer tokens."""
    groups: tuple[str, ...] = ()
    """Patterns of the tasks, or ``task/category``, that it is written for; empty means all."""
    fallback: "Strategy | None" = None
    """The strategy to ask instead when the reply has no answer, for example because a program
    fails (MAmmoTH, arXiv:2309.05653)."""


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Decoding settings of one call. Every field is part of a request's identity."""

    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Share of the probability that sampling draws from."""
    max_tokens: int = 512
    """Upper bound on written tokens, including reasoning."""
    stop: tuple[str, ...] = ()
    """Texts that end the reply."""
    seed: int | None = None
    """Seed of the sample; None sends none."""
    logprobs: bool = False
    """Keep the log-probability of each written token if the model returns them."""
    sends_temperature: bool = True
    """False sends no temperature to an endpoint; ``temperature`` is then 1, the usual default."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further body parameters, sent unchanged. JSON values only."""


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one call, as the model counted them."""

    tokens_in: int = 0
    tokens_out: int = 0
    """All written tokens, including reasoning."""
    tokens_cached: int = 0
    """The part of ``tokens_in`` that came from the provider's cache."""
    tokens_reasoning: int = 0
    """The part of ``tokens_out`` that was hidden or tagged reasoning."""
    tokens_unreported: int = 0
    """Worst case of the tries whose usage is not known. It counts in budgets, and in nothing
    else."""

    @property
    def total(self) -> int:
        """The tokens that count in a budget."""
        return self.tokens_in + self.tokens_out + self.tokens_unreported


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A Completer's reply to one request."""

    text: str
    """The visible answer, without reasoning."""
    finish: Finish
    """Why the reply ended."""
    usage: Usage = field(default_factory=Usage)
    """Tokens, as the model counted them."""
    reasoning: str | None = None
    """The model's separate reasoning: ``reasoning_content`` or a leading ``<think>`` block."""
    logprobs: tuple[float, ...] | None = None
    """Natural log-probability of each written token; None unless requested and returned."""
    token_bytes: tuple[int, ...] | None = None
    """Bytes of ``reasoning`` and ``text`` that each of these tokens wrote, or of ``text`` alone; 0
    for tags and the end of the turn. None where ``logprobs`` is None, or if it is not known."""
    cost_usd: float = 0.0
    """Dollars, by the model's price."""
    latency_s: float = 0.0
    """Seconds from sending to the end of the reply."""
    unknown_finish: str | None = None
    """The server's word for the end of the reply where no table has it; ``finish`` is a guess."""
    source: str = ""
    """Base URL of the server that answered; empty for a model in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The servers of a Completer that asks over a network."""

    addresses: tuple[str, ...]
    """Their base URLs, without passwords."""
    settings: str
    """Hash of all that a call sends besides the request: URLs, headers, names of body fields."""
    refusals: Callable[[], str | None]
    """Describes what was refused since the last look and when it is asked again; None for nothing.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """Abilities of a Completer beyond answering one request."""

    in_flight: int | None = None
    """Calls it wants in flight at once; a batch interface wants many. None leaves it to the run."""
    continues: bool = False
    """True when it can continue a partial reply (``Request.partial``)."""
    scores: bool = False
    """True when it can score a given text (``Request.scoring``)."""
    context: int | None = None
    """Tokens of a prompt and its answer that the model was made for; None if unknown."""
    remote: Remote | None = None
    """Its servers; None for a model in this process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """Upper bounds of what one call can use, including retries."""

    usd: float
    tokens: int
    booked_by: str = ""
    """The run that has booked them for this call, because a process stopped while it was made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """A text that a model is to score and not to answer; see ``core/scoring.py``."""

    prompt: tuple[int, ...]
    """Tokens that come before it; at least one."""
    response: tuple[int, ...]
    """Its tokens."""
    top: int
    """Likeliest tokens to return in place of each."""
    plain: str | None = None
    """The whole text, for a model that is to cut it into tokens itself; the first one is the
    prompt. None where the tokens are given."""


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call to a model, before it is made."""

    example: Example
    """The question."""
    strategy: str
    """Name of the strategy that ``messages`` contain."""
    messages: Messages
    """What is sent."""
    sampling: Sampling
    """How the model writes."""
    sample: int = 0
    """0 … k-1 when the same question is asked k times."""
    partial: str | None = None
    """The reply written so far, which the model continues; "" begins a reply that is written in
    parts. Each part is returned as written, with its stop text and outer blanks: joined, the parts
    are the reply. None asks for a whole reply."""
    fallback: "Request | None" = None
    """The request to send when the reply has no answer."""
    scoring: Scoring | None = None
    """A text to score, with ``messages`` only for readers; None asks for a reply."""


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of one model at one Example under one Strategy.

    The same record serves students, teachers, judges and benchmarks.
    """

    id: str
    """Fingerprint of what was sent: example, model, messages, sampling and sample number."""
    example_id: str
    """Id of the question."""
    task: str
    """Task of the question."""
    strategy: str
    """Name of the strategy."""
    model: str
    """Identity of the model."""
    messages: Messages
    """What was sent."""
    sampling: Sampling
    """How the model wrote."""
    sample: int
    """Number of the sample, from 0."""
    text: str
    """The visible answer, without reasoning."""
    finish: Finish
    """``error`` means that no answer came: the verdict is None, and the next run retries it."""
    reasoning: str | None = None
    """The model's separate reasoning."""
    usage: Usage = field(default_factory=Usage)
    """Tokens, as the model counted them."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each written token; None unless requested and returned."""
    token_bytes: tuple[int, ...] | None = None
    """As in ``Completion``; None in the ledgers of older versions."""
    cost_usd: float = 0.0
    """Dollars, by the model's price."""
    latency_s: float = 0.0
    """Seconds from sending to the end of the reply."""
    error: str | None = None
    """Class and text of the error, e.g. ``rate_limit: 429 …``; None when an answer came."""
    permanent: bool = False
    """True for an error that a retry cannot fix, because the request itself was bad."""
    source: str = ""
    """Base URL of the server that answered. Like the next two it is in the ledger alone."""
    settings: str = ""
    """Of an error of a remote model: ``Remote.settings`` of the call. With other settings the
    request is asked again."""
    created: float = field(default=0.0, compare=False)
    """When the ledger got it, in seconds since the epoch; 0 for a new attempt."""


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A verifier's judgement of one Attempt."""

    attempt_id: str
    """Id of the attempt that is judged."""
    verifier: str
    """Name with version, e.g. ``choice@1``."""
    value: float | None
    """1.0 right, 0.0 wrong, None when it could not be judged (never silently 0.0)."""
    answer: str | None
    """The final answer as the verifier read it; None when it found none."""
    reason: str
    """The rule that found the answer, or why there is no verdict."""
    confidence: Confidence | None = None
    """How the answer was found; None without one, from a judge and in older runs."""

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


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """An attempt with its verdict."""

    attempt: Attempt
    verdict: Verdict
    recalled: bool = False
    """True when the ledger already had the attempt, so that no call was made."""
    instead: "Judged | None" = None
    """The fallback's attempt when this one had no answer; ``verdict`` is then the fallback's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """An aggregate over verdicts."""

    mean: float | None
    """Accuracy in 0..1 over all n. Unjudged attempts count as not right. None when n is 0."""
    n: int
    """Attempts counted: right, wrong and unjudged; failed calls are not."""
    n_none: int
    """The part of n without a verdict: no answer found, refused or cut off."""
    n_error: int
    """Failed calls; they are in no other count."""
    low: float | None
    """Lower bound of the 95 % interval; None without an attempt."""
    high: float | None
    """Bounds of the 95 % interval of ``mean``."""
    format_ok: float | None
    """Share of n with an answer."""
    mean_given_ok: float | None
    """Accuracy over the attempts with an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The measurements of one strategy in one group."""

    strategy: str
    score: Score
    """Of the untrained student under the strategy; its ``n`` is 0 where it was not asked."""
    tokens_out: float
    """Mean written tokens per attempt: the cost of the strategy."""
    held_out: Score | None = None
    """Score on examples that were not used to choose; None when there are too few."""
    learned: Score | None = None
    """Of a trial student that was taught with the strategy; None where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The strategy that the teacher shows for a group of examples, and why (Orca 2, section 3)."""

    group: str
    """A task, a category of a task (``task/category``) or a cluster."""
    strategy: str | None
    """None: the group is not taught."""
    evidence: tuple[Evidence, ...]
    """One for each measured strategy, the chosen one first."""
    runner_up: str | None
    """The strategy that came second; None with a single one."""
    p_value: float | None
    """Paired test of the chosen strategy against the winner over all groups, or against the
    runner-up. None when there is nothing to compare."""
    reason: str
    """How the choice was made, in words."""
    learnable: bool = True
    """False when no strategy reached the floor, and ``strategy`` is the fallback."""
    proxy: str | None = None
    """Source of pseudo-labels: ``agreement``, ``judge`` or ``teacher``; None for references."""
    measure: Literal["prompted", "learned"] | None = None
    """What decided: the untrained student's answers under each strategy, or those of trial
    students. None where neither did."""
    told: bool = True
    """False when nothing tells the strategies of the group apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One row of supervised fine-tuning as the student sees it, with its origin."""

    id: str
    """Hash of what the student sees, and where it comes from."""
    example_id: str
    """Id of the question."""
    task: str
    """Task of the question."""
    strategy: str
    """The strategy the teacher used; prompt erasing hides it from the student."""
    messages: Messages
    """The student's input: the erased system message (if any) and the question."""
    completion: str
    """The text that the student learns to write."""
    reasoning: str | None
    """The trace's separate reasoning, for chat templates with a place for it."""
    teacher: str
    """Identity of the model that wrote the explanation."""
    attempt_id: str
    """The teacher's attempt in the ledger."""
    erased: str
    """How the prompt was erased: ``generic``, ``empty``, ``kept`` …"""
    weight: float = 1.0
    """Weight of the lesson in the loss."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Licence, cost, verdict, difficulty. JSON values only."""
