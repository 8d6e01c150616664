"""Check a machine: installed extras, devices, free disk and, for a recipe, endpoints and keys.

ok       extra train   torch 2.8.0, transformers 5.2.0 …
missing  extra view    the runs in the browser
problem  key for gpt   OPENAI_API_KEY is not set: export OPENAI_API_KEY=…
"""

import asyncio
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from orcinus.core.errors import CompleterError, ConfigError, OrcinusError, install_command
from orcinus.core.requests import chat_request
from orcinus.core.secrets import shown_name
from orcinus.core.types import Message, Sampling
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.to_gguf import FOLDER_VARIABLE, find_converter
from orcinus.models.open import open_completer
from orcinus.models.remote.endpoint import Endpoint
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.refusals import without_password
from orcinus.models.remote.wire import Patience, Wire
from orcinus.pipeline.recipe import Recipe
from orcinus.training.config import TrainConfig
from orcinus.training.trackers import TRACKERS

State = Literal["ok", "missing", "problem"]
EXTRAS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "train": (
        "local models and training",
        ("torch", "transformers", "accelerate", "peft", "safetensors", "gguf"),
    ),
    "view": ("the runs in the browser", ("duckdb", "starlette", "uvicorn")),
    "hub": ("data sets of the Hugging Face hub", ("datasets", "fsspec")),
    "s3": ("files on S3 or the web", ("s3fs", "aiohttp")),
    "sandbox": ("answers that are programs", ("pydantic_monty",)),
    "documents": ("questions about HTML and PDF documents", ("bs4", "pypdf")),
    "schema": ("answers that must fit a JSON Schema", ("jsonschema",)),
    "language": ("a filter by language", ("py3langid",)),
    "gym": ("reasoning-gym's questions", ("reasoning_gym",)),
    "environments": ("verifiers environments", ("verifiers",)),
    "ifeval": ("IFEval's checks", ("lm_eval", "langdetect", "immutabledict", "nltk")),
    "mcp": ("an assistant drives orcinus", ("mcp",)),
    "otel": (
        "counters through OpenTelemetry",
        ("opentelemetry.distro", "opentelemetry.exporter.otlp.proto.http"),
    ),
    "ray": ("a Ray cluster", ("ray",)),
}
"""What each extra of the package is for, and the modules that it installs."""
_OTHERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "vllm": ("the student answers faster on a GPU", ("vllm",)),
    "xllamacpp": ("`server: llama.cpp`: the student answers behind llama.cpp", ("xllamacpp",)),
    **{name: (f"`report_to: {name}` under train.trainer", (name,)) for name in TRACKERS},
}
"""Packages that orcinus uses where they are installed: what for, and their modules."""
INSTALL = "install"
"""Name of the finding whose detail is the command that adds every missing extra."""
ASK = "What is 2 + 2?"
"""The question of the doctor's call."""
LONGEST_S = 10.0
"""Seconds to wait for the list of a server's models."""
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
    *,
    ask: bool = False,
) -> list[Finding]:
    """Check this machine and, with a recipe, its endpoints, keys and local models.

    A local model is read and compared with its own ``generate``.

    Args:
        workspace: Folder of the runs.
        recipe: The recipe; None checks the machine alone.
        environment: Values of the variables that the recipe names for keys.
        base: Folder where the recipe's relative paths start.
        ask: Make one call to each endpoint, with the sampling of each step that asks it. False
            calls no remote model.
    """
    findings = [*_packages(environment), *_devices(), _disk(workspace)]
    for role in () if recipe is None else (*recipe.paid_roles, "student"):
        model = None if recipe is None else recipe.model_of(role)
        if isinstance(model, LocalConfig):
            findings.append(await _answers(model, base))
        if not isinstance(model, EndpointConfig):
            continue
        keys = _key(model, environment)
        findings += keys
        findings += await asyncio.gather(*(_reachable(url) for url in model.base_urls))
        if ask and recipe is not None and all(found.state == "ok" for found in keys):
            findings += await _call(role, model, recipe, environment)
    if recipe is not None and isinstance(recipe.student, LocalConfig):
        findings.append(await _training(recipe.train.at(base), recipe.student.at(base)))
    return findings


