"""Agreement with the sources' verdicts on real model outputs, and with those of human readers."""

from pathlib import Path

import pytest
from tests.conftest import read_jsonl

from orcinus.verifiers.rules import judge

pytestmark = pytest.mark.shared
KNOWN_BELOW = {
    # The sources' rules miss numbers in words, and take the first number of "3 * 40 = 120". Where
    # we differ, a human reader found our verdicts right.
    "zscot_gsm8k_cot": 99.4,
    "zscot_addsub_cot": 99.3,
}


def agreement(path: Path, *, contested: bool) -> tuple[float, list[str]]:
    agreed, rows, wrong = 0, 0, []
    for row in read_jsonl(path):
        if row.get("policy") or (row.get("contested") and not contested):
            continue
        reference = (
            tuple(row["reference"]) if isinstance(row["reference"], list) else str(row["reference"])
        )
        outcome = judge(row["response"], row["answer_type"], row["choices"], reference)
        rows += 1
        if (outcome.value == 1.0) == bool(row["correct"]):
            agreed += 1
        elif outcome.value == 1.0:
            wrong.append(row["response"])
    return 100 * agreed / max(1, rows), wrong


def test_the_sources_that_label_the_text_itself(shared_data: Path) -> None:
    for path in sorted((shared_data / "truth").glob("*.jsonl.gz")):
        name = path.name.removesuffix(".jsonl.gz")
        if name.startswith(("plansolve", "adv", "adj")):
            continue
        share, _ = agreement(path, contested=False)
        assert share >= KNOWN_BELOW.get(name, 99.5), name


def test_the_sources_that_asked_a_second_time(shared_data: Path) -> None:
    for path in sorted((shared_data / "truth").glob("plansolve_*.jsonl.gz")):
        if "strategyqa" in path.name or "coin_flip" in path.name:  # yes and no were not in the text
            continue
        assert agreement(path, contested=False)[0] >= 97.0, path.name


def test_the_adversarial_rows(shared_data: Path) -> None:
    share, wrongly_right = agreement(shared_data / "truth" / "adversarial.jsonl.gz", contested=True)
    assert share >= 97.0
    assert wrongly_right == []


def test_the_adjudicated_rows(shared_data: Path) -> None:
    assert agreement(shared_data / "truth" / "adjudicated.jsonl.gz", contested=True)[0] >= 92.0
