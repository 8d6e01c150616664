"""The whole method on a small recipe: its files, no step done twice, no harm from being killed."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import openai
import pyarrow.parquet as pq
import pytest
import yaml
from tests import warm
from tests.conftest import write_recipe
from tests.pipeline.push_server import TOKEN, upload_hub
from transformers import AutoTokenizer

from orcinus.core.errors import ConfigError
from orcinus.core.types import Message
from orcinus.evaluation.scores import latest_scores
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import folder_identity
from orcinus.models.roles import trained_student
from orcinus.pipeline.api import evaluate
from orcinus.pipeline.progress import Lines
from orcinus.pipeline.push import push_run
from orcinus.runs import tables
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.runs.ledger import Ledger
from orcinus.runs.lineage import trace_lesson
from orcinus.runs.status import run_status
from orcinus.strategies.library import built_in, generic_messages

ROOT = Path(__file__).parents[2]
ORDER = (
    "sample",
    "student",
    "probe",
    "assign",
    "teach",
    "curate",
    "erase",
    "train",
    "evaluate",
    "report",
)


def orcinus(
    *arguments: object, cwd: Path, wait: bool = True, variables: Mapping[str, str] | None = None
) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(variables or {})}
    if wait and warm.fits(environment):
        return warm.run([str(argument) for argument in arguments], cwd, environment)
    options: Any = {
        "cwd": cwd,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    command = [sys.executable, "-m", "orcinus", *map(str, arguments)]
    return (
        subprocess.run(command, check=False, **options)
        if wait
        else subprocess.Popen(command, **options)
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the small recipe once, and return the folder of both."""
    folder = tmp_path_factory.mktemp("run")
    done = orcinus("run", write_recipe(folder / "recipe.yaml"), "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def content(run_dir: Path) -> dict[str, Any]:
    """Return the results of a run by step folder: tables, weights, scores."""
    found: dict[str, Any] = {}
    for path in sorted(run_dir.glob("*/*.parquet")):
        found[f"{path.parent.name}/{path.name}"] = pq.read_table(path).to_pylist()
    for folder in sorted(run_dir.glob("train*/stage-1")):
        found[str(folder.relative_to(run_dir))] = folder_identity(folder)
    for path in sorted(run_dir.glob("evaluate-*/scores.json")):
        found[path.parent.name] = json.loads(path.read_bytes())
    return found


def test_every_step_left_its_folder(finished: Path) -> None:
    run_dir = finished / "runs" / "small"
    verbs = {
        folder.name.rpartition("-")[0].partition("-")[0]
        for folder in run_dir.iterdir()
        if folder.is_dir() and not folder.is_symlink()
    }
    assert verbs == set(ORDER)
    assert all((folder / "_done").exists() for folder in run_dir.glob("*-*/"))
    html = (run_dir / "report.html").read_text(encoding="utf-8")
    assert "After training on explanations, the student answers" in html
    assert "http" not in html.split("The recipe")[0].replace("http-equiv", "")
    assert (run_dir / "summary.md").exists()


def test_the_student_stands_in_the_run_s_folder_wherever_that_is_moved(
    finished: Path, tmp_path: Path
) -> None:
    run_dir = finished / "runs" / "small"
    (trained,) = finished_steps(run_dir, "train")
    assert (run_dir / "student").samefile(trained / "stage-1")
    assert not (run_dir / "student").readlink().is_absolute()
    shutil.copytree(run_dir, tmp_path / "moved", symlinks=True)
    moved = tmp_path / "moved" / "student"
    assert moved.resolve().is_relative_to(tmp_path)
    assert folder_identity(moved) == folder_identity(trained / "stage-1")
    assert "small" in (moved / "README.md").read_text(encoding="utf-8")


def test_a_run_that_is_shared_is_done_on_another_machine(finished: Path, tmp_path: Path) -> None:
    run = ("run", "recipe.yaml", "--share", tmp_path / "disk", "--runs")
    given = orcinus(*run, finished / "runs", cwd=finished)
    assert (given.returncode, "taken from" in given.stderr) == (0, False), given.stderr
    taken = orcinus(*run, tmp_path / "runs", cwd=finished)
    assert (taken.returncode, "taken from" in taken.stderr) == (0, True), taken.stderr
    here, there = tmp_path / "runs" / "small", finished / "runs" / "small"
    assert content(here) == content(there)
    assert (here / "student").samefile(finished_steps(here, "train")[0] / "stage-1")
    with Ledger(tmp_path / "runs" / "ledger.sqlite") as ledger:
        assert not list(ledger.attempts())


def test_the_students_lessons_show_no_strategy(finished: Path) -> None:
    (folder,) = finished_steps(finished / "runs" / "small", "erase")
    lessons = list(tables.read_lessons(folder / "lessons.parquet"))
    assert lessons
    for lesson in lessons:
        assert lesson.messages[0].content == generic_messages()["cautious"]
        shown = " ".join(message.content for message in lesson.messages) + lesson.completion
        assert not any(strategy.system in shown for strategy in built_in().values())


def test_the_student_sees_the_erased_prompt_token_for_token(finished: Path) -> None:
    """Training and evaluation use the same prompt, and it has no tokens of a strategy."""
    (erased,) = finished_steps(finished / "runs" / "small", "erase")
    (evaluated,) = finished_steps(finished / "runs" / "small", "evaluate")
    (student,) = finished_steps(finished / "runs" / "small", "student")
    chat = Chat(AutoTokenizer.from_pretrained(student / "model"), fallback="chatml")
    asked = [item.attempt for item in tables.read_judged(evaluated / "attempts-after.parquet")]
    expected = generic_messages()["cautious"]
    for messages in [attempt.messages for attempt in asked]:
        assert chat.prompt(messages) == chat.prompt(
            (Message(role="system", content=expected), messages[-1])
        )
    for lesson in tables.read_lessons(erased / "lessons.parquet"):
        tokens, prompt = chat.lesson(lesson.messages, lesson.completion, lesson.reasoning)
        question = lesson.messages[-1]
        assert tokens[:prompt] == chat.prompt((Message(role="system", content=expected), question))
        shown = chat.tokenizer.decode(tokens)
        assert not any(strategy.system in shown for strategy in built_in().values())


def test_splits_do_not_share_a_question(finished: Path) -> None:
    (folder,) = finished_steps(finished / "runs" / "small", "sample")
    rows = list(tables.read_rows(folder / "examples.parquet"))
    prompts = {
        split: {row["prompt"] for row in rows if row["split"] == split}
        for split in ("probe", "teach", "held_out")
    }
    assert all(prompts.values())
    assert sum(map(len, prompts.values())) == len(set.union(*prompts.values()))


def test_a_second_run_does_nothing(finished: Path) -> None:
    before = content(finished / "runs" / "small")
    done = orcinus("run", "recipe.yaml", "--json", cwd=finished)
    assert done.returncode == 0
    assert '"event":"start"' not in done.stdout
    assert content(finished / "runs" / "small") == before


def test_a_changed_evaluation_runs_only_what_depends_on_it(finished: Path) -> None:
    write_recipe(finished / "more.yaml", evaluate={"per_task": 8, "sampling": {"max_tokens": 8}})
    done = orcinus("run", "more.yaml", cwd=finished)
    assert done.returncode == 0, done.stderr
    run_dir = finished / "runs" / "small"
    assert len(finished_steps(run_dir, "train")) == 1
    assert len(finished_steps(run_dir, "evaluate")) == 2
    assert summary_of(finished_steps(run_dir, "evaluate")[0])["summary"]["items"] == 16


def test_a_lesson_is_traced_back_to_its_example(finished: Path) -> None:
    run_dir = finished / "runs" / "small"
    lesson = next(tables.read_lessons(finished_steps(run_dir, "erase")[0] / "lessons.parquet"))
    found = trace_lesson(run_dir, lesson.id)
    assert found.example.id == lesson.example_id
    assert found.trace.attempt.text == lesson.completion
    assert found.assignment is not None
    assert found.assignment.strategy == lesson.strategy
    (answers,) = finished_steps(run_dir, "erase-answer_only")
    bare = next(tables.read_lessons(answers / "lessons.parquet"))
    assert trace_lesson(run_dir, bare.id).lesson == bare
    assert trace_lesson(run_dir).lesson == lesson
    shown = orcinus("show", lesson.id, cwd=finished)
    assert shown.returncode == 0, shown.stderr
    assert lesson.completion[:20] in shown.stdout


def test_looking_at_a_run(finished: Path) -> None:
    status = run_status(finished / "runs" / "small", finished / "runs" / "ledger.sqlite")
    states = {
        state: {step.step for step in status.steps if step.state == state}
        for state in ("done", "earlier")
    }
    assert states["earlier"] == {
        "evaluate",
        "report",
    }  # of the recipe before its evaluation changed
    assert states["done"] == {step.step for step in status.steps}
    assert sum(row.calls for row in status.spend if row.step == "teach") > 0
    scores = latest_scores(finished / "runs" / "small")
    assert scores is not None
    assert set(scores.arms) == {"before", "prompted", "answer_only", "after", "teacher"}
    assert (scores.arms["teacher"].accuracy.micro.mean or 0.0) > 0.8
    plan = orcinus("plan", "recipe.yaml", "--json", cwd=finished)
    assert {row["state"] for row in json.loads(plan.stdout)["rows"]} == {"done"}
    for layout in ("messages", "sharegpt", "alpaca", "trl"):
        done = orcinus(
            "export", "small", "--format", layout, "--out", f"{layout}.jsonl", cwd=finished
        )
        assert done.returncode == 0, done.stderr
        rows = [
            json.loads(line)
            for line in (finished / f"{layout}.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert len(rows) > 10


def test_the_report_of_a_finished_run_is_written_in_the_formats_asked_for(finished: Path) -> None:
    run_dir = finished / "runs" / "small"
    (evaluated, *_) = finished_steps(run_dir, "evaluate")
    names = ("report.html", "summary.md", "report.json")
    written = {name: (run_dir / name).read_bytes() for name in names}
    for name in written:
        (run_dir / name).unlink()
    done = orcinus("report", "small", "--format", "md,json", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["runs/small/summary.md", "runs/small/report.json"]
    assert not (run_dir / "report.html").exists()
    facts = json.loads((run_dir / "report.json").read_bytes())
    assert facts["arms"] == json.loads((evaluated / "scores.json").read_bytes())["arms"]
    documented = re.findall(
        r"^\| `(\w+)` \|", (ROOT / "docs" / "report.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert list(facts) == documented
    wrong = orcinus("report", "small", "--format", "pdf", cwd=finished)
    assert wrong.returncode == 2
    assert "known: html, md, json" in wrong.stderr
    for name, content in written.items():
        (run_dir / name).write_bytes(content)


def test_show_finds_examples_traces_and_the_students_attempts(finished: Path) -> None:
    run_dir = finished / "runs" / "small"
    (curated,) = finished_steps(run_dir, "curate")
    dropped = list(tables.read_rows(curated / "drops.parquet"))
    kept = next(tables.read_judged(curated / "kept.parquet")).attempt
    for identity, says in (
        (kept.example_id, "kept: "),
        (kept.id, "kept: "),
        *(((dropped[0]["attempt_id"], f"left out by {dropped[0]['filter']}"),) if dropped else ()),
    ):
        done = orcinus("show", identity, "--run", "small", cwd=finished)
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
    (probed,) = finished_steps(run_dir, "probe")
    attempt = next(tables.read_judged(probed / "attempts.parquet")).attempt
    done = orcinus("show", attempt.id, "--run", "small", "--json", cwd=finished)
    found = json.loads(done.stdout)
    assert (found["kind"], found["example"]["id"]) == ("attempt", attempt.example_id)
    assert found["attempts"][0]["attempt"]["text"] == attempt.text
    unknown = orcinus("show", "nobody", "--run", "small", cwd=finished)
    assert unknown.returncode == 2
    assert "neither an example nor a trace" in unknown.stderr


def test_lessons_come_back_through_the_libraries_that_read_them(
    finished: Path, tmp_path: Path
) -> None:
    datasets: Any = pytest.importorskip("datasets")
    (erased,) = finished_steps(finished / "runs" / "small", "erase")
    lessons = list(tables.read_lessons(erased / "lessons.parquet"))
    for layout in ("axolotl", "llama-factory", "dataset"):
        done = orcinus(
            "export", "small", "--format", layout, "--out", tmp_path / layout, cwd=finished
        )
        assert done.returncode == 0, done.stderr

    loaded = datasets.load_dataset(
        str(tmp_path / "dataset"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert loaded["id"] == [lesson.id for lesson in lessons]
    assert [turn["role"] for turn in loaded[0]["messages"]] == ["system", "user", "assistant"]
    assert set(loaded["licence"]) == {"CC0-1.0"}
    card = (tmp_path / "dataset" / "README.md").read_text(encoding="utf-8")
    assert f"| CC0-1.0 | {len(lessons):,} |" in card

    section = yaml.safe_load((tmp_path / "axolotl" / "axolotl.yaml").read_text(encoding="utf-8"))[
        "datasets"
    ][0]
    rows = datasets.load_dataset(
        section["ds_type"],
        data_files=section["path"],
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert rows[0][section["field_messages"]][-1] == {
        "role": "assistant",
        "content": lessons[0].completion,
    }

    info = json.loads(
        (tmp_path / "llama-factory" / "dataset_info.json").read_text(encoding="utf-8")
    )["small"]
    row = json.loads(
        (tmp_path / "llama-factory" / info["file_name"]).read_text(encoding="utf-8").splitlines()[0]
    )
    assert row[info["columns"]["system"]] == lessons[0].messages[0].content
    turns = row[info["columns"]["messages"]]
    assert [turn[info["tags"]["role_tag"]] for turn in turns] == [
        info["tags"]["user_tag"],
        info["tags"]["assistant_tag"],
    ]


@pytest.mark.slow
def test_the_recipe_may_lie_elsewhere(tmp_path: Path) -> None:
    """Runs go under the current folder; paths in a recipe start at the recipe's folder."""
    (tmp_path / "recipes").mkdir()
    write_recipe(tmp_path / "recipes" / "recipe.yaml")
    done = orcinus("run", "recipes/recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "small" / "report.html").exists()


def test_the_student_can_be_asked(finished: Path) -> None:
    done = orcinus("chat", "small", "Add 1 2.", "--max-tokens", "5", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("\n")


@pytest.mark.slow
def test_killed_at_every_step_it_ends_as_if_nothing_had_been(
    finished: Path, tmp_path: Path
) -> None:
    """Send SIGKILL as soon as a step has started, restart, kill in the next step, and so on."""
    write_recipe(tmp_path / "recipe.yaml")
    run_dir = tmp_path / "runs" / "small"
    killed = []
    for verb in ORDER:
        process = orcinus("run", "recipe.yaml", cwd=tmp_path, wait=False)
        while process.poll() is None:
            started = [
                f for f in run_dir.glob(f"{verb}*") if f.is_dir() and not (f / "_done").exists()
            ]
            if started and (verb != "train" or any(started[0].glob("loss.jsonl"))):
                process.send_signal(signal.SIGKILL)
                killed.append(verb)
                break
            time.sleep(0.002)
        process.communicate()
    assert {"student", "probe", "assign", "teach", "train", "evaluate"} <= set(killed)
    done = orcinus("run", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    uninterrupted = {
        name: value
        for name, value in content(finished / "runs" / "small").items()
        if name in content(run_dir)
    }
    assert content(run_dir) == uninterrupted
    with Ledger(tmp_path / "runs" / "ledger.sqlite") as ledger:
        assert list(ledger.verify()) == []
        answered = sum(row.calls for row in ledger.spend("small"))
        assert answered == len(list(ledger.attempts()))


def test_the_student_is_served_like_any_other_endpoint(finished: Path) -> None:
    command = [sys.executable, "-m", "orcinus", "serve", "small", "--port", "0"]
    server = subprocess.Popen(command, cwd=finished, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split(" at ")[1].split(";")[0]
        client = openai.OpenAI(base_url=url, api_key="none")
        question: Any = [{"role": "user", "content": "What is 3 + 4?"}]
        served = client.chat.completions.create(model="small", messages=question, max_tokens=12)
        [listed] = client.models.list()
        assert listed.id == "small"
        published: Any = listed
        assert served.system_fingerprint == published.fingerprint is not None
        client.close()
    finally:
        server.terminate()
        server.communicate()
    said = orcinus("chat", "small", "What is 3 + 4?", "--max-tokens", "12", cwd=finished)
    assert served.choices[0].message.content is not None
    assert served.choices[0].message.content.strip() == said.stdout.strip()


def test_a_student_is_asked_as_it_was_trained_wherever_it_is_found(finished: Path) -> None:
    student = finished / "runs" / "small" / "student"
    told = generic_messages()["cautious"]
    facts = json.loads((student / "orcinus.json").read_bytes())
    assert facts == {"system": told, "weights": folder_identity(student)}
    rows = [{"question": f"{a} + 5?", "answer": f"#### {a + 5}"} for a in range(3)]
    (finished / "sums.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    benchmark = finished / "sums.yaml"
    benchmark.write_text(
        "{title: sums, about: sums, url: 'https://example.org', licence: MIT, "
        "files: [sums.jsonl], rows: gsm8k, answer_type: number, layouts: {plain: ''}}",
        encoding="utf-8",
    )
    said = io.StringIO()
    settings: Any = {"sampling": {"max_tokens": 4}}
    options: Any = {"data": finished, "runs": finished / "runs", "device": "cpu"}
    options |= {"progress": Lines(said)}
    scores = evaluate("run:small", str(benchmark), settings=settings, **options)
    assert scores.systems == (told,)
    assert "system message that it was trained with: 'You are" in said.getvalue()
    [named] = [path.parent.name for path in finished.glob("runs/evaluate-*/report.html")]
    assert named == f"evaluate-small-{student.resolve().parent.name}-stage-1"
    page = (finished / "runs" / named / "report.html").read_text(encoding="utf-8")
    short = folder_identity(student).removeprefix("folder:")[:8]
    assert f"<h1>{named.removeprefix('evaluate-')} ({short})</h1>" in page
    bare = evaluate(student, str(benchmark), settings=settings | {"systems": ("",)}, **options)
    assert bare.systems == ("",)
    with pytest.raises(ConfigError, match="there is no run"):
        evaluate("run:smal", str(benchmark), **options)


def test_a_student_of_an_earlier_version_is_asked_as_its_lessons_were(
    finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "small"
    shutil.copytree(finished / "runs" / "small", run, symlinks=True)
    now = trained_student(run)[1]
    for facts in run.glob("train-*/stage-1/orcinus.json"):
        facts.unlink()
    assert trained_student(run)[1] == now


def test_a_push_sends_the_student_with_a_fresh_card_and_nothing_else(
    finished: Path, tmp_path: Path
) -> None:
    """The real client against a local hub: a new repository is private; a dry run sends none."""
    with upload_hub(tmp_path) as url:
        variables = {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}

        def push(*options: str, token: str) -> Any:
            words = ("push", "small", "me/sums", *options)
            return orcinus(*words, cwd=finished, variables={**variables, "HF_TOKEN": token})

        refused = push(token="hf_wrong")
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
        assert "me/sums: the hub refuses: log in with `hf auth login`" in refused.stderr
        shown = push("--dry-run", token="hf_wrong")
        assert "nothing was sent" in shown.stdout
        assert not (tmp_path / "models").exists()
        done = push(token=TOKEN)
        assert done.returncode == 0, done.stderr
    published = {path.name: path.read_bytes() for path in (tmp_path / "models/me/sums").iterdir()}
    student = finished / "runs" / "small" / "student"
    needed = {"config.json", "model.safetensors", "tokenizer.json", "orcinus.json", "README.md"}
    assert needed <= set(published)
    assert not {"_done", "adapter"} & set(published)
    assert all((student / name).read_bytes() == content for name, content in published.items())
    card = published["README.md"].decode()
    assert card in shown.stdout
    assert "Base model: a new model made from scratch." in card
    assert "base_model:" not in card
    assert '"visibility": "private"' in (tmp_path / "made.jsonl").read_text(encoding="utf-8")


def test_the_lessons_of_a_run_can_be_pushed_as_a_data_set(finished: Path) -> None:
    runs = finished / "runs"
    push = push_run(runs / "small", "me/lessons", (), what="dataset", dry_run=True)
    assert [name for name, _ in push.files] == ["README.md", "data/train.parquet"]
    with pytest.raises(ConfigError, match="write OWNER/NAME"):
        push_run(runs / "small", "lessons", (), dry_run=True)
