"""A server of one's own publishes which student answers; the ledger tells students apart by it."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from orcinus.core.errors import ConfigError
from orcinus.core.requests import chat_request
from orcinus.core.types import Message, Request, Sampling
from orcinus.models.function import FunctionConfig
from orcinus.models.local import config
from orcinus.models.local.config import folder_identity
from orcinus.models.local.trained import trained_system, write_trained
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.server.chat_api import chat_server
from orcinus.pipeline.model_argument import folder_name, model_config
from orcinus.pipeline.recipe_file import parse_recipe
from orcinus.pipeline.run import run_recipe, with_revisions
from orcinus.runs.context import Runtime, Silent
from orcinus.runs.ledger_records import attempt_id


def reply(request: Request) -> str:
    return "4"


def identities(fingerprint: str | None) -> list[tuple[str, str]]:
    """Return the ledger's id of one question and the results' folder, asked in three ways."""

    async def go() -> list[Any]:
        answering = FunctionConfig(function=f"{__name__}:reply").open()
        async with chat_server(answering, name="student", fingerprint=fingerprint) as url:
            found: list[Any] = [
                await model_config(url, secrets={}),
                await model_config(url, secrets={}, served_as="student"),
            ]
            recipe = parse_recipe(
                {
                    "name": "r",
                    "tasks": [{"path": "x.jsonl"}],
                    "student": {"kind": "scratch"},
                    "teacher": {"kind": "endpoint", "model": "student", "base_urls": [url]},
                    "train": {"stages": [{"epochs": 1}]},
                }
            )
            found.append((await with_revisions(recipe, {}, Path("none"))).teacher)
            return found

    request = chat_request((Message(role="user", content="2 + 2?"),), Sampling())
    return [
        (attempt_id(request, config.known_as()), folder_name(config))
        for config in asyncio.run(go())
    ]


def test_another_student_under_the_same_name_is_another_model() -> None:
    first, second, silent = identities("aa11"), identities("bb22"), identities(None)
    assert len(set(first)) == len(set(second)) == len(set(silent)) == 1
    assert len({first[0], second[0], silent[0]}) == 3
    assert first[0][1] == "student-aa11"
    assert silent[0][1] == "student"


def test_a_revision_of_the_recipe_and_a_server_that_is_down_change_nothing() -> None:
    async def go(config: EndpointConfig) -> EndpointConfig:
        from orcinus.models.remote.published import with_revision

        return await with_revision(config, {})

    down = EndpointConfig(model="m", base_urls=("http://127.0.0.1:9/v1",))
    assert asyncio.run(go(down)) == down
    named = down.model_copy(update={"revision": "mine"})
    assert asyncio.run(go(named)) == named


def test_a_student_s_folder_carries_its_message_and_keeps_its_identity(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    before = folder_identity(tmp_path)
    assert trained_system(tmp_path) is None
    write_trained(tmp_path, "Be careful.")
    assert trained_system(tmp_path) == "Be careful."
    assert folder_identity(tmp_path) == before
    write_trained(tmp_path, "")
    assert trained_system(tmp_path) == ""
    (tmp_path / "orcinus.json").write_text('{"system"', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"orcinus\.json: is damaged"):
        trained_system(tmp_path)


def test_weights_are_hashed_once_and_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"one")
    config._digest_file.cache_clear()
    first = [folder_identity(tmp_path) for _ in range(9)]
    assert config._digest_file.cache_info().misses == 2
    (tmp_path / "model.safetensors").write_bytes(b"two")
    assert folder_identity(tmp_path) not in first
    (tmp_path / "model.safetensors").write_bytes(b"one")
    assert {folder_identity(tmp_path)} == set(first)


class Notes(Silent):
    """Keeps the lines of a run."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_a_server_that_is_off_has_the_revision_of_the_run_s_finished_steps(
    tmp_path: Path,
) -> None:
    config = EndpointConfig(model="m", base_urls=("http://127.0.0.1:9/v1",), omit=("seed",))
    for seconds, revision in enumerate(("old", "aa11")):
        known = {"teacher": config.model_copy(update={"revision": revision}).identity()}
        folder = tmp_path / f"teach-{revision}"
        folder.mkdir()
        finished = f"2026-01-01T00:00:0{seconds}+00:00"
        record = {"config": {"models": [known]}, "finished": finished}
        (folder / "step.json").write_bytes(orjson.dumps(record))
    recipe = parse_recipe(
        {
            "name": "r",
            "tasks": [{"path": "x.jsonl", "verifier": "judge"}],
            "student": {"kind": "scratch"},
            "teacher": config.model_dump(),
            "judge": {**config.model_dump(), "model": "another"},
            "train": {"stages": [{"epochs": 1}]},
        }
    )
    told: list[str] = []
    found: Any = asyncio.run(with_revisions(recipe, {}, tmp_path, told.append))
    assert (found.teacher.revision, found.judge.revision) == ("aa11", None)
    [line] = told
    assert line.startswith("http://127.0.0.1:9/v1 does not answer; m is taken to be")
    assert line.endswith("the revision aa11 that made teach-aa11")


@pytest.mark.slow
def test_a_finished_run_stays_done_when_its_server_is_off(tmp_path: Path) -> None:
    runtime = Runtime(workspace=tmp_path / "runs", ledger_path=tmp_path / "ledger.sqlite")

    async def run(url: str) -> tuple[set[str], list[str]]:
        recipe = parse_recipe(
            {
                "name": "r",
                "tasks": [{"generator": "sums", "count": 12, "size": [2, 3]}],
                "strategies": ["direct"],
                "student": {"kind": "scratch"},
                "teacher": {
                    "kind": "endpoint",
                    "model": "student",
                    "base_urls": [url],
                    "omit": ["seed"],
                    "patience": {"tries": 1},
                },
                "assign": {"fixed": "direct"},
                "train": {"stages": [{"epochs": 1}]},
            }
        )
        told = Notes()
        folder = await run_recipe(recipe, None, runtime, told, base=tmp_path, until="teach")
        return {path.name for path in folder.glob("*-*")}, told.lines

    async def go() -> None:
        answering = FunctionConfig(function=f"{__name__}:reply").open()
        async with chat_server(answering, name="student", fingerprint="aa11") as url:
            made, told = await run(url)
        assert not any("aa11" in line for line in told)
        again, told = await run("http://127.0.0.1:9/v1")
        assert again == made
        [line] = [line for line in told if "aa11" in line]
        assert line.startswith("http://127.0.0.1:9/v1 does not answer; student is taken to be")

    asyncio.run(go())
