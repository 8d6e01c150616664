"""Score the answers of an evaluation, and read and write ``scores.json``.

    {"arms": {"after": {"sums": {"mean": 0.8, "n": 40, …}, "_micro": {…}, "_macro": {…}}},
     "comparisons": [{"a": "after", "b": "before", "task": null, "difference": 0.3, …}], …}

Only this module knows the keys of the file. Elsewhere results are the records of
``core/results.py``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import TypeAdapter, ValidationError

from orcinus.core.errors import ConfigError, StoreError
from orcinus.core.files import write_atomically
from orcinus.core.imports import import_later
from orcinus.core.results import (
    ArmScore,
    Comparison,
    DecisionScore,
    JudgeCounts,
    RuleScore,
    Scores,
    TaskScores,
)
from orcinus.core.types import Example, Judged
from orcinus.evaluation.benchmark_scores import BenchmarkScore, ConditionScore, ModelScores
from orcinus.runs import layout
from orcinus.runs.folders import finished_steps
from orcinus.verifiers.guessing import mean_guess_rate

if TYPE_CHECKING:
    from orcinus.core import stats
    from orcinus.verifiers import judge as judges
    from orcinus.verifiers import official
else:
    stats = import_later("orcinus.core.stats")
    official = import_later("orcinus.verifiers.official")
    judges = import_later("orcinus.verifiers.judge")


MICRO, MACRO = "_micro", "_macro"


def score_arm(
    judged: Sequence[Judged],
    examples: Mapping[tuple[str, str], Example],
    *,
    decided: Sequence[DecisionScore] = (),
    has_judge: bool,
) -> ArmScore:
    """Score the answers of one arm, or of one condition of a benchmark.

    Args:
        judged: Its answers, all samples of each question.
        examples: The questions by (task, id).
        decided: Scores of the ways to choose among the samples.
        has_judge: Count the verdicts that a judge gave.
    """
    judge = None
    if has_judge:
        given, no_verdict = judges.given_by_judge(judged)
        judge = JudgeCounts(given=given, no_verdict=no_verdict)
    return ArmScore(
        accuracy=scores_by_task(judged),
        samples=stats.score_samples(judged),
        decided=tuple(decided),
        rules=scores_by_rule(judged, examples),
        judge=judge,
        confidence=dict(sorted(Counter(filter(None, map(_confidence_of, judged))).items())),
        guessing=_guessing(judged, examples),
    )


def _guessing(
    judged: Sequence[Judged], examples: Mapping[tuple[str, str], Example]
) -> dict[str, float]:
    """Return the accuracy of guessing by task, for those tasks where it is not 0."""
    asked: dict[str, list[Example]] = {}
    for key in dict.fromkeys((one.attempt.task, one.attempt.example_id) for one in judged):
        asked.setdefault(key[0], []).append(examples[key])
    rates = {task: mean_guess_rate(questions) for task, questions in sorted(asked.items())}
    return {task: rate for task, rate in rates.items() if rate}


def _confidence_of(item: Judged) -> str | None:
    return item.verdict.confidence


def scores_by_task(judged: Sequence[Judged]) -> TaskScores:
    """Score answers by task, over all items and as the mean of tasks."""
    by_task: dict[str, list[Judged]] = {}
    for item in judged:
        by_task.setdefault(item.attempt.task, []).append(item)
    scores = {task: stats.score(items) for task, items in sorted(by_task.items())}
    return TaskScores(
        by_task=scores,
        micro=stats.score(judged),
        macro=stats.macro_score(list(scores.values())),
    )


def scores_by_rule(
    judged: Sequence[Judged], examples: Mapping[tuple[str, str], Example]
) -> dict[str, RuleScore]:
    """Score the same answers by each published rule that applies to some of the questions."""
    answered = [
        (item, examples[item.attempt.task, item.attempt.example_id])
        for item in judged
        if item.attempt.finish != "error"
    ]
    found: dict[str, RuleScore] = {}
    for name in official.NAMES:
        pairs = [
            (official.points(name, example, item.attempt.text), item.verdict.value or 0.0)
            for item, example in answered
            if official.is_made_for(name, example)
        ]
        if pairs:
            theirs, ours = zip(*pairs, strict=True)
            found[name] = RuleScore(n=len(pairs), mean=fmean(theirs), ours=fmean(ours))
    return found


def write_scores(folder: Path, scores: Scores) -> None:
    """Write ``scores.json`` into the folder of an evaluation step."""
    content = orjson.dumps(scores_content(scores), option=orjson.OPT_INDENT_2)
    write_atomically(folder / layout.SCORES, content)


def scores_content(scores: Scores) -> dict[str, Any]:
    """Return ``scores`` as the JSON object that ``scores.json`` holds."""
    arms = scores.arms
    content: dict[str, Any] = {
        "arms": {arm: _accuracy_content(found.accuracy) for arm, found in arms.items()},
        "comparisons": [asdict(row) for row in scores.comparisons],
        "samples": {arm: asdict(found.samples) for arm, found in arms.items() if found.samples},
        "decided": {
            arm: [asdict(row) for row in found.decided]
            for arm, found in arms.items()
            if found.decided
        },
        "rules": {
            arm: {rule: asdict(score) for rule, score in found.rules.items()}
            for arm, found in arms.items()
        },
    }
    judge = {arm: _judge_content(found.judge) for arm, found in arms.items() if found.judge}
    if judge:
        content["judge"] = judge
    confidence = {arm: dict(found.confidence) for arm, found in arms.items() if found.confidence}
    if confidence:
        content["confidence"] = confidence
    guessing = {arm: dict(found.guessing) for arm, found in arms.items() if found.guessing}
    if guessing:
        content["guessing"] = guessing
    if scores.retention:
        content["retention"] = [asdict(row) for row in scores.retention]
    if scores.pairwise:
        content["pairwise"] = [asdict(row) for row in scores.pairwise]
    return content


def read_scores(folder: Path) -> Scores:
    """Read ``scores.json`` from the folder of a finished evaluation step.

    Raises:
        StoreError: The file is missing or damaged.
    """
    path = folder / layout.SCORES
    try:
        return _scores_adapter().validate_python(_scores_fields(orjson.loads(path.read_bytes())))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path}: cannot be read ({_in_one_line(error)}); delete the folder to evaluate again"
        ) from error


def _in_one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"no key {error}" if isinstance(error, KeyError) else str(error)


def latest_scores(run_dir: Path) -> Scores | None:
    """Read the scores of a run's latest evaluation; None before there is one.

    Raises:
        StoreError: The file is missing or damaged.
    """
    try:
        folder = finished_steps(run_dir, "evaluate")[0]
    except ConfigError:
        return None
    return read_scores(folder)


def write_benchmark_scores(folder: Path, scores: ModelScores) -> None:
    """Write the ``scores.json`` of an evaluation without a recipe."""
    content = orjson.dumps(benchmark_content(scores), option=orjson.OPT_INDENT_2)
    write_atomically(folder / layout.SCORES, content)


def benchmark_content(scores: ModelScores) -> dict[str, Any]:
    """Return ``scores`` as the JSON object that ``scores.json`` holds."""
    benchmarks = {name: _one_benchmark(found) for name, found in scores.benchmarks.items()}
    return asdict(scores) | {"benchmarks": benchmarks}


def _one_benchmark(found: BenchmarkScore) -> dict[str, Any]:
    content = asdict(found) | {"sampling": found.sampling.model_dump(mode="json")}
    if found.ratings is not None:
        for key in ("conditions", "against_first", "systems", "layouts_spread"):
            del content[key]
        return content
    del content["ratings"]
    content["conditions"] = {
        name: _condition_content(condition) for name, condition in found.conditions.items()
    }
    content["against_first"] = [_against_content(row) for row in found.against_first]
    return content


def _condition_content(condition: ConditionScore) -> dict[str, Any]:
    content = asdict(condition)
    score, clean = condition.score, condition.clean
    del content["score"]
    return content | {
        "scores": _accuracy_content(score.accuracy),
        "rules": {rule: asdict(found) for rule, found in score.rules.items()},
        "clean": None if clean is None else _accuracy_content(clean),
        "judge": None if score.judge is None else _judge_content(score.judge),
        "samples": None if score.samples is None else asdict(score.samples),
        "decided": [asdict(row) for row in score.decided],
        "confidence": dict(score.confidence),
    }


def _against_content(row: Comparison) -> dict[str, Any]:
    content = asdict(row)
    del content["b"], content["task"]
    return {"condition": content.pop("a")} | content


@cache
def _scores_adapter() -> TypeAdapter[Scores]:
    return TypeAdapter(Scores)


def _scores_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``scores.json`` with the names and nesting of ``Scores``."""
    by_arm: dict[str, dict[str, Any]] = {
        arm: {"accuracy": _accuracy_fields(by_task)} for arm, by_task in content["arms"].items()
    }
    for key in ("samples", "decided", "rules", "confidence", "guessing"):
        for arm, found in content.get(key, {}).items():
            by_arm[arm][key] = found
    for arm, counts in content.get("judge", {}).items():
        by_arm[arm]["judge"] = {"given": counts["given"], "no_verdict": counts["in_vain"]}
    return {
        "arms": by_arm,
        "comparisons": content["comparisons"],
        "retention": content.get("retention", ()),
        "pairwise": content.get("pairwise", ()),
    }


def _accuracy_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    by_task = {task: score for task, score in content.items() if task not in (MICRO, MACRO)}
    return {"by_task": by_task, "micro": content[MICRO], "macro": content[MACRO]}


def _accuracy_content(scores: TaskScores) -> dict[str, Any]:
    by_task = {task: asdict(score) for task, score in scores.by_task.items()}
    return by_task | {MICRO: asdict(scores.micro), MACRO: asdict(scores.macro)}


def _judge_content(counts: JudgeCounts) -> dict[str, int]:
    return {"given": counts.given, "in_vain": counts.no_verdict}
