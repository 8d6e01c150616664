"""A pattern is compiled at its first use, and then is as good as any other."""

import ast
import re
from pathlib import Path

import pytest

from orcinus import verifiers
from orcinus.core.patterns import compile_later


def test_nothing_is_compiled_before_the_first_use() -> None:
    broken = compile_later("(")
    with pytest.raises(re.error):
        broken.search("")


def test_its_methods_are_those_of_the_compiled_pattern() -> None:
    year = compile_later(r"in (?P<year>\d{4})", re.IGNORECASE)
    compiled = re.compile(r"in (?P<year>\d{4})", re.IGNORECASE)
    text = "In 1969, and again in 1972."
    assert [match["year"] for match in year.finditer(text)] == ["1969", "1972"]
    for name in ("findall", "split"):
        assert getattr(year, name)(text) == getattr(compiled, name)(text)
    assert year.sub("then", text) == compiled.sub("then", text)
    assert (year.pattern, year.flags) == (compiled.pattern, compiled.flags)
    assert year.search is year.search  # kept, so that later calls look nothing up


def test_no_rule_compiles_a_pattern_when_it_is_imported() -> None:
    for path in Path(verifiers.__file__).parent.rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
                assert "re.compile(" not in ast.unparse(statement), path
