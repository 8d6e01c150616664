"""The warning where a processor only imitates bfloat16."""

import pytest

from orcinus.models.local import arithmetic


def test_the_cost_of_bfloat16_is_measured() -> None:
    assert 0.05 < arithmetic.bfloat16_cost() < 1000


def test_only_imitated_bfloat16_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "bfloat16_cost", lambda: 41.2)
    assert "41 times slower" in (arithmetic.imitated("bfloat16") or "")
    assert arithmetic.imitated("float32") is None
    monkeypatch.setattr(arithmetic, "bfloat16_cost", lambda: 0.5)
    assert arithmetic.imitated("bfloat16") is None
