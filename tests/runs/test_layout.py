"""Tests of ``runs/layout.py``: it is the only module that spells the file names of a run."""

import ast
from pathlib import Path

import orcinus
from orcinus.runs import layout

SOURCE = Path(orcinus.__file__).parent

OTHER_FILES = {"README.md", "report.md", "state.json", "recipe.yaml"}
"""Names that other files have too, outside a run."""


def test_no_other_module_spells_a_file_name_of_a_run() -> None:
    names = {
        value for value in vars(layout).values() if isinstance(value, str) and "." in value[1:-1]
    } - {layout.__doc__, layout.__name__, layout.__file__}
    names = {name for name in names if len(name) < 30} - OTHER_FILES | {layout.DONE, layout.LOCK}
    spelt = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.value}"
        for path in SOURCE.rglob("*.py")
        if path.name != "layout.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert spelt == []
