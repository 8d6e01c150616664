"""Documents that are made from the code, or that speak of it, are true."""

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.test_growth import sections_of

from orcinus.models.remote.endpoint_config import price_list
from orcinus.pipeline.recipe import Recipe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.mark.parametrize(
    ("page", "script"),
    [
        ("recipe.md", "recipe_reference.py"),
        ("verdicts.md", "verdicts_page.py"),
        ("cli.md", "command_reference.py"),
        ("python.md", "python_reference.py"),
        ("reading-the-report.md", "glossary_section.py"),
    ],
)
def test_a_generated_page_is_that_of_the_code(page: str, script: str) -> None:
    made = runpy.run_path(str(ROOT / "scripts" / script))
    assert (DOCS / page).read_text(encoding="utf-8") == made["page"](), f"python scripts/{script}"


@pytest.mark.parametrize("page", ["recipe.md", "cli.md", "python.md"])
def test_every_key_option_and_field_of_a_generated_page_is_explained(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.endswith("|  |")] == []


def test_the_recipe_reference_has_every_section_of_a_recipe() -> None:
    listed = runpy.run_path(str(ROOT / "scripts" / "recipe_reference.py"))["SECTIONS"]
    assert set(sections_of(Recipe)) <= {section for _, section in listed}


@pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda p: p.name
)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!\w+:)([^)#]*)(#[^)]*)?\)", text):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor[1:] in anchors(linked.read_text(encoding="utf-8")), target + anchor


def test_nothing_says_to_install_the_other_package_of_this_name() -> None:
    """The package index has another ``orcinus``; only an installed wheel is named by it."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("src/**/*.py")]
    wrong = re.compile(r"pip install (?:-\S+ )*['\"]?orcinus\b")
    found = {path.name for path in files if wrong.search(path.read_text(encoding="utf-8"))}
    assert found == {"errors.py"}


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as MkDocs and code hosts make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in headings}


def test_the_navigation_of_the_site_has_every_page_once() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    hooks = runpy.run_path(str(ROOT / "scripts" / "site_hooks.py"))
    listed = list(pages_in(hooks["with_folders"](site["nav"], DOCS)))
    assert len(listed) == len(set(listed))
    assert set(listed) == {str(path.relative_to(DOCS)) for path in DOCS.glob("**/*.md")}


def pages_in(navigation: Any) -> Iterator[str]:
    """Yield the paths in a navigation: nested lists of paths and of one-key mappings."""
    if isinstance(navigation, str):
        yield navigation
        return
    for entry in navigation.values() if isinstance(navigation, dict) else navigation:
        yield from pages_in(entry)


def test_the_site_links_to_the_repository_where_a_link_leaves_the_documents() -> None:
    linked = runpy.run_path(str(ROOT / "scripts" / "site_hooks.py"))["linked_outside"]
    text = "[a](../LOG.md#b) [c](x.md#d) [e](https://e.org) [f](#g) ![h](images/h.png)"
    assert linked(text, "", "https://r") == text.replace("../LOG.md#b", "https://r/LOG.md#b")
    assert linked("[a](../../examples)", "design", "https://r") == "[a](https://r/examples)"


def test_the_dollars_of_the_cost_guide_follow_from_the_price_list() -> None:
    rows = re.findall(
        r"^\| (\S+) \| ([\d.]+) \| ([\d.]+) \| (\S+) \| (\S+) \| (\S+) \|$",
        (DOCS / "costs.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    assert {row[0] for row in rows} == set(price_list())
    for model, read, written, *dollars in rows:
        price = price_list()[model]
        assert (float(read), float(written)) == (price.input, price.output)
        for tokens, shown in zip((300, 1000, 3000), dollars, strict=True):
            cost = 10_000 * (150 * price.input + tokens * price.output) / 1e6
            assert float(shown) == pytest.approx(cost, abs=0.5 if cost >= 10 else 0.0051), model


def test_the_guide_to_extensions_shows_parts_of_the_tested_examples() -> None:
    text = (DOCS / "extend.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```python title=\"(\S+)\"\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(shown) == 4
    for name, part in shown:
        example = (ROOT / "examples" / name).read_text(encoding="utf-8")
        assert re.sub(r"  # .*", "", part) in re.sub(r"  # .*", "", example), name


def test_troubleshooting_quotes_messages_that_the_code_has() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    code = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))  # a message over several lines
    page = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(quoted) > 25
    examples = r"…|\d+|HTTP |teacher\.|OPENAI_API_KEY|max_completion_tokens|temperature"
    for message in quoted:
        for part in re.split(examples, message):
            assert part.strip(" :()[]×") in code, message


def test_prose_has_a_hundred_columns_at_most() -> None:
    """Tables, programs and pictures may be wider, and so may the README, which counts lines."""
    made = {"recipe.md", "cli.md", "python.md", "verdicts.md", "README.md"}
    wide = []
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        if page.name in made:
            continue
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        wide += [
            f"{page.relative_to(ROOT)}: {line[:60]}"
            for line in text.splitlines()
            if len(line) > 100 and not re.match(r"\s*(\||<|!\[|[-*] `\S+`$|`[^`]*`)|    ", line)
        ]
    assert wide == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80
