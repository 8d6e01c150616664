r"""Programs as answers: one that prints the answer (program of thought), and one that has to pass tests.

"…```python\nprint(17 + 25)\n```"   →  the program's last line, 42, is the answer
answer type ``program``: the text's program runs with the reference, a few asserts, behind it
"""

import re

from orcinus.verifiers.answers.text import Outcome, without_thinking
from orcinus.verifiers.sandbox import has_sandbox, run_program

_BLOCK = re.compile(
    r"```[ \t]*(python|py|python3)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE
)
_HEAD = re.compile(r"```[ \t]*(?:python|py|python3)[ \t]*\n", re.IGNORECASE)
_MISSING = ("ModuleNotFoundError", "NotImplementedError")
"""Errors of a program that may be right, but not in this sandbox."""


def final_program(text: str) -> str | None:
    """The program that a text ends with: its answer is what the program prints. None where the text goes on after it."""
    if "```" not in text:
        return None
    text = without_thinking(text).rstrip().removesuffix("```")
    start = text.rfind(
        "```"
    )  # a pattern for the whole block costs more than all the rest of a verdict
    head = _HEAD.match(text, start) if start >= 0 else None
    program = text[head.end() :] if head else ""
    return program if "print" in program else None


def printed_by(program: str) -> tuple[str | None, str]:
    """What ``program`` prints last, and why there is nothing when it prints nothing."""
    if not has_sandbox():
        return None, "its program was not run: pip install 'orcinus[sandbox]'"
    ran = run_program(program)
    if ran.error is not None:
        return None, f"its program failed: {ran.error}"
    lines = [line.strip() for line in ran.output.splitlines() if line.strip()]
    return (lines[-1], "") if lines else (None, "its program printed nothing")


def passes(text: str, tests: str) -> Outcome:
    """Whether the last program in ``text`` runs through ``tests``.

    Args:
        text: A response with a program in a block, or nothing but a program.
        tests: Statements to run after it, ``assert add(2, 3) == 5``.

    Returns:
        1.0 when nothing fails, 0.0 when something does; None when there is no program, or one that needs what the sandbox lacks.
    """
    blocks = [found[2] for found in _BLOCK.finditer(without_thinking(text))]
    program = (
        blocks[-1]
        if blocks
        else text
        if re.search(r"^(?:def|class|import|from) ", text, re.MULTILINE)
        else None
    )
    if program is None:
        return Outcome(None, None, "no program is given")
    if not has_sandbox():
        return Outcome(None, None, "its program was not run: pip install 'orcinus[sandbox]'")
    ran = run_program(f"{program}\n{tests}")
    if ran.error is None:
        return Outcome(1.0, program, "passes its tests")
    if ran.error.startswith(_MISSING):
        return Outcome(None, None, f"the sandbox cannot run it: {ran.error}")
    return Outcome(0.0, program, f"fails: {ran.error}")
