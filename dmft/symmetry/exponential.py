"""Exponential symmetries: losses invariant under theta -> exp(lambda A) theta.

If the loss of every sample is invariant, theta^T A grad l = 0 for each of them, and the charge
C = theta^T A theta is what gradient flow conserves and what noise moves (Ziyin et al.,
arXiv:2402.07193). A symmetric A is kept as its nonzero eigenvalues and eigenvectors, since charge,
orbit and noise equilibrium need nothing else: a diagonal A costs its nonzero entries, one of low
rank r costs P r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from dmft.errors import InputError
from dmft.symmetry.eigenpairs import VANISHED, dense_array, eigenpairs, on_rows, unit_columns
from dmft.symmetry.gradients import Gradients, per_sample_array

_ASYMMETRY = 1e-12  # of the largest entry: what rounding may leave
# A gradient this much smaller than the largest one is held to the standard of that size.
_SMALL_GRADIENT = 1e-6


@dataclass(frozen=True, eq=False)
class ExponentialSymmetry:
    """A one-parameter group theta -> exp(lambda A) theta with A = N diag(mu) N^T.

    Make one with `of`, `diagonal` or `low_rank`.

    values : nonzero eigenvalues mu of A, shape (r,).
    directions : their orthonormal eigenvectors N, shape (P, r), dense or sparse.
    name : what messages, tables and figures call it.

    Units: the generator is dimensionless, the charge in squared parameters.
    """

    values: np.ndarray
    directions: Any
    name: str = "symmetry"

    @classmethod
    def of(cls, matrix: Any, name: str = "symmetry") -> ExponentialSymmetry:
        """The symmetry of a matrix A, dense or sparse, shape (P, P).

        Raises
        ------
        InputError : not square, not symmetric, not finite, or zero.
        """
        _check_real(matrix, name)
        if sparse.issparse(matrix):
            return cls._of_sparse(sparse.csr_array(matrix, dtype=float), name)
        dense = _numbers(matrix, name)
        _check_square(dense.shape, name)
        _check_symmetric(dense, dense.T, name)
        return cls._trimmed(*np.linalg.eigh((dense + dense.T) / 2), name)

    @classmethod
    def diagonal(cls, entries: Any, name: str = "symmetry") -> ExponentialSymmetry:
        """The symmetry of A = diag(entries), shape (P,).

        Raises
        ------
        InputError : no vector of finite numbers, or zero.
        """
        diagonal = _numbers(entries, name)
        if diagonal.ndim != 1:
            raise InputError(f"given shape {diagonal.shape}, must be the diagonal (P,)", name)
        if not diagonal.any():
            raise InputError("is zero, must move some parameter", name)
        places = np.flatnonzero(diagonal)
        return cls.on_axes(len(diagonal), places, diagonal[places], name)

    @classmethod
    def on_axes(
        cls, parameters: int, places: Any, values: Any, name: str = "symmetry"
    ) -> ExponentialSymmetry:
        """The symmetry of a diagonal A of `parameters` entries, `values` at `places`, else zero."""
        where = (np.asarray(places), np.arange(len(places)))
        directions = sparse.csc_array(
            (np.ones(len(places)), where), shape=(parameters, len(places))
        )
        return cls(np.asarray(values, dtype=float), directions, name)

    @classmethod
    def low_rank(cls, vectors: Any, core: Any, name: str = "symmetry") -> ExponentialSymmetry:
        """The symmetry of A = F K F^T.

        Parameters
        ----------
        vectors : F, shape (P, r), not necessarily orthogonal.
        core : K, symmetric of shape (r, r), or its diagonal of shape (r,).

        Raises
        ------
        InputError : shapes that do not fit, a core that is not symmetric, or zero.
        """
        factor, middle = _numbers(vectors, name), _numbers(core, name)
        if middle.ndim == 1:
            middle = np.diag(middle)
        if factor.ndim != 2 or middle.shape != (factor.shape[1],) * 2:
            raise InputError(
                f"given shapes {factor.shape} and {middle.shape}, must be (P, r) and (r, r)", name
            )
        _check_symmetric(middle, middle.T, name)
        basis, triangle = np.linalg.qr(factor)
        values, rotation = np.linalg.eigh(triangle @ ((middle + middle.T) / 2) @ triangle.T)
        return cls._trimmed(values, basis @ rotation, name)

    @classmethod
    def _of_sparse(cls, matrix: sparse.csr_array, name: str) -> ExponentialSymmetry:
        _check_square(matrix.shape, name)
        if not np.isfinite(matrix.data).all():
            raise InputError("holds NaN or infinity", name)
        _check_symmetric(matrix, matrix.T, name)
        return cls._trimmed(*eigenpairs((matrix + matrix.T) / 2), name)

    @classmethod
    def _trimmed(cls, values: np.ndarray, directions: Any, name: str) -> ExponentialSymmetry:
        kept = np.abs(values) > VANISHED * np.abs(values).max(initial=0.0)
        if not kept.any():
            raise InputError("is zero, must move some parameter", name)
        return cls(values[kept], directions[:, np.flatnonzero(kept)], name)

    @property
    def parameters(self) -> int:
        """P, the number of parameters it acts on."""
        return int(self.directions.shape[0])

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Components N^T x of vectors (..., P) along the eigenvectors, shape (..., r)."""
        return on_rows(np.asarray(vectors), self.directions)

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """A x for vectors (..., P)."""
        return on_rows(self.project(vectors) * self.values, self.directions.T)

    def charge(self, theta: np.ndarray) -> np.ndarray:
        """C = theta^T A theta of parameters (..., P)."""
        return np.asarray(self.project(theta) ** 2 @ self.values)

    def orbit(self, theta: np.ndarray, lam: float) -> np.ndarray:
        """exp(lam A) theta, shape (..., P)."""
        moved = np.expm1(lam * self.values) * self.project(theta)
        return np.asarray(theta + on_rows(moved, self.directions.T))

    def matrix(self) -> Any:
        """A as a matrix, of the kind (dense or sparse) of its eigenvectors."""
        if sparse.issparse(self.directions):
            return self.directions @ sparse.diags_array(self.values) @ self.directions.T
        return (self.directions * self.values) @ self.directions.T

    def violations(self, theta: np.ndarray, gradients: Gradients) -> np.ndarray:
        """|theta^T A g| / (|A theta| |g|) of the gradient g of each sample, shape (samples,).

        Zero, up to rounding, if and only if the loss of the sample is invariant to first order.

        Raises
        ------
        InputError : gradients of the wrong shape, or not finite.
        """
        theta = self.checked(theta)
        rows = per_sample_array(gradients, theta)
        direction = self.apply(theta)
        size = np.linalg.norm(rows, axis=1)
        size = np.maximum(size, _SMALL_GRADIENT * size.max())
        scale = np.linalg.norm(direction) * size
        return np.abs(rows @ direction) / np.where(scale > 0.0, scale, 1.0)

    def validate(
        self, theta: np.ndarray, gradients: Gradients, tolerance: float | None = None
    ) -> float:
        """Largest violation over the samples, if all of them have the symmetry.

        Parameters
        ----------
        theta : parameters, shape (P,).
        gradients : per-sample gradients (samples, P), or a callable that gives them.
        tolerance : largest violation allowed; default the square root of the precision of the
            gradients, 1.5e-8 in float64.

        Raises
        ------
        InputError : the loss of a sample lacks the symmetry, the worst is named; or gradients of
            the wrong shape.
        """
        rows = per_sample_array(gradients, self.checked(theta))
        if tolerance is None:
            tolerance = float(np.sqrt(np.finfo(rows.dtype).eps))
        found = self.violations(theta, rows)
        worst = int(found.argmax())
        if found[worst] > tolerance:
            lacking = int((found > tolerance).sum())
            raise InputError(
                f"is no symmetry of the loss: sample {worst} is the worst, theta^T A grad is"
                f" {found[worst]:.2g} of |A theta| |grad|, must be below {tolerance:.2g}"
                f" ({lacking} of {len(found)} samples are not)",
                self.name,
            )
        return float(found[worst])

    def checked(self, theta: np.ndarray) -> np.ndarray:
        """Parameters as an array (P,).

        Raises
        ------
        InputError : another shape.
        """
        theta = np.asarray(theta)
        if theta.shape != (self.parameters,):
            raise InputError(
                f"given parameters of shape {theta.shape}, must be ({self.parameters},)", self.name
            )
        return theta


