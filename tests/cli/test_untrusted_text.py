"""What a data set, a model or a server writes cannot steer the terminal."""

import json
import re
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from rich.table import Table
from typer.testing import CliRunner

from orcinus import reports
from orcinus.cli import options
from orcinus.cli.app import app
from orcinus.core.errors import ConfigError
from orcinus.core.printing import markdown_text, printable
from orcinus.pipeline.progress import Lines
from orcinus.pipeline.recipe_file import load_recipe

HOSTILE = "\x1b]52;c;aGk=\x07 \x1b[2J \x9b31m \u202eabc\u2069 \r over \x7f \ud83d \U000e0041"
COMMANDS = Path(options.__file__).parent


def steers(text: str) -> list[str]:
    """Return the characters that a terminal would act upon."""
    return [c for c in text if printable(c) != c]


def test_hostile_text_is_escaped_by_every_way_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    console = options.SafeConsole(file=StringIO(), force_terminal=False, width=400)
    table = Table(HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    console.print(HOSTILE, markup=False)
    stream = StringIO()
    Lines(stream).note(HOSTILE)
    options.say(HOSTILE)
    options.print_json({"text": HOSTILE[:-4]})
    shown = console.file.getvalue(), stream.getvalue(), capsys.readouterr().out  # type: ignore[attr-defined]
    assert [steers(text) for text in shown] == [[], [], []]
    assert all("\\u001b[2J" in text for text in shown)


def test_json_that_is_printed_keeps_its_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"text": HOSTILE.replace("\ud83d", "\U0001f600")}
    options.print_json(value)
    assert json.loads(capsys.readouterr().out) == value


def test_a_hostile_data_set_is_inspected_without_a_control_character(tmp_path: Path) -> None:
    row = {
        "question": f"Add 1 and 1. {HOSTILE.replace(chr(0xD83D), '')}",
        "answer": "2 \x1b[31m",
        "\x1b[1mkey": "\x9bx",
    }
    path = tmp_path / "evil.jsonl"
    path.write_text("".join(f"{json.dumps({**row, 'id': i})}\n" for i in range(3)), "utf-8")
    found = CliRunner().invoke(app, ["tasks", "inspect", str(path)])
    assert found.exit_code == 0, found.output
    assert steers(found.output) == []
    assert "Add 1 and 1" in found.output


def test_commands_print_through_the_functions_that_escape() -> None:
    others = [path for path in COMMANDS.glob("*.py") if path.name not in ("options.py", "app.py")]
    assert [path.name for path in others if "typer.echo(" in path.read_text("utf-8")] == []


def test_aliases_of_aliases_are_refused(tmp_path: Path) -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghi")]
    path = tmp_path / "lol.yaml"
    path.write_text("\n".join([*lines, "name: x"]), encoding="utf-8")
    with pytest.raises(ConfigError, match="aliases repeat too many"):
        load_recipe(path)


def test_markdown_holds_no_html_no_link_and_no_new_block_of_untrusted_text() -> None:
    hostile = "# a\n<script>|x|</script> [t](javascript:1) ![i](http://x) `c` &lt; \x1b[2J"
    shown = markdown_text(hostile)
    assert shown.startswith("\\# a &lt;script>")
    assert not re.search(r"\n|<|(?<!\\)\[|(?<!\\)\||`|\x1b|&(?!amp;|lt;)", shown)


def test_every_text_in_a_markdown_template_is_escaped() -> None:
    """Numbers have filters of their own, and JSON is text in quotes."""
    filters = "cell|percent|points|count|dollars|tojson|chance"
    templates = Path(reports.__file__).parent / "templates"
    bare = [
        (path.name, expression)
        for path in templates.glob("*.md.j2")
        for expression in re.findall(r"\{\{(.*?)\}\}", path.read_text("utf-8"), re.DOTALL)
        if not re.search(rf"\|\s*({filters})\b", expression)
    ]
    assert [item for item in bare if "format(" not in item[1] and '", "' not in item[1]] == []
