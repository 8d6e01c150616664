"""Judges against people and against GPT-4, on recorded judgements.

    python -m benchmarks.judge [--quick] [--data DIR] [--judge MODEL.yaml] [--ledger FILE] [--json]

The recordings show how raw replies of GPT-4 are read, its ties, how steadily it rates the same
answer, and the effect of position. For 547 pairs that people compared they show how far our judge
agrees with them in both orders. No pair was recorded in both orders, and no pair that people
compared has a recorded judgement of GPT-4. Without ``--judge`` (a file with a model as under
``judge:`` in a recipe) the judges are programs: floors that any model has to beat.
"""

import argparse
import asyncio
import gzip
import json
import os
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from orcinus.core.errors import OrcinusError
from orcinus.core.protocols import Completer
from orcinus.core.stats import clustered_interval, paired_difference, wilson
from orcinus.core.types import Example, Messages, Sampling
from orcinus.models.configs import JudgeConfig
from orcinus.models.function import FunctionModel
from orcinus.models.open import open_completer
from orcinus.runs.ledger import Ledger
from orcinus.verifiers.judge import Judge, Pair, PairVerdict, compare, tally
from orcinus.verifiers.judge_prompts import comparison, rating, read

PEOPLE = {0: 1.0, 1: 0.0, 2: 0.5}
"""Values of the first answer by Auto-J's labels: 0 prefers the first, 1 the second, 2 is a tie."""
QUICK_PAIRS = 50
Row = dict[str, Any]


