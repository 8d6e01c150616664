"""Say what a reader of a run's results should be careful with, the strongest reason first.

Scores, steps, spending ──► "Only 24 held-out items: differences of less than about 30 % …"
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Literal

from orcinus.core.results import ARMS, ArmScore, RetentionScore, Scores, WinRate
from orcinus.reports.headline import name_of
from orcinus.reports.words import p_value, percent, points
from orcinus.runs.ledger_figures import SpendRow

FEW_ITEMS = 100
"""Held-out items below which a report calls its scores rough: 95 % intervals of 20 points."""
LOW_ACCURACY = 0.1
"""Accuracy in 0..1 below which a student has learned the form of an answer at most."""
ANSWERS_FOUND = 0.9
"""Share of answers in which a final answer is found; a report says so where it is lower."""
NOTICEABLE_LOSS = 0.1
"""Share of a retention task's items; a report says where a larger loss could be missed."""
HIGH_LOSS = 3.0
"""Nats per response token. A model that can write the explanations is far below: SmolLM2-135M
begins a training at 1.2, the demo's student ends one at 0.2."""
MANY_FLIPS = 0.25
"""Share of pairs in which a judge follows the order of the answers; a report warns from here on."""


Topic = Literal[
    "How sure the figures are",
    "How answers were found and judged",
    "What failed or was left out",
    "How the strategies were chosen",
]


def warnings_of(
    scores: Scores, steps: Mapping[str, Mapping[str, Any]], spend: Sequence[SpendRow]
) -> Iterator[str]:
    """Yield the warnings of a run, the strongest first.

    Args:
        scores: Its evaluation.
        steps: Contents of ``step.json`` by role: ``sample``, ``evaluate`` …
        spend: What the ledger says the run spent.
    """
    for _, warning in warnings_with_topics(scores, steps, spend):
        yield warning


def warnings_with_topics(
    scores: Scores, steps: Mapping[str, Mapping[str, Any]], spend: Sequence[SpendRow]
) -> Iterator[tuple[Topic, str]]:
    """Yield what ``warnings_of`` yields, each with what it is about."""

    def about(topic: Topic, found: Iterable[str]) -> Iterator[tuple[Topic, str]]:
        return ((topic, warning) for warning in found)

    evaluated = steps["evaluate"]["config"]
    yield from about("How sure the figures are", _too_little_to_conclude(scores.arms.get("after")))
    yield from about("How sure the figures are", _may_be_guessing(scores.arms.get("after")))
    trained = steps.get("train", {}).get("summary", {})
    yield from about("How sure the figures are", _hardly_learned(trained.get("stages", {})))
    yield from about("How sure the figures are", _worse_on_a_task(scores))
    yield from about("How the strategies were chosen", _message_hurts(scores))
    found = (_answers_not_found, _answers_in_doubt)
    yield from about(
        "How answers were found and judged", chain.from_iterable(say(scores) for say in found)
    )
    yield from about("How answers were found and judged", _judged_by_a_model(scores, evaluated))
    yield from about(
        "How answers were found and judged", _pairs_not_judged_well(scores.pairwise, evaluated)
    )
    yield from about("How sure the figures are", losses_that_could_be_missed(scores.retention))
    yield from about("What failed or was left out", _failed_calls_of_arms(scores))
    yield from about("How sure the figures are", _trials_without_a_gain(mixes(steps)))
    yield from about("What failed or was left out", _skipped_rows(steps["sample"]["summary"]))
    yield from about(
        "How answers were found and judged",
        _quality_not_used(steps["curate"]["summary"].get("quality")),
    )
    yield from about("How the strategies were chosen", _nothing_tells(steps["assign"]["summary"]))
    yield from about("How the strategies were chosen", _unlearnable(steps["assign"]["summary"]))
    authored = steps.get("author", {}).get("summary", {})
    yield from about("How answers were found and judged", authored.get("warnings", ()))
    yield from about("What failed or was left out", _failed_calls_of_run(spend))


def group_by_topic(found: Iterable[tuple[Topic, str]]) -> dict[Topic, list[str]]:
    """Return the warnings by topic, the topic of the strongest warning first."""
    groups: dict[Topic, list[str]] = {}
    for topic, warning in found:
        groups.setdefault(topic, []).append(warning)
    return groups


