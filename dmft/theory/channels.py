"""The law of one coordinate as a list of Gaussian channels, for deterministic quadrature.

In the scaled variable sqrt(s) w a coordinate reports sqrt(s) w* through Gaussian noise. Every law
of a problem is, or is here approximated by, a mixture of normal laws N(mean, variance) of
sqrt(s) w*, each with one feature variance s and one start (a0, b0).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.features import EmpiricalFeatures, PowerLaw
from dmft.problem.networks import TRUNCATED, Start
from dmft.problem.teachers import Empirical

_TAIL = 8.5  # standard deviations; beyond lies 2e-17 of a normal law
_MOST_ATOMS = 600
_CELLS = 150
_FINE_STEPS = np.append(0.0, 2.0 ** -np.arange(20.0))  # panels around a singular start
_COARSE_STEPS = np.array([0.0, 0.003, 0.05, 0.3, 1.2])  # the same, where there are many


@dataclass(frozen=True)
class Channels:
    """Arrays of shape (channel,).

    Attributes
    ----------
    probability : weights of the mixture, they sum to 1.
    mean, variance : of sqrt(s) w* in the channel; variance 0 for a point mass.
    feature : s, the feature variance.
    a0, b0 : absolute initial values; 1 where the network has none.
    """

    probability: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    feature: np.ndarray
    a0: np.ndarray
    b0: np.ndarray

    def __len__(self) -> int:
        return len(self.probability)

    def blocks(self, size: int) -> Iterator[Channels]:
        """The same channels, at most `size` at a time."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Channels(*(getattr(self, field.name)[part] for field in fields(self)))

    def thinned(self, count: int) -> Channels:
        """At most `count` of the channels, at equal distances in cumulative probability."""
        if len(self) <= count:
            return self
        cumulative = np.cumsum(self.probability)
        wanted = (np.arange(count) + 0.5) / count * cumulative[-1]
        chosen = np.unique(np.searchsorted(cumulative, wanted))
        values = {field.name: getattr(self, field.name)[chosen] for field in fields(self)}
        values["probability"] = np.full(len(chosen), 1.0 / len(chosen))
        return Channels(**values)

    @property
    def second_moment(self) -> float:
        """E[s w*^2]."""
        return float(self.probability @ (self.mean**2 + self.variance))


def channels_of(problem: Problem) -> Channels:
    """The population of a problem.

    Raises
    ------
    InputError : a truncated network, whose limits are not known.
    """
    pairs = problem.teacher if isinstance(problem.teacher, Empirical) else None
    if pairs is not None and pairs.feature_variances is not None:
        values, features = pairs.sorted_pairs()
        weights = np.full(len(values), 1.0 / len(values))
        spread = np.zeros(len(values))
    else:
        value, deviation, weight = _normals(problem.teacher)
        s, share = _features(problem)
        values, features = (grid.ravel() for grid in np.meshgrid(value, s, indexing="ij"))
        spread = np.repeat(deviation, len(s))
        weights = np.outer(weight, share).ravel()
    a0, b0, chance = _starts(problem)
    return Channels(
        probability=np.outer(weights, chance).ravel(),
        mean=np.repeat(np.sqrt(features) * values, len(a0)),
        variance=np.repeat(features * spread**2, len(a0)),
        feature=np.repeat(features, len(a0)),
        a0=np.tile(a0, len(values)),
        b0=np.tile(b0, len(values)),
    )


