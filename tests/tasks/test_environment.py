"""Environments of the package ``verifiers``: their questions are read, their rewards judge."""

import asyncio
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.types import Attempt, Example, Finish, Sampling, Verdict
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.tasks.generators.environment import (
    EnvironmentConfig,
    draw_environment,
    examples_of,
)
from orcinus.tasks.open import content_of
from orcinus.verifiers.verify import verify

MODULE = """
import verifiers as vf
from datasets import Dataset


def load_environment(kind="sums", count=4):
    rows = [{"question": f"{i} + 1 = ?", "answer": str(i + 1)} for i in range(count)]
    parser = vf.XMLParser(["answer"], answer_field="answer")

    def same(completion, answer, **kwargs):
        if "boom" in completion[-1]["content"]:
            raise RuntimeError("no such file")
        return 1.0 if parser.parse_answer(completion) == answer else 0.0

    rubric = vf.Rubric(funcs=[same, parser.get_format_reward_func()], weights=[1.0, 0.2],
                       parser=parser)
    given = dict(dataset=Dataset.from_list(rows), parser=parser, system_prompt="Use <answer>.")
    if kind == "judge":
        rubric = vf.RubricGroup(rubrics=[rubric, vf.JudgeRubric(judge_client=object())])
    if kind == "tools":
        return vf.ToolEnv(tools=[], rubric=rubric, **given)
    return vf.SingleTurnEnv(rubric=rubric, **given)
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name an environment that stands on the path; needs the extra ``environments``."""
    if not list(distributions(name="verifiers")):  # tests/verifiers may pass for the package
        pytest.skip("needs the extra environments")
    (tmp_path / "own_sums.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "own-sums"


def verdict_of(example: Example, text: str, finish: Finish = "stop") -> Verdict:
    attempt = Attempt(
        id="a",
        example_id=example.id,
        task=example.task,
        strategy="direct",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish=finish,
    )
    return asyncio.run(verify(example, attempt))


def read_rows(*prompts: Any) -> Iterator[Example]:
    rows = [{"prompt": prompt, "answer": "5"} for prompt in prompts]
    return examples_of(rows, iter(rows), EnvironmentConfig(environment="e"), {})


def test_a_row_becomes_a_question_after_its_system_message() -> None:
    user, reply = {"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "Sums?"}
    shot = {"role": "user", "content": "Hello."}
    plain, told = read_rows([user], [{"role": "system", "content": "Use <a>."}, shot, reply, user])
    assert (plain.id, plain.prompt, plain.reference, plain.answer_type) == (
        *("e-0", "2 + 3?", "5", "number"),
    )
    assert told.prompt == "Use <a>.\n\n2 + 3?"
    assert [turn.content for turn in told.history] == ["Hello.", "Sums?"]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([{"role": "user", "content": [{"type": "image_url"}]}], "row 0 is not a text alone"),
        ([{"role": "assistant", "content": "Hi."}], "row 0 has turns by assistant"),
        ([], "row 0 has turns by nobody"),
    ],
)
def test_a_row_that_is_no_question_is_one_line(prompt: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        list(read_rows(prompt))


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from orcinus.tasks.generators import environment as module

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module, "version", missing)
    with pytest.raises(MissingExtraError, match="environments"):
        list(draw_environment(EnvironmentConfig(environment="sums")))


def test_rewards_judge_and_a_failed_reward_is_no_verdict(environment: str) -> None:
    config = EnvironmentConfig(environment=environment, count=3, right=1.2)
    examples = list(draw_environment(config))
    assert [example.id for example in examples] == [f"own-sums-{i}" for i in range(3)]
    assert examples[1].prompt == "Use <answer>.\n\n1 + 1 = ?"
    right = verdict_of(examples[1], "<answer>\n2\n</answer>")
    assert (right.value, right.answer, right.reason) == (1.0, "2", "reward 1.2, right from 1.2")
    assert verdict_of(examples[1], "<answer>\n3\n</answer>").value == 0.0
    assert verdict_of(examples[1], "two, I th", "length").value is None
    assert verdict_of(examples[1], "", "refusal").reason == "refused"
    failed = verdict_of(examples[1], "boom")
    assert (failed.value, "no such file" in failed.reason) == (None, True)


def test_a_recipe_names_an_environment(environment: str, tmp_path: Path) -> None:
    tasks = [{"environment": environment, "settings": {"count": 9}}]
    recipe = load_recipe(write_recipe(tmp_path / "r.yaml", tasks=tasks))
    known = content_of(recipe.tasks[0], tmp_path)
    assert len(known["code"]) == 32
    assert known["settings"] == {"count": 9}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "judge"}, "asks a model of its own for its rewards"),
        ({"kind": "tools"}, "is a ToolEnv: it answers back or calls tools"),
        ({"colour": "red"}, "'own-sums' cannot be loaded: .*colour"),
    ],
)
def test_an_environment_that_cannot_be_used_is_one_line(
    environment: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        list(draw_environment(EnvironmentConfig(environment=environment, settings=settings)))


@pytest.mark.parametrize("name", ["gsm9k", "", "gsm9k.of", "../gsm9k", "sys"])
def test_an_environment_that_is_not_installed_is_one_line(environment: str, name: str) -> None:
    config = EnvironmentConfig(environment=name)
    with pytest.raises(ConfigError, match=f"'{name}' is not installed"):
        config.identity()
