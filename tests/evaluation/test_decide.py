"""Several samples become one answer by vote, reward or tree search, within width and budget."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.test_bad_input import fails
from tests.conftest import table_rows, write_recipe

from orcinus.core.errors import BudgetError, ConfigError, StepError
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.protocols import Completer
from orcinus.core.results import DecisionScore
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Completion, Example, Finish, Messages, Sampling, Strategy, Usage
from orcinus.evaluation.config import DecideConfig
from orcinus.evaluation.decide import decide
from orcinus.models.function import FunctionModel
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.recorded import Recordings, Replay
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.server.chat_api import chat_server
from orcinus.pipeline.demo import recipe_path
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.pipeline.run import run_recipe
from orcinus.runs import tables
from orcinus.runs.budget import Budget
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.strategies.library import built_in
from orcinus.strategies.prompts import requests_for
from orcinus.tasks.generators.procedural import ProceduralConfig, draw
from orcinus.verifiers.measure import measure

STEPS = 4
CHANCE = 0.4
"""Probability of knowing the right digit at a step of the maze."""
MAZE = SamplingConfig(samples=16, temperature=1.0, max_tokens=100)

calls: list[Messages] = []


def code_of(prompt: str) -> str:
    """Return the digits that lead through the maze of a question."""
    return "".join(str(int(10 * stable_fraction("code", prompt, str(i)))) for i in range(STEPS))


def maze(count: int) -> list[Example]:
    prompts = [f"Which way through maze {i}?" for i in range(count)]
    return [
        Example(id=str(i), task="maze", prompt=p, answer_type="number", reference=f"1{code_of(p)}")
        for i, p in enumerate(prompts)
    ]


def walker(messages: Messages, sampling: Sampling) -> Completion:
    """Write a digit per step: the right one with probability 0.4, else any. A step is 2 tokens."""
    calls.append(messages)
    begun = messages[-1].content if messages[-1].role == "assistant" else ""
    prompt = messages[0].content
    random = Random(repr((messages, sampling.seed)))
    text = ""
    while (place := (begun + text).count("\n\n")) < STEPS:
        digit = code_of(prompt)[place] if random.random() < CHANCE else str(random.randrange(10))
        text += f"turn {digit}\n\n"
        if "\n\n" in sampling.stop:
            return completion(text, "stop", 2)
    taken = (begun + text).replace("turn ", "").replace("\n\n", "")
    return completion(f"{text}The answer is 1{taken}.", "stop", 2 * text.count("\n\n") + 4)


def completion(text: str, finish: Finish, tokens: int) -> Completion:
    return Completion(
        text=text,
        finish=finish,
        usage=Usage(tokens_in=10, tokens_out=tokens),
        logprobs=(-0.1,) * tokens,
    )


def right_so_far(example: Example, text: str) -> float:
    """Return the share of digits that are right: a process reward."""
    digits = [line.removeprefix("turn ") for line in text.split("\n\n") if line.startswith("turn ")]
    return sum(a == b for a, b in zip(digits, code_of(example.prompt), strict=False)) / max(
        1, len(digits)
    )


MODEL = FunctionModel(walker, model="walker")
REWARD = "tests.evaluation.test_decide:right_so_far"
PLAIN = Strategy(name="plain", system="")


async def search(
    folder: Path,
    config: DecideConfig,
    model: Completer = MODEL,
    *,
    examples: Sequence[Example] | None = None,
    sampling: SamplingConfig = MAZE,
    strategy: Strategy = PLAIN,
    judge: Completer | None = None,
    tokens: int | None = None,
) -> dict[tuple[str, int], DecisionScore]:
    """Ask for the samples and decide; return the rows by method and number."""
    sampling = config.sampling(sampling)
    requests = [
        r for e in examples or maze(20) for r in requests_for(e, strategy, sampling, seed=0)
    ]
    with Ledger(folder / "ledger.sqlite") as ledger:
        context = StepContext(
            out=folder,
            inputs={},
            run="run",
            seed=0,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=ledger.path),
            progress=Silent(),
            completer=lambda role, folder=None: judge or model,
            budget=None
            if tokens is None
            else Budget(ledger=ledger, run="run", usd=None, tokens=tokens),
        )
        path = folder / "attempts.parquet"
        judged = await measure(requests, model, path, context, step="evaluate", what="", total=None)
        rows = await decide(
            config, sampling, requests, judged, model, context, step="evaluate", name="maze"
        )
        return {(row.by, row.n): row for row in rows}


def run(*arguments: Any, **more: Any) -> dict[tuple[str, int], DecisionScore]:
    """Run ``search`` in its own event loop."""
    return asyncio.run(search(*arguments, **more))


def spent(folder: Path) -> tuple[int, int]:
    """Return the calls and tokens in the ledger."""
    with Ledger(folder / "ledger.sqlite", read_only=True) as ledger:
        rows = ledger.spend("run")
    return sum(row.calls for row in rows), sum(row.tokens_in + row.tokens_out for row in rows)


def test_search_solves_the_maze_with_fewer_tokens_than_a_vote(tmp_path: Path) -> None:
    # n = 60, seed 0. A whole walk is right with probability 0.46⁴ = 0.045: too rare for a vote.
    config = DecideConfig(by=("majority", "rebase"), reward=REWARD, at=(8, 16), steps=STEPS + 1)
    found = run(tmp_path, config, examples=maze(60))
    search, vote = found["rebase", 8], found["majority", 16]
    assert search.score.n == vote.score.n == 60
    assert search.tokens_out < vote.tokens_out
    assert (search.score.low or 0) > (vote.score.high or 1)


@settings(max_examples=8, deadline=None)
@given(
    width=st.integers(2, 8),
    temperature=st.floats(0.01, 5),
    steps=st.integers(1, 6),
    leaves=st.sampled_from(["majority", "best_of_n", "weighted"]),
)
def test_answers_and_calls_per_step_never_exceed_the_width(
    width: int, temperature: float, steps: int, leaves: Any
) -> None:
    config = DecideConfig(
        by=("rebase",),
        reward=REWARD,
        at=(width,),
        temperature=temperature,
        steps=steps,
        leaves=leaves,
    )
    with TemporaryDirectory() as folder:
        sampling = MAZE.model_copy(update={"samples": width})
        found = run(Path(folder), config, examples=maze(3), sampling=sampling)["rebase", width]
    assert found.calls <= width * steps
    assert found.tokens_out <= width * sampling.max_tokens
    assert found.score.n == 3


@settings(max_examples=6, deadline=None)
@given(samples=st.integers(2, 9), seed=st.integers(0, 50))
def test_a_tree_of_one_step_is_a_weighted_majority_without_further_calls(
    samples: int, seed: int
) -> None:
    sampling = MAZE.model_copy(update={"samples": samples})
    config = DecideConfig(by=("weighted", "rebase"), reward=REWARD, at=(samples,), steps=1)
    examples = [e for e in maze(seed + 4) if int(e.id) >= seed]
    with TemporaryDirectory() as folder:
        found = run(Path(folder), config, examples=examples, sampling=sampling)
        assert spent(Path(folder))[0] == 4 * samples
        taken: dict[str, list[tuple[str, float | None]]] = {}
        for item in tables.read_judged(Path(folder) / "decided-maze.parquet"):
            taken.setdefault(item.attempt.strategy, []).append(
                (item.attempt.text, item.verdict.value)
            )
    vote, tree = found["weighted", samples], found["rebase", samples]
    assert taken[f"weighted of {samples}"] == taken[f"rebase of {samples}"]
    assert (vote.score, vote.tokens_out, vote.calls) == (tree.score, tree.tokens_out, tree.calls)


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    config = DecideConfig(by=("weighted", "rebase"), reward=REWARD, steps=STEPS + 1)
    first = run(tmp_path, config)
    before = spent(tmp_path)
    calls.clear()
    assert run(tmp_path, config) == first
    assert (calls, spent(tmp_path)) == ([], before)


@pytest.mark.parametrize("after", [1, 330, 400, 600])
def test_a_killed_search_resumes_and_pays_nothing_twice(tmp_path: Path, after: int) -> None:
    config = DecideConfig(by=("rebase",), reward=REWARD, at=(8,), steps=STEPS + 1)
    whole = run(tmp_path / "whole", config)
    left = after

    def dying(messages: Messages, sampling: Sampling) -> Completion:
        nonlocal left
        if left == 0:
            raise RuntimeError("killed")
        left -= 1
        return walker(messages, sampling)

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "cut", config, FunctionModel(dying, model="walker"))
    kept = spent(tmp_path / "cut")[0]
    calls.clear()
    assert run(tmp_path / "cut", config) == whole
    assert 0 < kept <= after
    assert len(calls) + kept == spent(tmp_path / "cut")[0] == spent(tmp_path / "whole")[0]


def test_the_budget_stops_a_search_and_is_never_passed(tmp_path: Path) -> None:
    config = DecideConfig(by=("rebase",), reward=REWARD, at=(8,), steps=STEPS + 1)
    run(tmp_path / "whole", config)
    cap = spent(tmp_path / "whole")[1] - 500
    with pytest.raises(BudgetError):
        run(tmp_path / "capped", config, tokens=cap)
    used = spent(tmp_path / "capped")
    assert used[1] <= cap
    run(tmp_path / "capped", config)
    assert spent(tmp_path / "capped") == spent(tmp_path / "whole")


def test_equal_partial_answers_get_different_continuations(tmp_path: Path) -> None:
    def one_way(messages: Messages, sampling: Sampling) -> Completion:
        if messages[-1].role != "assistant":
            return completion("turn 1\n\n", "stop", 2)
        return completion(f"The answer is {sampling.seed}.", "stop", 4)

    config = DecideConfig(by=("rebase",), reward=REWARD, at=(4,), leaves="best_of_n")
    run(tmp_path, config, FunctionModel(one_way, model="one way"), examples=maze(1))
    with Ledger(tmp_path / "ledger.sqlite", read_only=True) as ledger:
        replies = [json.loads(reply)["text"] for _, _, reply in ledger.attempts()]
    ends = [text for text in replies if text.startswith("The answer")]
    assert len(set(ends)) == len(ends) == 4


def test_a_finished_answer_gives_up_its_place_in_the_tree(tmp_path: Path) -> None:
    def ending(messages: Messages, sampling: Sampling) -> Completion:
        first = messages[-1].role != "assistant"
        return completion(
            "turn 1\n\n" if first and (sampling.seed or 0) % 2 else "The answer is 1.", "stop", 2
        )

    found = run(
        tmp_path,
        DecideConfig(by=("rebase",), reward=REWARD, at=(4,)),
        FunctionModel(ending, model="ending"),
    )
    assert found["rebase", 4].calls == 6  # four first steps, two of them ends; so two second steps


def test_a_stop_text_of_the_recipe_ends_the_answer_and_is_removed(tmp_path: Path) -> None:
    sampling = MAZE.model_copy(update={"stop": ("END",)})
    model = FunctionModel(
        lambda messages, sampling: completion("The answer is 1. END", "stop", 5), model="stopped"
    )
    run(
        tmp_path,
        DecideConfig(by=("rebase",), reward=REWARD, at=(2,)),
        model,
        sampling=sampling,
        examples=maze(1),
    )
    assert [i.attempt.text for i in tables.read_judged(tmp_path / "decided-maze.parquet")] == [
        "The answer is 1."
    ]


def test_every_group_of_fewer_answers_counts(tmp_path: Path) -> None:
    found = run(tmp_path, DecideConfig(by=("majority",)))
    assert [(n, row.score.n) for (_, n), row in found.items()] == [
        (1, 320),
        (2, 160),
        (4, 80),
        (8, 40),
        (16, 20),
    ]
    assert [row.calls for row in found.values()] == [1, 2, 4, 8, 16]
    assert found["majority", 1].reward_calls == 0


def critic(messages: Messages, sampling: Sampling) -> Completion:
    """Rate 10 when all digits so far are right, else 1."""
    request = messages[-1].content
    question = next(line for line in request.splitlines() if line.startswith("Which way"))
    digits = [
        line.removeprefix("turn ") for line in request.splitlines() if line.startswith("turn ")
    ]
    line = request.splitlines()[-1].partition(":")[0]
    right = all(a == b for a, b in zip(digits, code_of(question), strict=False))
    text = f"{line}: {10 if right else 1}"
    return Completion(
        text=text, finish="stop", usage=Usage(tokens_in=50, tokens_out=5), cost_usd=0.001
    )


def test_a_judge_rewards_steps_without_the_reference_and_its_calls_are_counted(
    tmp_path: Path,
) -> None:
    shown: list[str] = []

    def watched(messages: Messages, sampling: Sampling) -> Completion:
        shown.append(messages[-1].content)
        return critic(messages, sampling)

    config = DecideConfig(by=("best_of_n", "rebase"), reward="judge", at=(8,), steps=STEPS + 1)
    found = run(tmp_path, config, judge=FunctionModel(watched, model="critic"))
    search, best = found["rebase", 8], found["best_of_n", 8]
    assert (search.score.mean or 0) > (best.score.mean or 1)
    assert 0 < best.reward_calls <= 8
    assert search.reward_tokens == pytest.approx(55 * search.reward_calls)
    assert search.usd == pytest.approx(0.001 * search.reward_calls)
    assert not any("reference" in text for text in shown)


def test_an_unreadable_rating_is_counted_and_worth_nothing(tmp_path: Path) -> None:
    mute = FunctionModel(lambda messages, sampling: "no idea", model="mute")
    found = run(
        tmp_path,
        DecideConfig(by=("weighted",), reward="judge", at=(16,)),
        judge=mute,
        examples=maze(2),
    )
    assert found["weighted", 16].unrated == 32


def test_an_answer_ends_at_max_tokens(tmp_path: Path) -> None:
    sampling = MAZE.model_copy(update={"max_tokens": 4})
    run(
        tmp_path,
        DecideConfig(by=("rebase",), reward=REWARD, at=(4,)),
        sampling=sampling,
        examples=maze(2),
    )
    taken = [item.attempt for item in tables.read_judged(tmp_path / "decided-maze.parquet")]
    assert [(a.finish, a.usage.tokens_out) for a in taken] == [("length", 4)] * 2


# With real models

DEMO = [
    e
    for family in ("sums", "logic")
    for e in draw(ProceduralConfig(generator=family, count=3, seed=5, size=(3, 4)))
]
STEPWISE = built_in()["step_by_step"]
DEMO_SAMPLING = SamplingConfig(samples=4, temperature=0.7, max_tokens=64)
DEMO_SEARCH = DecideConfig(
    by=("majority", "best_of_n", "weighted", "rebase"), at=(4,), separator=","
)


def demo_student() -> LocalModel:
    with recipe_path() as path:
        return LocalModel(
            LocalConfig(path=str(path.parent / "base"), chat_template="chatml"), device="cpu"
        )


async def search_the_demo(folder: Path, *, served: bool) -> dict[tuple[str, int], DecisionScore]:
    """Search with the student in this process, or behind a server."""
    student = demo_student()
    settings: Any = {"examples": DEMO, "sampling": DEMO_SAMPLING, "strategy": STEPWISE}
    try:
        if not served:
            return await search(folder, DEMO_SEARCH, student, **settings)
        async with chat_server(student) as url:
            endpoint = Endpoint(
                EndpointConfig(model="far", base_urls=(url,), continues=True), secrets={}
            )
            try:
                return await search(folder, DEMO_SEARCH, endpoint, **settings)
            finally:
                await endpoint.aclose()
    finally:
        await student.aclose()


def test_search_by_the_models_own_probability_is_the_same_over_http(
    tmp_path: Path,
) -> None:
    here = asyncio.run(search_the_demo(tmp_path / "here", served=False))
    assert asyncio.run(search_the_demo(tmp_path / "far", served=True)) == here
    assert here["rebase", 4].calls > 4
    assert here["rebase", 4].score.format_ok == 1.0
    taken = [
        item.attempt.text for item in tables.read_judged(tmp_path / "here" / "decided-maze.parquet")
    ]
    assert all("The answer is" in text for text in taken)


def test_a_server_that_refuses_to_continue_ends_the_search_with_its_message(tmp_path: Path) -> None:
    async def go() -> None:
        answers = Recordings({"*": {example.prompt: "turn 1\n\n" for example in maze(2)}})
        async with chat_server(Replay(answers, model="recorded")) as url:
            endpoint = Endpoint(
                EndpointConfig(model="recorded", base_urls=(url,), continues=True), secrets={}
            )
            try:
                config = DecideConfig(by=("rebase",), reward=REWARD, at=(2,))
                await search(tmp_path, config, endpoint, examples=maze(2))
            finally:
                await endpoint.aclose()

    with pytest.raises(
        StepError, match=r"recorded refuses to continue .* recorded cannot continue a text"
    ):
        asyncio.run(go())


# Refused settings


def test_a_model_that_cannot_continue_a_reply_is_refused_before_the_search() -> None:
    replay = Replay(Recordings({}), model="recorded")
    with pytest.raises(ConfigError, match="recorded is not known to do so"):
        DecideConfig(by=("rebase",)).require(replay)
    with pytest.raises(ConfigError, match="continues: true"):
        DecideConfig(by=("rebase",)).require(
            Endpoint(EndpointConfig(model="m", base_urls=("http://x/v1",)), secrets={})
        )
    DecideConfig(by=("weighted",)).require(replay)


def test_a_model_that_gives_no_log_probabilities_cannot_be_rewarded_by_them(tmp_path: Path) -> None:
    silent = FunctionModel(lambda messages, sampling: "The answer is 1.", model="silent")
    with pytest.raises(StepError, match="needs the log-probability of each token"):
        run(tmp_path, DecideConfig(by=("weighted",)), silent, examples=maze(1))


def test_a_reward_outside_0_to_1_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="gives 7; a reward is a number from 0 to 1"):
        run(
            tmp_path,
            DecideConfig(by=("weighted",), reward="tests.evaluation.test_decide:seven"),
            examples=maze(1),
        )


def seven(example: Example, text: str) -> int:
    """Return a number that is not a reward."""
    return 7


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--decide", "voting", "--samples", "4"),
            "--decide: Input should be 'majority', 'best_of_n', 'weighted' or 'rebase'",
        ),
        (("--decide", "weighted", "--reward", "good"), "no reward named 'good'"),
        (
            ("--decide", "weighted", "--reward", "judge", "--samples", "4", "--temperature", "1"),
            "name one with --judge",
        ),
    ],
)
def test_wrong_flags_are_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    fails(
        tmp_path,
        "evaluate",
        "--model",
        "orcinus.pipeline.demo:teacher",
        "--benchmark",
        "gsm8k",
        "--data",
        ".",
        *arguments,
        says=says,
    )


@pytest.mark.parametrize("changes", [{"samples": 1}, {"temperature": 0.0}])
def test_there_must_be_different_samples_to_choose_among(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs several answers that differ"):
        DecideConfig(by=("majority",)).sampling(MAZE.model_copy(update=changes))
    with pytest.raises(ConfigError, match=r"must lie between 1 and sampling\.samples, 16"):
        DecideConfig(by=("majority",), at=(17,)).sampling(MAZE)


# In a recipe


def test_a_recipe_decides_for_every_arm_of_the_student_and_reports_the_cost(
    tmp_path: Path,
) -> None:
    evaluated = {
        "per_task": 2,
        "arms": ["before", "after", "teacher"],
        "sampling": {"max_tokens": 8, "samples": 2, "temperature": 1.0},
        "decide": {"by": ["weighted", "rebase"], "separator": ",", "steps": 2},
    }
    path = write_recipe(tmp_path / "recipe.yaml", evaluate=evaluated)
    runtime = Runtime(
        workspace=tmp_path / "runs", ledger_path=tmp_path / "runs" / "ledger.sqlite", device="cpu"
    )
    folder = asyncio.run(run_recipe(load_recipe(path), path, runtime, Silent()))
    scores = json.loads(next(folder.glob("evaluate-*/scores.json")).read_bytes())
    ways = [("weighted", 1), ("weighted", 2), ("rebase", 1), ("rebase", 2)]
    assert {
        arm: [(row["by"], row["n"]) for row in rows] for arm, rows in scores["decided"].items()
    } == {
        "before": ways,
        "after": ways,
    }
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert ["rebase", "2"] in [row[1:3] for row in table_rows(page)]
    assert "Right answers against written tokens a question" in page


def test_a_recipe_whose_reward_is_a_judge_needs_one(tmp_path: Path) -> None:
    decided = {
        "sampling": {"samples": 2, "temperature": 1.0},
        "decide": {"by": "weighted", "reward": "judge"},
    }
    with pytest.raises(
        ConfigError, match=r"evaluate\.decide\.reward is judge, and the recipe has no judge"
    ):
        load_recipe(write_recipe(tmp_path / "recipe.yaml", evaluate=decided))
    judge = {"kind": "function", "function": "tests.evaluation.test_decide:critic"}
    load_recipe(write_recipe(tmp_path / "recipe.yaml", evaluate=decided, judge=judge))
