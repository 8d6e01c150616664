"""Functions and one-method objects as models: two shapes, sync or async; any other is refused."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.core.test_partial_replies import REQUEST

from orcinus.core.errors import CompleterError, ConfigError
from orcinus.core.registry import find_function
from orcinus.core.types import Completion, Messages, Request, Sampling, Traits
from orcinus.models.function import FunctionConfig, as_completer, count_words
from orcinus.pipeline.recipe_file import parse_model


def by_request(request: Request) -> str:
    return f"{request.strategy}: {request.example.id}"


async def by_request_later(request: Request) -> str:
    return by_request(request)


def by_messages(messages: Messages, sampling: Sampling) -> str:
    return f"{messages[-1].content} {sampling.max_tokens}"


async def by_messages_later(messages: Messages, sampling: Sampling) -> Completion:
    return Completion(text=by_messages(messages, sampling), finish="length")


class Teacher:
    """A model with only the one required method."""

    async def complete(self, request: Request) -> str:
        return by_request(request)


def no_argument() -> str:
    return ""


def three(a: object, b: object, c: object) -> str:
    return ""


def a_number(request: Request) -> int:
    return 7


def unknown(request: Request) -> str:
    raise KeyError(request.example.id)


class Stated(Teacher):
    """Has some of a Completer's other members."""

    model = "mine@2"
    traits = Traits(in_flight=3)
    closed = False

    async def aclose(self) -> None:
        self.closed = True


teacher, stated = Teacher(), Stated()
constant = "no model"


@pytest.mark.parametrize(
    ("model", "text", "finish"),
    [
        (by_request, "direct: 7", "stop"),
        (by_request_later, "direct: 7", "stop"),
        (by_messages, "Add 4 7 2. 8", "stop"),
        (by_messages_later, "Add 4 7 2. 8", "length"),
        (lambda request, cache=None: by_request(request), "direct: 7", "stop"),
        (lambda messages, sampling=None: messages[-1].content, "Add 4 7 2.", "stop"),
        (teacher, "direct: 7", "stop"),
    ],
)
def test_every_shape_answers(model: Callable[..., Any], text: str, finish: str) -> None:
    opened = as_completer(model, name="mine")
    found = asyncio.run(opened.complete(REQUEST))
    assert (found.text, found.finish, opened.model) == (text, finish, "mine")
    assert opened.worst_case(REQUEST).usd == 0
    asyncio.run(opened.aclose())


def test_an_object_keeps_its_other_members_under_the_identity_of_the_recipe() -> None:
    place = "tests.models.test_function:stated"
    opened = FunctionConfig(function=place, version="2").open()
    assert (opened.model, opened.traits) == (f"function:{place}@2", stated.traits)
    asyncio.run(opened.aclose())
    assert getattr(find_function(place), "closed")  # noqa: B009 (typed as a function)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_argument", r"takes \(\); it must be \(request\) -> str"),
        ("three", r"takes \(a: object"),
        ("Teacher", "is a class"),
        ("constant", "is a str"),
        ("missing", "no function"),
    ],
)
def test_another_shape_is_one_line_when_it_is_read(name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse_model({"kind": "function", "function": f"tests.models.test_function:{name}"})
    assert "\n" not in str(caught.value)


def test_an_answer_of_another_type_is_one_line_and_a_lookup_error_is_no_answer() -> None:
    with pytest.raises(ConfigError, match="mine returned int; return a str or a Completion"):
        asyncio.run(as_completer(a_number, name="mine").complete(REQUEST))
    with pytest.raises(CompleterError, match="mine has no answer: '7'") as caught:
        asyncio.run(as_completer(unknown, name="mine").complete(REQUEST))
    assert caught.value.permanent


@pytest.mark.parametrize(
    "text", ["", " ", "a", " two  words\n", "a\x1cb\x1f\t\x0bc\r\x0c", "é ü\u2003x\x85y"]
)
def test_words_are_counted_as_python_splits_them(text: str) -> None:
    assert count_words(text) == len(text.split())
