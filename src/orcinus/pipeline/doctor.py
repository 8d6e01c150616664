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

from orcinus.models.remote.endpoint import EndpointConfig
from orcinus.pipeline.recipe import Recipe

State = Literal["ok", "missing", "problem"]
_EXTRAS = {
    "train": ("torch", "transformers", "accelerate", "peft", "safetensors"),
    "hub": ("datasets", "fsspec"),
    "s3": ("s3fs", "aiohttp"),
    "math": ("math_verify",),
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
    workspace: Path, recipe: Recipe | None, environment: Mapping[str, str]
) -> list[Finding]:
    """Check this machine and, with a recipe, its endpoints and keys. No model is called."""
    findings = [*_packages(), *_devices(), _disk(workspace)]
    models = (
        [] if recipe is None else [recipe.teacher, recipe.assistant, recipe.judge, recipe.student]
    )
    for model in models:
        if isinstance(model, EndpointConfig):
            findings.extend(_key(model, environment))
            findings += await asyncio.gather(*(_reachable(url) for url in model.base_urls))
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


def _key(model: EndpointConfig, environment: Mapping[str, str]) -> list[Finding]:
    if model.api_key_env is None:
        return []
    if environment.get(model.api_key_env):
        return [
            Finding(what=f"key for {model.model}", state="ok", detail=f"{model.api_key_env} is set")
        ]
    detail = f"{model.api_key_env} is not set: export {model.api_key_env}=…"
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