class Symmetries:
    """Several symmetries of the same parameters, evaluated together; they need not commute.

    directions : all eigenvectors side by side, shape (P, R).
    values : the eigenvalues in the column of their symmetry, shape (R, K).

    Units: generators are dimensionless, charges in squared parameters.
    """

    def __init__(self, members: Sequence[ExponentialSymmetry]) -> None:
        sizes = sorted({member.parameters for member in members})
        if len(sizes) != 1:
            raise InputError(f"given symmetries of {sizes} parameters, must be one number")
        self.members = tuple(members)
        every = [member.directions for member in members]
        if all(sparse.issparse(directions) for directions in every):
            self.directions: Any = sparse.hstack(every, format="csc")
        else:
            self.directions = np.hstack([dense_array(directions) for directions in every])
        self.values = sparse.block_diag(
            [sparse.coo_array(member.values[:, None]) for member in members], format="csr"
        )
        # Eigenvectors along the axes, as those of diagonal A, need no multiplication.
        self._places = unit_columns(self.directions)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def parameters(self) -> int:
        """P, the number of parameters they act on."""
        return int(self.directions.shape[0])

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(member.name for member in self.members)

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Components (..., R) of vectors (..., P) along all eigenvectors."""
        if self._places is not None:
            return np.asarray(vectors[..., self._places])
        return on_rows(vectors, self.directions)

    def charges(self, theta: np.ndarray) -> np.ndarray:
        """theta^T A_k theta of parameters (..., P), shape (..., K)."""
        return self.bilinear(theta, theta)

    def bilinear(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        """left^T A_k right of vectors (..., P), shape (..., K)."""
        first = self.project(left)
        second = first if right is left else self.project(right)
        return on_rows(first * second, self.values)

    def sizes(self, theta: np.ndarray) -> np.ndarray:
        """sum_i |mu_i| (n_i . theta)^2 of each symmetry: the scale of its charge, (..., K)."""
        return on_rows(self.project(theta) ** 2, abs(self.values))


def _numbers(values: Any, name: str) -> np.ndarray:
    _check_real(values, name)
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError("is no array of numbers", name) from None
    if not np.isfinite(found).all():
        raise InputError("holds NaN or infinity", name)
    return found


def _check_real(values: Any, name: str) -> None:
    # Parameters are real, so that A is; numpy would drop the imaginary part.
    kind = getattr(values, "dtype", None)
    if np.iscomplexobj(values) if kind is None else np.dtype(kind).kind == "c":
        raise InputError("is complex, must be real", name)


def _check_square(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2 or shape[0] != shape[1]:
        raise InputError(f"given shape {shape}, must be square (P, P)", name)


def _check_symmetric(matrix: Any, transposed: Any, name: str) -> None:
    difference = abs(matrix - transposed)
    worst = difference.max() if difference.size else 0.0
    if worst > _ASYMMETRY * abs(matrix).max():
        row, column = np.unravel_index(int(difference.argmax()), difference.shape)
        raise InputError(
            f"is not symmetric: A[{row}, {column}] and A[{column}, {row}] differ by {worst:.3g},"
            " must be A = A^T",
            name,
        )
