"""Factors of a matrix: exact where they must be, and in the order that theory gives."""

from pathlib import Path

import numpy as np
import pytest

from orcinus.core.errors import ConfigError
from orcinus.core.types import Lesson, Message
from orcinus.models.local.config import LocalConfig
from orcinus.training.factors import METHODS, TooSmallError, factorise, ksvd, relative_error


def layer(rows: int = 24, columns: int = 36) -> tuple[np.ndarray, np.ndarray]:
    """Return a matrix and the mean xᵀx of inputs that vary in few directions."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(200, rows)) * np.geomspace(3, 0.05, rows)
    inputs = inputs @ np.linalg.qr(random.normal(size=(rows, rows)))[0]
    return random.normal(size=(rows, columns)), inputs.T @ inputs / len(inputs)


def test_as_many_atoms_as_rows_are_exact() -> None:
    matrix, _ = layer()
    assert ksvd(matrix, atoms=24, used=24, rounds=1).product == pytest.approx(matrix)


def test_columns_made_of_few_atoms_are_found_again() -> None:
    random = np.random.default_rng(1)
    atoms = np.linalg.qr(random.normal(size=(12, 12)))[0][:, :6]
    codes = np.zeros((6, 60))
    for column in range(60):
        codes[random.choice(6, 2, replace=False), column] = random.normal(size=2) + 2
    found = ksvd(atoms @ codes, atoms=8, used=2, rounds=12)
    assert np.count_nonzero(found.right, axis=0).max() <= 2
    error = np.linalg.norm(found.product - atoms @ codes) / np.linalg.norm(atoms @ codes)
    assert error < 0.15


def test_equal_inputs_need_no_weights() -> None:
    matrix, _ = layer()
    plain = factorise(matrix, np.eye(24), 0.4, method="svd")
    weighted = factorise(matrix, np.eye(24), 0.4, method="weighted")
    assert weighted.product == pytest.approx(plain.product)
    sparse = factorise(matrix, np.eye(24), 0.4, method="dictionary")
    used = int(np.count_nonzero(sparse.right, axis=0).max())
    alone = ksvd(np.sqrt(1.001) * matrix, atoms=sparse.left.shape[1], used=used, rounds=8)
    assert sparse.product == pytest.approx(alone.product / np.sqrt(1.001), abs=1e-6)


@pytest.mark.parametrize("ratio", [0.2, 0.4])
def test_the_outputs_suffer_less_where_the_inputs_are_known(ratio: float) -> None:
    matrix, gram = layer()
    found = {method: factorise(matrix, gram, ratio, method=method) for method in METHODS}
    error = {method: relative_error(matrix, factors, gram) for method, factors in found.items()}
    assert error["weighted"] < error["svd"]
    assert error["dictionary"] < error["svd"]
    for factors in found.values():
        assert factors.size <= (1 - ratio) * matrix.size


@pytest.mark.parametrize("method", METHODS)
def test_a_ratio_that_cannot_be_met_is_said(method: str) -> None:
    matrix, gram = layer()
    with pytest.raises(TooSmallError, match="24 × 36 cannot save 99%"):
        factorise(matrix, gram, 0.99, method=method)  # type: ignore[arg-type]


LESSONS = [
    Lesson(
        id=str(i),
        example_id=str(i),
        task="sums",
        strategy="direct",
        messages=(Message(role="user", content=f"Add {i} {i + 1}."),),
        completion=f"The answer is {2 * i + 1}.",
        reasoning=None,
        teacher="t",
        attempt_id=str(i),
        erased="empty",
    )
    for i in range(12)
]


@pytest.mark.parametrize("method", ["weighted", "dictionary"])
def test_a_compressed_student_is_a_model_folder_with_factors(
    tiny_student: Path, tmp_path: Path, method: str
) -> None:
    from safetensors.torch import load_file

    from orcinus.training.compression import FACTORS, compress_model
    from orcinus.training.lesson_loss import lesson_losses

    student = LocalConfig(path=str(tiny_student), chat_template="chatml")
    out = tmp_path / "small"
    found = compress_model(student, LESSONS, ratio=0.2, method=method, context=128, out=out)  # type: ignore[arg-type]
    assert found.layers == 7
    assert found.numbers_after <= 0.8 * found.numbers_before
    assert 0 < found.error < 1
    factors = load_file(out / FACTORS)
    assert len(factors) == 14
    smaller = LocalConfig(path=str(out), chat_template="chatml")
    for config in (student, smaller):
        assert all(
            loss.loss is not None and loss.loss < 10
            for loss in lesson_losses(config, LESSONS[:2], context=128, device="cpu")
        )


def test_a_ratio_that_cannot_be_met_writes_nothing(tiny_student: Path, tmp_path: Path) -> None:
    from orcinus.training.compression import compress_model

    student = LocalConfig(path=str(tiny_student), chat_template="chatml")
    out = tmp_path / "small"
    with pytest.raises(ConfigError, match=r"--ratio 0.99 cannot be met: .*give a smaller ratio"):
        compress_model(student, LESSONS, ratio=0.99, method="svd", context=128, out=out)
    assert list(tmp_path.iterdir()) == []
