"""No text of a data set becomes a formula in a spreadsheet."""

import pytest

from orcinus.core.printing import spreadsheet_cell


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", " =1", "\t=1", "\uff1d1"])
def test_a_formula_becomes_a_text(text: str) -> None:
    assert str(spreadsheet_cell(text)).startswith("'")


@pytest.mark.parametrize("value", ["-3", "+4.5", "plain", "", "a = b", 7, 0.5])
def test_numbers_and_plain_texts_stay(value: object) -> None:
    assert spreadsheet_cell(value) == value
