"""Labels of a finite data set, drawn given the fields h* = X w*."""

from __future__ import annotations

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.labels import (
    LogitLabels,
    Outliers,
    PoissonLabels,
    RandomLabels,
    SignLabels,
)

_LARGEST_MEAN = 1e15  # of a count; beyond it counts are no whole numbers any more


def draw_labels(
    problem: Problem, fields: np.ndarray, rng: np.random.Generator, *, exact_noise: bool
) -> np.ndarray:
    """One label per sample, shape (n,).

    Parameters
    ----------
    fields : h*, shape (n,).
    exact_noise : scale the noise of every group of samples that share a standard deviation to its
        exact variance, and make the number of outliers the nearest to their share.

    Raises
    ------
    InputError : counts whose mean exp(slope h*) is beyond 1e15.
    """
    law, n = problem.labels, len(fields)
    if isinstance(law, RandomLabels):
        return 2.0 * rng.integers(0, 2, n) - 1.0
    if isinstance(law, LogitLabels):
        # P(y = 1) = P(uniform logit < slope h*): the logit of a uniform has that law.
        uniform = np.maximum(rng.random(n), 2.0**-54)
        return _signs(law.slope * fields - np.log(uniform / (1.0 - uniform)))
    if isinstance(law, PoissonLabels):
        return _counts(law.slope * fields, rng)
    if isinstance(law, Outliers):
        return fields + _contaminated(problem.noise_std, law, n, rng, exact_noise)
    noise = problem.noise_std * _normals(n, rng, exact_noise)
    return _signs(fields + noise) if isinstance(law, SignLabels) else fields + noise


def _normals(n: int, rng: np.random.Generator, exact: bool) -> np.ndarray:
    noise = rng.standard_normal(n)
    if exact and n > 1:
        noise /= np.sqrt(np.mean(noise**2))
    return noise


def _contaminated(
    noise_std: float, law: Outliers, n: int, rng: np.random.Generator, exact: bool
) -> np.ndarray:
    """Noise of which a fraction has another standard deviation, in random places."""
    if exact:
        outlying = np.zeros(n, dtype=bool)
        outlying[rng.permutation(n)[: round(law.fraction * n)]] = True
    else:
        outlying = rng.random(n) < law.fraction
    noise = np.empty(n)
    for chosen, std in ((outlying, law.outlier_std), (~outlying, noise_std)):
        noise[chosen] = std * _normals(int(chosen.sum()), rng, exact)
    return noise


def _signs(values: np.ndarray) -> np.ndarray:
    return np.where(values >= 0.0, 1.0, -1.0)


def _counts(log_mean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if log_mean.max(initial=0.0) > np.log(_LARGEST_MEAN):
        raise InputError(
            f"given labels of mean exp({log_mean.max():.3g}), must be below {_LARGEST_MEAN:g}",
            "problem.labels.slope",
        )
    return rng.poisson(np.exp(log_mean)).astype(float)