def _failed_calls_of_arms(scores: Scores) -> Iterator[str]:
    counts = {arm: found.accuracy.micro.n_error for arm, found in scores.arms.items()}
    parts = [f"{count:,} of the {ARMS[arm]}" for arm, count in counts.items() if count]
    if parts:
        yield (
            f"Calls failed and are in no score: {', '.join(parts)}. Run the recipe again to retry "
            "them."
        )


def _skipped_rows(sampled: Mapping[str, Any]) -> Iterator[str]:
    for source, number in (sampled.get("skipped") or {}).items():
        yield (
            f"{number:,} rows of {source} could not be used and were left out; dropped.parquet of "
            "the sample step lists them."
        )


def _failed_calls_of_run(spend: Sequence[SpendRow]) -> Iterator[str]:
    if failed := sum(row.errors for row in spend):
        yield f"{failed:,} calls ended in an error over the whole run."


def _unlearnable(assigned: Mapping[str, Any]) -> Iterator[str]:
    if unlearnable := assigned.get("unlearnable", 0):
        yield f"This student cannot learn {unlearnable} groups yet: no strategy reaches the floor."


def _nothing_tells(assigned: Mapping[str, Any]) -> Iterator[str]:
    unclear, groups = assigned.get("unclear", 0), assigned["groups"]
    if unclear and assigned.get("learned"):
        yield (
            f"In {unclear:,} of {groups:,} groups nothing tells the strategies apart, not even "
            "trial students; these are taught step by step where that is among the strategies. "
            "More probe examples (sample.probe) or a larger assign.share would tell more."
        )
    elif unclear:
        yield (
            f"In {unclear:,} of {groups:,} groups the probe cannot tell the strategies apart, so "
            "the choice rests on noise. Trial students may tell: assign: {measure: learned}."
        )


