r"""Judge programs: one that prints the answer (program of thought), or one that must pass tests.

"…```python\nprint(17 + 25)\n```"   →  the last line that it prints, 42, is the answer
answer type ``program``             →  the program runs, followed by the reference: a few asserts
"""

import re

from orcinus.core.patterns import compile_later
from orcinus.verifiers.answers.channels import final_channel
from orcinus.verifiers.answers.text import Outcome
from orcinus.verifiers.judged_tests import judged, replaced_by
from orcinus.verifiers.sandbox import NO_SANDBOX, has_sandbox, run_program

_BLOCK = compile_later(
    r"```[ \t]*(python|py|python3)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE
)
_HEAD = compile_later(r"```[ \t]*(?:python|py|python3)[ \t]*\n", re.IGNORECASE)
_MISSING = ("ModuleNotFoundError", "NotImplementedError")
"""Errors of a program that may be right but needs what the sandbox lacks."""


def final_program(text: str) -> str | None:
    """Return the program that a text ends with and that prints its answer; None without one."""
    if "```" not in text:
        return None
    text = final_channel(text).rstrip().removesuffix("```")
    # A pattern for the whole block would cost more than the rest of a verdict.
    start = text.rfind("```")
    head = _HEAD.match(text, start) if start >= 0 else None
    program = text[head.end() :] if head else ""
    return program if "print" in program else None


def printed_by(program: str) -> tuple[str | None, str]:
    """Return the last line that ``program`` prints, or None and the reason."""
    if not has_sandbox():
        return None, NO_SANDBOX
    ran = run_program(program)
    if ran.error is not None:
        return None, f"its program failed: {ran.error}"
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    return (lines[-1], "") if lines else (None, "its program printed nothing")


def program_in(text: str) -> str | None:
    """Return the last program in a text, in a block or on its own; None without one."""
    blocks = [found[2] for found in _BLOCK.finditer(final_channel(text))]
    if blocks:
        return blocks[-1]
    return text if re.search(r"^(?:def|class|import|from) ", text, re.MULTILINE) else None


def passes(text: str, tests: str) -> Outcome:
    """Judge whether the last program in ``text`` passes ``tests``.

    Args:
        text: A response with a program in a block, or just a program.
        tests: Statements to run after it, e.g. ``assert add(2, 3) == 5``.

    Returns:
        The value 1.0 if nothing fails, 0.0 if something does, and None if there is no program, or
        one that needs what the sandbox lacks.
    """
    program = program_in(text)
    if program is None:
        return Outcome(None, None, "no program is given")
    if not has_sandbox():
        return Outcome(None, None, NO_SANDBOX)
    error = run_program(program, tests).error
    rewritten = judged(tests, program) if error is None else None
    if rewritten is not None:
        # The plain run came first: its error names the values, and most programs end there.
        error = run_program(rewritten.before, program, rewritten.after).error
        replaced = replaced_by(program, rewritten.names)
        if error is not None and replaced:
            return Outcome(None, None, f"it replaces {', '.join(replaced)}, which its tests use")
        if error == "AssertionError":
            return Outcome(0.0, program, "fails: an object of its own class says what it equals")
    if error is None:
        return Outcome(1.0, program, "passes its tests")
    if error.startswith(_MISSING):
        return Outcome(None, None, f"the sandbox cannot run it: {error}")
    return Outcome(0.0, program, f"fails: {error}")
