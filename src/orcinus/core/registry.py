"""Extensions: use your own function by a registered name, an entry point or its place.

    @orcinus.register("filter", "short")
    def short(example, attempt, verdict):
        return None if len(attempt.text) < 100 else "too long"

    curate: {filters: [short]}              registered in this process, or by an installed package
    curate: {filters: ["my_rules:short"]}   in my_rules.py beside the recipe, or installed

A package registers the same function in its ``pyproject.toml``:

    [project.entry-points.orcinus]
    "filters.short" = "their_package:short"

``protocols.py`` documents the shape of each kind. A function of another shape is a ConfigError when
the recipe is read. The built-in functions of a kind stand in a table in the room that calls them.
"""

import importlib
import inspect
import math
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from orcinus.core.errors import ConfigError, OrcinusError
from orcinus.core.guard import OURS, guarded

GROUP = "orcinus"
"""Entry-point group of extensions. They are named ``filters.NAME`` or ``filter.NAME``."""

Kind = Literal[
    "model",
    "task",
    "verifier",
    "filter",
    "selector",
    "chooser",
    "reward",
    "executor",
    "objective",
]
Function = Callable[..., Any]
AnyFunction = TypeVar("AnyFunction", bound=Function)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of the functions of one kind."""

    text: str
    """Parameters and result, for messages."""
    inputs: tuple[int, ...]
    """Numbers of positional arguments with which it can be called; one of them must fit."""
    settings: bool = False
    """True if a recipe can give it settings, as keyword arguments."""
    coroutine: bool | None = False
    """True: an ``async def``. False: a plain function. None: either."""
    declares: tuple[str, ...] = ()
    """Names of the fields that it can declare."""


SHAPES: Mapping[Kind, Shape] = {
    "model": Shape(text="(request) -> str | Completion", inputs=(1, 2), coroutine=None),
    "task": Shape(text="(**settings) -> Iterable[Example]", inputs=(0,), settings=True),
    "verifier": Shape(text="async (example, attempt) -> Verdict", inputs=(2,), coroutine=True),
    "filter": Shape(text="(example, attempt, verdict) -> str | None", inputs=(3,)),
    "selector": Shape(
        text="(examples, **settings) -> Iterator[Example]",
        inputs=(1,),
        settings=True,
        declares=("needs_pass_rate", "check"),
    ),
    "chooser": Shape(text="(judged) -> Assignment", inputs=(1,)),
    "reward": Shape(text="(example, text) -> number from 0 to 1", inputs=(2,), coroutine=None),
    "executor": Shape(text="(fn, shards) -> Iterator", inputs=(2,)),
    "objective": Shape(
        text="(inputs, **settings) -> LossOutput",
        inputs=(1,),
        settings=True,
        declares=("needs",),
    ),
}

MOVED: Mapping[str, str] = {
    "orcinus.tasks.short:teacher": "orcinus.pipeline.demo:teacher",
    "orcinus.tasks.short:assistant": "orcinus.pipeline.demo:assistant",
}
"""Functions that recipes named and that have moved: old place → new place."""

_registered: dict[tuple[Kind, str], Function] = {}
_recipe_folder: ContextVar[Path | None] = ContextVar("recipe_folder", default=None)


def register(kind: Kind, name: str, **declared: Any) -> Callable[[AnyFunction], AnyFunction]:
    """Return a decorator that gives a function a name for recipes.

    Args:
        kind: ``filter``, ``verifier``, ``reward`` …
        name: The name in a recipe.
        declared: Fields that the kind can declare, such as ``needs_pass_rate=True`` for a selector.

    Raises:
        ConfigError: The kind is unknown, the function has another shape, or the name is taken.
    """
    if kind not in SHAPES:
        raise ConfigError(f"no kind of extension {kind!r}; known: {', '.join(SHAPES)}")
    mark = declare(kind, **declared)

    def decorate(function: AnyFunction) -> AnyFunction:
        _check_shape(kind, name, function)
        taken = _registered.get((kind, name), function)
        if _place_of(taken) != _place_of(function):
            raise ConfigError(
                f"two {kind}s are named {name!r}: {taken!r} and {function!r}; rename one of them"
            )
        _registered[kind, name] = mark(function)
        return function

    return decorate


def declare(kind: Kind, **declared: Any) -> Callable[[AnyFunction], AnyFunction]:
    """Return a decorator that declares what a function needs, without giving it a name.

    Raises:
        ConfigError: The kind declares nothing of that name.
    """
    for key in declared:
        if key not in SHAPES[kind].declares:
            known = ", ".join(SHAPES[kind].declares) or "nothing"
            raise ConfigError(f"a {kind} cannot declare {key!r}; it can declare: {known}")

    def decorate(function: AnyFunction) -> AnyFunction:
        if declared:
            setattr(function, _DECLARED, declared)
        return function

    return decorate


_DECLARED = "__orcinus__"


def declared_by(function: Function) -> Mapping[str, Any]:
    """Return what a function declared with ``register`` or ``declare``."""
    found: Mapping[str, Any] = getattr(function, _DECLARED, {})
    return found


def find(kind: Kind, name: str, built_in: Mapping[str, Function | str]) -> Function:
    """Return the function that a recipe names; a user's is guarded, see ``guard.py``.

    Args:
        kind: The kind of function.
        name: A name, or ``module:function``.
        built_in: The table of the kind: name → function, or its place if the import is expensive.

    Raises:
        ConfigError: There is none, or it has another shape.
    """
    if name in built_in:
        if (kind, name) in _registered:
            raise ConfigError(f"{kind} {name!r} is built in; register yours under another name")
        ours = built_in[name]
        return find_function(ours) if isinstance(ours, str) else ours
    if (function := _find_users(kind, name)) is not None:
        return function if kind == "model" else guarded(kind, name, function)
    known = ", ".join(names(kind, built_in))
    hint = f"known: {known}" if known else "write it as module:function"
    raise ConfigError(f"no {kind} named {name!r}; {hint}")


def _find_users(kind: Kind, name: str) -> Function | None:
    if (kind, name) in _registered:
        return _registered[kind, name]
    if ":" in name:
        function = find_function(name)
        _check_shape(kind, name, function)
        return function
    place = _entry_point(kind, name)
    return None if place is None else register(kind, name)(find_function(place))


def code_of(function: Function) -> str | None:
    """Return the source text of a user's function, which decides what a step makes with it.

    None for a function of an installed package, this one included: its version stands for it. What
    a function calls is not part of it.
    """
    try:
        place = Path(inspect.getsourcefile(inspect.unwrap(function)) or "")
        text = inspect.getsource(function)
    except (OSError, TypeError):  # made in a way that leaves no text
        return None
    return None if "site-packages" in place.parts or OURS in place.parents else text


def names(kind: Kind, built_in: Mapping[str, Function | str]) -> list[str]:
    """Return all names of a kind: built-in, registered, and those of installed packages."""
    registered = [name for known, name in _registered if known == kind]
    packaged = [
        point.name.partition(".")[2]
        for point in entry_points(group=GROUP)
        if point.name.partition(".")[0] in (kind, f"{kind}s")
    ]
    return sorted({*built_in, *registered, *packaged})


def with_settings(
    kind: Kind, name: str, function: Function, settings: Mapping[str, Any]
) -> Function:
    """Return ``function`` with the settings of a recipe as keyword arguments.

    Values are converted to the types that the function's annotations state.

    Raises:
        ConfigError: A setting is unknown, missing or of the wrong type, or the function's declared
            ``check`` refuses them.
    """
    inputs = SHAPES[kind].inputs[0]
    try:
        inspect.signature(function).bind(*range(inputs), **settings)
    except TypeError as error:
        known = list(inspect.signature(function).parameters)[inputs:]
        takes = f"takes {', '.join(known)}" if known else "has no settings"
        raise ConfigError(f"{kind} {name!r}: {error}; it {takes}") from error
    annotations = _annotations(function)
    converted = {
        key: _converted(f"{name}.{key}", value, annotations.get(key))
        for key, value in settings.items()
    }
    if (check := declared_by(function).get("check")) is not None:
        try:
            check(**converted)
        except ValidationError as error:
            raise ConfigError(_in_one_line(name, error)) from error
        except ValueError as error:
            raise ConfigError(f"{name}: {error}") from error
    return partial(function, **converted) if converted else function


def _annotations(function: Function) -> Mapping[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # imported for type checkers only, or not a function
        return {}


def _converted(where: str, value: Any, annotation: Any) -> Any:
    if annotation is None:
        return value
    try:
        converted = TypeAdapter(annotation).validate_python(value)
        if isinstance(converted, float) and not math.isfinite(converted):
            raise ConfigError(f"{where}: must be a finite number")
        return converted
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return value
    except ValidationError as error:
        raise ConfigError(_in_one_line(where, error)) from error


def _in_one_line(where: str, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    keys = ".".join([where, *map(str, first["loc"])])
    return f"{keys}: {first['msg'].removeprefix('Value error, ')}"


# --- where functions are found


@contextmanager
def recipe_folder(folder: Path) -> Iterator[None]:
    """Let ``module:function`` name the modules in a recipe's folder while the block runs.

    The folder is the last place that is searched, and only while such a module is imported.
    """
    token = _recipe_folder.set(folder.resolve())
    try:
        yield
    finally:
        _recipe_folder.reset(token)


def current_folder() -> Path | None:
    """Return the folder of the recipe that is being read or run, to hand it to another process."""
    return _recipe_folder.get()


def find_function(path: str, folder: Path | None = None) -> Function:
    """Return the function at ``package.module:name``.

    Args:
        path: Its place.
        folder: Searched last for the module. None means the folder of the current recipe.

    Raises:
        ConfigError: There is no such function, or its module cannot be imported.
    """
    if path in MOVED:
        raise ConfigError(f"{path} is now {MOVED[path]}; write that in its place")
    module_name, _, name = path.partition(":")
    if not (module_name and name):
        raise ConfigError(f"no function {path!r}; write it as package.module:name")
    folder = _recipe_folder.get() if folder is None else folder.resolve()
    module = _imported(module_name, path, folder)
    try:
        function: Function = attrgetter(name)(module)
    except AttributeError as error:
        raise ConfigError(
            f"no function {path!r}: {module.__file__} has no {name!r}; "
            "write it as package.module:name"
        ) from error
    return function


_own_modules: dict[str, Path] = {}
"""Modules that were imported from a recipe's folder, and the folder."""
_import_lock = threading.RLock()


