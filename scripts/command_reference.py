"""Write docs/cli.md, the page of all commands, from the command line itself.

python scripts/command_reference.py
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import typer.main
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from orcinus.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

HEAD = """# Commands

    orcinus init recipe.yaml      # write a recipe
    orcinus plan recipe.yaml      # calls, tokens and dollars; spends nothing
    orcinus run recipe.yaml       # run it, or resume it

Made from the code by `scripts/command_reference.py`. `orcinus COMMAND --help` prints the same.

Exit codes: 0 is success, and 2 is an input that you can fix, reported in one line.
130 is Ctrl-C, and 128 + N another signal; the same command then resumes.
1 is a defect of ours, with a traceback.
"""


def page() -> str:
    """Return the whole page."""
    main = typer.main.get_command(app)
    return HEAD + "".join(f"\n{part}" for name, it in _shown(main) for part in _parts(name, it))


def _shown(command: object, name: str = "orcinus") -> Iterator[tuple[str, TyperCommand]]:
    """Yield each command that a help page shows, with its full name, in that order."""
    if isinstance(command, TyperGroup):
        for part, inner in command.commands.items():
            yield from _shown(inner, f"{name} {part}")
    elif isinstance(command, TyperCommand) and not command.hidden:
        yield name, command


def _parts(name: str, command: TyperCommand) -> Iterator[str]:
    """Yield the pieces of one command: what it does, examples, arguments and options."""
    yield f"## {name}\n\n{_text(command.help or '')}\n"
    examples = re.findall(r"\$ (.*)", command.epilog or "")
    if examples:
        yield "```bash\n" + "".join(f"{line}\n" for line in examples) + "```\n"
    rows = [
        f"| {_name_of(p, command)} | {_cell(p.help or '')}{_default_of(p)} |\n"
        for p in command.params
        if isinstance(p, TyperArgument | TyperOption) and not p.hidden and p.name != "help"
    ]
    if rows:
        yield "| | |\n|---|---|\n" + "".join(rows)


def _name_of(parameter: TyperArgument | TyperOption, command: TyperCommand) -> str:
    """Return how a parameter is written on the command line."""
    if isinstance(parameter, TyperArgument):
        return f"`{parameter.metavar or (parameter.name or '').upper()}`"
    names = ", ".join((*parameter.opts, *parameter.secondary_opts))
    if parameter.is_flag:
        return f"`{names}`"
    value = parameter.metavar or _value_of(parameter.name or "", command)
    return f"`{names} {value}`".replace("|", " or ")


def _value_of(name: str, command: TyperCommand) -> str:
    """Return what stands for an option's value: N for a number, else TEXT."""
    function = inspect.unwrap(command.callback or page)
    annotation = str(inspect.signature(function).parameters[name].annotation)
    return "N" if re.search(r"\b(int|float)\b", annotation.partition("typer")[0]) else "TEXT"


def _default_of(parameter: TyperArgument | TyperOption) -> str:
    """Return the default where the help shows one."""
    value = parameter.default
    if isinstance(parameter, TyperArgument) and parameter.required:
        return " Needed."
    if (
        not parameter.show_default
        or value is None
        or callable(value)
        or isinstance(value, bool | tuple)
    ):
        return ""
    return f" Default: `{value}`."


def _text(help_text: str) -> str:
    """Return a help text as Markdown, a sentence a line."""
    plain = re.sub(r"\[/?\w*\]", "", help_text).strip()
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", plain))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
