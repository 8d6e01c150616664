"""Recorded outputs are found by the name of the request's strategy, not by its system message."""

import asyncio
from dataclasses import replace

import pytest
from tests.core.test_partial_replies import REQUEST

from orcinus.core.errors import CompleterError
from orcinus.core.types import Message
from orcinus.models.recorded import Recordings, Replay

REPLAY = Replay(
    Recordings({"direct": {"Add 4 7 2.": "13"}, "*": {"Add 4 7 2.": "It is 13."}}), model="m"
)


def test_the_request_names_the_strategy() -> None:
    orders = Message(role="system", content="Words that no strategy has.")
    asked = replace(REQUEST, messages=(orders, *REQUEST.messages))
    assert asyncio.run(REPLAY.complete(asked)).text == "13"
    assert asyncio.run(REPLAY.complete(replace(asked, strategy="mine"))).text == "It is 13."


def test_a_question_that_was_not_recorded_is_a_permanent_error() -> None:
    other = replace(REQUEST, messages=(Message(role="user", content="Add 1 1."),))
    with pytest.raises(CompleterError, match="no recorded answer under 'direct'") as caught:
        asyncio.run(REPLAY.complete(other))
    assert caught.value.permanent
