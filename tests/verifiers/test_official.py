"""Published rules: what they find, and that they reproduce the published verdicts."""

from pathlib import Path

import pytest
from tests.conftest import read_jsonl

from orcinus.core.types import Attempt, Example, Sampling
from orcinus.verifiers.official import RULES, by_rule
from orcinus.verifiers.verify import find_verifier

CHOICE = Example(
    id="c",
    task="t",
    prompt="?",
    answer_type="choice",
    choices=("one", "two", "three"),
    reference="B",
)
NUMBER = Example(id="n", task="t", prompt="?", answer_type="number", reference="1,234")


def attempt(text: str) -> Attempt:
    return Attempt(
        id="a",
        example_id="e",
        task="t",
        strategy="s",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
    )


@pytest.mark.parametrize(
    ("rule", "example", "text", "answer", "value"),
    [
        ("bbh_official", CHOICE, "Not (A). So the answer is (B).", "(B)", 1.0),
        ("bbh_official", CHOICE, "(B)", "(B)", 1.0),
        ("bbh_official", CHOICE, "", None, None),
        ("gsm8k_hash", NUMBER, "adds up.\n#### 1,234", "1234", 1.0),
        ("gsm8k_hash", NUMBER, "The answer is 1234.", None, None),
        ("lm_eval_flexible", NUMBER, "$1,234 for 2", "2", 0.0),
        ("lm_eval_flexible", NUMBER, "It is 1,234. So - no more, no less.", "1234", 1.0),
        ("lm_eval_bbh_strict", CHOICE, "(b).", "(B)", 1.0),
        ("lm_eval_bbh_strict", CHOICE, "The answer is (B).", "The answer is (B).", 0.0),
        ("lm_eval_bbh_strict", CHOICE, "B", "B", 0.0),
        ("lm_eval_bbh_flexible", CHOICE, "(B) and not (A)", "(B)", 1.0),
        ("lm_eval_bbh_flexible", CHOICE, "B", None, None),
        ("lm_eval_flexible", CHOICE, "The answer is B, not (C).", "C", 0.0),
        ("agieval_first_capital", CHOICE, "A short thought: the answer is B", "A", 0.0),
        ("agieval_few_shot", CHOICE, "A short thought: the answer is B", "B", 1.0),
    ],
)
def test_what_a_rule_finds(
    rule: str, example: Example, text: str, answer: str | None, value: float | None
) -> None:
    verdict = by_rule(rule, example, attempt(text))
    assert verdict is not None
    assert (verdict.answer, verdict.value) == (answer, value)


def test_a_rule_is_asked_only_for_what_it_is_made_for() -> None:
    assert by_rule("gsm8k_hash", CHOICE, attempt("#### 2")) is None
    assert all(find_verifier(name) for name in RULES)


@pytest.mark.shared
@pytest.mark.parametrize("source", ["bbh_codex_cot", "bbh_codex_direct"])
def test_the_published_verdicts_come_out(shared_data: Path, source: str) -> None:
    rows = list(read_jsonl(shared_data / "truth" / f"{source}.jsonl.gz"))
    wrong = []
    for row in rows:
        reference = row["reference"]
        example = Example(
            id=row["id"],
            task=row["task"],
            prompt="?",
            answer_type=row["answer_type"],
            choices=tuple(row["choices"]) if row["choices"] else None,
            reference=tuple(reference) if isinstance(reference, list) else str(reference),
        )
        verdict = by_rule("bbh_official", example, attempt(row["response"]))
        if verdict is not None and (verdict.value == 1.0) != row["correct"]:
            wrong.append((row["id"], verdict.answer, reference))
    assert len(wrong) <= 0.005 * len(rows), wrong[:20]
