"""Evaluation without a recipe: calls are made once, conditions share items, results are kept."""

import asyncio
import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.cli.test_bad_input import fails
from tests.conftest import table_rows

from orcinus.core.errors import BudgetError, ConfigError
from orcinus.core.results import RuleScore
from orcinus.core.types import Messages, Sampling
from orcinus.evaluation.benchmark_scores import ModelScores
from orcinus.evaluation.benchmarks import evaluate_model
from orcinus.evaluation.conditions import BenchmarkSettings
from orcinus.evaluation.config import DecideConfig
from orcinus.models.function import FunctionConfig
from orcinus.pipeline.benchmarks import evaluate_and_report
from orcinus.reports import benchmarks as pages
from orcinus.runs import tables
from orcinus.runs.budget import BudgetConfig
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.ledger import Ledger
from orcinus.tasks.benchmarks.specs import load

WRITTEN = Path(__file__).parent / "written"
calls: list[Messages] = []


def model(messages: Messages, sampling: Sampling) -> str:
    """Add correctly, unless asked to be brief or in the layout ``cued``."""
    calls.append(messages)
    text = messages[-1].content
    if messages[0].role == "system" and "brief" in messages[0].content:
        return "<script>alert()</script>"
    numbers = [int(word) for word in re.findall(r"\d+", text)]
    return f"The answer is {sum(numbers) + (1 if 'Finish with' in text else 0)}."


def judge(messages: Messages, sampling: Sampling) -> str:
    """Rate first turns 4 and later turns 8."""
    request = messages[-1].content
    line = request.splitlines()[-1].partition(":")[0]
    return f"{line}: {8 if 'ASSISTANT:' in request else 4}"


def asked() -> list[Messages]:
    """Return the model's calls, from the module as the package imports it."""
    found: list[Messages] = importlib.import_module("tests.evaluation.test_benchmarks").calls
    return found


MODEL = FunctionConfig(function="tests.evaluation.test_benchmarks:model")
JUDGE = FunctionConfig(function="tests.evaluation.test_benchmarks:judge")


def sums(folder: Path) -> Path:
    rows = [
        {"question": f"What is {i} + {i + 1}?", "answer": f"Add.\n#### {2 * i + 1}"}
        for i in range(20)
    ]
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "test.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    return folder / "data"


def conversations(data: Path) -> None:
    questions = [
        {"question_id": i, "category": "c", "turns": [f"{i} and 1?", f"{i} and 2?"]}
        for i in range(3)
    ]
    folder = data / "mt_bench"
    folder.mkdir(parents=True)
    (folder / "question.jsonl").write_text(
        "".join(json.dumps(q) + "\n" for q in questions), encoding="utf-8"
    )


def run(folder: Path, **changes: Any) -> ModelScores:
    settings = BenchmarkSettings(
        **{"benchmarks": (load("gsm8k"),), "data": folder / "data", **changes}
    )
    runtime = Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite")
    out = folder / "out"
    return asyncio.run(evaluate_and_report(settings, MODEL, JUDGE, out, runtime, Silent()))


def test_a_model_is_scored_and_its_answers_are_kept(tmp_path: Path) -> None:
    sums(tmp_path)
    found = run(tmp_path)
    accuracy = found.benchmarks["gsm8k"].conditions["plain/1"].score.accuracy
    assert accuracy.micro.mean == accuracy.macro.mean == found.macro == 1.0
    assert len(list(tables.read_judged(tmp_path / "out" / "attempts-gsm8k.parquet"))) == 20
    assert json.loads((tmp_path / "out" / "scores.json").read_bytes())["macro"] == 1.0


def test_an_answer_that_a_published_rule_cannot_read_is_wrong_by_that_rule(
    tmp_path: Path,
) -> None:
    sums(tmp_path)
    rules = run(tmp_path).benchmarks["gsm8k"].conditions["plain/1"].score.rules
    assert rules["lm_eval_flexible"] == RuleScore(n=20, mean=1.0, ours=1.0)
    assert rules["gsm8k_hash"] == RuleScore(n=20, mean=0.0, ours=1.0)
    assert "agieval_few_shot" not in rules


