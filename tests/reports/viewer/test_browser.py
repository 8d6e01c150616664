"""A reader clicks through the pages in a real browser.

Set ORCINUS_PICTURES to a folder to keep the screenshots.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.reports.viewer.browser import Tab, browsing

WIDTHS = {"wide": 1200, "phone": 390}
FAULTS = (Path(__file__).parent / "accessible.js").read_text(encoding="utf-8")
AT_WORST = """
    for (const e of document.querySelectorAll("details")) e.open = true;
    for (const e of document.querySelectorAll("td.cell")) e.style.setProperty("--share", 1);
"""
"""Everything that opens is open, and the table of strategies has its darkest colour."""
PAGES = {
    "runs": "",
    "run": "runs/small",
    "report": "runs/small/report",
    "attempts": "runs/small/attempts?words=answer",
    "nothing": "runs/small/attempts?words=nowhere",
    "questions": "runs/small/questions?against=before&after=same",
    "lessons": "runs/small/lessons",
    "compared": "compare?run=small&run=longer",
    "problem": "runs/nobody",
}


@pytest.fixture
def tab(tmp_path: Path) -> Iterator[Tab]:
    with browsing(tmp_path / "profile") as tab:
        tab.look(width=1200)
        yield tab


def heading(tab: Tab, text: str) -> None:
    tab.until(
        f"document.querySelector('h1')?.textContent.includes({text!r}) "
        "&& document.readyState === 'complete'"
    )


def test_a_reader_clicks_from_the_runs_to_a_lessons_history(tab: Tab, address: str) -> None:
    tab.open(address)
    tab.click("td a", "small")
    heading(tab, "small")
    assert tab.value("document.querySelectorAll('svg use').length") > 5
    tab.click(".button", "Attempts")
    heading(tab, "Attempts")
    # A filter is applied as soon as it is chosen. The address holds only what is set.
    tab.value("step.value = 'teach'; step.dispatchEvent(new Event('change', {bubbles: true}))")
    tab.until("location.search === '?step=teach'")
    tab.click("#words")
    tab.type('"the answer is"')
    tab.enter()
    tab.until("location.search.includes('words=')")
    tab.until("document.querySelectorAll('.rows li').length > 10")
    assert tab.value(
        "[...document.querySelectorAll('.rows .facts')].every(e => e.textContent.includes('teach'))"
    )
    tab.click(".pager a", "next")
    tab.until("location.search.includes('page=1')")
    tab.click(".rows a")
    tab.until("document.querySelector('h2')?.textContent === 'What was sent'")
    tab.click("li a", "")
    heading(tab, "Lesson")
    assert tab.value("document.querySelectorAll('h2').length") == 5
    tab.click("summary", "What the teacher was sent")
    tab.until("document.querySelector('details').open")
    tab.click("nav a", "orcinus")
    heading(tab, "Runs")
    assert tab.problems == []


def test_a_reader_compares_two_runs(tab: Tab, address: str) -> None:
    tab.open(address)
    for name in ("small", "longer"):
        tab.click(f"input[value={name}]")
    tab.click("button", "Compare")
    heading(tab, "Runs side by side")
    assert "on the questions they share" in tab.value("document.body.innerText")
    assert tab.problems == []


def test_a_reader_sorts_the_runs_by_a_column(tab: Tab, address: str) -> None:
    names = "[...document.querySelectorAll('td strong')].map(e => e.textContent).join()"
    tab.open(address)
    tab.click("th button", "run")
    tab.until(f"{names} === 'small,longer'")
    tab.click("th button", "run")
    tab.until(f"{names} === 'longer,small'")
    assert tab.value("document.querySelectorAll('[aria-sort=ascending]').length") == 1
    assert tab.problems == []


def test_a_figure_of_the_report_leads_to_its_answers(tab: Tab, address: str) -> None:
    tab.open(address + PAGES["report"])
    tab.click("#scores tbody a")
    heading(tab, "Attempts")
    assert tab.value("location.search") == "?step=evaluate&role=before"


def test_what_a_model_wrote_does_not_run(tab: Tab, address: str) -> None:
    for path in ("runs/small/attempts?step=teach", "runs/small/lessons"):
        tab.open(address + path)
        tab.click(".rows a")
        tab.until("document.body.innerText.includes('<script>document.title')")
        assert tab.value("document.title") != "taken"
        assert tab.value("document.querySelectorAll('main img, main script').length") == 0
    assert tab.problems == []


def test_even_unescaped_a_script_would_not_run(tab: Tab, address: str) -> None:
    """The policy is the second lock: it refuses scripts that get into a page as markup."""
    tab.open(address)
    tab.value(
        "document.querySelector('main').innerHTML += '<img src=x onerror=\"document.title=1\">'"
    )
    tab.value(
        "{ const s = document.createElement('script'); s.textContent = 'document.title = 1'; "
        "document.body.append(s) }"
    )
    tab.until("document.querySelector('main img').complete")
    assert "orcinus" in tab.value("document.title")
    assert any("Content Security Policy" in problem for problem in tab.problems)


def deeper(tab: Tab, address: str) -> dict[str, str]:
    """Return the pages, with one attempt and one lesson added."""
    found = {}
    for name in ("attempts", "lessons", "questions"):
        tab.open(address + PAGES[name])
        found[f"one of {name}"] = tab.value("document.querySelector('.rows a').href").removeprefix(
            address
        )
    return {**PAGES, **found}


@pytest.mark.parametrize(
    ("size", "dark"),
    [
        pytest.param("phone", False, id="phone-light"),
        pytest.param("phone", True, id="phone-dark", marks=pytest.mark.slow),
        pytest.param("wide", False, id="wide-light", marks=pytest.mark.slow),
        pytest.param("wide", True, id="wide-dark"),
    ],
)
def test_pages_fit_the_window_and_can_be_read(
    tab: Tab, address: str, size: str, dark: bool, tmp_path: Path
) -> None:
    pictures = Path(os.environ.get("ORCINUS_PICTURES", tmp_path))
    tab.look(width=WIDTHS[size], dark=dark)
    for name, path in deeper(tab, address).items():
        tab.open(address + path)
        assert tab.value("document.documentElement.scrollWidth") <= WIDTHS[size], name
        background = tab.value("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 24, 31)" if dark else "rgb(255, 255, 255)")
        tab.value(AT_WORST)
        assert tab.value(FAULTS) == [], name
        tab.picture(pictures / f"{name}-{size}-{'dark' if dark else 'light'}.png")
    assert [problem for problem in tab.problems if "404" not in problem] == []


def test_a_chart_has_one_form_for_wide_pages_and_one_for_phones(tab: Tab, address: str) -> None:
    shown = "[...document.querySelectorAll('svg')].filter(e => e.checkVisibility()).length"
    for width, form in ((1200, "broad"), (390, "slim")):
        tab.look(width=width)
        tab.open(address + PAGES["report"])
        assert (
            tab.value(shown) == tab.value(f"document.querySelectorAll('.{form} svg').length") == 3
        )


def test_a_reader_without_a_mouse_sees_where_they_are_and_gets_everywhere(
    tab: Tab, address: str
) -> None:
    tab.open(address + PAGES["attempts"])
    reachable = "a[href], button, input, select, summary"
    expected = tab.value(f"document.querySelectorAll({reachable!r}).length")
    seen = []
    for _ in range(expected):
        tab.key("Tab", 9)
        seen.append(
            tab.value("[...document.querySelectorAll('*')].indexOf(document.activeElement)")
        )
        assert tab.value("getComputedStyle(document.activeElement).outlineStyle !== 'none'"), seen
    assert seen == sorted(set(seen)), "in the order of the page"
    tab.open(address)
    while not tab.value("document.activeElement.matches('input')"):
        tab.key("Tab", 9)
    tab.key(" ", 32, " ")
    tab.until("document.querySelectorAll('input:checked').length === 1")
    tab.open(address + PAGES["report"])
    tab.value("document.querySelector('summary').focus()")
    tab.enter()
    tab.until("document.querySelector('details').open")


def test_a_printed_report_is_dark_on_light_and_whole(tab: Tab, address: str) -> None:
    """Even for a reader who prefers dark pages; nothing wider than the paper is cut off."""
    tab.look(width=700, dark=True)
    tab.open(address + PAGES["report"])
    tab.tell(
        "Emulation.setEmulatedMedia",
        media="print",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )
    assert tab.value("getComputedStyle(document.body).color") == "rgb(29, 36, 51)"
    assert tab.value(
        "[...document.querySelectorAll('.wide')].every(e => e.scrollWidth <= innerWidth)"
    )
    assert (
        tab.value("getComputedStyle(document.querySelector('.bar i')).printColorAdjust") == "exact"
    )
