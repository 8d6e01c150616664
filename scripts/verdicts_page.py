"""Write docs/verdicts.md from the cases that the tests check: python scripts/verdicts_page.py."""

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.verifiers.cases import CASES, RIGHT, Case  # noqa: E402 - the path comes first

PAGE = ROOT / "docs" / "verdicts.md"
HEAD = r"""# What counts as right

<!-- Written by scripts/verdicts_page.py from tests/verifiers/cases.py. -->

```console
$ orcinus verify responses.jsonl --explain
{"id": 1, "value": 1.0, "answer": "7\\frac12", "reason": "boxed", "reference": "15/2", "piece": "7\\frac12"}
```

A verdict is 1.0 (right), 0.0 (wrong) or none: the text holds no answer, or it could not be compared.
The rules for each answer type follow, with examples that the tests check.

For all types:

* The last explicit statement counts. A correction replaces what it corrects.
* Reasoning between `<think>` tags, or in another channel, is never read. Neither is what no reader
  sees, such as an HTML comment, nor a next question that the response makes up and answers.
* Two different answers are wrong. A refusal and a text cut off before its answer have no verdict.
  Neither has an answer that its sentence doubts, supposes or reports of others.
* No verdict depends on what is installed, except for `program`, which needs the extra `sandbox`.
  `plan` and `run` say so before anything is paid.
* Nothing in a response is executed outside the sandbox.
* Each verdict says how its answer was found: announced, the only candidate, or guessed among several.

References may have any form of a task file: an option's letter, text or index, a GSM8K solution that ends in `#### 42`,
a MATH solution with a `\boxed{}` (several boxes with only "and" between are one answer),
or several right answers in a list.
`python -m benchmarks.verify` measures the agreement with other graders.
"""  # noqa: E501
_VERDICTS = {1.0: "right", 0.0: "wrong", None: "none"}


def page() -> str:
    """Return the whole page."""
    return HEAD + "".join(
        f"\n## `{kind}`\n\n{RIGHT[kind].strip()}\n\n{''.join(rows(cases))}"
        for kind, cases in CASES.items()
    )


def rows(cases: tuple[Case, ...]) -> Iterator[str]:
    """Return a table of cases."""
    choices = next((case.choices for case in cases if case.choices), None)
    if choices:
        options = ", ".join(f"({chr(ord('A') + i)}) {text}" for i, text in enumerate(choices))
        yield f"The options here are {options}.\n\n"
    yield "| reference | response | verdict |\n|---|---|---|\n"
    for case in cases:
        reference = case.reference
        if isinstance(reference, tuple):
            reference = ", ".join(reference)
        yield f"| {cell(reference)} | {cell(case.response)} | {_VERDICTS[case.value]} |\n"


def cell(text: str | None) -> str:
    """Return a text as code for one cell of a table."""
    if not text:
        return "(none)"
    text = text.replace("\n", " ⏎ ").replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
