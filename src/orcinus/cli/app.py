"""The table of commands, in the order in which a newcomer meets them.

orcinus demo · orcinus init recipe.yaml · orcinus plan recipe.yaml · orcinus run recipe.yaml
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer

import orcinus
from orcinus.cli import evaluate, ledger, look, run, setup, student, studies, tasks
from orcinus.cli.renamed import RENAMED, answer_with_new_name

app = typer.Typer(
    name="orcinus",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Teach a small model to reason with the strategy that works best for it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Command = tuple[Callable[..., None], str | None, tuple[str, ...]]
"""A function, its name where it differs from the function's, and examples for ``--help``."""

START: tuple[Command, ...] = (
    (run.demo, None, ("orcinus demo",)),
    (setup.init, None, ("orcinus init recipe.yaml",)),
    (setup.doctor, None, ("orcinus doctor", "orcinus doctor recipe.yaml")),
    (setup.schema, None, ("orcinus schema > recipe.schema.json",)),
)
RUN: tuple[Command, ...] = (
    (run.plan, None, ("orcinus plan recipe.yaml", "orcinus plan recipe.yaml --json")),
    (
        run.run,
        None,
        ("orcinus run recipe.yaml", "orcinus run recipe.yaml --until assign"),
    ),
    (run.mcp, None, ("orcinus mcp", "orcinus mcp --budget-usd 5")),
    (studies.ablate, None, ("orcinus ablate recipe.yaml --seeds 3",)),
    (
        studies.improve,
        None,
        ("orcinus improve recipe.yaml --rounds 3", "orcinus improve recipe.yaml --patch"),
    ),
)
LOOK: tuple[Command, ...] = (
    (look.status, None, ("orcinus status sums",)),
    (look.show, None, ("orcinus show", "orcinus show 3f2a91c0", "orcinus show sums-17 --run sums")),
    (look.view, None, ("orcinus view", "orcinus view sums sums-2")),
    (look.diagnose, None, ("orcinus diagnose sums", "orcinus diagnose recipe.yaml --lessons 500")),
    (look.lint, None, ("orcinus lint recipe.yaml", "orcinus lint sums")),
    (look.report, None, ("orcinus report sums", "orcinus report sums --format html,json")),
)
USE: tuple[Command, ...] = (
    (student.chat, None, ('orcinus chat sums "What is 17 + 25?"', "orcinus chat sums")),
    (student.serve, None, ("orcinus serve sums --port 8124",)),
    (
        student.compress,
        None,
        ("orcinus compress sums --ratio 0.2", "orcinus compress sums --method weighted"),
    ),
    (student.export, None, ("orcinus export sums --format trl --out lessons.jsonl",)),
    (
        student.push,
        None,
        ("orcinus push sums my-team/sums-student --dry-run", "orcinus push sums my-team/sums"),
    ),
    (
        evaluate.evaluate,
        None,
        (
            "orcinus evaluate --model runs/sums/student --benchmark gsm8k --data ~/data",
            "orcinus evaluate --model http://localhost:8000/v1 --benchmark bbh,drop --limit 50",
        ),
    ),
    (evaluate.benchmarks, None, ("orcinus benchmarks", "orcinus benchmarks gsm8k")),
    (tasks.verify, None, ("orcinus verify responses.jsonl > verdicts.jsonl",)),
    (
        tasks.serve_replay,
        "serve-replay",
        ("orcinus serve-replay answers.jsonl.gz --port 8123",),
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orcinus {orcinus.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _examples(lines: tuple[str, ...]) -> str:
    heading = "Example:" if len(lines) == 1 else "Examples:"
    return "\n\n".join((f"[bold]{heading}[/]", *(f"  $ {line}" for line in lines)))


def _add_commands() -> None:
    panels = (("Start", START), ("Run", RUN), ("Look", LOOK), ("Use", USE))
    for panel, commands in panels:
        for function, name, examples in commands:
            options: dict[str, Any] = {
                "name": name,
                "rich_help_panel": panel,
                "epilog": _examples(examples),
            }
            app.command(**options)(function)
    app.add_typer(tasks.app, name="tasks", rich_help_panel="Start")
    app.add_typer(ledger.app, name="ledger", rich_help_panel="Look")
    for old in RENAMED:
        app.command(
            old,
            hidden=True,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )(answer_with_new_name)


_add_commands()
