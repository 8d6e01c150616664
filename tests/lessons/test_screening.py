"""The screen lets no trace pass that a rule would drop, and most others pass."""

import random

import pyarrow as pa
import pytest

from orcinus.core.types import Attempt, Example, Judged, Sampling, Strategy, Verdict
from orcinus.lessons.checks import curate_rules
from orcinus.lessons.config import CurateConfig
from orcinus.lessons.screening import RULES, Screen
from orcinus.runs import tables
from orcinus.strategies.library import by_name
from orcinus.tasks.duplicates.overlap import words_in_parts

TOLD = "Work through the problem in small_steps (each from the one before), then give the answer …"
STRATEGIES = (
    Strategy(name="steps", system=TOLD),
    Strategy(name="direct", system=""),
    Strategy(name="drawn", system="", system_from="collection"),
)
USUAL = (
    "First we add the ones, then the tens: 7 and 5 make 12, so we write 2 and carry 1. After that "
    "1 and 2 and the carried 1 make 4. We check it by taking 25 away from 42, which leaves 17. "
    "The answer is 42."
)
EXAMPLE = Example(id="e", task="t", prompt="p", answer_type="number", reference="42")


def judged(text: str, strategy: str = "steps", finish: str = "stop") -> Judged:
    attempt = Attempt(
        id=f"{hash(text)}",
        example_id="e",
        task="t",
        strategy=strategy,
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish=finish,  # type: ignore[arg-type]
    )
    verdict = Verdict(attempt_id=attempt.id, verifier="v", value=0.0, answer="41", reason="r")
    return Judged(attempt=attempt, verdict=verdict)


def passes(traces: list[Judged]) -> list[bool]:
    table = pa.Table.from_pylist(list(map(tables.judged_row, traces)), schema=tables.JUDGED)
    texts = [one.attempt.text for one in traces]
    return list(Screen(by_name(STRATEGIES)).passes(table, texts, words_in_parts(texts)).tolist())


def reasons(trace: Judged) -> list[str]:
    rules = curate_rules(CurateConfig(), STRATEGIES)
    assert rules.keys() == RULES | {"wrong", "unjudged"}
    found = {name: rules[name](EXAMPLE, trace.attempt, trace.verdict) for name in RULES}
    return [name for name, why in found.items() if why is not None]


@pytest.mark.parametrize(
    ("trace", "broken"),
    [
        (judged(""), "empty"),
        (judged(" \n "), "empty"),
        (judged(USUAL, finish="error"), "error"),
        (judged(USUAL, finish="refusal"), "refused"),
        (judged("I'm sorry, but I can't help with that."), "refused"),
        (judged(USUAL, finish="length"), "truncated"),
        (judged("We go on. " * 30), "loop"),
        (judged("So, 4 + 4 = 8. " * 20 + "The answer is 8."), "loop"),
        (judged("Add the two numbers.\n" * 7), "loop"),
        (judged(f"{USUAL} {'ab' * 150}"), "loop"),
        (judged(f"I work THROUGH the problem, in small_steps: each from the one. {USUAL}"), "leak"),
    ],
)
def test_a_trace_that_breaks_a_rule_does_not_pass(trace: Judged, broken: str) -> None:
    assert broken in reasons(trace)
    assert passes([judged(USUAL), trace, judged(USUAL)]) == [True, False, True]


def test_usual_traces_pass_and_others_are_looked_at() -> None:
    usual = [judged(USUAL), judged(USUAL, "direct"), judged("The answer is 42.")]
    others = [judged(f"{USUAL} C’est tout."), judged(USUAL, "drawn"), judged(USUAL, "unknown")]
    assert passes([*usual, *others]) == [True] * 3 + [False] * 3


def test_no_trace_that_passes_breaks_a_rule() -> None:
    rng = random.Random(5)
    words = [*TOLD.split(), *USUAL.split(), "x_1", "=", "(7", "-", "1)", "a" * 90, "\n"]
    traces = []
    for _ in range(400):
        some = rng.choices(words, k=rng.choice((3, 8, 20)))
        text = " ".join(rng.choices(some, k=rng.randrange(60)))
        start = rng.randrange(len(TOLD) - 60)
        traces += [judged(text), judged(f"{text} {TOLD[start : start + rng.randrange(20, 60)]}")]
    found = passes(traces)
    assert 50 < sum(found) < 750
    assert not [
        trace for trace, passed in zip(traces, found, strict=True) if passed and reasons(trace)
    ]
