"""Documents that are made from the code, or that speak of it, are true."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_the_recipe_reference_is_that_of_the_code() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "recipe_reference.py"))
    assert (ROOT / "docs" / "recipe.md").read_text(encoding="utf-8") == made["page"](), (
        "python scripts/recipe_reference.py"
    )


def test_the_page_of_verdicts_is_that_of_the_tested_cases() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "verdicts_page.py"))
    assert (ROOT / "docs" / "verdicts.md").read_text(encoding="utf-8") == made["page"](), (
        "python scripts/verdicts_page.py"
    )


@pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
