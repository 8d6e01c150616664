"""Say the result of a run in sentences, the same way whether it is good or bad.

Scores ──► "Training helped: the student answers 71.0 % of new questions right, …"
           "After training on explanations, the student answers 71.0 % of the held-out …"
           "Better than the student before training: +21.0 points (+14.2 to +27.8; p < 0.001) …"
"""

from collections.abc import Iterator, Sequence

from orcinus.core.results import ARMS, Comparison, RetentionScore, Scores, WinRate
from orcinus.reports.words import p_value, percent, points


def in_plain_words(scores: Scores) -> str:
    """Return the result in one sentence for a reader who knows no statistics."""
    means = {arm: found.accuracy.macro.mean for arm, found in scores.arms.items()}
    after, before = means.get("after"), means.get("before")
    if after is None:
        return "This run has no score of a student trained on explanations."
    outcomes = {row.b: row.outcome for row in scores.comparisons if row.task is None}
    now = f"the student answers {percent(after)} of new questions right"
    if before is None or "before" not in outcomes:
        return f"After training, {now}."
    if outcomes["before"] == "better":
        sentence = f"Training helped: {now}, and before it answered {percent(before)}"
    elif outcomes["before"] == "worse":
        sentence = f"Training did harm: {now}, and before it answered {percent(before)}"
    else:
        sentence = f"No clear effect of training: {now}, before {percent(before)}"
    helped, no_better = outcomes["before"] == "better", ("worse", "not told apart")
    if helped and outcomes.get("prompted") in no_better:
        sentence += f"; with the right instruction alone it answers {percent(means['prompted'])}"
    if outcomes.get("answer_only") in (no_better if helped else ("worse",)):
        sentence += f"; trained on bare answers it answers {percent(means['answer_only'])}"
    return f"{sentence}."


def headline(scores: Scores) -> Iterator[str]:
    """Yield the sentences of the result: accuracy, differences, win rates, cost of training."""
    after = scores.arms.get("after")
    if after is not None:
        macro = after.accuracy.macro
        yield (
            f"After training on explanations, the student answers {percent(macro.mean)} of the "
            f"held-out questions right (mean of tasks; 95 % interval {percent(macro.low)} to "
            f"{percent(macro.high)})."
        )
        yield from (compared(row) for row in scores.comparisons if row.task is None)
        yield from (preferred(row) for row in scores.pairwise if row.task is None and row.n)
    yield from cost_of_training(scores.retention)


def compared(row: Comparison) -> str:
    """Return the sentence about one comparison of the trained student with another arm."""
    found = row.outcome
    sentence = (
        f"{found.capitalize()} {'from' if found == 'not told apart' else 'than'} the "
        f"{ARMS[row.b]}: {points(row.difference)} points ({points(row.low)} to {points(row.high)}; "
        f"p {p_value(row.p_value)}). Better on {row.repairs:,} and worse on {row.regressions:,} of "
        f"the {row.n:,} questions that both answered."
    )
    if found == "not told apart" and (row.low > 0 or row.high < 0):
        sentence += " The interval excludes zero, but the exact test does not: too close to call."
    return sentence


def preferred(row: WinRate) -> str:
    """Return the sentence about one win rate."""
    return (
        f"A judge prefers its answers to those of the {ARMS[row.b]} in {percent(row.win_rate)} of "
        f"{row.n:,} pairs, ties counted as half (95 % interval {percent(row.low)} to "
        f"{percent(row.high)}; p {p_value(row.p_value)})."
    )


def cost_of_training(rows: Sequence[RetentionScore]) -> Iterator[str]:
    """Yield what training has cost on the retention tasks; also that no loss was found."""
    yield from losses(rows)
    kept = [row for row in rows if not row.lost]
    if kept:
        yield (
            f"No loss was found on {len(kept)} of {len(rows)} things that training must not cost: "
            f"{', '.join(map(name_of, kept))}."
        )


def losses(rows: Sequence[RetentionScore]) -> Iterator[str]:
    """Yield a warning for each thing that training has made significantly worse."""
    for row in rows:
        if row.lost:
            yield (
                f"Warning: training cost something. {name_of(row)} fell from {percent(row.before)} "
                f"to {percent(row.after)} ({points(row.difference)} points, {points(row.low)} to "
                f"{points(row.high)}; n = {row.n:,}; one-sided p after Holm "
                f"{p_value(row.p_holm)})."
            )


def name_of(row: RetentionScore) -> str:
    """Return the name of what was kept or lost; a task's name is left as it is."""
    return row.what if row.kind == "task" else row.what.capitalize()