def _normals(law: Start) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, standard deviations and weights of a law of values."""
    if isinstance(law, Empirical):
        values, weights = condensed(np.asarray(law.values))
        return values, np.zeros(len(values)), weights
    parts = law.components()
    middle = np.array([0.5])
    means = [c.quantile(middle)[0] if c.atom or c.mean is None else c.mean for c in parts]
    deviations = [0.0 if c.atom else c.std for c in parts]
    return np.array(means), np.array(deviations), np.array([c.probability for c in parts])


def _features(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    law = problem.features
    if isinstance(law, PowerLaw):
        # With l = log(x + cutoff) and x the relative rank, s is exponential in l.
        low, high = np.log(law.cutoff), np.log(1.0 + law.cutoff)
        panels = max(3, int(np.ceil((high - low) * (1.0 + law.exponent) / 4.0)))
        log_rank, weights = gauss_legendre(np.linspace(low, high, panels + 1), 8)
        weights = weights * np.exp(log_rank)
        (component,) = law.components()
        return component.quantile(1.0 + law.cutoff - np.exp(log_rank)), weights / weights.sum()
    if isinstance(law, EmpiricalFeatures):
        return condensed(np.asarray(law.values))
    parts = law.components()
    values = np.concatenate([c.quantile(np.array([0.5])) for c in parts])
    return values, np.array([c.probability for c in parts])


def _starts(problem: Problem) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """|a0|, |b0| and their weights."""
    network = problem.network
    one = np.ones(1)
    if network.code == TRUNCATED:
        raise InputError(
            f"given '{network.kind}', known here for: diagonal, linear; a solve knows it",
            "problem.network.kind",
        )
    if network.linear:
        return one, one, one
    if network.init_u is None or network.init_v is None:
        return network.init_scale * one, network.init_scale * one, one
    # A weight with a0 = 0 or b0 = 0 never changes its sign: weak singularities at v = ±u.
    # The wider law is the inner one, which knows where they are.
    outer, inner = network.init_u, network.init_v
    swapped = max(_normals(outer)[1]) > max(_normals(inner)[1])
    if swapped:
        outer, inner = inner, outer
    several = max(_normals(outer)[1]) > 0
    rule = (_COARSE_STEPS, 3) if several else (_FINE_STEPS, 5)
    first, second, weights = [], [], []
    for left, left_weight in zip(*_points(outer, (), *rule), strict=True):
        right, right_weight = _points(inner, (left, -left), *rule)
        first.append(np.full(len(right), left))
        second.append(right)
        weights.append(left_weight * right_weight)
    u, v = np.concatenate(first), np.concatenate(second)
    if swapped:
        u, v = v, u
    scale = 2.0**-0.5
    return np.abs(u + v) * scale, np.abs(u - v) * scale, np.concatenate(weights)


def _points(
    law: Start, singular: tuple[float, ...], steps: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Quadrature of a law, with panels at `steps` (in deviations) around singular values."""
    points, shares = [], []
    for mean, std, weight in zip(*_normals(law), strict=True):
        if std == 0.0:
            points.append(np.array([mean]))
            shares.append(np.array([weight]))
            continue
        edges = [np.array([-_TAIL, -3.0, 0.0, 3.0, _TAIL])]
        for value in singular:
            edges += [(value - mean) / std + steps, (value - mean) / std - steps]
        kept = np.unique(np.concatenate(edges))
        kept = kept[np.abs(kept) <= _TAIL]
        z, measure = gauss_legendre(kept, count)
        measure = measure * np.exp(-0.5 * z**2)
        points.append(mean + std * z)
        shares.append(weight * measure / measure.sum())
    return np.concatenate(points), np.concatenate(shares)


def gauss_legendre(edges: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the composite Gauss rule on the panels between `edges`."""
    points, weights = np.polynomial.legendre.leggauss(count)
    half = np.diff(edges)[:, None] / 2
    middle = (edges[1:] + edges[:-1])[:, None] / 2
    return (middle + half * points).ravel(), (half * weights).ravel()


def condensed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A list of numbers as few points with weights.

    Repeated values are merged. Of longer lists each of many cells keeps the three points and
    weights that have its first six moments (the Gauss rule of the values in it).
    """
    points, counts = np.unique(values, return_counts=True)
    weights = counts / len(values)
    if len(points) <= _MOST_ATOMS:
        return points, weights
    cell = np.minimum((points - points[0]) / (points[-1] - points[0]) * _CELLS, _CELLS - 1).astype(
        int
    )
    rules = [_gauss_rule(points[cell == k], weights[cell == k]) for k in np.unique(cell)]
    return np.concatenate([r[0] for r in rules]), np.concatenate([r[1] for r in rules])


def _gauss_rule(points: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Three points with the moments of order 0 to 5 (Lanczos, then Golub and Welsch 1969)."""
    if len(points) <= 3:
        return points, weights
    total, centre = weights.sum(), points.mean()
    scale = np.ptp(points)
    x, vector = (points - centre) / scale, np.sqrt(weights / weights.sum())
    basis, diagonal, off = [vector], [], []
    for step in range(3):
        vector = x * basis[-1]
        diagonal.append(vector @ basis[-1])
        for earlier in basis:
            vector = vector - (vector @ earlier) * earlier
        norm = np.linalg.norm(vector)
        if step < 2:
            off.append(norm)
            basis.append(vector / norm)
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    return centre + scale * nodes, total * vectors[0] ** 2