def test_the_file_of_scores_keeps_its_keys(tmp_path: Path) -> None:
    """The fixture was written when results were dictionaries, by the settings below."""
    data = tmp_path / "data"
    (data / "gsm8k").mkdir(parents=True)
    sums(tmp_path).joinpath("test.jsonl").rename(data / "gsm8k" / "test.jsonl")
    conversations(data)
    (tmp_path / "learnt.jsonl").write_text(
        json.dumps({"messages": [{"content": "What is 3 + 4?"}]}), encoding="utf-8"
    )
    run(
        tmp_path,
        benchmarks=(load("gsm8k"), load("mt_bench")),
        layouts=("plain", "cued"),
        learnt_from=(str(tmp_path / "learnt.jsonl"),),
        sampling={"samples": 2, "temperature": 0.5},
    )
    written = json.loads((tmp_path / "out" / "scores.json").read_bytes())
    earlier = json.loads((WRITTEN / "benchmark-scores.json").read_bytes())
    for benchmark in written["benchmarks"].values():
        benchmark["published"] = benchmark["published"][:1]
    for benchmark in (*written["benchmarks"].values(), *earlier["benchmarks"].values()):
        assert benchmark.pop("about")  # prose, which may be reworded
    for condition in written["benchmarks"]["gsm8k"]["conditions"].values():
        assert sum(condition.pop("confidence").values()) <= condition["scores"]["_micro"]["n"]
    assert written.keys() == earlier.keys()
    for key in ("model", "seed", "macro", "systems", "benchmarks"):
        assert written[key] == earlier[key]


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    sums(tmp_path)
    first = run(tmp_path)
    asked().clear()
    assert run(tmp_path) == first
    assert asked() == []


def test_layouts_and_system_messages_are_conditions_on_the_same_items(tmp_path: Path) -> None:
    sums(tmp_path)
    found = run(tmp_path, layouts=("plain", "cued"), systems=("", "Be brief.")).benchmarks["gsm8k"]
    means = {name: c.score.accuracy.macro.mean for name, c in found.conditions.items()}
    assert means == {"plain/1": 1.0, "plain/2": 0.0, "cued/1": 0.0, "cued/2": 0.0}
    assert found.layouts_spread is not None
    assert found.layouts_spread.spread == 1.0
    assert found.systems is not None
    assert found.systems.sd == pytest.approx(0.5**0.5)
    assert [row.difference for row in found.against_first] == [-1.0, -1.0, -1.0]
    assert all(row.n == 20 and row.p_holm < 0.001 for row in found.against_first)


def test_two_conditions_with_the_same_messages_share_calls_and_are_both_scored(
    tmp_path: Path,
) -> None:
    sums(tmp_path)
    benchmark = load("gsm8k").model_copy(update={"layouts": {"a": "{question}", "b": "{question}"}})
    asked().clear()
    found = run(tmp_path, benchmarks=(benchmark,), layouts=("all",)).benchmarks["gsm8k"]
    assert len(asked()) == 20
    assert [c.score.accuracy.micro.n for c in found.conditions.values()] == [20, 20]


def test_items_in_the_training_data_are_flagged(tmp_path: Path) -> None:
    sums(tmp_path)
    (tmp_path / "learnt.jsonl").write_text(
        json.dumps({"messages": [{"content": "What is 3 + 4?"}]}), encoding="utf-8"
    )
    found = run(tmp_path, learnt_from=(str(tmp_path / "learnt.jsonl"),)).benchmarks["gsm8k"]
    condition = found.conditions["plain/1"]
    assert condition.flagged == 1
    assert condition.clean is not None
    assert condition.clean.micro.n == 19
    items = list(tables.read_examples(tmp_path / "out" / "items-gsm8k.parquet"))
    assert [item.prompt for item in items if item.meta["contaminated"]] == ["What is 3 + 4?"]


def test_the_second_turn_is_asked_after_the_first_answer_and_rated_with_it(tmp_path: Path) -> None:
    conversations(tmp_path / "data")
    ratings = run(tmp_path, benchmarks=(load("mt_bench"),)).benchmarks["mt_bench"].ratings
    assert ratings is not None
    rating = ratings["plain/1"]
    assert (rating.mean, rating.by_turn, rating.n) == (6.0, {"1": 4.0, "2": 8.0}, 6)
    second = next(
        iter(tables.read_judged(tmp_path / "out" / "attempts-mt_bench-turn2.parquet"))
    ).attempt
    assert [m.content for m in second.messages] == ["0 and 1?", "The answer is 1.", "0 and 2?"]


