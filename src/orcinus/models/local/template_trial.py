"""Render a chat template once in a process of its own, within limits on time, memory and length.

    echo '{"template": "{{ messages[0].content }}", …}' | python -P template_trial.py  ──►  code 0

``template_limits.py`` starts this file as a program. So it imports nothing of orcinus.
"""

import json
import resource
import sys
import time
from contextlib import suppress
from itertools import product
from typing import Any

from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment

SECONDS, BYTES, CHARACTERS = "seconds", "bytes", "characters"
"""The limits, by their names in the message to this program."""
TOO_MUCH_MEMORY, TOO_LONG = 10, 11
"""Exit codes. A template that does not end is killed by the system."""


class _Generation(Extension):
    """The tag around an answer, ``{% generation %}``, which some templates have."""

    tags = {"generation"}  # noqa: RUF012 (as Jinja wants it)

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("write"), [], [], body).set_lineno(line)

    def write(self, caller: Any) -> Any:
        return caller()


def _fail(message: str) -> None:
    raise TemplateError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    """Return an environment like that of Transformers."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = lambda value, **_: json.dumps(value)
    environment.globals["raise_exception"] = _fail
    environment.globals["strftime_now"] = time.strftime
    return environment


def main() -> int:
    """Render the conversations that standard input names; return an exit code."""
    asked = json.load(sys.stdin)
    with suppress(ValueError, OSError):  # macOS has no limit on memory
        resource.setrlimit(resource.RLIMIT_AS, (asked[BYTES], asked[BYTES]))
    resource.setrlimit(resource.RLIMIT_CPU, (asked[SECONDS], asked[SECONDS]))
    cases = product(asked["conversations"], (None, asked["tools"]), (False, True))
    for messages, tools, generation in cases:
        try:
            text = (
                _environment()
                .from_string(asked["template"])
                .render(
                    messages=messages,
                    tools=tools,
                    documents=None,
                    add_generation_prompt=generation,
                    **asked["tokens"],
                )
            )
        except MemoryError:
            return TOO_MUCH_MEMORY
        except Exception:  # noqa: BLE001 (the model's own rendering says what is wrong)
            continue
        if len(text) > asked[CHARACTERS]:
            return TOO_LONG
    return 0


if __name__ == "__main__":
    sys.exit(main())
