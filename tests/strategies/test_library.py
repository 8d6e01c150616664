"""The built-in strategies and messages."""

from collections import Counter

import pytest

from orcinus.core.errors import ConfigError
from orcinus.core.types import AnswerType, Example, Message, Strategy
from orcinus.strategies.library import (
    built_in,
    generic_messages,
    messages_of,
    orca_messages,
    resolve,
)
from orcinus.strategies.prompts import ask, system_of

EXAMPLE = Example(
    id="1", task="sums", prompt="What is 17 + 25?", answer_type="number", reference="42"
)


def test_every_built_in_strategy_has_a_text_and_a_source() -> None:
    assert len(built_in()) == 11
    for strategy in built_in().values():
        assert strategy.system.strip()
        assert "arXiv" in strategy.source


def test_every_built_in_strategy_says_how_to_give_the_answer() -> None:
    for strategy in built_in().values():
        assert ("The answer is" in strategy.system) != (strategy.name == "program_of_thought")


def test_no_generic_message_hints_at_a_strategy() -> None:
    for text in generic_messages().values():
        assert not any(
            word in text.lower() for word in ("step", "explain", "recall", "reason", "answer")
        )


def test_a_strategy_becomes_a_system_message_and_its_demonstrations_earlier_turns() -> None:
    strategy = Strategy(name="mine", system="Think.", demonstrations=(("1 + 1?", "2"),))
    assert ask(EXAMPLE, strategy) == (
        Message(role="system", content="Think."),
        Message(role="user", content="1 + 1?"),
        Message(role="assistant", content="2"),
        Message(role="user", content="What is 17 + 25?"),
    )


def test_an_empty_system_message_is_not_sent() -> None:
    assert ask(EXAMPLE, Strategy(name="none", system="")) == (
        Message(role="user", content="What is 17 + 25?"),
    )


def test_a_users_strategy_replaces_the_built_in_one_of_the_same_name() -> None:
    own = Strategy(name="direct", system="Just say it.")
    assert resolve(["direct"], {"direct": own}) == (own,)


def test_an_unknown_strategy_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"no strategy named 'step_by_stop'; known: .*step_by_step"
    ):
        resolve(["step_by_stop"], {})


@pytest.mark.parametrize(
    ("collection", "choice", "numbers"),
    [
        ("cot", False, {6, 11, 16}),
        ("niv2", False, {1, 2, 5, 7, 9, 12, 13, 14, 15}),
        ("t0", True, {1, 2, 3, 5, 7}),
        ("flan2021", False, {3, 4, 7}),
        ("flan2021", True, {8, 10}),
    ],
)
def test_orcas_messages_follow_its_figure_6(
    collection: str, choice: bool, numbers: set[int]
) -> None:
    [orca] = resolve(["orca"], {})
    sixteen = messages_of(orca)
    examples = [query(str(number), collection, choice=choice) for number in range(2000)]
    drawn = Counter(sixteen.index(system_of(orca, example, seed=0)) + 1 for example in examples)
    assert set(drawn) == numbers
    assert min(drawn.values()) > 0.7 * 2000 / len(numbers)


def query(identity: str, collection: str, *, choice: bool = False) -> Example:
    kind: AnswerType = "choice" if choice else "exact"
    return Example(
        id=identity, task="t", prompt="?", answer_type=kind, meta={"collection": collection}
    )


def test_the_same_example_always_draws_the_same_message() -> None:
    [orca] = resolve(["orca"], {})
    first, again = (system_of(orca, query("q1", "t0"), seed=3) for _ in range(2))
    assert first == again


def test_an_example_of_no_known_collection_gets_messages_that_assume_nothing() -> None:
    assert orca_messages(query("q1", "mine")) == orca_messages(query("q1", "t0"))
