"""Check a machine: installed extras, devices, free disk and, for a recipe, endpoints and keys.

extra train   ok        torch 2.8.0, transformers 5.2.0 …
key for gpt   problem   OPENAI_API_KEY is not set: export OPENAI_API_KEY=…
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import RequestError

from orcinus.core.errors import OrcinusError
from orcinus.core.requests import chat_request
from orcinus.core.secrets import shown_name
from orcinus.core.types import Message, Sampling
from orcinus.models.local.config import LocalConfig
from orcinus.models.open import open_completer
from orcinus.models.remote.endpoint import EndpointConfig
from orcinus.pipeline.recipe import Recipe

State = Literal["ok", "missing", "problem"]
_EXTRAS = {
    "train": ("torch", "transformers", "accelerate", "peft", "safetensors"),
    "hub": ("datasets", "fsspec"),
    "s3": ("s3fs", "aiohttp"),
    "view": ("duckdb", "starlette", "uvicorn"),
    "gym": ("reasoning_gym",),
    "ray": ("ray",),
}
"""The packages that each extra installs."""
LOW_DISK_BYTES = 2 * 2**30
"""Bytes. Less than two small checkpoints: a run would stop with a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor's report."""

    what: str
    state: State
    detail: str


async def examine(
    workspace: Path,
    recipe: Recipe | None,
    environment: Mapping[str, str],
    base: Path = Path(),
) -> list[Finding]:
    """Check this machine and, with a recipe, its endpoints, keys and local models.

    No remote model is called. A local one is read and compared with its own ``generate``.

    Args:
        workspace: Folder of the runs.
        recipe: The recipe; None checks the machine alone.
        environment: Where keys are looked up.
        base: Folder where the recipe's relative paths start.
    """
    findings = [*_packages(), *_devices(), _disk(workspace)]
    models = (
        [] if recipe is None else [recipe.teacher, recipe.assistant, recipe.judge, recipe.student]
    )
    for model in models:
        if isinstance(model, EndpointConfig):
            findings.extend(_key(model, environment))
            findings += await asyncio.gather(*(_reachable(url) for url in model.base_urls))
        elif isinstance(model, LocalConfig):
            findings.append(await _answers(model, base))
    return findings


def _packages() -> list[Finding]:
    findings = []
    for extra, packages in _EXTRAS.items():
        missing = [name for name in packages if find_spec(name) is None]
        if missing:
            detail = f"without {', '.join(missing)}: pip install 'orcinus[{extra}]'"
            findings.append(Finding(what=f"extra {extra}", state="missing", detail=detail))
        else:
            findings.append(Finding(what=f"extra {extra}", state="ok", detail=_versions(packages)))
    return findings


def _versions(packages: tuple[str, ...]) -> str:
    found = []
    for name in packages:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(name)
    return ", ".join(found)


def _devices() -> list[Finding]:
    if find_spec("torch") is None:
        return []
    import torch

    if not torch.cuda.is_available():
        return [
            Finding(
                what="device",
                state="ok",
                detail=f"cpu, {torch.get_num_threads()} threads; no CUDA device",
            )
        ]
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(
            Finding(
                what=f"cuda:{index}",
                state="ok",
                detail=f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB",
            )
        )
    return found


def _disk(workspace: Path) -> Finding:
    existing = next(
        path for path in (workspace.resolve(), *workspace.resolve().parents) if path.exists()
    )
    free = shutil.disk_usage(existing).free
    state: State = "problem" if free < LOW_DISK_BYTES else "ok"
    return Finding(what="disk", state=state, detail=f"{free / 2**30:.1f} GiB free at {existing}")


async def _answers(config: LocalConfig, base: Path) -> Finding:
    """Check that a local model can be read, and that it is decoded as its ``generate`` does."""
    notes: list[str] = []
    what = f"model {config.path}"
    try:
        model = open_completer(config, base=base, device="auto", secrets={}, note=notes.append)
        try:
            question = (Message(role="user", content="?"),)
            await model.complete(chat_request(question, Sampling(max_tokens=1)))
        finally:
            await model.aclose()
    except OrcinusError as error:
        return Finding(what=what, state="problem", detail=str(error))
    detail = "; ".join(notes) or "answers as its own generate does"
    return Finding(what=what, state="ok", detail=detail)


def _key(model: EndpointConfig, environment: Mapping[str, str]) -> list[Finding]:
    if model.api_key_env is None:
        return []
    if environment.get(model.api_key_env):
        return [
            Finding(what=f"key for {model.model}", state="ok", detail=f"{model.api_key_env} is set")
        ]
    name = shown_name(model.api_key_env)
    detail = f"{name} is not set: export {name}=…"
    return [Finding(what=f"key for {model.model}", state="problem", detail=detail)]


async def _reachable(base_url: str) -> Finding:
    """Check that a server answers at ``base_url``; an answer without a key may be a refusal."""
    try:
        async with ClientBuilder().build() as client:
            response = await asyncio.wait_for(
                client.get(f"{base_url.rstrip('/')}/models").build().send(), timeout=10
            )
            return Finding(what=base_url, state="ok", detail=f"answers (HTTP {response.status})")
    except (RequestError, TimeoutError) as error:
        detail = str(error).splitlines()[0] or type(error).__name__
        return Finding(what=base_url, state="problem", detail=f"cannot be reached: {detail}")
