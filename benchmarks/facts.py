"""How often does a judge agree with the truth, with and without facts (``judging.facts``)?

    python -m benchmarks.facts --seeds 5

A world made by a program: 200 doors of known colour, each with one right or wrong answer. Wrong
answers are worded surely more often than right ones. The judge is a program that goes through our
real questions and readings: it knows three doors in ten, believes sure wording about the others,
and misreads a fact in three of a hundred. A fact is there for four doors in five.
"""

import argparse
import asyncio
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from orcinus.core import stats
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.types import Attempt, Example, Judged, Messages, Sampling, Verdict
from orcinus.models.function import FunctionModel
from orcinus.runs.ledger import Ledger
from orcinus.verifiers.judge import Judge, settle
from orcinus.verifiers.judge_prompts import FACTS

DOORS = 200
COLOURS = ("red", "blue", "green", "white")
KNOWN, MISREAD, GIVEN, WRONG = 0.3, 0.03, 0.8, 0.5
"""Shares: doors that the judge knows, facts that it misreads, doors with a fact, wrong answers."""
SURE = {True: 0.4, False: 0.7}
"""Share of right and of wrong answers that are worded surely."""


def colour_of(door: str) -> str:
    """Return the true colour of a door."""
    return COLOURS[int(4 * stable_fraction("colour", door))]


def judge(messages: Messages, sampling: Sampling) -> str:
    """Judge an answer by a fact, by what is known, or else by how sure it sounds."""
    text = messages[-1].content
    code = re.findall(r"VERDICT (\w+):", text)[-1]
    door = re.findall(r"door \d+-\d+", text)[0]
    answer = re.findall(r"<<<\w+ answer\n(.*?)\n", text)[0]
    fact = re.search(r" fact: note\nThe door is (\w+)", text)
    if fact is not None and stable_fraction("misread", door) >= MISREAD:
        is_right = fact[1] in answer
    elif stable_fraction("known", door) < KNOWN:
        is_right = colour_of(door) in answer
    else:
        is_right = answer.startswith("Certainly")
    return f"VERDICT {code}: {'RIGHT' if is_right else 'WRONG'}"


def answered(door: str) -> tuple[Example, Judged, bool]:
    """Return a question with its fact, an answer, and whether it is right."""
    is_right = stable_fraction("right", door) >= WRONG
    colour = colour_of(door)
    said = colour if is_right else COLOURS[(COLOURS.index(colour) + 1) % 4]
    sure = stable_fraction("sure", door) < SURE[is_right]
    text = f"Certainly, it is {said}." if sure else f"It may be {said}."
    has_fact = stable_fraction("given", door) < GIVEN
    meta = {"verifier": "judge", FACTS: {"note": f"The door is {colour}"} if has_fact else {}}
    question = f"What colour is {door}?"
    example = Example(id=door, task="doors", prompt=question, answer_type="free", meta=meta)
    attempt = Attempt(
        id=door,
        example_id=door,
        task="doors",
        strategy="direct",
        model="program",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
    )
    verdict = Verdict(attempt_id=door, verifier="none", value=None, answer=None, reason="open")
    return example, Judged(attempt=attempt, verdict=verdict), is_right


def measure(seeds: int, folder: Path) -> dict[str, list[tuple[bool, bool]]]:
    """Return for each way to judge the pairs (is right, is called right)."""
    items = [answered(f"door {seed}-{n}") for seed in range(seeds) for n in range(DOORS)]
    found = {}
    with Ledger(folder / "ledger.sqlite") as ledger:
        for name in ("without facts", "with facts"):
            model = FunctionModel(judge, model=f"judge {name}")
            asked = Judge(completer=model, ledger=ledger, run="r", step="facts")
            shown = [
                (example if name == "with facts" else _without(example), judged)
                for example, judged, _ in items
            ]
            verdicts = asyncio.run(settle(shown, asked))
            found[name] = [
                (is_right, judged.verdict.value == 1.0)
                for (_, _, is_right), judged in zip(items, verdicts, strict=True)
            ]
    return found


def _without(example: Example) -> Example:
    return replace(example, meta={"verifier": "judge"})


def main() -> None:
    """Print the agreement with the truth, and how many wrong answers persuade the judge."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(parser.parse_args().seeds, Path(folder))
    for name, pairs in found.items():
        agrees = [is_right == called for is_right, called in pairs]
        fooled = [called for is_right, called in pairs if not is_right]
        for what, values in (("agrees with the truth", agrees), ("calls wrong ones right", fooled)):
            low, high = stats.wilson(sum(values), len(values))
            print(
                f"{name}: {what} in {sum(values)} of {len(values)}, "
                f"{100 * sum(values) / len(values):.1f} % ({100 * low:.1f}–{100 * high:.1f})"
            )
    sides = [[float(a == b) for a, b in found[name]] for name in ("with facts", "without facts")]
    gain = stats.compare(sides[0], sides[1], seed=0)
    print(
        f"facts: {100 * gain.difference:+.1f} points of agreement "
        f"({100 * gain.low:+.1f} … {100 * gain.high:+.1f})"
    )


if __name__ == "__main__":
    main()
