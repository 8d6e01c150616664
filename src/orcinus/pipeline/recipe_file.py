"""Read a recipe from YAML, write one, and explain mistakes in one line.

    recipe.yaml with ``probes: {per_task: 3}``
    → recipe.yaml:6: unknown key 'probes'; did you mean 'probe'?

An error names the file, the line and the key and, for a misspelt key, the nearest one that exists.
"""

import difflib
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.registry import recipe_folder
from orcinus.core.secrets import remember_url
from orcinus.models.configs import JudgeConfig, ModelConfig
from orcinus.pipeline.recipe import Recipe, task_tag
from orcinus.runs import layout
from orcinus.runs.folders import modules_folder

KeyPath = tuple[str | int, ...]
"""Keys and list positions from the top of a file: ``("train", "stages", 0, "epochs")``."""
Lines = dict[KeyPath, int]
"""The line of each key, counted from 1; 0 where the value was not read from a file."""

DEEPEST = 50
"""Levels. A recipe needs 6; a YAML anchor that contains itself has no end."""
MOST_VALUES = 20_000
"""Values of a recipe. Aliases of aliases in 700 bytes of YAML stand for billions."""
LONGEST_BYTES = 4 * 2**20
"""Bytes of a recipe. The longest one of the project has 8 kB."""


def load_recipe(path: str | Path) -> Recipe:
    """Read and check a recipe.

    ``module:function`` in it may name a module beside the file; see ``core/registry.py``.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or a key or value is wrong. The message
            names file, line and key.
    """
    path = Path(path)
    lines: Lines = {}
    data = _to_python(_compose(path), (), lines, path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys, starting with name: and tasks:")
    recipe: Recipe = _validate(Recipe, data, lines, str(path), modules=modules_folder(path))
    return recipe


def parse_recipe(data: Mapping[str, Any], base: Path | None = None) -> Recipe:
    """Check a recipe that is given as plain Python values.

    ``module:function`` in it may name a module in the folder ``base``, by default the current one.

    Raises:
        ConfigError: A key or value is wrong. The message names the key.
    """
    recipe: Recipe = parse_section(Recipe, data, "recipe", base)
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as YAML that ``load_recipe`` reads back: every value that is no default."""
    return yaml.safe_dump(_differences(recipe), sort_keys=False, allow_unicode=True, width=100)


def read_model(path: Path) -> ModelConfig:
    """Read and check a model's section from a file of its own.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or a key or value is wrong. The message
            names file, line and key.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path}: there is no such file; a model's file contains what a recipe has under "
            "teacher:"
        )
    lines: Lines = {}
    data = _to_python(_compose(path), (), lines, path)
    model: ModelConfig = _validate(JudgeConfig, data, lines, str(path), modules=path.parent)
    return model


def parse_model(data: Mapping[str, Any]) -> ModelConfig:
    """Check a model's section that is given as plain Python values.

    Raises:
        ConfigError: A key or value is wrong. The message names the key.
    """
    model: ModelConfig = parse_section(JudgeConfig, data, "model")
    return model


def parse_section(shape: Any, data: Mapping[str, Any], name: str, base: Path | None = None) -> Any:
    """Check a section that is given as plain Python values.

    Args:
        shape: The type of the configuration.
        data: Its values.
        name: What to call it in messages.
        base: Folder in which ``module:function`` finds modules; None takes the current one.

    Raises:
        ConfigError: A key or value is wrong. The message names the key.
    """
    lines: Lines = {}
    _number_keys(data, (), lines)
    return _validate(shape, data, lines, name, modules=base or Path())


def _validate(shape: Any, data: Any, lines: Lines, source: str, *, modules: Path) -> Any:
    try:
        with recipe_folder(modules):
            return TypeAdapter(shape).validate_python(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, shape, lines, source)) from error


def _number_keys(value: Any, at: KeyPath, lines: Lines) -> None:
    """Give every key of plain values the line 0, as ``_to_python`` gives it its line in a file."""
    lines[at] = 0
    if isinstance(value, Mapping):
        for key, item in value.items():
            _number_keys(item, (*at, key), lines)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _number_keys(item, (*at, i), lines)


