"""A server of one's own publishes which student answers; the ledger tells students apart by it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orcinus.core.errors import ConfigError
from orcinus.core.requests import chat_request
from orcinus.core.types import Message, Request, Sampling
from orcinus.models.function import FunctionConfig
from orcinus.models.local.config import folder_identity
from orcinus.models.local.trained import trained_system, write_trained
from orcinus.models.remote.endpoint import EndpointConfig
from orcinus.models.server.chat_api import chat_server
from orcinus.pipeline.model_argument import folder_name, model_config
from orcinus.pipeline.recipe_file import parse_recipe
from orcinus.pipeline.run import with_revisions
from orcinus.runs.ledger import attempt_id


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
            found.append((await with_revisions(recipe, {})).teacher)
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
