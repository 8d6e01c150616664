"""Write docs/python.md, the page of the Python API, from the docstrings of its names.

python scripts/python_reference.py
"""

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orcinus
from orcinus.pipeline import api

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
SOURCES = "https://github.com/orcinus/orcinus/blob/main/src/"

HEAD = """# Python

```python
import orcinus

run = orcinus.run("recipe.yaml")  # or a dict with the same keys; resumes like the command
run.scores["after"].mean, run.assignment, run.student

scores = orcinus.probe("http://localhost:8000/v1", "questions.jsonl", ["direct", "step_by_step"])
orcinus.verify("So it is 42.", answer_type="number", reference="42").right
```

Scripts that run as they are: [examples/](../examples). A notebook can call these functions too.
Made from the docstrings by `scripts/python_reference.py`.
"""

FUNCTIONS = ("run", "load_run", "plan", "probe", "evaluate", "verify", "load_recipe", "register")
CLASSES = (
    "Run",
    "Plan",
    "Example",
    "Strategy",
    "Request",
    "Completion",
    "Attempt",
    "Verdict",
    "Assignment",
    "Lesson",
    "Score",
    "Message",
    "Sampling",
)
ERRORS = ("OrcinusError", "ConfigError")
"""``Recipe`` has its own page, docs/recipe.md."""


def page() -> str:
    """Return the whole page."""
    missing = set(orcinus.__all__) - {*FUNCTIONS, *CLASSES, *ERRORS, "Recipe", "__version__"}
    if missing:
        raise ValueError(f"public names without a place on the page: {sorted(missing)}")
    parts = [HEAD, "\n## Functions\n"]
    parts += [_function(name) for name in FUNCTIONS]
    parts += [
        "\n## Where and how fast\n\nThe functions that call models take these as `**flags`.\n\n"
    ]
    parts += [_attributes(api.Flags)]
    parts += ["\n## Classes\n\n`Recipe` has [a page of its own](recipe.md).\n"]
    parts += [_class(name) for name in CLASSES]
    parts += ["\n## Errors\n"]
    parts += [_class(name) for name in ERRORS]
    return "".join(parts)


def _function(name: str) -> str:
    found = getattr(orcinus, name)
    lines, sections = _docstring(found)
    text = f"\n### orcinus.{name}\n\n```python\n{_signature(name, found)}\n```\n\n{lines}\n"
    for title, rows in sections:
        if title in ("Args", "Raises"):
            text += f"\n{'Arguments' if title == 'Args' else 'Errors'}:\n\n"
            text += "".join(f"* `{key}`: {said}\n" for key, said in _entries(rows))
        else:
            text += f"\n{title}: {' '.join(rows.split())}\n"
    return _code(text)


def _class(name: str) -> str:
    found = getattr(orcinus, name)
    lines, _ = _docstring(found)
    rows = _attributes(found)
    return f"\n### orcinus.{name}\n\n{_code(lines)}\n" + (f"\n{rows}" if rows else "")


def _attributes(cls: type) -> str:
    """Return a table of the fields and properties that a class documents itself."""
    rows = "".join(f"| `{key}` | {_code(said)} |\n" for key, said in _documented(cls))
    return f"| | |\n|---|---|\n{rows}" if rows else ""


def _documented(cls: type) -> Iterator[tuple[str, str]]:
    """Yield each public field, property and method with the first paragraph of its words."""
    body = ast.parse(inspect.getsource(cls).lstrip()).body[0]
    assert isinstance(body, ast.ClassDef)
    for item, after in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            said = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                said = str(after.value.value)
            yield _field(item, cls), _first(said)
        elif isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            called = "" if _is_property(item) else "()"
            yield item.name + called, _first(ast.get_docstring(item) or "")


def _field(item: ast.AnnAssign, cls: type) -> str:
    assert isinstance(item.target, ast.Name)
    return f"{item.target.id}: {ast.unparse(item.annotation)}".replace(" | ", " or ")


def _is_property(item: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in item.decorator_list)


def _signature(name: str, found: Any) -> str:
    """Return a function's parameters, one a line where they are many."""
    source = ast.parse(inspect.getsource(found).lstrip()).body[0]
    assert isinstance(source, ast.FunctionDef)
    source.returns = _unquoted(source.returns)
    for argument in (*source.args.args, *source.args.kwonlyargs):
        argument.annotation = _unquoted(argument.annotation)
    returned = "" if source.returns is None else f" -> {ast.unparse(source.returns)}"
    text = f"{name}({ast.unparse(source.args)}){returned}"
    if len(text) > 90:
        parts = re.split(r", (?=\*|\w+: )", ast.unparse(source.args))
        text = f"{name}(\n" + "".join(f"    {part},\n" for part in parts) + f"){returned}"
    return text.replace("**flags: Unpack[Flags]", "**flags")


def _unquoted(annotation: ast.expr | None) -> ast.expr | None:
    """Return the type that a quoted annotation names, ``"Plan"`` as ``Plan``."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return ast.parse(annotation.value, mode="eval").body
    return annotation


def _docstring(found: Any) -> tuple[str, list[tuple[str, str]]]:
    """Return the words of a docstring, and its sections of Google's style."""
    text = inspect.getdoc(found) or ""
    parts = re.split(r"\n(Args|Returns|Raises|Yields):\n", text)
    return parts[0].strip(), list(zip(parts[1::2], parts[2::2], strict=True))


def _entries(rows: str) -> Iterator[tuple[str, str]]:
    """Yield name and words of each entry of a section."""
    for entry in re.split(r"\n(?=    \S)", "\n" + rows):
        key, _, said = " ".join(entry.split()).partition(": ")
        if key:
            yield key, said


def _first(text: str) -> str:
    return " ".join(text.strip().split("\n\n")[0].split()).replace("|", "\\|")


def _code(text: str) -> str:
    """Return text with the double backticks of docstrings as Markdown has them."""
    return text.replace("``", "`") if "```" not in text else re.sub(r"(?<!`)``(?!`)", "`", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