def _imported(module_name: str, path: str, folder: Path | None) -> ModuleType:
    if module_name in sys.modules and _own_modules.get(module_name, folder) == folder:
        return sys.modules[module_name]
    with _import_lock:
        try:
            if folder is None:
                return importlib.import_module(module_name)
            return _imported_beside(module_name, folder)
        except OrcinusError:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and error.name in _packages(module_name):
                raise ConfigError(
                    f"no function {path!r}: {error}; write it as package.module:name, "
                    "of a module beside the recipe or an installed one"
                ) from error
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigError(
                f"{path}: importing {module_name} fails in {frame.filename}:{frame.lineno}: "
                f"{type(error).__name__}: {error}"
            ) from error


def _packages(module_name: str) -> list[str]:
    parts = module_name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]


def _imported_beside(module_name: str, folder: Path) -> ModuleType:
    """Import a module with ``folder`` as the last place to search.

    Modules that came from another recipe's folder are forgotten first: theirs may have equal names.
    """
    for name in [name for name, home in _own_modules.items() if home != folder]:
        sys.modules.pop(name, None)
        del _own_modules[name]
    if str(folder) in sys.path:
        return importlib.import_module(module_name)
    known = set(sys.modules)
    importlib.invalidate_caches()
    sys.path.append(str(folder))
    try:
        return importlib.import_module(module_name)
    finally:
        sys.path.remove(str(folder))
        new = {name: module for name, module in sys.modules.items() if name not in known}
        _own_modules.update({name: folder for name in new if _is_in(folder, name)})


