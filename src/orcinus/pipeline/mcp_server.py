"""Let an assistant plan and run recipes through the Model Context Protocol (MCP).

    plan {"recipe": "recipe.yaml"}    ──►  calls, tokens, dollars; nothing is spent
    run {"recipe": "recipe.yaml"}     ──►  started in a process of its own, or refused
    status {"run": "sums"}            ──►  how far it is, what it spent, why it failed
    show {"run": "sums", "id": "3f"}  ──►  the history of an example, attempt or lesson

The person who starts the server sets the most that all its runs may spend together. Every run of a
model that costs money needs a ``budget.usd``, and the budgets add up to no more than that.

A recipe's file may change at any time. So the server reads it once, checks what it read, and runs a
copy of that. A recipe that has changed since it was planned is refused.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import ConfigError, MissingExtraError, OrcinusError, one_line
from orcinus.models.remote.endpoint_config import EndpointConfig, Price
from orcinus.pipeline import api
from orcinus.pipeline.recipe import Recipe
from orcinus.pipeline.recipe_file import load_recipe
from orcinus.runs import layout
from orcinus.runs.folders import modules_folder
from orcinus.runs.lookup import look_up
from orcinus.runs.status import run_status

Tool = Callable[..., Awaitable[dict[str, Any]]]
INSTRUCTIONS = (
    "orcinus teaches a small model to reason. Call plan before run: it shows calls and dollars. "
    "run starts a recipe and returns at once; ask status how far it is. A recipe that asks a paid "
    "model needs budget.usd."
)
GRACE_S = 60.0
"""Seconds that a run gets to save a checkpoint when the server ends. A step of training ends in
less."""


class Tools:
    """The tools of an assistant, and the runs that it has started."""

    def __init__(self, runs: Path, *, budget_usd: float, ledger: Path | None = None) -> None:
        """Take the limits.

        Args:
            runs: Folder of the runs.
            budget_usd: The most that the budgets of all started runs may add up to.
            ledger: The ledger; None is ``RUNS/ledger.sqlite``.
        """
        self._runs, self._budget_usd = runs, budget_usd
        self._ledger = ledger or runs / layout.LEDGER
        self._budgets: dict[str, float] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._planned: dict[Path, bytes] = {}
        self._copies = tempfile.TemporaryDirectory(prefix="orcinus-mcp-")

    async def plan(self, recipe: str) -> dict[str, Any]:
        """Show what a recipe (the path of a YAML file) would do and cost. Spends nothing."""
        _, copy = self._read(recipe)
        planned = await asyncio.to_thread(
            api.plan, copy, runs=self._runs, ledger=self._ledger, progress=False
        )
        self._planned[Path(recipe).resolve()] = copy.read_bytes()
        return _as_json(planned) | {
            "calls": planned.calls,
            "usd_low": planned.usd_low,
            "usd_high": planned.usd_high,
        }

    async def run(self, recipe: str, until: str | None = None) -> dict[str, Any]:
        """Start a recipe, or resume it where it stopped, and return at once.

        until is the last step to run; by default all are. What was paid for is never paid again.
        """
        content, copy = self._read(recipe)
        before = self._processes.get(content.name)
        if before is not None and before.poll() is None:
            raise ConfigError(f"{content.name} is running; ask status how far it is")
        if self._planned.get(Path(recipe).resolve(), copy.read_bytes()) != copy.read_bytes():
            raise ConfigError(f"{recipe} has changed since it was planned; call plan again")
        self._reserve(content)
        command = [sys.executable, "-m", "orcinus", "run", str(copy), "--runs", str(self._runs)]
        command += ["--ledger", str(self._ledger)]
        # Standard input and output carry the protocol, so the run gets neither.
        self._processes[content.name] = subprocess.Popen(
            command + ([] if until is None else ["--until", until]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        return {"run": content.name, "state": "started"}

    async def status(self, run: str) -> dict[str, Any]:
        """Show how far a run is: steps with results, time left, spending, and an error."""
        folder = api.load_run(run, runs=self._runs).folder
        found = _as_json(await asyncio.to_thread(run_status, folder, self._ledger))
        process = self._processes.get(folder.name)
        if process is not None and process.poll() is not None:
            found["exit_code"] = process.returncode
        return found

    async def show(self, run: str, id: str | None = None) -> dict[str, Any]:
        """Show what each step did with an example, an attempt or a lesson, and why.

        id is its id, or the beginning of one; without it, the first lesson is shown.
        """
        folder = api.load_run(run, runs=self._runs).folder
        return _as_json(await asyncio.to_thread(look_up, folder, id))

    def _read(self, recipe: str) -> tuple[Recipe, Path]:
        """Read a recipe once; return it and a copy of exactly that, in a folder of this server.

        The copy's relative paths start where those of the original do.

        Raises:
            ConfigError: It cannot be read, or is no recipe.
        """
        path = Path(recipe)
        if not path.is_file():
            load_recipe(path)  # says what is wrong
        folder = Path(tempfile.mkdtemp(dir=self._copies.name))
        copy = folder / path.name
        copy.write_bytes(path.read_bytes())
        (folder / layout.ORIGIN).write_text(str(modules_folder(path.resolve())), encoding="utf-8")
        try:
            return load_recipe(copy), copy
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(copy), recipe)) from error

    def _reserve(self, recipe: Recipe) -> None:
        """Count the budget of a run that can cost money, or the highest that the run ever had.

        Raises:
            ConfigError: It has no budget in dollars, or more than is left.
        """
        paid = ", ".join(_paid_models(recipe))
        if not paid:
            return
        cap = recipe.budget.usd
        if cap is None:
            raise ConfigError(
                f"{recipe.name} asks models that may cost money ({paid}) and has no budget; set "
                "budget.usd in the recipe"
            )
        cap = max(cap, self._budgets.get(recipe.name, 0.0))
        others = sum(usd for name, usd in self._budgets.items() if name != recipe.name)
        if others + cap > self._budget_usd:
            raise ConfigError(
                f"{recipe.name} may spend ${cap:,.2f} and other runs ${others:,.2f}, "
                f"more than the ${self._budget_usd:,.2f} that this server was started with; a "
                "person can restart it with a higher --budget-usd"
            )
        self._budgets[recipe.name] = cap

    def close(self) -> None:
        """Stop the runs that still go on; each keeps what has arrived and can be resumed."""
        going = [process for process in self._processes.values() if process.poll() is None]
        for process in going:
            process.terminate()
        for process in going:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._copies.cleanup()


def serve(tools: Tools) -> None:
    """Answer an MCP client on standard input and output until it leaves.

    Raises:
        MissingExtraError: The MCP SDK is not installed.
    """
    try:
        from mcp.server.mcpserver import MCPServer
        from mcp.server.mcpserver.exceptions import ToolError
    except ImportError as error:
        raise MissingExtraError("an MCP server", "mcp") from error
    server = MCPServer("orcinus", instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in (tools.plan, tools.run, tools.status, tools.show):
        server.add_tool(_telling_errors(tool, ToolError))
    try:
        server.run("stdio")
    finally:
        tools.close()


def _telling_errors(tool: Tool, error_of_sdk: type[Exception]) -> Tool:
    """Return ``tool`` with errors that a caller can fix in the form that the SDK passes on."""

    @wraps(tool)
    async def told(*arguments: Any, **options: Any) -> dict[str, Any]:
        try:
            return await tool(*arguments, **options)
        except OrcinusError as error:
            raise error_of_sdk(one_line(str(error))) from error

    return told


def _paid_models(recipe: Recipe) -> Iterator[str]:
    """Yield the role and name of each model that costs money, or whose price is not known."""
    for role in ("student", *recipe.paid_roles):
        config = recipe.model_of(role)
        if isinstance(config, EndpointConfig) and config.known_price() != Price():
            yield f"{role}: {config.model}"


def _as_json(value: Any) -> dict[str, Any]:
    """Return a dataclass as the JSON object that ``--json`` prints."""
    options = orjson.OPT_SERIALIZE_DATACLASS | orjson.OPT_NON_STR_KEYS
    content: dict[str, Any] = orjson.loads(orjson.dumps(value, option=options))
    return content