async def _call(
    role: str, model: EndpointConfig, recipe: Recipe, environment: Mapping[str, str]
) -> list[Finding]:
    """Make one call for each kind of sampling that the model is asked with."""
    steps = {
        "teacher": {"teach": recipe.teach.sampling},
        "assistant": {"assist": recipe.assist.sampling},
        "judge": {"judging": recipe.judging.sampling},
    }.get(role, {})
    for task in recipe.authored_tasks:
        authored = task.authored
        if role in (authored.by, *authored.controls):
            steps["author"] = authored.sampling
        elif role == authored.solver:
            steps["author"] = authored.solving
    if role == "teacher" and "teacher" in recipe.evaluate.arms:
        steps["evaluate"] = recipe.evaluate.sampling
    once = model.model_copy(update={"patience": model.patience.model_copy(update={"tries": 2})})
    findings = []
    for step, sampling in steps.items():
        what = f"call to the {role} as in {step}"
        question = (Message(role="system", content="Be brief."), Message(role="user", content=ASK))
        request = chat_request(question, sampling.sampling(0, recipe.seed))
        try:
            endpoint = Endpoint(once, secrets=environment, entry=role)
            try:
                found = await endpoint.complete(request)
            finally:
                await endpoint.aclose()
        except (CompleterError, ConfigError) as error:
            findings.append(Finding(what=what, state="problem", detail=str(error)))
            continue
        detail = (
            f"{found.latency_s:.1f} s, {found.usage.tokens_out:,} tokens, finish {found.finish}"
        )
        cost = f", ${found.cost_usd:.6f}" if found.cost_usd else ""
        findings.append(Finding(what=what, state="ok", detail=detail + cost))
    return findings


def _packages(environment: Mapping[str, str]) -> list[Finding]:
    extras = [_package(f"extra {name}", *about) for name, about in EXTRAS.items()]
    findings = [*extras, *(_package(name, *about) for name, about in _OTHERS.items())]
    clone = environment.get(FOLDER_VARIABLE)
    if converter := find_converter(Path(clone) if clone else None):
        findings.append(Finding(what="llama.cpp", state="ok", detail=" ".join(converter)))
    else:
        detail = "`orcinus export --format gguf`; the command says how to install it"
        findings.append(Finding(what="llama.cpp", state="missing", detail=detail))
    missing = [name for name, found in zip(EXTRAS, extras, strict=True) if found.state != "ok"]
    if missing:
        command = install_command(",".join(missing))
        findings.append(Finding(what=INSTALL, state="missing", detail=command))
    return findings


def _package(what: str, purpose: str, modules: tuple[str, ...]) -> Finding:
    """Return whether the modules of an extra or a package are installed."""
    missing = [name for name in modules if not _is_installed(name)]
    if not missing:
        return Finding(what=what, state="ok", detail=_versions(modules))
    without = f" (lacks {', '.join(missing)})" if len(missing) < len(modules) else ""
    return Finding(what=what, state="missing", detail=purpose + without)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # a parent of a dotted name
        return False


def _versions(modules: tuple[str, ...]) -> str:
    found = []
    for name in modules:
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
        from orcinus.models.local.arithmetic import FAST, bfloat16_cost

        cost = bfloat16_cost()
        times = f"{cost:.0f}" if cost >= 10 else f"{cost:.2g}"
        pays = "; `dtype: bfloat16` and `precision: bfloat16` pay" if cost <= FAST else ""
        detail = (
            f"cpu, {torch.get_num_threads()} threads; no CUDA device; "
            f"bfloat16 takes {times} times as long as float32{pays}"
        )
        return [Finding(what="device", state="ok", detail=detail)]
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


async def _training(config: TrainConfig, student: LocalConfig) -> Finding:
    """Check that the student's loss in training is its own."""
    what = f"training {student.path}"
    if find_spec("torch") is None or find_spec("transformers") is None:
        return Finding(what=what, state="missing", detail=install_command("train"))
    from orcinus.training.check import check_training

    try:
        notes = await asyncio.to_thread(check_training, config, student, "auto")
    except OrcinusError as error:
        return Finding(what=what, state="problem", detail=str(error))
    detail = "; ".join(["loss and gradient are those of its own forward pass", *notes])
    return Finding(what=what, state="ok", detail=detail)


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
    patience = Patience(connect_s=LONGEST_S, silence_s=LONGEST_S, total_s=LONGEST_S)
    wire = Wire(headers={}, secret_headers_env={}, api_key_env=None, patience=patience, secrets={})
    shown = without_password(base_url)
    try:
        await wire.exchange("GET", f"{base_url.rstrip('/')}/models")
    except CompleterError as error:
        said = str(error).partition(": ")[2]
        if error.kind in ("connection", "timeout") or " redirects " in said:
            return Finding(what=shown, state="problem", detail=said)
        return Finding(what=shown, state="ok", detail=f"answers ({said.partition(':')[0]})")
    finally:
        await wire.aclose()
    return Finding(what=shown, state="ok", detail="answers (HTTP 200)")
