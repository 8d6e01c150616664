"""An assistant that plans and runs recipes, with the official client where it is installed."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import write_recipe

from orcinus.core.errors import ConfigError
from orcinus.pipeline.mcp_server import Tools

PAID = {"kind": "endpoint", "model": "m", "base_urls": ["http://127.0.0.1:9/v1"]}
PRICE = {"input": 1.0, "output": 2.0}


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[Tools]:
    made = Tools(tmp_path / "runs", budget_usd=1.0)
    yield made
    made.close()


def refusal(tools: Tools, recipe: Path) -> str:
    with pytest.raises(ConfigError) as error:
        asyncio.run(tools.run(str(recipe)))
    return str(error.value)


def test_a_run_of_a_paid_model_needs_a_budget_within_that_of_the_server(
    tools: Tools, tmp_path: Path
) -> None:
    def recipe(name: str, **teacher: Any) -> Path:
        budget = {"budget": {"usd": teacher.pop("usd")}} if "usd" in teacher else {}
        path = tmp_path / f"{name}.yaml"
        return write_recipe(path, name=name, teacher=PAID | teacher, **budget)

    assert "(teacher: m) and has no budget" in refusal(tools, recipe("a", price=PRICE))
    assert "has no budget" in refusal(tools, recipe("b"))  # a price that is not known
    too_much = recipe("c", usd=2.0, price=PRICE)
    assert "may spend $2.00 and other runs $0.00" in refusal(tools, too_much)
    first = load(recipe("d", usd=0.6, price=PRICE))
    tools._reserve(first)
    tools._reserve(first)  # the same run again has the same budget
    second = recipe("e", usd=0.5, price=PRICE)
    assert "may spend $0.50 and other runs $0.60" in refusal(tools, second)
    tools._reserve(load(recipe("f", price={"input": 0, "output": 0})))  # a server of one's own


def test_the_models_that_write_tasks_are_paid_too_and_a_lower_budget_frees_nothing(
    tools: Tools, tmp_path: Path
) -> None:
    authored = {"authored": {"by": "writer", "topics": ["tides", "tiles", "ties"]}, "name": "a"}
    changes = {"models": {"writer": PAID | {"price": PRICE}}, "tasks": [authored]}
    path = write_recipe(tmp_path / "a.yaml", **changes)
    assert "(writer: m) and has no budget" in refusal(tools, path)
    for usd in (0.8, 0.1):  # what the first start spent is not given back
        tools._reserve(
            load(write_recipe(path, teacher=PAID | {"price": PRICE}, budget={"usd": usd}))
        )
    second = write_recipe(
        tmp_path / "b.yaml", name="b", teacher=PAID | {"price": PRICE}, budget={"usd": 0.3}
    )
    assert "may spend $0.30 and other runs $0.80" in refusal(tools, second)


def test_a_recipe_is_read_once_and_runs_as_it_was_checked(tools: Tools, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "a.yaml", tasks=[{"path": "rows.jsonl"}], budget={"usd": 0.5})
    rows = ({"prompt": f"What is {n} + 1?", "reference": str(n + 1)} for n in range(60))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert asyncio.run(tools.plan(str(path)))["calls"] > 10
    planned = path.read_bytes()
    write_recipe(path, tasks=[{"path": "rows.jsonl"}], budget={"usd": 0.9})
    assert "has changed since it was planned; call plan again" in refusal(tools, path)

    path.write_bytes(planned)
    asyncio.run(tools.run(str(path), until="sample"))
    write_recipe(path, tasks=[{"path": "rows.jsonl"}], budget={"usd": 0.9})  # before it is read
    assert tools._processes["small"].wait() == 0
    assert (tmp_path / "runs" / "small" / "recipe.yaml").read_bytes() == planned
    assert "unknown key" in refusal(tools, write_recipe(tmp_path / "c.yaml", bugdet={"usd": 1}))
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/c.yaml:\d+: unknown key"):
        tools._read(str(tmp_path / "c.yaml"))


def load(path: Path) -> Any:
    from orcinus.pipeline.recipe_file import load_recipe

    return load_recipe(path)


def test_the_official_client_plans_runs_and_looks(tmp_path: Path) -> None:
    pytest.importorskip("mcp.server.mcpserver", reason="needs the extra mcp")
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    write_recipe(tmp_path / "small.yaml")
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "orcinus", "mcp"],
        cwd=tmp_path,
        env=dict(os.environ),
    )

    async def talk() -> None:
        async with Client(stdio_client(server)) as client:
            listed = await client.list_tools()
            assert [tool.name for tool in listed.tools] == ["plan", "run", "status", "show"]

            async def call(name: str, **arguments: Any) -> Any:
                done = await client.call_tool(name, arguments)
                text = done.content[0].text
                return text if done.is_error else json.loads(text)

            planned = await call("plan", recipe="small.yaml")
            assert planned["calls"] > 100
            assert planned["usd_high"] == 0
            assert "no run at nothing" in await call("status", run="nothing")
            started = await call("run", recipe="small.yaml", until="sample")
            assert started == {"run": "small", "state": "started"}
            while "exit_code" not in (found := await call("status", run="small")):
                await asyncio.sleep(0.2)
            assert found["exit_code"] == 0
            assert [step["step"] for step in found["steps"]] == ["sample"]

    asyncio.run(talk())
