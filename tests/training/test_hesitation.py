"""HE-SNR agrees with numbers worked out by hand."""

from collections.abc import Sequence

import pytest
import torch

from orcinus.training.hesitation import THRESHOLD, add_up, hesitation_of

ROWS = [
    (0.3, 0.25, 0.2, 0.15, 0.1),
    (0.9, 0.025, 0.025, 0.025, 0.025),
    (0.25, 0.25, 0.25, 0.25, 0.0),
]
SECOND = torch.tensor([1, 1, 1])


def logits(rows: Sequence[Sequence[float]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).clamp(min=1e-300).log()


def test_the_threshold_lies_between_three_and_four_equal_tokens() -> None:
    assert pytest.approx(1.2425, abs=5e-5) == THRESHOLD


def test_he_snr_of_three_tokens() -> None:
    parts = [hesitation_of(logits([row]), SECOND[:1]) for row in ROWS]
    assert [part.hesitant for part in parts] == [1, 0, 1]
    assert parts[0].he_snr == pytest.approx(0.16187, abs=5e-6)
    assert parts[2].he_snr == pytest.approx(0.18034, abs=5e-6)
    found = hesitation_of(logits(ROWS), SECOND)
    assert (found.tokens, found.hesitant) == (3, 2)
    assert found.he_snr == pytest.approx(0.17110, abs=5e-6)
    assert found.loss == pytest.approx(1.386294, abs=1e-6)
    assert add_up(parts).he_snr == pytest.approx(found.he_snr)
    assert hesitation_of(logits(ROWS[1:2]), SECOND[:1]).he_snr is None


def test_only_the_ten_best_tokens_are_renormalised_and_the_right_one_must_be_among_them() -> None:
    flat = torch.zeros(1, 40, dtype=torch.float64)
    flat[0, :10] += torch.linspace(0.5, 0.6, 10)
    assert hesitation_of(flat, torch.tensor([3])).hesitant == 1
    assert hesitation_of(flat, torch.tensor([20])).hesitant == 0
    found = hesitation_of(flat, torch.tensor([3]))
    p = float(flat.softmax(1)[0, 3])
    share = flat[0, :10].softmax(0)
    assert found.he_snr == pytest.approx(p / float(-(share * share.log()).sum()))
