"""Names for the extension points."""

import pytest

from orcinus.core.errors import ConfigError
from orcinus.core.registry import Registry


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    registry = Registry("verifiers")
    registry.register("first", str)
    registry.register("second", int)
    with pytest.raises(ConfigError, match="no verifiers named 'thrid'; known: first, second"):
        registry.get("thrid")


def test_a_name_cannot_be_taken_twice() -> None:
    registry = Registry("verifiers")
    registry.register("mine", str)
    registry.register("mine", str)
    with pytest.raises(ConfigError, match="two verifiers are named 'mine'"):
        registry.register("mine", int)


def test_the_names_come_sorted() -> None:
    registry = Registry("tasks")
    for name in ("b", "a"):
        registry.register(name, dict)
    assert list(registry) == ["a", "b"]


def test_a_recipe_names_what_a_factory_makes_or_a_function() -> None:
    rules = Registry("rules")
    rules.register("upper", lambda: str.upper)
    assert rules.named("upper")("a") == "A"
    assert rules.named("operator:neg")(2) == -2
    with pytest.raises(ConfigError, match="no rules named 'lower'; known: upper"):
        rules.named("lower")
