"""Quadrature over the joint law of h* and the label y of a sample, for labels that are not linear.

Problems with sign labels do not change when (h*, h, y) change their sign together: nodes are folded
to y = 1, where v = y h*/sqrt(rho2) has the density 2 pdf(v) P(y = 1 | h* = sqrt(rho2) v).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.problem import Problem
from dmft.problem.labels import LogitLabels, PoissonLabels, RandomLabels, SignLabels
from dmft.theory.channels import gauss_legendre

_TAIL = 8.5
_RARE = 1e-14  # probability below which a count is left out


@dataclass(frozen=True)
class Nodes:
    """Points of (h*/sqrt(rho2), y) and their probabilities, shape (node,)."""

    teacher: np.ndarray
    label: np.ndarray
    probability: np.ndarray


def label_nodes(problem: Problem, strength: float) -> Nodes:
    """Nodes for sign, logit, random and Poisson labels; strength is rho2."""
    from scipy.special import expit, ndtr

    labels, size = problem.labels, strength**0.5
    if isinstance(labels, PoissonLabels):
        return _counts(labels.slope * size)
    edges = np.linspace(-_TAIL, _TAIL, 18)
    if isinstance(labels, SignLabels):
        # The step at 0 has the width of the noise.
        scale = problem.noise_std / max(size, 1e-300)
        steps = scale * np.linspace(-6.0, 6.0, 9)
        edges = np.unique(np.concatenate([edges, [0.0], steps[np.abs(steps) < _TAIL]]))
    if isinstance(labels, LogitLabels) and labels.slope * size > 1.0:
        steps = np.linspace(-30.0, 30.0, 13) / (labels.slope * size)
        edges = np.unique(np.concatenate([edges, steps[np.abs(steps) < _TAIL]]))
    v, measure = gauss_legendre(edges, 10)
    density = measure * np.exp(-0.5 * v**2)
    density /= density.sum()
    if isinstance(labels, SignLabels):
        noise = problem.noise_std
        above = ndtr(size * v / noise) if noise else np.where(v > 0.0, 1.0, 0.0)
        if size == 0.0:
            above = np.full_like(v, 0.5)
        density = 2.0 * density * above
    elif isinstance(labels, LogitLabels):
        density = 2.0 * density * expit(labels.slope * size * v)
    elif not isinstance(labels, RandomLabels):
        raise TypeError(f"unknown labels '{labels.kind}'")
    kept = density > 0.0
    return Nodes(v[kept], np.ones(int(kept.sum())), density[kept])


def _counts(slope: float) -> Nodes:
    from scipy.special import gammaln

    v = np.linspace(-_TAIL, _TAIL, 69)
    density = np.exp(-0.5 * v**2)
    density /= density.sum()
    mean = np.exp(slope * v)
    most = int(np.exp(slope * 6.0) + 12.0 * np.exp(slope * 3.0) + 40.0)
    count = np.arange(min(most, 400), dtype=float)
    chance = np.exp(count * np.log(mean)[:, None] - mean[:, None] - gammaln(count + 1.0))
    joint = density[:, None] * chance
    kept = joint > _RARE
    teacher, label = np.broadcast_arrays(v[:, None], count)
    return Nodes(teacher[kept], label[kept], joint[kept] / joint[kept].sum())
