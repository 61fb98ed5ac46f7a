"""Gradient descent and mini-batch SGD on one finite-dimensional data set, step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dmft.problem import Problem
from dmft.problem.dynamics import SGD, GradientDescent
from dmft.problem.networks import LINEAR
from dmft.simulation.data import DataSet
from dmft.simulation.flow import IntegrationError

_LARGEST = 1e150  # of a weight; its square must still be a number


@dataclass(frozen=True)
class Steps:
    """What a run was at the recorded steps, arrays of shape (time, d).

    a, b : with w = (a^L - b^L)/L; on the linear network w and 0.
    """

    weights: np.ndarray
    a: np.ndarray
    b: np.ndarray


def descend(
    problem: Problem,
    data: DataSet,
    times: np.ndarray,
    rng: np.random.Generator,
    progress: Callable[[float, float], None] | None = None,
) -> Steps:
    """Run gradient descent or SGD on 1/2 |Xw - y|^2 + (weight_decay/2) |parameters|^2.

    Parameters
    ----------
    times : recorded steps, whole numbers, increasing.
    rng : draws the batches and the fresh label noise.

    Raises
    ------
    IntegrationError : the weights have grown beyond all bounds: the step is too large.
    """
    dynamics, network = problem.dynamics, problem.network
    assert isinstance(dynamics, GradientDescent | SGD)
    step, keep = dynamics.step_size, 1.0 - dynamics.step_size * dynamics.weight_decay
    linear = network.code == LINEAR
    depth = 1 if linear else network.depth
    a = np.zeros(data.features.shape[1]) if linear else data.coordinates.a0.copy()
    b = np.zeros_like(a) if linear else data.coordinates.b0.copy()
    recorded = np.empty((3, len(times), len(a)))
    done = 0
    for k in range(int(times[-1]) + 1):
        w = a - b if linear else (a**depth - b**depth) / depth
        if k == times[done]:
            recorded[:, done] = w, a, b
            done += 1
            if progress is not None:
                progress(k / max(1, int(times[-1])), float(k))
        if k == int(times[-1]):
            break
        g = _gradient(dynamics, data, w, rng)
        if linear:
            a = keep * a - step * g
        else:
            a, b = keep * a - step * a ** (depth - 1) * g, keep * b + step * b ** (depth - 1) * g
        if not np.abs(a).max(initial=np.abs(b).max()) < _LARGEST ** (1.0 / depth):
            raise IntegrationError(
                f"the weights diverged at step {k + 1}: dynamics.step_size = {step:g} is above "
                "what is stable"
            )
    return Steps(*recorded)


def _gradient(
    dynamics: GradientDescent | SGD, data: DataSet, w: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """X^T (Xw - y), or its estimate from a batch."""
    features, labels = data.features, data.labels
    if isinstance(dynamics, GradientDescent):
        return features.T @ (features @ w - labels)
    chosen, fraction = _batch(dynamics, len(labels), rng)
    residual = features[chosen] @ w - labels[chosen]
    if dynamics.label_noise_std:
        residual -= dynamics.label_noise_std * rng.standard_normal(len(residual))
    return features[chosen].T @ residual / fraction


def _batch(dynamics: SGD, n: int, rng: np.random.Generator) -> tuple[np.ndarray | slice, float]:
    """Which samples a step sees, each as often as it is named, and their expected share of all."""
    fraction = dynamics.batch_fraction
    if dynamics.sampling == "independent":
        if fraction == 1.0:
            return slice(None), 1.0
        return np.flatnonzero(rng.random(n) < fraction), fraction
    size = max(1, round(fraction * n))
    if dynamics.sampling == "with-replacement":
        return rng.integers(0, n, size), size / n
    if size == n:
        return slice(None), 1.0
    return rng.choice(n, size, replace=False, shuffle=False), size / n
