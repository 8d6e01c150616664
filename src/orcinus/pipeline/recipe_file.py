"""Read a recipe from YAML, and explain what is wrong with it in one line."""

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

from orcinus.core.errors import ConfigError
from orcinus.models.configs import JudgeConfig, ModelConfig
from orcinus.pipeline.recipe import Recipe, _source_tag


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or a key or value is wrong; names file, line and key.
    """
    node = _compose(path)
    lines: dict[tuple[str | int, ...], int] = {}
    data = _plain(node, (), lines, path)
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys, starting with name: and tasks:")
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, lines, path)) from error


def read_model(path: Path) -> ModelConfig:
    """Read and check a model's section that stands in a file of its own.

    Raises:
        ConfigError: The file cannot be read, is no YAML, or a key or value is wrong; names file, line and key.
    """
    if not path.is_file():
        raise ConfigError(
            f"{path}: there is no such file; a model's file holds what stands under teacher: in a recipe"
        )
    lines: dict[tuple[str | int, ...], int] = {}
    data = _plain(_compose(path), (), lines, path)
    try:
        model: ModelConfig = TypeAdapter(JudgeConfig).validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        keys, line = _line_of(first["loc"], lines)
        what = "unknown key" if first["type"] == "extra_forbidden" else _in_words(first)
        raise ConfigError(
            f"{path}:{line}: {'.'.join(map(str, keys)) or 'model'}: {what}"
        ) from error
    return model


def _compose(path: Path) -> yaml.Node:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such recipe; `orcinus init` writes one") from error
    except UnicodeDecodeError as error:
        what = (
            "UTF-16"
            if error.object.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
            else f"not UTF-8 at byte {error.start}"
        )
        raise ConfigError(f"{path}: {what}; save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or "broken here"
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


_YAML_HINTS = {
    "'\\t'": "indent with spaces, not with tabs",
    "expected <block end>": "keys of one section start in the same column; is this line, or one above it, indented wrongly?",
    "mapping values are not allowed here": "put a text that holds ': ' in quotes",
    "expected escape sequence": "in double quotes a backslash means more; use single quotes",
    "unknown escape character": "in double quotes a backslash means more; use single quotes",
    "but found another document": "only one recipe a file; remove the line ---",
}
"""What to do about an error of YAML, by a part of its text."""


def _plain(
    node: yaml.Node, at: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], path: Path
) -> Any:
    """The node's value in plain Python, noting the line of every key; a key given twice is refused."""
    lines.setdefault(at, node.start_mark.line + 1)
    if len(at) > _DEEPEST:
        raise ConfigError(
            f"{path}:{node.start_mark.line + 1}: nested too deep, or an anchor that holds itself"
        )
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                what = (
                    "merging with << is not supported"
                    if isinstance(key_node, yaml.ScalarNode)
                    else "a key must be a text"
                )
                raise ConfigError(
                    f"{path}:{key_node.start_mark.line + 1}: {what}; write the keys out"
                )
            key = str(key_node.value)
            if key in mapping:
                raise ConfigError(
                    f"{path}:{key_node.start_mark.line + 1}: the key {key!r} is given twice"
                )
            lines[(*at, key)] = key_node.start_mark.line + 1
            mapping[key] = _plain(value_node, (*at, key), lines, path)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*at, i), lines, path) for i, item in enumerate(node.value)]
    try:
        return yaml.SafeLoader("").construct_object(node)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(
            f"{path}:{node.start_mark.line + 1}: {error.problem}; a recipe holds plain values"
        ) from error
    except ValueError as error:  # a date such as 2024-13-45
        raise ConfigError(
            f"{path}:{node.start_mark.line + 1}: {node.value!r}: {error}; put it in quotes"
        ) from error


_DEEPEST = 50


def _explain(error: ValidationError, lines: Mapping[tuple[str | int, ...], int], path: Path) -> str:
    """The first thing that is wrong, in one line, and how many more there are."""
    problems = error.errors(include_url=False)
    # A list whose items are wrong is also reported as too short: only the items themselves tell what to mend.
    problems = [
        p
        for p in problems
        if not any(q is not p and q["loc"][: len(p["loc"])] == p["loc"] for q in problems)
    ]
    first = min(problems, key=lambda problem: _line_of(problem["loc"], lines)[1])
    keys, line = _line_of(first["loc"], lines)
    if first["type"] != "missing" and keys not in lines:
        keys = keys[:-1]  # pydantic's name for one of several types
    where = f"{path}:{line}: "
    dotted = ".".join(map(str, keys))
    if first["type"] == "extra_forbidden":
        known = sorted(_known_keys(Recipe, first["loc"][:-1]))
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        text = f"unknown key {dotted!r}; {hint}"
    elif first["type"] == "missing":
        text = f"the key {dotted!r} is missing"
    else:
        text = (f"{dotted}: " if dotted else "") + _in_words(first)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return where + text + more


def _in_words(problem: Mapping[str, Any]) -> str:
    """What pydantic found, in the words of YAML."""
    given, context = problem.get("input"), problem.get("ctx", {})
    match problem["type"]:
        case "string_type" if isinstance(given, bool | int | float | date):
            return f"must be a text, and YAML reads this as {_yaml_kind(given)}; put it in quotes"
        case "string_type":
            return f"must be a text, this is {_yaml_kind(given)}"
        case "tuple_type" | "list_type":
            return f"must be a list, this is {_yaml_kind(given)}; put - before each item, or all in [ ]"
        case "dict_type" | "model_type" | "model_attributes_type" | "dataclass_type":
            return f"must be keys with values, such as {{key: value}}, this is {_yaml_kind(given)}"
        case "bool_type" | "bool_parsing":
            return f"must be true or false, this is {_yaml_kind(given)}"
        case "int_type" | "int_parsing" | "int_from_float":
            return f"must be a whole number, this is {_yaml_kind(given)}"
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


def _line_of(
    loc: tuple[str | int, ...], lines: Mapping[tuple[str | int, ...], int]
) -> tuple[tuple[str | int, ...], int]:
    """The part of pydantic's ``loc`` that a reader wrote (union tags left out), and the line it stands on."""
    at: tuple[str | int, ...] = ()
    for i, part in enumerate(loc):
        if (*at, part) in lines:
            at = (*at, part)
        elif i == len(loc) - 1:
            return (*at, part), lines.get(at, 1)
    return at, lines.get(at, 1)


def _known_keys(annotation: Any, loc: tuple[str | int, ...]) -> set[str]:
    """The keys that the model at ``loc`` accepts, found by walking the annotations as pydantic did."""
    models = list(_models(annotation))
    if not loc:
        return {key for model in models for key in model.model_fields}
    head, rest = loc[0], loc[1:]
    for model in models:
        if head in model.model_fields:
            return _known_keys(model.model_fields[str(head)].annotation, rest)
    named = [model for model in models if head in (model.__name__, _tag(model))]
    return _known_keys(Union[tuple(named or models)], rest)  # noqa: UP007 (built at run time)


def _tag(model: type[BaseModel]) -> str:
    if "kind" in model.model_fields:
        return str(model.model_fields["kind"].default)
    return _source_tag(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType, Annotated, tuple, list):
        for part in get_args(annotation):
            yield from _models(part)