def _differences(value: Any) -> Any:
    """Return plain values that say how a configuration differs from its defaults."""
    if isinstance(value, Config):
        fields = type(value).model_fields
        return {
            name: _differences(item)
            for name, item in value
            # ``kind`` tells the kinds of a section apart, so it is always written.
            if name == "kind" or item != fields[name].get_default(call_default_factory=True)
        }
    if isinstance(value, Mapping):
        return {key: _differences(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_differences(item) for item in value]
    return value


# --- YAML


def _compose(path: Path) -> yaml.Node:
    if path.suffix.lower() in _DATA_SUFFIXES:
        raise ConfigError(
            f"{path}: rows of data, and no recipe; `orcinus init` writes a recipe, which names "
            f"them under tasks: [{{path: {path.name}}}]"
        )
    if path.is_dir():
        inside = path / layout.RECIPE
        hint = f"that is a run; its recipe is {inside}" if inside.is_file() else "name a file in it"
        raise ConfigError(f"{path}: a folder, and no recipe; {hint}")
    try:
        if path.is_file() and path.stat().st_size > LONGEST_BYTES:
            raise ConfigError(f"{path}: longer than {LONGEST_BYTES // 2**20} MiB; no recipe is")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such recipe; `orcinus init` writes one") from error
    except UnicodeDecodeError as error:
        is_utf16 = error.object.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        found = "UTF-16" if is_utf16 else f"not UTF-8 at byte {error.start}"
        raise ConfigError(f"{path}: {found}; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    remember_url(text)  # its copy in the run's folder holds no password
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or "a syntax error here"
        hint = next((f"; {hint}" for part, hint in _YAML_HINTS.items() if part in problem), "")
        raise ConfigError(f"{path}:{line}: not valid YAML: {problem}{hint}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{path}:{line}: not valid YAML: it holds {chr(error.character)!r}; remove it"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{path}: nested too deep to be a recipe") from error
    if node is None:
        raise ConfigError(
            f"{path}: the file is empty; `orcinus init` writes a recipe to start from"
        )
    return node


_DATA_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".xlsx")
_YAML_HINTS = {
    "'\\t'": "indent with spaces, not with tabs",
    "expected <block end>": "keys of one section start in the same column; "
    "is this line, or one above it, indented wrongly?",
    "mapping values are not allowed here": "put a text that holds ': ' in quotes",
    "expected escape sequence": "a backslash starts an escape in double quotes; use single quotes",
    "unknown escape character": "a backslash starts an escape in double quotes; use single quotes",
    "but found another document": "only one recipe a file; remove the line ---",
}
"""What to do about a YAML error, by a part of its text."""


def _to_python(node: yaml.Node, at: KeyPath, lines: Lines, path: Path) -> Any:
    """Return a node's value in plain Python, and note the line of every key in ``lines``."""
    lines.setdefault(at, node.start_mark.line + 1)
    where = f"{path}:{node.start_mark.line + 1}"
    if len(at) > DEEPEST:
        raise ConfigError(f"{where}: nested too deep, or an anchor that contains itself")
    if len(lines) > MOST_VALUES:
        raise ConfigError(f"{where}: more than {MOST_VALUES:,} values; aliases repeat too many")
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _key_of(key_node, path)
            if key in mapping:
                raise ConfigError(
                    f"{path}:{key_node.start_mark.line + 1}: the key {key!r} is given twice"
                )
            lines[(*at, key)] = key_node.start_mark.line + 1
            mapping[key] = _to_python(value_node, (*at, key), lines, path)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_to_python(item, (*at, i), lines, path) for i, item in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{where}: {error.problem}; a recipe contains plain values") from error
    except ValueError as error:  # a date such as 2024-13-45
        raise ConfigError(f"{where}: {node.value!r}: {error}; put it in quotes") from error


def _key_of(node: yaml.Node, path: Path) -> str:
    where = f"{path}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{where}: a key must be a text; write the keys out")
    if node.value == "<<":
        raise ConfigError(f"{where}: merging with << is not supported; write the keys out")
    return str(node.value)


# --- errors in one line


def _explain(error: ValidationError, shape: Any, lines: Lines, source: str) -> str:
    """Return the first mistake in one line, and how many more there are."""
    problems = error.errors(include_url=False)
    # A list with wrong items is also reported as too short: only the items say what to fix.
    problems = [
        p
        for p in problems
        if not any(q is not p and q["loc"][: len(p["loc"])] == p["loc"] for q in problems)
    ]
    # A missing key comes last: another mistake, such as a misspelt key, often explains it.
    first = min(problems, key=lambda p: (p["type"] == "missing", _locate(p["loc"], lines)[1]))
    keys, line = _locate(first["loc"], lines)
    if first["type"] != "missing" and keys not in lines:
        keys = keys[:-1]  # pydantic's name for one of several types
    dotted = ".".join(map(str, keys))
    if first["type"] == "extra_forbidden":
        known = sorted(_known_keys(shape, first["loc"][:-1]))
        key = str(first["loc"][-1])
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        if not near and (section := _section_with(key, shape)):
            hint = f"it stands under {section}:"
        text = f"unknown key {dotted!r}; {hint}"
    elif first["type"] == "missing":
        text = f"the key {dotted!r} is missing"
    else:
        text = (f"{dotted}: " if dotted else "") + _describe(first)
        text += _example_for(keys, first)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return (f"{source}:{line}: " if line else f"{source}: ") + text + more


def _section_with(key: str, shape: Any, depth: int = 2) -> str | None:
    """Return the one section, such as ``train.stages``, that has a key; None if several have it."""
    found = set()
    for model in _models_in(shape):
        for name, field in model.model_fields.items():
            inner = field.annotation
            if key in _known_keys(inner, ()):
                found.add(name)
            elif depth > 1 and (section := _section_with(key, inner, depth - 1)):
                found.add(f"{name}.{section}")
    return found.pop() if len(found) == 1 else None


def _example_for(keys: KeyPath, problem: Mapping[str, Any]) -> str:
    """Return an example for a text or a number that stands where keys with values should."""
    given, kind = problem.get("input"), problem["type"]
    section = next((str(key) for key in reversed(keys) if isinstance(key, str)), "")
    if kind == "union_tag_not_found":
        return ", such as kind: " + ("local" if section == "student" else "endpoint")
    if kind not in ("dict_type", "model_type", "model_attributes_type", "dataclass_type"):
        return ""
    is_url = isinstance(given, str) and "://" in given
    if section in ("teacher", "judge", "assistant", "student") and isinstance(given, str):
        remote = f"{{kind: endpoint, model: NAME, base_urls: [{given}]}}"
        return "; write " + (remote if is_url else f"{{kind: local, path: {given}}}")
    if section == "tasks" and isinstance(given, str):
        return f"; write {{path: {given}}}"
    if section == "budget":
        amount = re.sub(r"[^\d.]", "", str(given))
        return f"; write {{usd: {amount or 5}}}"
    return ""


def _describe(problem: Mapping[str, Any]) -> str:
    """Return what pydantic found, in the words of YAML."""
    given, context = problem.get("input"), problem.get("ctx", {})
    match problem["type"]:
        case "string_type" if isinstance(given, bool | int | float | date):
            return f"must be a text, and YAML reads this as {_yaml_kind(given)}; put it in quotes"
        case "string_type":
            return f"must be a text, this is {_yaml_kind(given)}"
        case "tuple_type" | "list_type":
            return (
                f"must be a list, this is {_yaml_kind(given)}; put - before each item, or all "
                "in [ ]"
            )
        case "dict_type" | "model_type" | "model_attributes_type" | "dataclass_type":
            return f"must be keys with values, such as {{key: value}}, this is {_yaml_kind(given)}"
        case "bool_type" | "bool_parsing":
            return f"must be true or false, this is {_yaml_kind(given)}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, this is {_yaml_kind(given)}"
        case "too_short":
            least = context["min_length"]
            return f"needs at least {least} item{'s' if least > 1 else ''}"
        case "string_too_short":
            return "must not be empty"
        case "string_pattern_mismatch":  # only a name has a pattern
            return (
                f"{given!r:.60} is not a name: use letters, digits, dots, dashes and underscores, "
                "starting with a letter or a digit"
            )
        case "union_tag_not_found":
            return "the key 'kind' is missing"
        case "union_tag_invalid":
            known = str(context["expected_tags"]).replace("'", "")
            near = difflib.get_close_matches(str(context["tag"]), known.split(", "), n=1)
            return f"no kind {context['tag']!r}; " + (
                f"did you mean {near[0]!r}?" if near else f"known: {known}"
            )
        case _:
            text = str(problem["msg"]).removeprefix("Value error, ").replace("\n", " ")
            return re.sub("^Input should (be|have|match)", lambda m: f"must {m[1]}", text)


def _yaml_kind(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false (as yes, no, on and off)"
        case int() | float():
            return f"the number {value}"
        case date():
            return "a date"
        case str():
            return f"the text {value[:40]!r}"
        case Mapping():
            return "keys with values"
        case _:
            return "a list"


def _locate(loc: KeyPath, lines: Mapping[KeyPath, int]) -> tuple[KeyPath, int]:
    """Return the part of pydantic's ``loc`` that the user wrote (no union tags), and its line."""
    at: KeyPath = ()
    for i, part in enumerate(loc):
        if (*at, part) in lines:
            at = (*at, part)
        elif i == len(loc) - 1:
            return (*at, part), lines.get(at, 1)
    return at, lines.get(at, 1)


def _known_keys(annotation: Any, loc: KeyPath) -> set[str]:
    """Return the keys of the model at ``loc``, found by walking annotations as pydantic did."""
    models = list(_models_in(annotation))
    if not loc:
        return {key for model in models for key in model.model_fields}
    head, rest = loc[0], loc[1:]
    for model in models:
        if head in model.model_fields:
            return _known_keys(model.model_fields[str(head)].annotation, rest)
    named = [model for model in models if head in (model.__name__, _tag_of(model))]
    return _known_keys(Union[tuple(named or models)], rest)  # noqa: UP007 (built at run time)


def _tag_of(model: type[BaseModel]) -> str:
    if "kind" in model.model_fields:
        return str(model.model_fields["kind"].default)
    return task_tag(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, tuple, list):
        for part in get_args(annotation):
            yield from _models_in(part)
