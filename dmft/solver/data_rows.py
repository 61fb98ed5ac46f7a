"""Paths of the sample side: one row of the data each, with its teacher field and its label.

The law of a row is that of (h*, y); its noise is drawn like that of coordinates (sampling.py), one
direction for each direction of the weights, the first of them the teacher field itself.

Signs are folded: with y = +-1 and a symmetric field the row (h*, y, h) and its mirror image
(-h*, -y, -h) count alike in every average, so that rows have y = 1 and the field v = y h*, whose
density is 2 N(v) P(y = 1 | h* = v). One dimension less is drawn, and signs have exact frequencies.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from dmft.numerics.normal import normal_cumulative, normal_quantile
from dmft.numerics.sobol import scrambled_points
from dmft.problem import Problem
from dmft.problem.labels import (
    LinearLabels,
    LogitLabels,
    Outliers,
    PoissonLabels,
    RandomLabels,
    SignLabels,
)
from dmft.solver.innovations import Innovations
from dmft.solver.sampling import SOBOL_DIMENSIONS

_FARTHEST, _CELLS = 9.0, 4000  # of the table of a folded field, in standard deviations
_LEVERAGE = 200.0  # the tails of fields and labels are smooth, noise on them stays random


class DataRows:
    """Rows of the data that one replicate averages over.

    Attributes
    ----------
    count : number of rows.
    probability : weight of each row, summing to 1, shape (count,).
    strata : the slice of rows of each stratum.
    field : h* in units of its standard deviation, of unit second moment, shape (count,).
    teacher_field : h*, shape (count,).
    labels : y, shape (count,).
    folded : whether `labels` are all 1 and `field` is that of y h*.
    """

    def __init__(
        self,
        problem: Problem,
        count: int,
        seed: np.random.SeedSequence,
        field_std: float,
        rotation: np.ndarray | None = None,
    ) -> None:
        """Draw `count` rows whose teacher field has the standard deviation `field_std`.

        rotation : of the noise, see `PathSet`.
        """
        mixture = _noise_mixture(problem)
        sizes = [len(part) for part in np.array_split(np.empty(count), len(mixture))]
        edges = np.concatenate([[0], np.cumsum(sizes)])
        self.count = count
        self.folded = problem.labels.signs
        self.strata = [slice(a, b) for a, b in pairwise(edges)]
        generators = [np.random.default_rng(child) for child in seed.spawn(len(mixture))]
        shares = np.repeat([1.0 / size for size in sizes], sizes)
        self.probability = shares * np.repeat([weight for weight, _ in mixture], sizes)
        self.field, self.labels = np.empty(count), np.ones(count)
        normals = np.empty((count, SOBOL_DIMENSIONS))
        drawn = zip(self.strata, sizes, mixture, generators, strict=True)
        for chosen, size, (_, noise_std), generator in drawn:
            uniforms = scrambled_points(size, 2 + SOBOL_DIMENSIONS, generator)
            ranks = uniforms[:, :2].argsort(axis=0).argsort(axis=0)
            stratified = (ranks + generator.random(ranks.shape)) / size
            if self.folded:
                field = _folded_field(problem, field_std, stratified[:, 0])
                labels = np.ones(size)
            else:
                field = _standard(normal_quantile(stratified[:, 0]))
                labels = _labels(problem, field_std, field, noise_std, stratified[:, 1])
            self.field[chosen] = field / np.sqrt(np.mean(field**2))
            self.labels[chosen] = labels
            normals[chosen] = normal_quantile(uniforms[:, 2:])
        self.teacher_field = field_std * self.field
        self._innovations = Innovations(normals, shares, self.strata, generators, rotation)
        self._innovations.learn(self.field, _LEVERAGE)
        self._innovations.learn(self.labels, _LEVERAGE)

    def innovations(self, directions: int) -> np.ndarray:
        """Fresh noise of shape (count, directions), see `Innovations.next`."""
        return self._innovations.next(directions)

    def use(self, directions: int) -> None:
        """Consume the first of the last innovations."""
        self._innovations.use(directions)


def _noise_mixture(problem: Problem) -> list[tuple[float, float]]:
    """(weight, standard deviation of the label noise) of each stratum."""
    labels, noise_std = problem.labels, problem.noise_std
    if not isinstance(labels, Outliers):
        return [(1.0, noise_std)]
    parts = [(1.0 - labels.fraction, noise_std), (labels.fraction, labels.outlier_std)]
    return [part for part in parts if part[0] > 0.0]


def _labels(
    problem: Problem, field_std: float, field: np.ndarray, noise_std: float, uniform: np.ndarray
) -> np.ndarray:
    """Real labels and counts; uniform decides the noise."""
    teacher_field = field_std * field
    if isinstance(problem.labels, PoissonLabels):
        from scipy.special import pdtr, pdtrik

        mean = np.exp(problem.labels.slope * teacher_field)
        count = np.ceil(pdtrik(uniform, mean))
        below = np.maximum(count - 1.0, 0.0)
        return np.asarray(np.where(pdtr(below, mean) >= uniform, below, count))
    if not isinstance(problem.labels, LinearLabels | Outliers):
        raise TypeError(f"unknown labels '{problem.labels.kind}'")
    noise = normal_quantile(uniform)
    return teacher_field + noise_std * _standard(noise - field * np.mean(noise * field))


def _standard(values: np.ndarray) -> np.ndarray:
    """Shifted and scaled to mean 0 and variance 1."""
    centred = values - values.mean()
    return np.asarray(centred / centred.std())


def _folded_field(problem: Problem, field_std: float, uniform: np.ndarray) -> np.ndarray:
    """Quantiles of v = y h* / field_std, whose density is 2 N(v) P(y = 1 | v)."""
    positive, width = _sign_probability(problem, field_std)
    if width == 0.0:
        return normal_quantile(0.5 * (1.0 + uniform))
    # Cells that are finest about 0, where the probability rises from 0 to 1 within `width`.
    ends = np.arcsinh(_FARTHEST / width) * np.linspace(-1.0, 1.0, _CELLS + 1)
    edges = width * np.sinh(ends)
    half = 0.5 * np.diff(edges)
    middle = edges[:-1] + half
    mass = np.zeros(_CELLS)
    for point in (-(3.0**-0.5), 3.0**-0.5):  # Gauss-Legendre
        v = middle + half * point
        mass += half * np.exp(-0.5 * v * v) * positive(v)
    cumulative = np.concatenate([[0.0], np.cumsum(mass)])
    return np.interp(uniform * cumulative[-1], cumulative, edges)


def _sign_probability(
    problem: Problem, field_std: float
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """P(y = 1) as a function of h* / field_std, and the width of its rise (0: a step)."""
    labels = problem.labels
    if isinstance(labels, RandomLabels) or field_std == 0.0:
        return (lambda v: np.full_like(v, 0.5)), 1.0
    if isinstance(labels, LogitLabels):
        slope = labels.slope * field_std
        return (lambda v: 0.5 * (1.0 + np.tanh(0.5 * slope * v))), min(1.0, 1.0 / slope)
    if not isinstance(labels, SignLabels):
        raise TypeError(f"labels of kind '{labels.kind}' are no signs")
    width = problem.noise_std / field_std
    return (lambda v: normal_cumulative(v / width)), min(1.0, width)