def mixes(steps: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the shares that trial students chose, each with its arm, from the training steps."""
    for role, arm in (("train", "after"), ("train_answer_only", "answer_only")):
        for choice in steps[role]["summary"].get("mix", ()) if role in steps else ():
            yield {"arm": arm, **choice}


def _too_little_to_conclude(after: ArmScore | None) -> Iterator[str]:
    if after is None:
        return
    score = after.accuracy.micro
    if score.mean is not None and score.format_ok and score.mean < LOW_ACCURACY:
        yield (
            "The student's accuracy is very low. At most it has learned the form of the answers, "
            "and these scores support no conclusion about strategies."
        )
    if score.n < FEW_ITEMS and score.low is not None and score.high is not None:
        yield (
            f"Only {score.n} held-out items: differences of less than about "
            f"{100 * (score.high - score.low):.0f} points cannot be seen."
        )


def _may_be_guessing(after: ArmScore | None) -> Iterator[str]:
    """Name the tasks on which the trained student is not clearly better than guessing."""
    if after is None:
        return
    named = [
        f"{task} ({percent(score.mean)}, guessing gets {percent(rate)})"
        for task, rate in after.guessing.items()
        if (score := after.accuracy.by_task[task]).low is not None and score.low <= rate
    ]
    if named:
        yield (
            f"The trained student is not clearly better than guessing on {', '.join(named)}. It "
            "may have learned the form of the answers and not how to find them."
        )


def _hardly_learned(stages: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Say that the student cannot write the explanations at the end of its last stage."""
    for name, stage in list(stages.items())[-1:]:
        first, last = stage.get("first_loss"), stage.get("last_loss")
        if first is not None and last is not None and last > HIGH_LOSS:
            yield (
                f"The student has hardly learned the explanations: the loss of stage {name} fell "
                f"from {first:.1f} to only {last:.1f} nats a token. Raise its learning_rate (2e-5 "
                "by default; the demo's tiny student takes 5e-4) or its epochs."
            )


def _worse_on_a_task(scores: Scores) -> Iterator[str]:
    for row in scores.comparisons:
        others = row.b not in ("teacher", "after_prompted")
        if row.task is not None and others and row.outcome == "worse":
            yield (
                f"On {row.task}, training made the student worse than the {ARMS[row.b]} by "
                f"{points(-row.difference)[1:]} points (p after Holm {p_value(row.p_holm)})."
            )


def _message_hurts(scores: Scores) -> Iterator[str]:
    """Say that the strategy's message, which helped before training, hurts after it."""
    for row in scores.comparisons:
        if row.task is None and row.b == "after_prompted" and row.outcome == "better":
            yield (
                "Asked under its best strategy's message, the trained student is worse by "
                f"{points(row.difference)[1:]} points than under the erased one: it has unlearned "
                "to follow the message. Try erase: {keep_probability: 0.2}, or leave it out."
            )


def _answers_not_found(scores: Scores) -> Iterator[str]:
    """Say for all arms together in how many replies no answer was found."""
    parts = []
    for arm, found in scores.arms.items():
        score = found.accuracy.micro
        if score.n and score.format_ok is not None and score.format_ok < ANSWERS_FOUND:
            part = f"{score.n_none:,} of {score.n:,} replies of the {ARMS[arm]}"
            if score.n > score.n_none:
                part += f" (of the others {percent(score.mean_given_ok)} were right)"
            parts.append(part)
    if parts:
        yield f"No answer was found in {', '.join(parts)}. They count as not right."


def _answers_in_doubt(scores: Scores) -> Iterator[str]:
    """Say for all arms together how answers were found that were not announced."""
    parts = []
    for arm, found in scores.arms.items():
        counts = found.confidence
        total, announced = sum(counts.values()), counts.get("explicit", 0)
        if announced < total:
            parts.append(
                f"Of the {ARMS[arm]}, {percent(announced / total)} were announced; "
                f"{percent(counts.get('only candidate', 0) / total)} were the only one in the "
                f"text, and {percent(counts.get('guessed', 0) / total)} were picked among several."
            )
    if parts:
        yield f"Not all answers were announced. {' '.join(parts)}"


def _judged_by_a_model(scores: Scores, config: Mapping[str, Any]) -> Iterator[str]:
    """Return the number of verdicts that rest on a judge, arm by arm."""
    counts = {arm: found.judge for arm, found in scores.arms.items() if found.judge is not None}
    if not any(count.given + count.no_verdict for count in counts.values()):
        return
    parts = [
        f"{count.given:,} of {scores.arms[arm].accuracy.micro.n:,} ({ARMS[arm]})"
        for arm, count in counts.items()
    ]
    sentence = (
        f"A proxy: these verdicts were given by a judge, the model {_judge_name(config)}, and are "
        f"only as good as it is: {', '.join(parts)}."
    )
    if unread := sum(count.no_verdict for count in counts.values()):
        sentence += f" {unread:,} of its replies gave no verdict; those answers stay unjudged."
    yield sentence


def _judge_name(config: Mapping[str, Any]) -> str:
    judge = config["judge"]
    return str(judge.get("model") or judge.get("function") or judge["kind"])


def _pairs_not_judged_well(rows: Sequence[WinRate], config: Mapping[str, Any]) -> Iterator[str]:
    if config.get("pairwise") and not rows:
        yield (
            "No answers were compared in pairs: no task has open answers; set "
            "evaluate.pairwise.tasks: all to compare those of every task."
        )
    together = [row for row in rows if row.task is None]
    for row in together:
        if row.flip_rate is not None and row.flip_rate >= MANY_FLIPS:
            yield (
                f"The judge changed its verdict with the order of the answers in "
                f"{percent(row.flip_rate, 0)} of the pairs against the {ARMS[row.b]}; these count "
                "as ties, and the win rate says little."
            )
    if unread := sum(row.unreadable for row in together):
        yield f"{unread:,} pairs of answers have no verdict; they are in no win rate."


def losses_that_could_be_missed(rows: Iterable[RetentionScore]) -> Iterator[str]:
    """Yield a warning for each retention task with too few items to find a noticeable loss."""
    for row in rows:
        seen = row.detectable
        if not row.lost and (seen is None or seen > NOTICEABLE_LOSS):
            limit = (
                "Not even a total loss"
                if seen is None
                else f"Only a loss of {percent(seen, 0)} of the items or more"
            )
            yield (
                f"{limit} would have been found on {name_of(row)} with its {row.n:,} items; "
                "evaluate more of them to be sure."
            )


def _trials_without_a_gain(choices: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for choice in choices:
        if not any(trial["gain_low"] > 0 for trial in choice["trials"]):
            yield (
                f"The share of stage {choice['stage']} ({ARMS[choice['arm']]}) was chosen among "
                "trial students of which none is clearly better than the student before the "
                "stage. The trials may rank which share does the least harm, not which teaches "
                "the most; a larger mix.trial would show more."
            )


def _quality_not_used(found: Mapping[str, Any] | None) -> Iterator[str]:
    if found is not None and not found["used"]:
        yield (
            f"The quality classifier was not used. The judge rated {found['rated']:,} of the "
            f"{found['asked']:,} traces that it was asked about, and what the classifier learned "
            "from them is not clearly better than chance. It dropped no trace."
        )
