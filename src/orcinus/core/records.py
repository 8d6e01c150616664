"""Make frozen records in less time.

    @quick_init
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Message: …

The usual ``__init__`` of a frozen dataclass looks up the name of every field in the class. For a
record of 19 fields that takes 4 µs, and 20 µs in a process where names collide in the type cache.
"""

from dataclasses import MISSING, fields
from typing import Any, TypeVar

Record = TypeVar("Record")


def quick_init(kind: type[Record]) -> type[Record]:
    """Give a frozen dataclass with slots and keywords an ``__init__`` that sets slots directly."""
    names: dict[str, Any] = {"_MISSING": MISSING}
    parameters, lines = [], []
    for field in fields(kind):  # type: ignore[arg-type]  # it is a dataclass
        name = field.name
        names[f"_set_{name}"] = getattr(kind, name).__set__
        parameter, value = name, name
        if field.default is not MISSING:
            names[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
        elif field.default_factory is not MISSING:
            names[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_MISSING"
            value = f"_make_{name}() if {name} is _MISSING else {name}"
        parameters.append(parameter)
        lines.append(f"    _set_{name}(self, {value})")
    source = f"def __init__(self, *, {', '.join(parameters)}):\n" + "\n".join(lines)
    exec(source, names)  # as dataclasses does: from the names of fields alone
    init = names["__init__"]
    usual = kind.__init__
    init.__qualname__, init.__module__ = usual.__qualname__, kind.__module__
    init.__annotations__ = usual.__annotations__
    kind.__init__ = init  # type: ignore[method-assign]
    return kind
