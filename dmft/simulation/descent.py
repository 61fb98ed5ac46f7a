"""Descent by steps on one finite-dimensional data set: any batches, any optimiser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dmft.problem import Problem
from dmft.problem.dynamics import SGD
from dmft.problem.losses import Loss
from dmft.problem.optimisers import Adaptive
from dmft.simulation.data import DataSet
from dmft.simulation.flow import IntegrationError
from dmft.simulation.optimisers import Optimised, update_of

Batched = SGD | Adaptive
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
    """Make the steps of a problem's discrete dynamics on sum_i l(h_i, y_i), h = Xw.

    Parameters
    ----------
    times : recorded steps, whole numbers, increasing.
    rng : draws the batches and the fresh label noise.

    Raises
    ------
    IntegrationError : the weights have grown beyond all bounds: the step is too large.
    """
    dynamics, last = problem.dynamics, int(times[-1])
    assert dynamics.discrete
    update = update_of(dynamics, last)
    network = problem.network.parametrisation(update.coordinatewise)
    parameters = network.start(data.coordinates.a0, data.coordinates.b0)
    bound = _LARGEST ** (1.0 / problem.network.depth)
    recorded = np.empty((3, len(times), parameters.shape[1]))
    done = 0
    for k in range(last + 1):
        w = network.weights(parameters)
        if k == times[done]:
            recorded[0, done], recorded[1:, done] = w, network.factors(parameters)
            done += 1
            if progress is not None:
                progress(k / max(1, last), float(k))
        if k == last:
            break
        with np.errstate(over="ignore", invalid="ignore"):
            force = _force(dynamics, problem.loss, data, w, rng)
            parameters = update.step(parameters, network.slopes(parameters), force)
        if not np.abs(parameters).max() < bound:
            raise IntegrationError(
                f"the weights diverged at step {k + 1}: dynamics.step_size = "
                f"{dynamics.step_size:g} is above what is stable"
            )
    return Steps(*recorded)


def _force(
    dynamics: Optimised, loss: Loss, data: DataSet, w: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """X^T l'(Xw, y), or its estimate from a batch."""
    features, labels = data.features, data.labels
    if not dynamics.batches:
        return features.T @ loss.slopes(features @ w, labels)
    chosen, fraction = _batch(dynamics, len(labels), rng)
    fields, labels = features[chosen] @ w, labels[chosen]
    if dynamics.label_noise_std:
        # Real labels come with the squared and the Huber loss, functions of h - y.
        fields = fields - labels
        fields -= dynamics.label_noise_std * rng.standard_normal(len(fields))
        labels = np.zeros_like(fields)
    return features[chosen].T @ loss.slopes(fields, labels) / fraction


def _batch(dynamics: Batched, n: int, rng: np.random.Generator) -> tuple[np.ndarray | slice, float]:
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
