"""Error of the sign of a prediction on a fresh sample."""

from __future__ import annotations

import numpy as np

from dmft.problem import Problem

_NODES = 64  # of the quadrature over h*


def sign_error(
    problem: Problem, overlap: np.ndarray, squared_norm: np.ndarray, strength: float
) -> np.ndarray:
    """P(y h <= 0) on a fresh sample, 1/2 where w = 0, shape (time,).

    h and h* are jointly Gaussian with variances `squared_norm` = E[s w^2], `strength` = E[s w*^2]
    and covariance `overlap` = E[s w w*]. For y = sign(h* + sigma eps) it is arccos of the
    correlation of h and h* + sigma eps, over pi; for logit labels an integral over |h*| is done by
    quadrature.
    """
    overlap, squared_norm = np.atleast_1d(overlap), np.atleast_1d(squared_norm)
    result = np.full(len(overlap), 0.5)
    moves = squared_norm > 0.0
    labels = problem.labels
    if labels.kind == "random" or strength == 0.0:
        return result
    spread = strength + (problem.noise_std**2 if labels.kind == "sign" else 0.0)
    cosine = np.clip(overlap[moves] / np.sqrt(squared_norm[moves] * spread), -1.0, 1.0)
    if labels.kind == "logit":
        result[moves] = _logit(cosine, labels.slope * np.sqrt(strength))
    elif labels.kind == "sign":
        result[moves] = np.arccos(cosine) / np.pi
    else:
        raise TypeError(f"labels of kind '{labels.kind}' are no signs")
    return result


def _logit(cosine: np.ndarray, slope: float) -> np.ndarray:
    """1/2 - E[tanh(slope |z|/2) (2 Phi(cosine |z|/sqrt(1 - cosine^2)) - 1)]/2, z normal."""
    from scipy.special import ndtr

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    z = 5.0 * (nodes + 1.0)  # beyond 10 nothing is left
    density = 5.0 * weights * 2.0 * np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    ratio = cosine / np.sqrt(np.maximum(1.0 - cosine**2, 1e-300))
    agreement = 2.0 * ndtr(np.multiply.outer(ratio, z)) - 1.0
    return np.asarray(0.5 - 0.5 * agreement @ (density * np.tanh(0.5 * slope * z)))
