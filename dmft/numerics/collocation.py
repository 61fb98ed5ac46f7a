"""Radau IIA collocation on one panel: nodes, integration matrix, error weights.

On a panel (t_k, t_k + h) the accumulated force at the stages is
    G_i = h sum_j A_ij f_j,    A_ij = int_0^{c_i} e^(-mu h x) l_j(x) dx,
with l_j the Lagrange polynomials of the nodes c. For mu = 0 this is the Radau IIA method: L-stable,
of order 2p-1 at the panel's end (Hairer & Wanner, Solving ODEs II, section IV.5); mu > 0 is the
weight that deep networks with weight decay carry (networks.py), integrated exactly. In log t the
weight is that of dt = t dlog t: the same method with mu = -1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre

STAGES = 3
_QUADRATURE_POINTS = 40


@dataclass(frozen=True)
class Tableau:
    """A collocation method of `stages` nodes.

    nodes : c, shape (stages,), increasing, the last one 1.
    integration : A for the given mu h, shape (stages, stages).
    start_weight, error_weights : the embedded rule of order `stages` that also uses the force at
        the panel's start; start_weight f_0 + sum_i error_weights_i f_i is the difference of the
        two rules, per unit step (Hairer & Wanner, section IV.8).
    """

    nodes: np.ndarray
    integration: np.ndarray
    start_weight: float
    error_weights: np.ndarray


@lru_cache(maxsize=64)
def radau(growth: float = 0.0, stages: int = STAGES) -> Tableau:
    """The Radau IIA tableau, its forces weighted by exp(-growth x); growth = mu h.

    `stages` is odd: the embedded rule rests on the real eigenvalue of the integration matrix.
    """
    nodes = _radau_nodes(stages)
    plain = _integration_matrix(stages, 0.0)
    eigenvalues = np.linalg.eigvals(plain)
    start_weight = float(eigenvalues[np.abs(eigenvalues.imag) < 1e-9].real[0])
    conditions = np.zeros(stages)
    conditions[0] = -start_weight
    error_weights = np.linalg.solve(np.vander(nodes, increasing=True).T, conditions)
    weighted = _integration_matrix(stages, growth) if growth else plain
    return Tableau(nodes, weighted, start_weight, error_weights)


def stretched(ratio: float) -> Tableau:
    """Radau IIA in the logarithm of time, on a panel whose end is `ratio` times its start.

    Nodes and weights are relative to the length of the panel in time. The embedded rule compares
    forces only, at nodes that are those of the logarithm.
    """
    plain, stretch = radau(), math.log(ratio)
    nodes = np.expm1(stretch * plain.nodes) / (ratio - 1.0)
    nodes[-1] = 1.0
    integration = _integration_matrix(STAGES, -stretch) * (stretch / (ratio - 1.0))
    return Tableau(nodes, integration, plain.start_weight, plain.error_weights)


def _radau_nodes(stages: int) -> np.ndarray:
    """Zeros of P_p - P_{p-1}, shifted to (0, 1]."""
    coefficients = np.zeros(stages + 1)
    coefficients[-2:] = -1.0, 1.0
    # Newer NumPy has complex eigenvalues, hence roots, of real matrices too.
    zeros = np.sort(np.real(legendre.legroots(coefficients)))
    zeros[-1] = 1.0
    return (zeros + 1.0) / 2.0


def lagrange(nodes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Values of the Lagrange polynomials of `nodes` at `points`, shape (points, nodes)."""
    values = np.ones((len(points), len(nodes)))
    for j, node in enumerate(nodes):
        for k, other in enumerate(nodes):
            if k != j:
                values[:, j] *= (points - other) / (node - other)
    return values


@lru_cache(maxsize=4)
def _quadrature(stages: int) -> tuple[np.ndarray, np.ndarray]:
    """Points between 0 and each node, (nodes, points), and what polynomials weigh there."""
    points, weights = legendre.leggauss(_QUADRATURE_POINTS)
    nodes = _radau_nodes(stages)
    places = nodes[:, None] * (points + 1.0) / 2.0
    values = np.array([lagrange(nodes, row) for row in places])
    return places, nodes[:, None, None] * (weights / 2.0)[:, None] * values


def _integration_matrix(stages: int, growth: float) -> np.ndarray:
    places, weights = _quadrature(stages)
    return np.asarray(np.exp(-growth * places)[:, None, :] @ weights)[:, 0, :]
