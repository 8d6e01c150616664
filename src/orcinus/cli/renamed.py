"""Commands of release 0.1 that have a new name: each answers with it, and does nothing else.

$ orcinus probe recipe.yaml
orcinus: `orcinus probe` is now `orcinus run --until probe`; write: orcinus run recipe.yaml …
"""

import shlex

import typer

from orcinus.core.errors import ConfigError

RENAMED = {
    **{
        step: f"run --until {step}"
        for step in (
            "sample",
            "probe",
            "assign",
            "skills",
            "select",
            "teach",
            "curate",
            "erase",
            "train",
        )
    },
    "trace": "show",
    "explain": "show",
}
"""Old name → new name, with the option that stands for it. For release 0.2 only."""


def answer_with_new_name(context: typer.Context) -> None:
    """Say what the command is called now.

    Raises:
        ConfigError: Always: its one line names the new command.
    """
    old = str(context.info_name)
    if old == "curate" and "--explain" in context.args:
        raise ConfigError("`orcinus curate RECIPE --explain ID` is now: orcinus show ID")
    command, *option = RENAMED[old].split()
    words = shlex.join(["orcinus", command, *context.args, *option])
    raise ConfigError(f"`orcinus {old}` has a new name; write: {words}")
