"""Write a weight matrix as a product of smaller ones that matters little for its outputs.

    A (in, out) ≈ left (in, k) · right (k, out)

``svd`` truncates the singular values of A. ``weighted`` does so after weighting A with how the
inputs vary, which is optimal for the outputs at its size. ``dictionary`` lets every column of A use
its own few of k atoms (K-SVD: Aharon, Elad and Bruckstein 2006), as CoSpaDi does.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Method = Literal["svd", "weighted", "dictionary"]
METHODS: tuple[Method, ...] = get_args(Method)
DAMPING = 1e-3
"""Share of the inputs' mean variance that is added to each: keeps directions that never vary."""
ATOMS = 2.0
"""Atoms of a dictionary for each atom that a column uses."""
ROUNDS = 8
"""Rounds of K-SVD. On the demo's layers further rounds lower the error by less than 1 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """A matrix as a product."""

    left: F64
    """(in, k)."""
    right: F64
    """(k, out)."""

    @property
    def product(self) -> F64:
        """The matrix (in, out) that stands in for the original."""
        found: F64 = self.left @ self.right
        return found

    @property
    def size(self) -> int:
        """Numbers to store: those of ``left``, and a value and an index for each in ``right``.

        Where ``right`` has no zeros, it needs no indices.
        """
        values = int(np.count_nonzero(self.right))
        return self.left.size + (values if values == self.right.size else 2 * values)


class TooSmallError(ValueError):
    """A matrix cannot be made that small."""


def factorise(
    matrix: F64, gram: F64, ratio: float, *, method: Method, rounds: int = ROUNDS
) -> Factors:
    """Return factors of a matrix that need ``1 - ratio`` of its numbers.

    Args:
        matrix: (in, out).
        gram: (in, in) mean of xᵀx over the inputs x.
        ratio: Share of the numbers to save.
        method: How.
        rounds: Rounds of K-SVD.

    Raises:
        TooSmallError: Not even one singular value, or one atom a column, fits.
    """
    rows, columns = matrix.shape
    budget = (1 - ratio) * matrix.size
    if method == "dictionary":
        used = min(int(budget / (ATOMS * rows + 2 * columns)), rows)
        atoms = int(ATOMS * used)
    else:
        used = atoms = min(int(budget / (rows + columns)), rows, columns)
    if used < 1:
        raise TooSmallError(f"a layer of {rows} × {columns} cannot save {ratio:.0%}")
    if method == "svd":
        return _svd(matrix, used)
    root = np.linalg.cholesky(gram + DAMPING * np.trace(gram) / rows * np.eye(rows))
    weighted = root.T @ matrix
    found = (
        _svd(weighted, used)
        if method == "weighted"
        else ksvd(weighted, atoms=atoms, used=used, rounds=rounds)
    )
    left: F64 = np.linalg.solve(root.T, found.left).astype(np.float64)
    return Factors(left=left, right=found.right)


def relative_error(matrix: F64, found: Factors, gram: F64) -> float:
    """Return the error of the outputs, as a share of the outputs, in root mean square."""
    difference = matrix - found.product
    wrong, whole = (float(np.einsum("io,ij,jo", m, gram, m)) for m in (difference, matrix))
    return float(np.sqrt(max(wrong, 0.0) / whole)) if whole > 0 else 0.0


def ksvd(matrix: F64, *, atoms: int, used: int, rounds: int) -> Factors:
    """Return a dictionary and sparse codes: each column of ``matrix`` uses ``used`` atoms at most.

    Args:
        matrix: (d, n).
        atoms: Columns of the dictionary.
        used: Atoms of a column, at most.
        rounds: Each codes all columns anew, then fits each atom and its codes to what the others
            leave.
    """
    if atoms >= used >= matrix.shape[0]:
        return Factors(left=np.eye(matrix.shape[0]), right=matrix.copy())
    dictionary = _first_atoms(matrix, atoms)
    codes = _code(matrix, dictionary, used)
    for _ in range(rounds):
        for atom in range(dictionary.shape[1]):
            users = np.flatnonzero(codes[atom])
            if not len(users):
                continue
            codes[atom, users] = 0.0
            residual = matrix[:, users] - dictionary @ codes[:, users]
            u, s, vt = np.linalg.svd(residual, full_matrices=False)
            dictionary[:, atom], codes[atom, users] = u[:, 0], s[0] * vt[0]
        coded = _code(matrix, dictionary, used)
        # Greedy codes may be worse than those they replace: keep the better of each column.
        better = _squares(matrix - dictionary @ coded) < _squares(matrix - dictionary @ codes)
        codes[:, better] = coded[:, better]
    return Factors(left=dictionary, right=codes)


def _svd(matrix: F64, rank: int) -> Factors:
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return Factors(left=u[:, :rank] * s[:rank], right=vt[:rank])


def _first_atoms(matrix: F64, atoms: int) -> F64:
    """Return the leading singular vectors, then the columns that they explain worst, as atoms."""
    u, _, _ = np.linalg.svd(matrix, full_matrices=False)
    leading = u[:, : (atoms + 1) // 2]
    left = matrix - leading @ (leading.T @ matrix)
    worst = np.argsort(-_squares(left), kind="stable")[: atoms - leading.shape[1]]
    found = np.concatenate([leading, matrix[:, worst]], axis=1)
    norms = np.linalg.norm(found, axis=0)
    unit: F64 = found[:, norms > 0] / norms[norms > 0]
    return unit


def _code(matrix: F64, dictionary: F64, used: int) -> F64:
    """Return codes by orthogonal matching pursuit, for all columns side by side."""
    atoms, columns = dictionary.shape[1], matrix.shape[1]
    used = min(used, atoms)
    gram, wanted = dictionary.T @ dictionary, dictionary.T @ matrix
    chosen = np.zeros((columns, used), np.intp)
    taken = np.zeros((atoms, columns), bool)
    values: F64 = np.zeros((columns, 0))
    correlation = wanted.copy()
    every = np.arange(columns)
    for step in range(used):
        pick = np.where(taken, -1.0, np.abs(correlation)).argmax(0)
        chosen[:, step] = pick
        taken[pick, every] = True
        picked = chosen[:, : step + 1]
        blocks = gram[picked[:, :, None], picked[:, None, :]] + 1e-10 * np.eye(step + 1)
        right = np.take_along_axis(wanted.T, picked, axis=1)
        values = np.linalg.solve(blocks, right[:, :, None])[:, :, 0].astype(np.float64)
        correlation = wanted - np.einsum("csa,cs->ac", gram[picked], values)
    codes = np.zeros((atoms, columns))
    codes[chosen.T, every] = values.T
    return codes


def _squares(matrix: F64) -> F64:
    found: F64 = (matrix**2).sum(0)
    return found
