"""Records with a quick ``__init__`` are what they are with the usual one."""

import copy
import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from orcinus.core import types
from orcinus.core.records import quick_init


@dataclass(frozen=True, slots=True, kw_only=True)
class Usual:
    name: str
    extra: dict[str, int] = field(default_factory=dict)
    size: int = 3


@quick_init
@dataclass(frozen=True, slots=True, kw_only=True)
class Quick:
    name: str
    extra: dict[str, int] = field(default_factory=dict)
    size: int = 3


def test_a_quick_record_has_the_same_fields_and_defaults() -> None:
    for given in ({"name": "a"}, {"name": "a", "size": 4}, {"name": "a", "extra": {"b": 1}}):
        usual, quick = Usual(**given), Quick(**given)
        for one in fields(Usual):
            assert getattr(usual, one.name) == getattr(quick, one.name)


def test_each_quick_record_has_a_default_of_its_own() -> None:
    assert Quick(name="a").extra is not Quick(name="a").extra


def test_a_quick_record_stays_frozen_hashable_and_can_be_pickled() -> None:
    message = types.Message(role="user", content="4 + 7?")
    with pytest.raises(FrozenInstanceError):
        message.content = "8"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(message)) == message == copy.deepcopy(message)
    assert hash(replace(message)) == hash(message)


def test_a_missing_and_an_unknown_field_are_named_as_usual() -> None:
    with pytest.raises(TypeError, match=r"Quick\.__init__\(\) missing 1 .* argument: 'name'"):
        Quick()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"Quick\.__init__\(\) got an unexpected .* 'colour'"):
        Quick(name="a", colour="red")  # type: ignore[call-arg]
