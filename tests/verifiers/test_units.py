"""Numbers with units, powers of ten in every spelling, and dates."""

import pytest

from orcinus.verifiers.answers.units import names_quantity, unit_of
from orcinus.verifiers.rules import judge


@pytest.mark.parametrize(
    ("said", "reference", "value"),
    [
        ("2400 mL", "2.4 L", 1.0),
        ("It takes 90 minutes.", "1.5 hours", 1.0),
        (r"The track is 400\text{ m} long.", "0.4 km", 1.0),
        ("It holds 5 m³.", "5000000 cm^3", 1.0),
        ("She weighs 45 kilograms.", "45 kg", 1.0),
        ("She weighs 45.", "45 kg", 1.0),
        ("She weighs 45 g.", "45 kg", 0.0),
        ("It is 3 m long.", "3 km", 0.0),
        ("He runs 5 m/s.", "5", 1.0),
        ("45 g", "45", 1.0),
        ("It lasts 2 hours and 30 minutes.", "150 minutes", 1.0),
    ],
)
def test_a_quantity_is_compared_in_the_unit_of_the_reference(
    said: str, reference: str, value: float
) -> None:
    assert judge(said, "number", None, reference).value == value


def test_a_unit_is_one_only_where_it_stands_alone_behind_a_number() -> None:
    assert unit_of("2.4 L") == unit_of("3 litres")
    for reference in (
        "45",
        "$5",
        "12 apples",
        "3 m 20 cm",
        "20 in the box",
        "5 apples per hour",
    ):
        assert unit_of(reference) is None, reference
    assert names_quantity("45", "45 kg", "45 litres") is None  # another measure


def test_a_unit_for_each_of_another_is_one_unit() -> None:
    assert unit_of("72 km/h") == unit_of("72 kilometres per hour") != unit_of("72 m/s")
    assert judge("It moved at 60 metres per second.", "number", None, "60 km/h").value == 0.0
    assert judge("It moved at 20 m/s.", "number", None, "72 km/h").value == 1.0
    assert judge("It moved at 72 km per hour.", "number", None, "72 km/h").value == 1.0
    assert judge("The density is 0.8 g/mL.", "number", None, "800 g/L").value == 1.0


@pytest.mark.parametrize(
    "written",
    [
        "6.63 · 10⁻³⁴ J·s",
        "6.63*10^-34",
        "6.63 x 10^(-34)",
        r"$6.63\cdot10^{-34}$",
        "6.63∙10⁻³⁴",
        "6.63e-34",
    ],
)
def test_a_power_of_ten_is_read_in_every_spelling(written: str) -> None:
    assert judge(f"It equals {written}.", "number", None, "6.63e-34").value == 1.0
    assert judge(f"It equals {written}.", "number", None, "6.63").value == 0.0


def test_a_date_with_a_year_is_that_year_where_a_number_is_asked_for() -> None:
    assert judge("The landing happened on July 20, 1969.", "number", None, "1969").value == 1.0
    assert judge("It was on 20 July.", "number", None, "20").value == 1.0


def test_a_date_is_the_same_in_digits_and_in_words() -> None:
    assert judge("1939-09-01", "spans", None, "1 September 1939").value == 1.0
    assert judge("1939-09-02", "spans", None, "1 September 1939").value == 0.0
    assert judge("September 1, 1939", "exact", None, "1939-09-01").value == 1.0