def rows_of(path: Path) -> list[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def share(hits: Sequence[bool], questions: Sequence[object]) -> Row:
    """Return a share with its 95 % interval: Wilson, or robust to several rows per question."""
    n, groups = len(hits), len(set(questions))
    mean = sum(hits) / n if n else None
    if groups == n or mean in (0.0, 1.0):
        low, high = wilson((mean or 0.0) * groups, groups)
    else:
        _, low, high = clustered_interval(hits, questions)
    return {
        "share": mean,
        "n": n,
        "questions": groups,
        "low": max(0.0, low),
        "high": min(1.0, high),
    }


def gap(values: Sequence[float]) -> Row:
    """Return a mean difference with its 95 % bootstrap interval."""
    mean, low, high = paired_difference(values, np.zeros(len(values)), seed=0)
    return {"mean": mean, "n": len(values), "low": low, "high": high}


# Reading recorded replies


def two_scores(review: str) -> list[float] | None:
    """Read the recordings' own form: two numbers in the first line."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)[ ,]+(\d+(?:\.\d+)?)\s*", review.split("\n")[0])
    return [float(found[1]), float(found[2])] if found else None


def boxed_rating(critique: str) -> float | None:
    """Read the recordings' own form: "[[5.5]]" at the end."""
    found = re.findall(r"\[\[(\d+(?:\.\d+)?)\]\]", critique)
    return float(found[-1]) if found else None


def replayed(reviews: Sequence[Row], critiques: Sequence[Row]) -> Row:
    """Run real judgements through our reader, as they are and with our last line added."""
    alone = right = 0
    for row in reviews:
        first, second = row["scores"]
        word = "TIE" if first == second else "FIRST" if first > second else "SECOND"
        inquiry = comparison(row["instruction"], row["model_1"], row["model_2"])
        alone += read(inquiry, row["review"]).word is not None
        right += read(inquiry, f"{row['review']}\nVERDICT {inquiry.code}: {word}").word == word
    for row in critiques:
        inquiry = rating(row["prompt"], "")
        said = f"{row['meta']['pred_score']:g}"
        alone += read(inquiry, row["response"]).word is not None
        right += read(inquiry, f"{row['response']}\nVERDICT {inquiry.code}: {said}").word == said
    return {
        "replies": len(reviews) + len(critiques),
        "read_as_verdict_without_one": alone,
        "read_with_our_line": right,
        "two_scores_as_recorded": sum(
            two_scores(row["review"]) == row["scores"] for row in reviews
        ),
        "boxed_as_recorded": sum(
            boxed_rating(row["response"]) == row["meta"]["pred_score"] for row in critiques
        ),
    }


# What GPT-4 did


def gpt4_reviews(reviews: Sequence[Row]) -> Row:
    """Return ties, repeated ratings of one answer, and the effect of its position."""
    first_place: dict[tuple[str, str], list[float]] = defaultdict(list)
    second_place: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in reviews:
        first_place[row["item"], row["model_1"]].append(row["scores"][0])
        second_place[row["item"], row["model_2"]].append(row["scores"][1])
    again = [
        (abs(a - b), key[0])
        for key, found in first_place.items()
        for a, b in combinations(found, 2)
    ]
    both = [
        float(np.mean(first_place[key]) - np.mean(second_place[key]))
        for key in first_place
        if key in second_place
    ]
    questions, repeated = [row["item"] for row in reviews], [question for _, question in again]
    return {
        "ties": share([row["scores"][0] == row["scores"][1] for row in reviews], questions),
        "second_preferred": share(
            [row["scores"][1] > row["scores"][0] for row in reviews], questions
        ),
        "same_answer_rated_the_same": share([difference == 0 for difference, _ in again], repeated),
        "same_answer_rated_within_one": share(
            [difference <= 1 for difference, _ in again], repeated
        ),
        "same_answer_first_minus_second_place": gap(both),
    }


def gpt4_preferences(rows: Sequence[Row]) -> Row:
    """Return near ties, a model compared with itself, and the longer answer's share of wins."""
    same = [row for row in rows if row["generator_1"] == row["generator_2"]]
    other = [
        row
        for row in rows
        if row["generator_1"] != row["generator_2"] and row["len_1"] != row["len_2"]
    ]
    behind = [row for row in other if row["len_2"] > row["len_1"]]

    def of(part: Sequence[Row], hit: Callable[[Row], bool]) -> Row:
        return share([hit(row) for row in part], [row["item"] for row in part])

    return {
        "control_is_a_tie": of(same, lambda row: row["preference"] == 1.5),
        "near_ties": of(other, lambda row: abs(row["preference"] - 1.5) < 0.05),
        "longer_preferred": of(
            other, lambda row: (row["preference"] > 1.5) == (row["len_2"] > row["len_1"])
        ),
        "longer_preferred_where_it_is_the_second": of(behind, lambda row: row["preference"] > 1.5),
    }


def rated_and_compared(pairs: Sequence[Row], critiques: Sequence[Row]) -> int:
    """Count the pairs of people for which GPT-4 rated both answers."""

    def words(text: str) -> str:
        return " ".join(text.split())

    texts = [words(row["prompt"]) for row in critiques]
    return sum(
        all(
            any(words(row["prompt"]) in text and words(row[side]) in text for text in texts)
            for side in ("response 1", "response 2")
        )
        for row in pairs
    )  # fmt: skip


# Judges of ours, over the whole path: both orders, ledger, reader


def blocks(messages: Messages) -> tuple[str, str, str]:
    """Return the verdict's line up to its colon, and the two answers, as a judge sees them."""
    request = messages[-1].content
    line = request.splitlines()[-1].partition(":")[0]
    code = line.split()[1]
    first, second = (
        request.split(f"<<<{code} {name}\n")[1].split(f"\n{code} {name}>>>")[0]
        for name in ("first answer", "second answer")
    )  # fmt: skip
    return line, first, second


def longer(messages: Messages, sampling: Sampling) -> str:
    line, first, second = blocks(messages)
    if len(first) == len(second):
        return f"{line}: TIE"
    return f"{line}: {'FIRST' if len(first) > len(second) else 'SECOND'}"


def always_first(messages: Messages, sampling: Sampling) -> str:
    return f"{blocks(messages)[0]}: FIRST"


def echo(messages: Messages, sampling: Sampling) -> str:
    return blocks(messages)[1]


FLOORS: dict[str, Callable[[Messages, Sampling], str]] = {
    "longer": longer,
    "always first": always_first,
    "echo": echo,
}


def pairs_of_people(rows: Sequence[Row]) -> tuple[list[Pair], list[float]]:
    pairs = [
        _pair(row["id"], row["task"], row["prompt"], row["response 1"], row["response 2"])
        for row in rows
    ]
    return pairs, [PEOPLE[row["label"]] for row in rows]


def pairs_of_gpt4(reviews: Sequence[Row], answers: Sequence[Row]) -> tuple[list[Pair], list[float]]:
    texts = {(row["id"], row["model"]): row["response"] for row in answers}
    known = [
        row
        for row in reviews
        if all((row["item"], row[m]) in texts for m in ("model_1", "model_2"))
    ]
    pairs = [
        _pair(
            row["id"],
            row["task"],
            row["instruction"],
            *(texts[row["item"], row[m]] for m in ("model_1", "model_2")),
        )
        for row in known
    ]
    return pairs, [0.5 + 0.5 * float(np.sign(row["scores"][0] - row["scores"][1])) for row in known]


def _pair(identity: str, task: str, prompt: str, first: str, second: str) -> Pair:
    example = Example(id=identity, task=task, prompt=prompt, answer_type="free")
    return Pair(example=example, first=first, second=second)


async def agreement(
    pairs: Sequence[Pair], labels: Sequence[float], completer: Completer, ledger: Ledger
) -> Row:
    """Compare a judge's verdicts in both orders with the recorded labels."""
    judge = Judge(completer=completer, ledger=ledger, run="benchmark", step="judge", concurrency=16)
    found = await compare(pairs, judge)
    rows = [
        (item, label, pair.example.prompt)
        for item, label, pair in zip(found, labels, pairs, strict=True)
    ]

    def of(
        part: Sequence[tuple[PairVerdict, float, str]], hit: Callable[[PairVerdict, float], bool]
    ) -> Row:
        return share(
            [hit(item, label) for item, label, _ in part], [question for _, _, question in part]
        )

    return {
        **asdict(tally(found)),
        "consistent": of(
            [r for r in rows if r[0].consistent is not None], lambda item, _: bool(item.consistent)
        ),
        "agree_of_all": of(rows, lambda item, label: item.value == label),
        "agree_where_both_decide": of(
            [r for r in rows if r[0].value in (0.0, 1.0) and r[1] != 0.5],
            lambda item, label: item.value == label,
        ),
        "agree_of_all_asked_once": of(rows, lambda item, label: item.orders[0] == label),
    }


def judges_of(path: Path | None) -> dict[str, Completer]:
    judges: dict[str, Completer] = {
        name: FunctionModel(function, model=f"floor: {name}") for name, function in FLOORS.items()
    }
    if path is not None:
        config = TypeAdapter(JudgeConfig).validate_python(
            yaml.safe_load(path.read_text(encoding="utf-8"))
        )
        opened = open_completer(
            config, base=path.resolve().parent, device="auto", secrets=dict(os.environ)
        )
        judges[opened.model] = opened
    return judges


async def agreements(
    sets: dict[str, tuple[list[Pair], list[float]]], model: Path | None, path: Path
) -> Row:
    figures: Row = {}
    with Ledger(path) as ledger:
        for name, completer in judges_of(model).items():
            figures[name] = {
                label: await agreement(pairs, labels, completer, ledger)
                for label, (pairs, labels) in sets.items()
            }
            await completer.aclose()
    return figures


# Printing


def said(figure: Row) -> str:
    if figure["n"] == 0:
        return "none"
    if "mean" in figure:
        interval = f"{figure['low']:+.2f} … {figure['high']:+.2f}"
        return f"{figure['mean']:+.2f} ({interval}), n = {figure['n']:,}"
    interval = f"{100 * figure['low']:.1f} – {100 * figure['high']:.1f}"
    return f"{100 * figure['share']:.1f} % ({interval}), n = {figure['n']:,}"


def show(title: str, figures: Row) -> None:
    print(f"\n{title}")
    for name, figure in figures.items():
        print(
            f"  {name.replace('_', ' '):42s} {said(figure) if isinstance(figure, dict) else figure}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/judge"))
    parser.add_argument(
        "--judge", type=Path, help="a YAML file with a model, as under judge: in a recipe"
    )
    parser.add_argument(
        "--ledger", type=Path, help="where the judge's replies are kept; a temporary file otherwise"
    )
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PAIRS} pairs of each set")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(
            f"{arguments.data}: the recorded judgements are not there; give their folder with "
            "--data"
        )
    teacher = arguments.data.parent / "teacher"
    reviews = rows_of(arguments.data / "vicuna80_gpt4_reviews.jsonl.gz")
    people = rows_of(arguments.data / "autoj_pairwise_human.jsonl.gz")
    critiques = rows_of(teacher / "autoj_gpt4_critique.jsonl.gz")
    sets = {
        "people (autoj)": pairs_of_people(people),
        "GPT-4 (vicuna-80)": pairs_of_gpt4(reviews, rows_of(teacher / "vicuna80_answers.jsonl.gz")),
    }
    asked = {
        label: (pairs[:QUICK_PAIRS], values[:QUICK_PAIRS]) if arguments.quick else (pairs, values)
        for label, (pairs, values) in sets.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        ledger = arguments.ledger or Path(folder) / "ledger.sqlite"
        try:
            judges = asyncio.run(agreements(asked, arguments.judge, ledger))
        except (OrcinusError, ValidationError, yaml.YAMLError, OSError) as error:
            sys.exit(f"the judge cannot be asked: {error}")
    figures: Row = {
        "replayed": replayed(reviews, critiques),
        "gpt4_reviews": gpt4_reviews(reviews),
        "gpt4_preferences": gpt4_preferences(
            rows_of(arguments.data / "alpaca_eval_gpt4turbo.jsonl.gz")
        ),
        "people": {
            **{
                f"label {value:g}": count
                for value, count in sorted(Counter(sets["people (autoj)"][1]).items())
            },
            "pairs_that_gpt4_rated_on_both_sides": rated_and_compared(people, critiques),
        },
        "judges": judges,
    }
    if arguments.json:
        print(json.dumps(figures))
        return
    show("Recorded replies, read", figures["replayed"])
    show("GPT-4's reviews (Vicuna-80): one order only", figures["gpt4_reviews"])
    show("GPT-4 turbo's preferences (AlpacaEval)", figures["gpt4_preferences"])
    show("People's comparisons (1 = the first answer)", figures["people"])
    for name, by_set in judges.items():
        for label, row in by_set.items():
            show(f"Judge {name!r} against {label}, both orders", row)
    print(
        "\nNot in these data: a pair that GPT-4 was shown in both orders, and a pair that both "
        "people and GPT-4 judged. Intervals are 95 %; where\n"
        "a question has several rows, they are robust to that."
    )


if __name__ == "__main__":
    main()
