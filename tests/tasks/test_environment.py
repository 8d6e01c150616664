"""Environments of the package ``verifiers``: their questions are read, their rewards judge."""

import asyncio
import re
import sys
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError, MissingExtraError, OrcinusError
from orcinus.core.types import Attempt, Example, Finish, Sampling, Verdict
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.tasks.generators.environment import (
    EnvironmentConfig,
    draw_environment,
    examples_of,
    open_environment,
    rows_of,
)
from orcinus.tasks.open import content_of
from orcinus.verifiers.verify import verify

INSTALLED = next((found.version for found in distributions(name="verifiers")), None)
"""The installed version; tests/verifiers may pass for the package."""
IS_OLD = INSTALLED is not None and INSTALLED.startswith(("0.1.", "0.2.", "0.3."))
OLD_MODULE = """
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
MODULE = """
import re
import verifiers.v1 as vf


class SumsConfig(vf.TasksetConfig):
    kind: str = "sums"
    count: int = 4


class SumsData(vf.TaskData):
    answer: str


class SumsTask(vf.Task[SumsData, vf.State, vf.TaskConfig]):
    @vf.reward(weight=1.0)
    async def same(self, trace) -> float:
        found = re.findall(r"<answer>\\s*(.*?)\\s*</answer>", trace.last_reply, re.S)
        if "boom" in trace.last_reply:
            raise RuntimeError("no such file")
        return float(found == [self.data.answer])

    @vf.reward(weight=0.2)
    async def tagged(self, task, trace) -> float:
        return float("<answer>" in trace.last_reply and task.answer != "")


class NeedyTask(SumsTask):
    @vf.reward
    async def built(self, trace, runtime) -> float:
        return 1.0


class SetTask(SumsTask):
    async def setup(self, trace, runtime):
        pass


class PlainTask(vf.Task[SumsData, vf.State, vf.TaskConfig]):
    pass


class SumsTaskset(vf.Taskset[SumsTask, SumsConfig]):
    def load(self):
        kinds = {"runtime": NeedyTask, "setup": SetTask, "no reward": PlainTask}
        task = kinds.get(self.config.kind, SumsTask)
        i = 0
        while i < self.config.count or self.config.kind == "endless":
            if self.config.kind == "broken" and i == 2:
                raise OSError("no such shard")
            prompt = None if self.config.kind == "silent" else f"{i} + 1 = ?"
            image = "ubuntu" if self.config.kind == "container" else None
            data = SumsData(prompt=prompt, system_prompt="Use <answer>.", answer=str(i + 1),
                            image=image)
            yield task(data, self.config.task)
            i += 1


__all__ = ["SumsTaskset"]
"""
SHARED = """
import verifiers.v1 as vf
from own_sums import SumsTaskset


class Talk(vf.Env[vf.EnvConfig]):
    async def run(self, task, agents):
        pass


__all__ = ["SumsTaskset", "Talk"]
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name an environment that stands on the path; needs the extra ``environments``."""
    if INSTALLED is None:
        pytest.skip("needs the extra environments")
    for name in ("own_sums", "own_talk"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "own_sums.py").write_text(OLD_MODULE if IS_OLD else MODULE)
    (tmp_path / "own_talk.py").write_text(SHARED)
    monkeypatch.syspath_prepend(tmp_path)
    open_environment.cache_clear()
    rows_of.cache_clear()
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
    assert (right.value, right.reason) == (1.0, "reward 1.2, right from 1.2")
    assert right.answer == ("2" if IS_OLD else None)  # a taskset has no parser
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


def said_of(environment: str, settings: dict[str, Any]) -> str:
    config = EnvironmentConfig(environment=environment, settings=settings)
    with pytest.raises(OrcinusError) as caught:
        list(draw_environment(config))
    return str(caught.value)


def test_an_endless_taskset_gives_as_many_as_are_asked_for(environment: str) -> None:
    if IS_OLD:
        pytest.skip("verifiers has tasksets since 0.4")
    config = EnvironmentConfig(environment=environment, count=70, settings={"kind": "endless"})
    assert [example.reference for example in draw_environment(config)][-1] == "70"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"colour": "red"}, "'own-sums' cannot be loaded: settings.colour: Extra inputs"),
        ({"count": 0}, "'own-sums' has no rows"),
        ({"kind": "silent"}, "row 0 has turns by nobody"),
        ({"kind": "container"}, "row 0 runs in a container"),
        ({"kind": "runtime"}, "row 0 has the reward built, which reads the machine of its model"),
        ({"kind": "setup"}, r"row 0 works on the machine of its model \(SetTask.setup\)"),
        ({"kind": "no reward"}, "row 0 has no reward"),
        ({"kind": "broken"}, r"'?own-sums'? raises OSError: no such shard in .*own_sums.py:\d+"),
        ({"task": {"judges": [{"id": "reference"}]}}, "asks a model of its own for its rewards"),
    ],
)
def test_a_taskset_that_cannot_be_used_is_one_line(
    environment: str, settings: dict[str, Any], said: str
) -> None:
    if IS_OLD:
        pytest.skip("verifiers has tasksets since 0.4")
    assert re.search(said, said_of(environment, settings))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own-talk", "is a Talk: it answers back or has several agents"),
        ("harbor", "'harbor'"),
        ("openenv", "'openenv'"),
        ("textarena", "'textarena'"),
        ("nemo-gym", "'nemo-gym'"),
    ],
)
def test_what_comes_with_the_package_needs_more_than_a_question(
    environment: str, name: str, said: str
) -> None:
    if IS_OLD:
        pytest.skip("verifiers has tasksets since 0.4")
    assert EnvironmentConfig(environment=name).identity()["code"]
    assert said in said_of(name, {})


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
    if not IS_OLD:
        pytest.skip("load_environment went with verifiers 0.4")
    assert re.search(said, said_of(environment, settings))


@pytest.mark.parametrize("name", ["gsm9k", "", "gsm9k.of", "../gsm9k", "sys"])
def test_an_environment_that_is_not_installed_is_one_line(environment: str, name: str) -> None:
    config = EnvironmentConfig(environment=name)
    with pytest.raises(ConfigError, match=f"'{name}' is not installed"):
        config.identity()