def test_a_budget_stops_the_calls_and_paid_replies_are_kept(tmp_path: Path) -> None:
    sums(tmp_path)
    with pytest.raises(BudgetError):
        run(tmp_path, budget=BudgetConfig(tokens=900), sampling={"max_tokens": 800})
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        kept = sum(row.calls for row in ledger.spend("out"))
    assert 0 < kept < 20
    asked().clear()
    run(tmp_path, sampling={"max_tokens": 800})
    assert len(asked()) == 20 - kept


def test_a_benchmark_that_needs_a_judge_is_refused_without_one(tmp_path: Path) -> None:
    runtime = Runtime(workspace=tmp_path, ledger_path=tmp_path / "ledger.sqlite")
    settings = BenchmarkSettings(benchmarks=(load("mt_bench"),), data=tmp_path)
    with pytest.raises(ConfigError, match="mt_bench is scored by a judge"):
        asyncio.run(evaluate_model(settings, MODEL, None, tmp_path / "out", runtime, Silent()))


def test_what_a_model_or_a_user_wrote_is_escaped_in_the_page(tmp_path: Path) -> None:
    sums(tmp_path)
    run(tmp_path, systems=("<b>brief</b>",))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<b>brief" not in page
    assert "&lt;b&gt;brief" in page


def test_several_samples_are_decided_and_the_report_states_the_cost(tmp_path: Path) -> None:
    sums(tmp_path)
    ways = DecideConfig(by=("majority", "best_of_n"), reward="judge", at=(2,))
    found = run(
        tmp_path,
        decide=ways,
        sampling={"samples": 2, "temperature": 0.5},
        systems=("", "Be brief."),
    )
    rows = found.benchmarks["gsm8k"].conditions["plain/1"].score.decided
    assert [(row.by, row.score.mean, row.calls, row.reward_calls) for row in rows] == [
        ("majority", 1.0, 2.0, 0.0),
        ("best_of_n", 1.0, 2.0, 1.0),
    ]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    shown = [row[:4] for row in table_rows(page) if "best_of_n" in row]
    assert ["plain/2", "best_of_n", "2", "0.0 %"] in shown
    assert (tmp_path / "out" / "decided-gsm8k-plain-1.parquet").is_file()


def test_published_figures_are_shown_and_called_not_comparable(tmp_path: Path) -> None:
    sums(tmp_path)
    run(tmp_path)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert ["Orca-2-13B", "59.14"] in [row[:2] for row in table_rows(report)]
    assert "not comparable" in report


def test_the_summary_holds_the_result_of_each_benchmark_and_two_warnings(tmp_path: Path) -> None:
    sums(tmp_path)
    found = run(tmp_path)
    summary = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    accuracy = found.benchmarks["gsm8k"].conditions["plain/1"].score.accuracy.macro
    assert accuracy.low is not None
    assert (
        "100.0 % right (mean of tasks; 95 % interval "
        f"{100 * accuracy.low:.1f} % to 100.0 %, n = 20)" in summary
    )
    assert len(summary.splitlines()) <= 12
    broken = replace(
        found.benchmarks["gsm8k"], missing=("a", "b"), skipped=("x.jsonl: line 3: no question",)
    )
    warned = pages.summary(replace(found, benchmarks={"gsm8k": broken}))
    assert "2 of its parts have no files here and are in no mean: a, b." in warned
    assert "x.jsonl: line 3: no question" in warned


def test_evaluate_without_a_model_is_one_line(tmp_path: Path) -> None:
    fails(tmp_path, "evaluate", says="give both --model and --benchmark")
    fails(tmp_path, "evaluate", "r.yaml", says="orcinus run r.yaml --until evaluate")
    fails(
        tmp_path,
        "evaluate",
        "--model",
        "m:f",
        "--benchmark",
        "gsm9k",
        says="no benchmark named 'gsm9k'; known: aci_bench",
    )