def _is_in(folder: Path, module_name: str) -> bool:
    top = sys.modules.get(module_name.partition(".")[0])
    places = [*getattr(top, "__path__", ()), getattr(top, "__file__", None)]
    return any(place is not None and Path(place).parent == folder for place in places)


def _entry_point(kind: Kind, name: str) -> str | None:
    """Return the place of the function that an installed package registers under a name."""
    places = {
        f"{point.module}:{point.attr}"
        for point in entry_points(group=GROUP)
        if point.name in (f"{kind}s.{name}", f"{kind}.{name}")
    }
    if len(places) > 1:
        raise ConfigError(
            f"two packages register the {kind} {name!r}: {' and '.join(sorted(places))}; "
            "uninstall one, or name the function as module:function"
        )
    return next(iter(places), None)


# --- the shapes


def _check_shape(kind: Kind, name: str, function: Any) -> None:
    """Refuse what cannot be called as the kind's functions are.

    Raises:
        ConfigError: Says what it is and what it must be.
    """
    if kind == "model" and not inspect.isclass(function):  # or an object with this method
        function = getattr(function, "complete", function)
    if (found := _mismatch(SHAPES[kind], function)) is not None:
        raise ConfigError(f"{kind} {name!r} {found}; it must be {SHAPES[kind].text}")


def _mismatch(shape: Shape, function: Any) -> str | None:
    """Return how a function differs from a shape, or None."""
    if inspect.isclass(function):
        return "is a class"
    if not callable(function):
        return f"is a {type(function).__name__}, not a function"
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function in C that does not tell its parameters
        return None
    bind = signature.bind_partial if shape.settings else signature.bind
    if not any(_binds(bind, count) for count in shape.inputs):
        return f"takes {signature}".partition(" ->")[0]
    if shape.coroutine is not None and _is_async(function) != shape.coroutine:
        return "is a plain function" if shape.coroutine else "is a coroutine function (async def)"
    return None


def _binds(bind: Callable[..., object], count: int) -> bool:
    try:
        bind(*range(count))
    except TypeError:
        return False
    return True


def _is_async(function: Function) -> bool:
    return any(
        inspect.iscoroutinefunction(item) or inspect.isasyncgenfunction(item)
        for item in (function, getattr(function, "__call__", None))  # noqa: B004 (its method)
    )


def _place_of(function: Function) -> object:
    """Return what stays equal when a notebook's cell, or a module, defines a function once more."""
    place = (getattr(function, "__module__", None), getattr(function, "__qualname__", None))
    return function if None in place or "<lambda>" in str(place[1]) else place
