"""Turn what a user calls a model into its configuration.

http://localhost:8000/v1     an endpoint           Qwen/Qwen3-0.6B, ./my-model   a local model
run:NAME, runs/NAME          a run's student
my_module:answer, answer     a function            judge.yaml, {"kind": …}       a configuration
"""

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orcinus.core.config import Config
from orcinus.core.errors import CompleterError, ConfigError
from orcinus.models.configs import ModelConfig
from orcinus.models.function import FunctionConfig
from orcinus.models.local.config import LocalConfig
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.published import served_models, with_revision
from orcinus.models.roles import trained_student
from orcinus.pipeline.recipe_file import parse_model, read_model
from orcinus.runs import layout

ModelArgument = str | Path | Mapping[str, Any] | Config | Callable[..., Any]


async def model_config(
    model: ModelArgument,
    *,
    secrets: Mapping[str, str],
    served_as: str | None = None,
    api_key_env: str | None = None,
    runs: Path = Path("runs"),
) -> ModelConfig:
    """Return the configuration of a model.

    Args:
        model: A URL up to ``/v1``, the folder or hub id of a Hugging Face model, ``run:NAME`` or a
            run's folder (its trained student), ``module:function``, a YAML file, a mapping as under
            ``teacher:`` in a recipe, a configuration, or a function.
        secrets: Values of the environment variables that a configuration may name.
        served_as: Name of the model at its URL; None asks the endpoint which one it serves.
        api_key_env: Name of the variable that contains the URL's key.
        runs: Folder of the runs.

    Raises:
        ConfigError: It is none of these, or the endpoint serves several models.
    """
    if isinstance(model, Mapping):
        return parse_model(named_functions(model))
    if isinstance(model, EndpointConfig | LocalConfig | FunctionConfig):
        return model
    if isinstance(model, Config):
        return parse_model(model.model_dump())
    if callable(model):
        return parse_model(named_functions({"kind": "function", "function": model}))
    text = str(model)
    if text.startswith(("http://", "https://")):
        name = served_as or await _only_model(text, api_key_env, secrets)
        endpoint = parse_model(
            {
                "kind": "endpoint",
                "model": name,
                "base_urls": [text],
                "api_key_env": api_key_env,
            }
        )
        if isinstance(endpoint, EndpointConfig):
            endpoint = await with_revision(endpoint, secrets)
        return endpoint
    if served_as is not None:
        raise ConfigError(f"{text}: only a model at a URL is served under a name")
    if text.endswith((".yaml", ".yml")):
        return read_model(Path(text))
    student = _student_of_run(text, runs)
    if student is not None:
        return student
    if re.fullmatch(r"[\w.]+:\w+", text) and not Path(text).exists():
        return parse_model({"kind": "function", "function": text})
    return LocalConfig(path=text)


def named_functions(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a model's section with a function replaced by its place and version."""
    function = section.get("function")
    if not callable(function):
        return section
    return {"version": version_of(function), **section, "function": place_of(function)}


def place_of(function: Callable[..., Any]) -> str:
    """Return ``module:name`` of a function.

    Raises:
        ConfigError: It has no name at the top level of a module.
    """
    module = getattr(function, "__module__", None)
    name = getattr(function, "__qualname__", "<unnamed>")
    if module is None or "<" in name:
        raise ConfigError(f"{name} cannot be found by name; define it at the top level of a module")
    return f"{module}:{name}"


def version_of(function: Callable[..., Any]) -> str:
    """Return a hash of a function's source: an edited function is asked again.

    Changes in the functions that it calls are not seen.
    """
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):  # typed into an interpreter that keeps no source
        return "1"
    return hashlib.sha256(source.encode()).hexdigest()[:8]


def folder_name(model: ModelConfig) -> str:
    """Return a name for the folder of a model's results, another one for each model.

    A run's student is named by its run and its training, any other folder by its name and place,
    and an endpoint by its model and revision.
    """
    if isinstance(model, LocalConfig) and Path(model.path).is_dir():
        folder = Path(model.path).resolve()
        trained, run = folder.parent, folder.parent.parent
        if (run / layout.RECIPE).is_file():
            text = f"{run.name}-{trained.name}-{folder.name}"
        else:
            text = f"{folder.name}-{hashlib.sha256(str(folder).encode()).hexdigest()[:6]}"
    elif isinstance(model, EndpointConfig):
        text = model.known_as()
    else:
        text = str(
            getattr(model, "path", None)
            or getattr(model, "model", None)
            or getattr(model, "function", model.kind)
        )
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-") or "model"


async def _only_model(url: str, api_key_env: str | None, secrets: Mapping[str, str]) -> str:
    """Return the name of the only model that an endpoint serves."""
    served: dict[str, str | None] = {}
    try:
        served = await served_models(url, api_key_env, secrets)
    except CompleterError as error:
        if error.kind in ("connection", "timeout", "auth") or " redirects " in str(error):
            raise ConfigError(str(error)) from error
    if len(served) != 1:
        listed = (
            f"it serves {', '.join(list(served)[:8])}"
            if served
            else "it does not say which models it serves"
        )
        raise ConfigError(f"{url}: {listed}; name one (--served-as, or the key model)")
    return next(iter(served))


def _student_of_run(text: str, runs: Path) -> LocalConfig | None:
    """Return the trained student of ``run:NAME`` or of a run's folder; None for anything else.

    Raises:
        ConfigError: There is no such run, or it has not trained a student.
    """
    if text.startswith("run:"):
        folder = runs / text.removeprefix("run:")
        if not (folder / layout.RECIPE).is_file():
            raise ConfigError(f"{text}: there is no run {folder}")
    else:
        folder = Path(text)
        if not (folder / layout.RECIPE).is_file():
            return None
    return trained_student(folder)[0]
