"""The rows of the data in the classical algorithm: what they answer to the weights.

With the squared loss of linear labels the residual is linear, and one row stands for all. With any
other loss or labels rows are sampled as plainly as coordinates are:

    h_k = xi_k + sum_{l<k} R_w[k, l] r_l,   r = l'(h, y),   y drawn given h*,   (xi, h*) Gaussian
    with the covariance (C_w, O, rho^2) of weights and teacher;
    D[k, l] = l''_k ((k = l) + sum_{j<k} R_w[k, j] D[j, l]),   R_r = E[D],   C_r = E[r r];
    E[r_k h*] = sum_l R_r[k, l] O_l + rho^2 R_*[k].

Nothing here is shared with the march but the loss itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.labels import (
    LinearLabels,
    LogitLabels,
    Outliers,
    PoissonLabels,
    RandomLabels,
    SignLabels,
)
from dmft.solver.classical_process import Averages

_ROWS = 32  # time steps whose memory of the rows before is one matrix product


@dataclass(frozen=True)
class Answer:
    """What the coordinates feel of the data.

    response, correlation : R_r and C_r, (time, time).
    pull : R_* + R_r 1, the pull to w* beyond that of the error w - w*, shape (time,).
    mse, loss : E[(h - y)^2] and E[l(h, y)], shape (time,).
    """

    response: np.ndarray
    correlation: np.ndarray
    pull: np.ndarray
    mse: np.ndarray
    loss: np.ndarray


class LinearRows:
    """Squared loss of linear labels: the residual is a linear functional of the noise."""

    def __init__(self, problem: Problem) -> None:
        self._noise_std = problem.noise_std

    def answer(self, averages: Averages) -> Answer:
        """R_r and C_r of a row; R_* = -R_r 1."""
        response, correlation = data_side(averages.correlation, averages.response, self._noise_std)
        mse = np.diag(correlation).copy()
        return Answer(response, correlation, np.zeros(len(mse)), mse, 0.5 * mse)


class SampledRows:
    """Rows of any loss with a slope that is continuous, and any labels.

    The same numbers serve every sweep, so that the iteration has a fixed point.
    """

    def __init__(
        self, problem: Problem, nodes: int, count: int, strength: float, rng: np.random.Generator
    ) -> None:
        """strength : rho^2 = E[s w*^2]."""
        from dmft.numerics.normal import normal_quantile

        if problem.loss.kind == "hinge":
            raise InputError(
                "given 'hinge', whose slope jumps: tangents know nothing of jumps; allowed: "
                "squared, logistic, huber, poisson",
                "problem.loss.kind",
            )
        self._loss = problem.loss
        self._strength, self._std = strength, strength**0.5
        # Field, noise and choice of a row are drawn from equal quantiles, like the coordinates.
        ranks = rng.permuted(np.tile(np.arange(count), (3, 1)), axis=1)
        field, noise, choice = (ranks + rng.random(ranks.shape)) / count
        self._field = normal_quantile(field)
        self._labels = _labels(
            problem, self._std * self._field, normal_quantile(noise), choice, rng
        )
        self._normals = rng.standard_normal((nodes, count))

    def answer(self, averages: Averages) -> Answer:
        """Sample fields for these averages of the weights."""
        overlap, weight_response = averages.overlap, averages.response
        along = overlap / self._std if self._std else np.zeros_like(overlap)
        covariance = averages.correlation + overlap[:, None] + overlap - self._strength  # E[s w w]
        noise = symmetric_root(covariance - np.outer(along, along)) @ self._normals
        field, value, slope, curvature = self._paths(
            noise + np.outer(along, self._field), weight_response
        )
        response = mean_row_response(curvature, weight_response)
        pull = response.sum(axis=1)
        if self._std:
            moment = self._std * (slope @ self._field) / len(self._field)
            pull += (moment - response @ overlap) / self._strength
        mse = np.mean((field - self._labels) ** 2, axis=1)
        correlation = slope @ slope.T / slope.shape[1]
        return Answer(response, correlation, pull, mse, value.mean(axis=1))

    def _paths(
        self, noise: np.ndarray, weight_response: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Fields h and the loss, its slope and curvature along every row, all (time, row)."""
        from dmft.solver.losses import losses

        field = noise.copy()
        value, slope, curvature = np.empty((3, *noise.shape))
        for start in range(0, len(noise), _ROWS):
            rows = slice(start, start + _ROWS)
            field[rows] += weight_response[rows, :start] @ slope[:start]
            for k in range(start, min(start + _ROWS, len(noise))):
                field[k] += weight_response[k, start:k] @ slope[start:k]
                terms = (value[k, :, None], slope[k, :, None], curvature[k, :, None])
                losses(
                    self._loss.code, self._loss.parameter, field[k, :, None], self._labels, *terms
                )
        return field, value, slope, curvature


def mean_row_response(curvature: np.ndarray, weight_response: np.ndarray) -> np.ndarray:
    """R_r = E[(1 - Lambda R_w)^(-1) Lambda], Lambda = diag l'' of a row: its tangents, averaged.

    curvature : l'' along every row, shape (time, row).
    """
    from scipy.linalg.lapack import dtrtri

    total = np.zeros_like(weight_response)
    identity = np.eye(len(total))
    for terms in curvature.T:
        inverse, _ = dtrtri(identity - terms[:, None] * weight_response, lower=1, unitdiag=1)
        total += inverse * terms
    return np.tril(total) / curvature.shape[1]


def _labels(
    problem: Problem,
    field: np.ndarray,
    normal: np.ndarray,
    uniform: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """One label for each teacher field, as plainly as its law says it."""
    law = problem.labels
    if isinstance(law, PoissonLabels):
        return rng.poisson(np.exp(law.slope * field)).astype(float)
    if isinstance(law, RandomLabels):
        return np.where(uniform < 0.5, 1.0, -1.0)
    if isinstance(law, LogitLabels):
        return np.where(uniform < 1.0 / (1.0 + np.exp(-law.slope * field)), 1.0, -1.0)
    noisy = field + problem.noise_std * normal
    if isinstance(law, SignLabels):
        return np.where(noisy >= 0.0, 1.0, -1.0)
    if isinstance(law, Outliers):
        return np.where(uniform < law.fraction, field + law.outlier_std * normal, noisy)
    if isinstance(law, LinearLabels):
        return noisy
    raise TypeError(f"unknown labels '{law.kind}'")


def data_side(
    error_correlation: np.ndarray, error_response: np.ndarray, noise_std: float
) -> tuple[np.ndarray, np.ndarray]:
    """R_r and C_r of one sample's residual, which is linear in the weights; all (time, time)."""
    from scipy.linalg import solve_triangular

    identity = np.eye(len(error_response))
    residual_response = solve_triangular(
        identity - error_response, identity, lower=True, unit_diagonal=True
    )
    target = error_correlation + noise_std**2
    return residual_response, residual_response @ target @ residual_response.T


def symmetric_root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric square root of a covariance, negative eigenvalues (round-off) taken as zero.

    A residual covariance is numerically of low rank, which a Cholesky factor does not survive.
    Among all roots only the symmetric one depends continuously on the covariance, so that the
    same normals give nearly the same noise from one sweep to the next.
    """
    if not np.isfinite(covariance).all():
        return np.full_like(covariance, np.nan)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T
