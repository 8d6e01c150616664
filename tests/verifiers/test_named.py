"""Another package's verifier: registered by name, chosen by a task, refused if unknown."""

import asyncio
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from orcinus.core import registry
from orcinus.core.types import Attempt, Example, Sampling, Verdict
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files.records import read_task
from orcinus.verifiers.verify import verify


async def shouting(example: Example, attempt: Attempt) -> Verdict:
    """Judge a text right if it shouts."""
    value = float(attempt.text.isupper())
    return Verdict(
        attempt_id=attempt.id,
        verifier="shouting@1",
        value=value,
        answer=attempt.text,
        reason="case",
    )


@pytest.fixture
def registered(own_extensions: None) -> None:
    registry.register("verifier", "shouting")(shouting)


def attempt(text: str) -> Attempt:
    return Attempt(
        id="a",
        example_id="1",
        task="t",
        strategy="s",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text=text,
        finish="stop",
    )


@pytest.mark.usefixtures("registered")
def test_a_task_is_judged_by_the_verifier_it_names(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"prompt": "Shout!", "reference": "x"}) + "\n", encoding="utf-8")
    (example,) = read_task(RecordsConfig(path=str(path), verifier="shouting"), tmp_path)
    assert [asyncio.run(verify(example, attempt(text))).value for text in ("HEY", "hey")] == [
        1.0,
        0.0,
    ]
    (plain,) = read_task(RecordsConfig(path=str(path)), tmp_path)
    assert asyncio.run(verify(plain, attempt("x"))).verifier == "exact@3"


def test_an_unknown_verifier_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"no verifier named 'shoutin'; known: .*answer_type"):
        RecordsConfig(path="t.jsonl", verifier="shoutin")
