"""The doctor's call to each endpoint of a recipe."""

import asyncio
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from tests.conftest import write_recipe

from orcinus.models.server.sockets import socket_server
from orcinus.pipeline.doctor import EXTRAS, INSTALL, Finding, examine
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import load_recipe

ROOT = Path(__file__).parents[2]


def recipe(path: Path, port: int, role: str, **changes: Any) -> Recipe:
    model = {"kind": "endpoint", "model": "m", "base_urls": [f"http://127.0.0.1:{port}/v1"]}
    assist = {"assist": {"sampling": {"max_tokens": 33}}} if role == "assistant" else {}
    return load_recipe(write_recipe(path, **{role: {**model, **changes}}, **assist))


def asked(
    tmp_path: Path, role: str = "teacher", **changes: Any
) -> tuple[list[Finding], list[dict[str, Any]]]:
    bodies: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"POST" in head:
                length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
                bodies.append(json.loads(await reader.readexactly(length)))
            content = b'{"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}]}'
            status = 200
            if b"POST" in head and "max_tokens" in bodies[-1]:
                status = 400
                content = b'{"error": {"message": "Unsupported parameter: max_tokens"}}'
            start = f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode()
            writer.write(start + content)
            await writer.drain()

    async def go() -> list[Finding]:
        async with socket_server(serve) as port:
            loaded = recipe(tmp_path / "r.yaml", port, role, **changes)
            return await examine(tmp_path, loaded, {}, ask=True)

    return asyncio.run(go()), bodies


def test_a_refused_parameter_is_a_problem_before_any_run(tmp_path: Path) -> None:
    findings, bodies = asked(tmp_path)
    problems = [found.detail for found in findings if found.state == "problem"]
    assert len(bodies) == len(problems) == 2
    assert all("set teacher.max_tokens_field: max_completion_tokens" in said for said in problems)


def test_one_call_for_each_step_that_asks_the_teacher(tmp_path: Path) -> None:
    findings, bodies = asked(tmp_path, max_tokens_field="max_completion_tokens")
    calls = [found for found in findings if found.what.startswith("call to the teacher as in")]
    assert [found.state for found in calls] == ["ok", "ok"]
    assert [body["max_completion_tokens"] for body in bodies] == [64, 8]


def test_the_assistant_is_asked_as_its_own_step_asks_it(tmp_path: Path) -> None:
    findings, bodies = asked(tmp_path, "assistant", max_tokens_field="max_completion_tokens")
    calls = [found.what for found in findings if found.what.startswith("call to")]
    assert calls == ["call to the assistant as in assist"]
    assert [body["max_completion_tokens"] for body in bodies] == [33]


def test_every_extra_is_listed_and_the_missing_ones_have_one_install_line(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(EXTRAS) == set(project["optional-dependencies"]) - {"docs", "dev"}
    findings = {found.what: found for found in asyncio.run(examine(tmp_path, None, {}))}
    states = {name: findings[f"extra {name}"].state for name in EXTRAS}
    assert states["train"] == "ok"
    missing = [name for name, state in states.items() if state == "missing"]
    if missing:
        assert f"[{','.join(missing)}]" in findings[INSTALL].detail
    else:
        assert INSTALL not in findings
    assert {"vllm", "tensorboard", "mlflow", "wandb", "trackio", "llama.cpp"} <= set(findings)


def test_the_page_on_installing_has_the_same_extras() -> None:
    page = (ROOT / "docs/install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+) \|", page, flags=re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == set(EXTRAS)
