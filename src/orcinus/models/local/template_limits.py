"""Refuse a chat template that does not end, or takes much memory, before a model uses it.

    {% for i in range(99999) %}{% for j in range(99999) %}…   ──►  ConfigError: … does not end …

A downloaded template is a program. Jinja's sandbox keeps it from files, but not from time and
memory. It sees roles, tools and marks, never the texts. So a few conversations show what it takes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.models.local import template_trial as trial

SECONDS = 5
"""CPU-seconds for all trial conversations. The templates of published models take 0.2, most of it
Python's start."""
MEMORY = 512 * 2**20
"""Bytes of address space. Python with Jinja takes a tenth of it."""
LONGEST_TEMPLATE = 2**20
"""Characters. The longest of published models have some 20,000."""
LONGEST_TEXT = 2**20
"""Characters that a template may write for a trial conversation, whose own texts are short."""
WAIT_S = 60.0
"""Seconds. The system ends a trial by its CPU time; this is for a machine that gives it none."""
TURNS = 24
"""Pairs of turns in the longest trial conversation."""
_TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "text",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}
"""A tool in the trial conversations, as templates see it."""


def check_limits(template: str, tokens: Mapping[str, Any]) -> None:
    """Render short and long conversations in a process of its own, within limits.

    Other errors of the template are left to the rendering itself.

    Args:
        template: In Jinja.
        tokens: The tokenizer's special tokens, by their names in a template.

    Raises:
        ConfigError: The template does not end, takes too much memory, or writes too much.
    """
    known = sorted((name, text) for name, text in tokens.items() if isinstance(text, str))
    problem = _problem_of(template, tuple(known))
    if problem is not None:
        raise ConfigError(
            f"the tokenizer's chat template {problem}; put a template that you trust into the "
            "model's folder"
        )


@cache
def _problem_of(template: str, tokens: tuple[tuple[str, str], ...]) -> str | None:
    if len(template) > LONGEST_TEMPLATE:
        return f"has {len(template):,} characters, more than {LONGEST_TEMPLATE:,}"
    asked = {
        "template": template,
        "tokens": dict(tokens),
        "conversations": _conversations(),
        "tools": [_TOOL],
        trial.SECONDS: SECONDS,
        trial.BYTES: MEMORY,
        trial.CHARACTERS: LONGEST_TEXT,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(Path(trial.__file__))],
            # Jinja may be where only this process looks: packages of the user, or of a Ray job.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            input=json.dumps(asked).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=WAIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"does not end within {SECONDS} s"
    except OSError:  # no process can be started here: the rendering itself has to do
        return None
    if done.returncode == trial.TOO_MUCH_MEMORY:
        return f"takes more than {MEMORY >> 20} MiB of memory"
    if done.returncode == trial.TOO_LONG:
        return f"writes more than {LONGEST_TEXT:,} characters around a short conversation"
    if done.returncode < 0:
        return f"does not end within {SECONDS} s"
    return None


def _conversations() -> list[list[dict[str, Any]]]:
    roles = ("system", "developer", "user", "assistant", "tool")
    turns_of: list[dict[str, Any]] = [{"role": role, "content": "text"} for role in roles]
    system, developer, user, answer, result = turns_of
    called = {"id": "call00000", "type": "function", "function": {"name": "add", "arguments": {}}}
    turns, reasoned = [user, answer] * TURNS, {**answer, "reasoning_content": "text"}
    short = [[user], [system, user], [system, user, answer], [user, reasoned]]
    tools = [user, {**answer, "tool_calls": [called]}, {**result, "tool_call_id": called["id"]}]
    return [*short, [developer, user], tools, [*turns, user], [system, *turns, user]]
