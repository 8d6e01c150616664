"""Change judged responses and see what becomes of the verdict; time verdicts on hostile texts.

A right answer with a courtesy line behind it is still right. A right answer that the text then
takes back is wrong. No text may take long, whatever it holds.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from orcinus.core.types import AnswerType
from orcinus.verifiers.rules import judge

Row = Mapping[str, Any]
KINDS: tuple[AnswerType, ...] = ("number", "bool", "choice", "exact", "list")
TAILS = {
    "courtesy": "{}\n\nI hope this helps!",
    "let me know": "{}\n\nLet me know if you have questions.",
    "stop token": "{}</s>",
    "end token": "{}<|im_end|>",
    "confidence": "{}\n\nConfidence: 95%",
    "note": "{}\n\nNote: there are 2 other ways.",
    "is correct": "{}\n\nThe answer is correct.",
    "zero width": "{}\u200b",
    "paragraph": "<p>{}</p>",
    "carriage returns": "{}\r\n",
    "thinking before": "<think>Is it so? Perhaps.</think>\n{}",
    "opening": "Sure! Here is the answer.\n\n{}",
}
"""Changes that keep the meaning; ``{}`` is the response."""
CORRECTIONS = {
    "wait": "{}\n\nWait, that is wrong. The answer is {x}.",
    "actually": "{}\n\nActually, it is {x}.",
    "correction": "{}\n\nCorrection: {x}",
    "sorry": "{}\n\nSorry, I made an error above. It should be {x}.",
    "redo": "{}\n\nLet me redo this carefully. So it is {x}.",
    "thinking": "<think>{}</think>\nThe answer is {x}.",
    "box": "<think>{}</think>\n\\boxed{{{x}}}",
    "channels": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant"
    "<|channel|>final<|message|>{x}",
    "reflection": "<reflection>{}</reflection>\nThe answer is {x}.",
    "brackets": "[THINK]{}[/THINK]{x}",
}
"""Changes that make a right answer wrong; ``{x}`` is another answer."""
HOSTILE = {
    "a loop of an answer": "The answer is " + "A. " * 400_000,
    "one marker": "the answer is " * 80_000,
    "choices": "choice option " * 80_000,
    "answers": "answer " * 150_000,
    "answer tags": "<answer>" * 130_000,
    "think tags": "<think>" * 150_000,
    "denials": "it is not true that " * 50_000,
    "open braces": "{" * 1_000_000,
    "open brackets": "(" * 1_000_000,
    "displays": "\\[ " * 330_000,
    "dollars": "$ x " * 250_000,
    "boxes": "\\boxed{" * 140_000,
    "full boxes": "\\boxed{1} " * 100_000,
    "fractions": "\\frac{1}{" * 110_000,
    "digits": "1" * 1_000_000,
    "commas": "1,234," * 160_000,
    "numbers": "12 " * 330_000,
    "equations": "1 + 1 = 2, " * 90_000,
    "letters": "a" * 1_000_000,
    "words": "word " * 200_000,
    "lines": "a\n" * 500_000,
    "bars": "| a " * 250_000,
    "hashes": "#### 1\n" * 140_000,
    "waits": "Wait, no. " * 100_000,
    "quotes": '"' * 1_000_000,
    "stars": "**" * 500_000,
    "ideograms": "答案是" * 330_000,
    "blanks": " " * 1_000_000,
    "rows": "(A) x " + " " * 990_000 + "(B) y",
    "steps": "\\begin{align} x &= 1 " * 48_000,
    "labels": "b) no " * 160_000,
    "halves": "some yes no " * 80_000,
}
"""Texts of about 1 MB that loops, attacks and damaged output look like."""
_REFERENCES: Mapping[AnswerType, str | tuple[str, ...]] = {
    "choice": "B", "bool": "yes", "number": "12", "math": r"\frac12", "list": ("a", "b"),
    "exact": "] )", "spans": "Denver", "json": '{"a": 1}',
}  # fmt: skip


def right_rows(sources: Mapping[str, Sequence[Row]], each: int) -> dict[AnswerType, list[Row]]:
    """Return up to ``each`` rows of each type that the source and we call right."""
    found: dict[AnswerType, list[Row]] = {kind: [] for kind in KINDS}
    for rows in sources.values():
        for row in rows:
            kept = found.get(row["answer_type"])
            if kept is not None and len(kept) < each and row["correct"] and _value(row) == 1.0:
                kept.append(row)
    return found


def _value(row: Row, text: str | None = None) -> float | None:
    response = row["response"] if text is None else text
    return judge(response, row["answer_type"], row["choices"], row["reference"]).value


def tails_lost(rows: Mapping[AnswerType, Sequence[Row]]) -> dict[str, Any]:
    """Return the percentage of right answers that are lost behind each tail, by type."""
    table = {
        name: {
            kind: _share(_value(row, form.replace("{}", row["response"])) != 1.0 for row in some)
            for kind, some in rows.items()
        }
        for name, form in TAILS.items()
    }
    return _summary(table)


def corrections_false_yes(rows: Mapping[AnswerType, Sequence[Row]]) -> dict[str, Any]:
    """Return the percentage of answers still called right although the text takes them back."""
    table = {
        name: {
            kind: _share(
                _value(row, _corrected(form, row["response"], _another_answer(row))) == 1.0
                for row in some
            )
            for kind, some in rows.items()
        }
        for name, form in CORRECTIONS.items()
    }
    return _summary(table)


def _corrected(form: str, response: str, other: str) -> str:
    return form.replace("{{{x}}}", "{" + other + "}").replace("{x}", other).replace("{}", response)


def _another_answer(row: Row) -> str:
    kind, reference = row["answer_type"], row["reference"]
    if kind == "number":
        return "987651"
    if kind == "bool":
        return "no" if str(reference).casefold() in ("yes", "true") else "yes"
    if kind == "choice":
        return "(B)" if str(reference).strip("()").upper() == "A" else "(A)"
    if kind == "exact" and row["choices"]:
        return next(str(choice) for choice in row["choices"] if choice != reference)
    if kind == "exact" and not any(map(str.isalnum, str(reference))):
        return "} ] > )" if reference != "} ] > )" else ")"
    return "zebra, yak, wombat" if kind == "list" else "zebra"


def _share(found: Iterator[bool]) -> float | None:
    flags = list(found)
    return 100 * sum(flags) / len(flags) if flags else None


def _summary(table: dict[str, dict[AnswerType, float | None]]) -> dict[str, Any]:
    shares = [share for row in table.values() for share in row.values() if share is not None]
    return {
        "largest": max(shares, default=None),
        "mean": sum(shares) / len(shares) if shares else None,
        "by_change": table,
    }


def slowest_verdict(share: float = 1.0) -> dict[str, Any]:
    """Time a verdict of each type on each hostile text, or on its first ``share``."""
    slowest: dict[str, Any] = {"ms": 0.0}
    for name, text in HOSTILE.items():
        for kind in get_args(AnswerType):
            if kind not in _REFERENCES:
                continue
            choices = ("a", "b", "c", "d") if kind == "choice" else None
            near = text[: int(share * len(text))]
            judge(near, kind, choices, _REFERENCES[kind])  # patterns are compiled at first use
            start = time.process_time()
            judge(near, kind, choices, _REFERENCES[kind])
            took = 1000 * (time.process_time() - start)
            if took > slowest["ms"]:
                slowest = {"ms": took, "text": name, "answer_type": kind}
    return slowest
