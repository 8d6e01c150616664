"""Fingerprints: equal values share one, different values never do."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orcinus.core.fingerprint import canonical_json, fingerprint, stable_fraction

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), JSON))
def test_the_order_of_keys_does_not_matter(value: dict[str, object]) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@given(JSON, JSON)
def test_different_texts_have_different_fingerprints(a: object, b: object) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (canonical_json(a) == canonical_json(b))


def test_a_fingerprint_never_changes_between_versions() -> None:
    assert fingerprint({"b": [1, 2.5, None], "a": "é"}) == "b23276393bf8a5a8df0e5ddcb8f78302ef"


def test_a_dataclass_is_its_fields() -> None:
    @dataclass
    class Point:
        x: int
        y: tuple[int, ...]

    assert fingerprint(Point(1, (2, 3))) == fingerprint({"x": 1, "y": [2, 3]})


@pytest.mark.parametrize(
    "value", [lambda: None, math.nan, math.inf, {1: "a"}, {1, 2}, object(), b"bytes"]
)
def test_a_value_without_a_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="canonical form"):
        fingerprint(value)


def test_stable_fractions_are_uniform_and_separate_their_parts() -> None:
    fractions = [stable_fraction("seed", str(i)) for i in range(10_000)]
    assert all(0 <= fraction < 1 for fraction in fractions)
    assert abs(sum(fractions) / len(fractions) - 0.5) < 0.01
    assert stable_fraction("ab", "c") != stable_fraction("a", "bc")
