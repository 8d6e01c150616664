"""The Python API: its names, that it loads fast, and that it does what the commands do."""

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import write_recipe

import orcinus
from orcinus.pipeline.demo import teacher
from orcinus.pipeline.event_loop import cancel_running
from orcinus.tasks.generators.procedural import ProceduralConfig, draw

ROOMS = {path.name for path in Path(orcinus.__file__).parent.iterdir() if path.is_dir()}


def test_all_names_are_there_and_none_is_a_room() -> None:
    """A room of the same name would replace the function when it is imported."""
    assert sorted(orcinus.__all__) == orcinus.__all__
    assert len(orcinus.__all__) <= 26
    for name in orcinus.__all__:
        assert getattr(orcinus, name) is not None
    assert not ROOMS & set(orcinus.__all__)
    assert set(orcinus.__all__) <= set(dir(orcinus))
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        orcinus.runn  # noqa: B018


def test_importing_a_sub_package_hides_no_function() -> None:
    script = """
        import orcinus, orcinus.pipeline.run, orcinus.pipeline.plan, orcinus.runs
        import orcinus.evaluation.evaluate, orcinus.strategies.probe, orcinus.verifiers.verify
        names = ("run", "plan", "probe", "verify", "evaluate")
        assert all(callable(getattr(orcinus, name)) for name in names)
    """
    lines = [line.strip() for line in script.strip().splitlines()]
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_importing_orcinus_loads_nothing_heavy() -> None:
    script = "import orcinus, sys; print([m for m in sys.modules if m.split('.')[0] in %r])"
    heavy = ("numpy", "pydantic", "pyarrow", "torch", "yaml", "asyncio", "typing")
    done = subprocess.run(
        [sys.executable, "-c", script % (heavy,)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


STARTS = """if True:
    import json, sys
    from orcinus.cli import app

    for words in json.loads(sys.argv[1]):
        try:
            app(words, standalone_mode=False)
        except SystemExit:
            pass
        print(json.dumps([words[0], *sorted(sys.modules)]))
"""
OF_LIBRARIES = {"torch", "transformers", "peft", "scipy", "pandas", "jinja2", "matplotlib"}
OF_ROWS = {"numpy", "pyarrow"}
ABSENT = {
    "--version": OF_LIBRARIES | OF_ROWS | {"asyncio", "pydantic", "yaml"},
    "status": OF_LIBRARIES | OF_ROWS | {"pyreqwest"},
    "run": OF_LIBRARIES | OF_ROWS,
    "plan": OF_LIBRARIES | {"http"},
}
"""By command what it may not import, and neither may those before it: the order matters."""


def start(cwd: Path, *commands: list[str]) -> dict[str, set[str]]:
    """Run commands in one new process; return the modules that are loaded after each."""
    done = subprocess.run(
        [sys.executable, "-c", STARTS, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('["')]
    return {first: set(modules) for first, *modules in lines}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What commands import for a run whose local student was asked nothing yet."""
    folder = tmp_path_factory.mktemp("started")
    student = {"kind": "local", "path": str(base_of_demo()), "chat_template": "chatml"}
    assign = {"measure": "prompted", "whose": "teacher"}
    write_recipe(folder / "small.yaml", student=student, assign=assign)
    run = ["run", "small.yaml", "--until", "curate"]
    plan = ["plan", "small.yaml", "--runs", "others"]
    first = start(folder, run, plan)
    later = start(folder, ["--version"], ["status", "small"], run, plan)
    return {"first run": first["run"], **later}


def base_of_demo() -> Path:
    return Path(orcinus.__file__).parent / "pipeline" / "demo" / "base"


@pytest.mark.parametrize("command", ABSENT)
def test_a_command_imports_what_it_needs(started: dict[str, set[str]], command: str) -> None:
    """A start took 2 s when all steps and the libraries they compute with were imported."""
    assert not {name.partition(".")[0] for name in started[command]} & ABSENT[command]


def test_a_start_imports_few_modules(started: dict[str, set[str]]) -> None:
    own = {
        command: sum(name.startswith("orcinus.") for name in modules)
        for command, modules in started.items()
    }
    assert own["run"] <= 150, "of 292 before: see core/imports.py"
    assert own["plan"] <= 225, "of 302 before: see core/imports.py"


def test_a_run_that_asks_the_student_nothing_imports_no_torch(
    started: dict[str, set[str]],
) -> None:
    assert not started["first run"] & {"torch", "transformers", "peft"}


def recipe_data(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    path = write_recipe(tmp_path / "small.yaml", **changes)
    data: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return data


def test_a_run_from_a_mapping_gives_scores_lessons_student_and_report(tmp_path: Path) -> None:
    data = recipe_data(tmp_path) | {"teacher": {"kind": "function", "function": teacher}}
    run = orcinus.run(data, runs=tmp_path / "runs", until="sample")
    with pytest.raises(orcinus.ConfigError, match="no finished evaluate step"):
        run.scores  # noqa: B018
    assert list(run.steps) == ["sample"]
    run = orcinus.run(data, runs=tmp_path / "runs")
    assert run == orcinus.load_run("small", runs=tmp_path / "runs")
    assert set(run.scores) == {"before", "prompted", "answer_only", "after", "teacher"}
    assert run.scores["teacher"].mean is not None
    assert run.scores["teacher"].mean > 0.8
    assert run.results.arms["after"].accuracy.macro == run.scores["after"]
    assert set(run.assignment) == set(run.assignments) == {"sums", "logic"}
    assert run.assignments["sums"].strategy == run.assignment["sums"]
    assert isinstance(next(run.lessons()), orcinus.Lesson)
    assert (run.student / "config.json").exists()
    assert run.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    # The recipe in the run's folder says what was run: the function by its place and version.
    assert run.recipe.teacher.kind == "function"
    assert run.recipe.teacher.function == "orcinus.pipeline.demo.teacher:teacher"
    assert len(run.recipe.teacher.version) == 8
    plan = orcinus.plan(run.recipe, runs=tmp_path / "runs")
    assert {row.state for row in plan.rows} == {"done"}
    assert (plan.calls, plan.usd_low, plan.usd_high) == (0, 0.0, 0.0)


def test_a_plan_adds_up_its_rows(tmp_path: Path) -> None:
    endpoint = {"kind": "endpoint", "model": "gpt-4o-mini", "base_urls": ["http://localhost/v1"]}
    plan = orcinus.plan(recipe_data(tmp_path, teacher=endpoint), runs=tmp_path / "runs", secrets={})
    assert plan.calls == sum(row.calls or 0 for row in plan.rows) > 0
    assert 0 < plan.usd_low < plan.usd_high
    assert plan.usd_high == pytest.approx(sum(row.usd_high or 0 for row in plan.rows))


def test_a_run_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(orcinus.ConfigError, match="there is none under"):
        orcinus.load_run("nothing", runs=tmp_path)


def test_relative_paths_start_at_the_base(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [f'{{"question": "{n} + 1?", "answer": "{n + 1}"}}\n' for n in range(40)]
    (tmp_path / "data" / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    data = recipe_data(tmp_path, tasks=[{"path": "rows.jsonl", "answer_type": "number"}])
    where: dict[str, Any] = {"runs": tmp_path / "runs", "until": "sample"}
    with pytest.raises(orcinus.ConfigError, match=r"rows\.jsonl"):
        orcinus.run(data, **where)
    assert orcinus.run(data, base=tmp_path / "data", **where).steps


def solve(request: orcinus.Request) -> str:
    """Answer like a model that is right only when it takes steps."""
    text = teacher(request.messages, request.sampling)
    return text if request.strategy == "step_by_step" else "So the answer is 0."


def test_any_model_is_probed_under_strategies(tmp_path: Path) -> None:
    examples = list(draw(ProceduralConfig(generator="sums", count=20, size=(2, 3))))
    strategies: list[str | orcinus.Strategy] = [
        "direct",
        orcinus.Strategy(name="mine", system="Think."),
        "step_by_step",
    ]
    scores = orcinus.probe(solve, examples, strategies, runs=tmp_path)
    assert {name: score.n for name, score in scores["sums"].items()} == {
        "direct": 20,
        "mine": 20,
        "step_by_step": 20,
    }
    assert scores["sums"]["direct"].mean == 0.0
    assert (scores["sums"]["step_by_step"].mean or 0.0) > 0.8
    assert (tmp_path / "ledger.sqlite").exists()
    with pytest.raises(orcinus.ConfigError, match="sampling: unknown key 'max_token'; did you"):
        orcinus.probe(solve, examples, sampling={"max_token": 3}, runs=tmp_path)
    with pytest.raises(orcinus.ConfigError, match="top level"):
        orcinus.probe(lambda request: "", examples, runs=tmp_path)


def test_an_answer_is_verified() -> None:
    said = "Both are even, so the answer is (B)."
    verdict = orcinus.verify(said, answer_type="choice", choices=["odd", "even"], reference="B")
    assert (verdict.right, verdict.wrong, verdict.none, verdict.value) == (True, False, False, 1.0)
    assert orcinus.verify("It is 41.", answer_type="number", reference="42").wrong
    assert orcinus.verify("I do not know.", answer_type="number", reference="42").none


def test_everything_works_inside_a_running_event_loop(tmp_path: Path) -> None:
    """A notebook has one."""

    async def cell() -> orcinus.Verdict:
        run = orcinus.run(recipe_data(tmp_path), runs=tmp_path / "runs", until="sample")
        assert list(run.steps) == ["sample"]
        with pytest.raises(orcinus.ConfigError, match="no step named 'smaple'"):
            orcinus.run(recipe_data(tmp_path), until="smaple")  # type: ignore[arg-type]
        return orcinus.verify("42", answer_type="number", reference="42")

    assert asyncio.run(cell()).right


def test_progress_is_silent_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = list(draw(ProceduralConfig(generator="sums", count=4, size=(2, 3))))
    orcinus.probe(solve, examples, ["direct"], runs=tmp_path)
    assert capsys.readouterr() == ("", "")
    orcinus.probe(solve, examples, ["step_by_step"], runs=tmp_path, progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("probe: 4 to do\nprobe: 4 of 4")


def test_a_run_that_is_stopped_does_not_wait_for_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = tmp_path / "may-end"
    (tmp_path / "slow_to_load.py").write_text(
        "import pathlib, time\n"
        f"while not pathlib.Path({str(may_end)!r}).exists():\n    time.sleep(0.02)\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("orcinus.pipeline.run.LIBRARIES", ("slow_to_load",))
    recipe = write_recipe(tmp_path / "r.yaml")
    threading.Timer(2.0, cancel_running).start()
    stopper = threading.Timer(60.0, may_end.touch)  # only if the stop is waited for
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        orcinus.run(recipe, runs=tmp_path / "runs")
    assert not may_end.exists()
    stopper.cancel()
    may_end.touch()
