"""Tests of ``runs/layout.py``: it is the only module that spells the file names of a run."""

import ast
from pathlib import Path

import orcinus
from orcinus.runs import layout

SOURCE = Path(orcinus.__file__).parent

USED_ELSEWHERE = {"README.md", "recipe.yaml"}
"""Names that files outside a run have too."""


def test_no_other_module_spells_a_file_name_of_a_run() -> None:
    names = {value for name, value in vars(layout).items() if name.isupper() and "." in value}
    names = (names | {layout.DONE}) - USED_ELSEWHERE
    spelt = [
        f"{path.relative_to(SOURCE)}:{node.lineno} {node.value!r}"
        for path in SOURCE.rglob("*.py")
        if path.name != "layout.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert spelt == []
