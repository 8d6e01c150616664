"""A partial reply is sent as vLLM takes it, and keeps the ledger id of earlier releases."""

from dataclasses import replace

import pytest

from orcinus.core.requests import as_sent
from orcinus.core.types import Example, Message, Request, Sampling
from orcinus.runs.ledger_records import attempt_id

QUESTION = Message(role="user", content="Add 4 7 2.")
REQUEST = Request(
    example=Example(
        id="7", task="sums", prompt=QUESTION.content, answer_type="number", reference="13"
    ),
    strategy="direct",
    messages=(QUESTION,),
    sampling=Sampling(
        temperature=0.5, max_tokens=8, stop=("\n\n",), seed=3, extra={"reasoning_effort": "low"}
    ),
    sample=1,
)


@pytest.mark.parametrize(
    ("partial", "identity"),
    [
        (None, "b2df921cafbf7d262e2f81efabb8b37fe4"),
        ("", "b296c16df8684fdeacb606dffead08279b"),
        ("4 + 7 = 11,", "b22a58ed487a5a824f9bc9250943c2ddc2"),
    ],
)
def test_ids_equal_those_in_ledgers_of_earlier_releases(partial: str | None, identity: str) -> None:
    assert attempt_id(replace(REQUEST, partial=partial), "m") == identity


def test_a_partial_reply_is_the_last_message_and_the_recipe_s_parameters_stay() -> None:
    messages, sampling = as_sent(replace(REQUEST, partial="4 + 7 = 11,"))
    assert messages == (QUESTION, Message(role="assistant", content="4 + 7 = 11,"))
    assert sampling.extra == {
        "reasoning_effort": "low",
        "include_stop_str_in_output": True,
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
