"""How the accumulated force of a flow moves: what the integrator asks of data set and loss.

The unknown z fixes the force G, and z' = F(w(G)). Three forms of the same flow:

    squared loss, any n      z in R^min(n,d), G = X^T z,  z' = Xw - y,           J = -X S X^T,
    other losses, n <= d     z in R^n,        G = X^T z,  z' = r = l'(Xw, y),    J = -D X S X^T,
    other losses, n > d      z = G in R^d,                z' = X^T r,            J = -X^T D X S,

with S = -dw/dG >= 0 and D = diag l''(Xw, y) >= 0. Each solves (1 + c (damping - J)) k = f by one
Cholesky factorisation of a symmetric matrix of size min(n, d). For other losses J is not
symmetric, but with B = sqrt(D) X sqrt(S) and k_0 = 1 + c damping

    (k_0 + c D X S X^T)^-1 = [1 - c sqrt(D) (k_0 + c B B^T)^-1 B sqrt(S) X^T] / k_0,
    (k_0 + c X^T D X S)^-1 = [1 - c X^T sqrt(D) B (k_0 + c B^T B)^-1 sqrt(S)] / k_0.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.linalg
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpotrf, dpotrs

from dmft.problem.losses import Loss, Squared


class Rate(Protocol):
    """The motion of one data set under one loss.

    Attributes
    ----------
    unknowns : the number of components of z.
    size : norm of the residual that the weights 0 leave, its scale.
    floor : fraction of `size` below which a residual is no longer resolved relatively.
    """

    unknowns: int
    size: float
    floor: float

    def force(self, unknown: np.ndarray) -> np.ndarray:
        """G, shape (d,)."""

    def at(self, weights: np.ndarray) -> np.ndarray:
        """z' at weights (d,), before growth and damping."""

    def along(self, weights: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Change of z' per unit of time while the weights move with a velocity (d,)."""

    def linearise(self, weights: np.ndarray, steepness: np.ndarray) -> None:
        """Set the point of J: weights and S, each of shape (d,)."""

    def mean_rate(self) -> float:
        """Average eigenvalue of -J."""

    def factorise(self, step: float, damping: float) -> bool:
        """Prepare `solve` with c = step; whether that was possible."""

    def solve(self, right: np.ndarray) -> np.ndarray:
        """(1 + step (damping - J))^-1 right."""

    def residual_norm(self, weights: np.ndarray) -> float:
        """Norm of the slopes l' over all samples."""

    def residual_change(self, weights: np.ndarray, change: np.ndarray) -> np.ndarray:
        """First-order change of the slopes when weights (d,) change by as little as `change`."""


class SquaredRate:
    """The squared loss, of which at most d combinations of the samples matter."""

    floor: float = 1e-6

    def __init__(self, features: np.ndarray, labels: np.ndarray) -> None:
        self.features, self.labels, self.unreachable = _compressed(features, labels)
        self.unknowns = len(self.labels)
        self.size = float(np.linalg.norm(labels))
        self.scaled = np.empty_like(self.features)

    def force(self, unknown: np.ndarray) -> np.ndarray:
        return self.features.T @ unknown

    def at(self, weights: np.ndarray) -> np.ndarray:
        return self.features @ weights - self.labels

    def along(self, weights: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        return self.features @ velocity

    def linearise(self, weights: np.ndarray, steepness: np.ndarray) -> None:
        """H = X S X^T, upper triangle."""
        np.multiply(self.features, np.sqrt(steepness), out=self.scaled)
        self.hessian = dsyrk(1.0, self.scaled.T, trans=1, lower=0)

    def mean_rate(self) -> float:
        return float(np.trace(self.hessian) / self.unknowns)

    def factorise(self, step: float, damping: float) -> bool:
        self.factor, failed = _factor(step * self.hessian, 1.0 + step * damping)
        return not failed

    def solve(self, right: np.ndarray) -> np.ndarray:
        return np.asarray(dpotrs(self.factor, right, lower=0)[0])

    def residual_norm(self, weights: np.ndarray) -> float:
        return float(np.hypot(np.linalg.norm(self.at(weights)), self.unreachable))

    def residual_change(self, weights: np.ndarray, change: np.ndarray) -> np.ndarray:
        return self.features @ change


class LossRate:
    """Any other loss that has a slope everywhere."""

    # Residuals of separable data vanish like 1/t, and stay resolved until t is about 1e9.
    floor: float = 1e-9

    def __init__(self, features: np.ndarray, labels: np.ndarray, loss: Loss) -> None:
        self.features, self.labels, self.loss = np.ascontiguousarray(features), labels, loss
        n, d = features.shape
        self.dual = n <= d
        self.unknowns = min(n, d)
        self.size = float(np.linalg.norm(loss.slopes(np.zeros(n), labels)))
        self.scaled = np.empty_like(self.features)

    def force(self, unknown: np.ndarray) -> np.ndarray:
        return self.features.T @ unknown if self.dual else unknown

    def at(self, weights: np.ndarray) -> np.ndarray:
        return self._gathered(self.loss.slopes(self.features @ weights, self.labels))

    def along(self, weights: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        return self._gathered(self.residual_change(weights, velocity))

    def linearise(self, weights: np.ndarray, steepness: np.ndarray) -> None:
        """B B^T or B^T B, the smaller of the two, upper triangle."""
        curvature = self.loss.curvatures(self.features @ weights, self.labels)
        self.root_curvature, self.root_steepness = np.sqrt(curvature), np.sqrt(steepness)
        np.multiply(self.features, self.root_steepness, out=self.scaled)
        self.scaled *= self.root_curvature[:, None]
        self.hessian = dsyrk(1.0, self.scaled.T, trans=int(self.dual), lower=0)

    def mean_rate(self) -> float:
        return float(np.trace(self.hessian) / self.unknowns)

    def factorise(self, step: float, damping: float) -> bool:
        self.step, self.kept = step, 1.0 + step * damping
        self.factor, failed = _factor(step * self.hessian, self.kept)
        return not failed

    def solve(self, right: np.ndarray) -> np.ndarray:
        if self.dual:
            inner = self.scaled @ (self.root_steepness * (self.features.T @ right))
            pushed = self.root_curvature * dpotrs(self.factor, inner, lower=0)[0]
        else:
            inner = dpotrs(self.factor, self.root_steepness * right, lower=0)[0]
            pushed = self.features.T @ (self.root_curvature * (self.scaled @ inner))
        return (right - self.step * pushed) / self.kept

    def residual_norm(self, weights: np.ndarray) -> float:
        slopes = self.loss.slopes(self.features @ weights, self.labels)
        return float(np.linalg.norm(slopes))

    def residual_change(self, weights: np.ndarray, change: np.ndarray) -> np.ndarray:
        curvature = self.loss.curvatures(self.features @ weights, self.labels)
        return curvature * (self.features @ change)

    def _gathered(self, slopes: np.ndarray) -> np.ndarray:
        return slopes if self.dual else self.features.T @ slopes


def rate_of(loss: Loss, features: np.ndarray, labels: np.ndarray) -> Rate:
    """The motion under a loss of features (n, d) and labels (n,)."""
    if isinstance(loss, Squared):
        return SquaredRate(features, labels)
    return LossRate(features, labels, loss)


def _factor(matrix: np.ndarray, diagonal: float) -> tuple[np.ndarray, bool]:
    """Cholesky factor of matrix + diagonal, in its place, and whether there is none."""
    matrix[np.diag_indices_from(matrix)] += diagonal
    factor, failed = dpotrf(matrix, lower=0, overwrite_a=1)
    return factor, bool(failed)


def _compressed(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """At most d rows with the same X^T X and X^T y, and the residual they cannot see."""
    n, d = features.shape
    if n <= d:
        return np.ascontiguousarray(features), labels, 0.0
    (triangle,) = scipy.linalg.qr(
        np.column_stack([features, labels]), mode="r", overwrite_a=True, check_finite=False
    )
    return np.ascontiguousarray(triangle[:d, :d]), triangle[:d, d], abs(float(triangle[d, d]))
