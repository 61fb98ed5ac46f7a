"""Averages over coordinates that report their teacher through Gaussian noise.

A coordinate sees x = sqrt(s) w* + tau z with z ~ N(0, 1) and answers with the weight at which

    sqrt(s) w + (theta / sqrt s) p = x,

where (p, w) is a point of its mirror curve. Instead of solving for w at given x, the averages
integrate along the curve: x(y) is explicit, and densities and integrands are analytic in y. The
layers that defeat a Gauss-Hermite rule in z (w leaves zero within theta at small alpha) are then
as smooth as anything else. Panels are chosen so that neither x moves by more than a standard
deviation nor y by more than one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from dmft.theory.channels import Channels
from dmft.theory.mirror import Mirror

_TAIL = 7.5  # standard deviations of x
_SLACK = 0.2  # of the tail, likewise
_WIDE = 3.0  # bracket in y that is halved first
_TABLE = 96  # points that locate the panels
_GAUSS = 10  # nodes in a panel
_BLOCK = 64  # channels treated at a time
_NARROW = 1e-5  # finest scale in y around the smallest speed, where that is asked for
_SMALLEST = 1e-14  # relative width below which a law of x is one number


@dataclass(frozen=True)
class Moments:
    """What the fixed point needs of the population at given (tau, theta).

    Attributes
    ----------
    slope : E[d(sqrt(s) w)/dx], the mean response of the weights.
    risk : E[s (w - w*)^2].
    """

    slope: float
    risk: float


@dataclass(frozen=True)
class Speeds:
    """The law of S = s dw/dp, which says how fast weights follow the force.

    Attributes
    ----------
    value, probability : points and their probabilities, shape (point,).
    bounded : whether the largest S is that of the law rather than of its quadrature.
    """

    value: np.ndarray
    probability: np.ndarray
    bounded: bool = False


class Penalty(Protocol):
    """A separable penalty whose proximal map the coordinates apply."""

    def moments(self, tau: float, theta: float) -> Moments: ...

    def strength(self, size: float) -> float:
        """The order of magnitude of theta at which weights of a size are shrunk by as much."""

    def thinned(self, count: int) -> Penalty:
        """The same for few of the channels: a first approximation."""


@dataclass(frozen=True)
class SmoothPenalty:
    """The mirror potential of a diagonal network."""

    channels: Channels
    mirror: Mirror

    def moments(self, tau: float, theta: float) -> Moments:
        slope = risk = 0.0
        for block, nodes in self._nodes(tau, theta):
            slope += float(nodes.probability @ (nodes.speed / (nodes.speed + theta)))
            shrunk = (tau**2 / (block.variance + tau**2))[nodes.channel] * nodes.offset
            error = shrunk - theta * nodes.scaled_dual
            risk += float(nodes.probability @ error**2)
            spread = block.variance * tau**2 / (block.variance + tau**2)
            risk += float(block.probability @ spread)
        return Moments(slope, risk)

    def thinned(self, count: int) -> SmoothPenalty:
        few = self.channels.thinned(count)
        mirror = replace(self.mirror, a0=few.a0[:, None], b0=few.b0[:, None])
        return SmoothPenalty(few, mirror)

    def strength(self, size: float) -> float:
        ends = np.array([-size, size]) * np.ones_like(self.mirror.a0)
        dual = np.abs(self.mirror.at(self.mirror.parameter_of(ends)).dual).max(axis=1)
        return size / max(float(self.channels.probability @ dual), 1e-300)

    def speeds(self, tau: float, theta: float) -> Speeds:
        """The law of S at the fixed point, resolved also close to the smallest S."""
        parts = [nodes for _, nodes in self._nodes(tau, theta, resolve_slowest=True)]
        return Speeds(
            np.concatenate([nodes.speed for nodes in parts]),
            np.concatenate([nodes.probability for nodes in parts]),
        )

    def weights(self, tau: float, theta: float) -> tuple[np.ndarray, np.ndarray]:
        """The law of w at the fixed point: points and probabilities."""
        parts = [nodes for _, nodes in self._nodes(tau, theta)]
        return (
            np.concatenate([nodes.weight for nodes in parts]),
            np.concatenate([nodes.probability for nodes in parts]),
        )

    def answers(
        self, tau: float, theta: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """w, its probability, d(sqrt(s) w)/dx and its channel, arrays over points."""
        found, start = [], 0
        for block, nodes in self._nodes(tau, theta):
            slope = nodes.speed / (nodes.speed + theta)
            found.append((nodes.weight, nodes.probability, slope, nodes.channel + start))
            start += len(block)
        w, probability, slope, channel = (np.concatenate(part) for part in zip(*found, strict=True))
        return w, probability, slope, channel

    def _nodes(
        self, tau: float, theta: float, resolve_slowest: bool = False
    ) -> list[tuple[Channels, _Nodes]]:
        pairs = []
        start = 0
        for block in self.channels.blocks(_BLOCK):
            part = slice(start, start + len(block))
            start += len(block)
            mirror = Mirror(
                self.mirror.code, self.mirror.depth, self.mirror.a0[part], self.mirror.b0[part]
            )
            nodes = _integration_nodes(block, mirror, tau, theta, resolve_slowest)
            pairs.append((block, nodes))
        return pairs


@dataclass(frozen=True)
class _Nodes:
    """Flat arrays over all nodes of a block of channels.

    channel : index of the channel; probability : share of the population;
    offset : x - sqrt(s) E[w*]; weight : w; scaled_dual : p / sqrt(s); speed : S = s dw/dp.
    """

    channel: np.ndarray
    probability: np.ndarray
    offset: np.ndarray
    weight: np.ndarray
    scaled_dual: np.ndarray
    speed: np.ndarray


def _integration_nodes(
    block: Channels, mirror: Mirror, tau: float, theta: float, resolve_slowest: bool
) -> _Nodes:
    root = np.sqrt(block.feature)[:, None]
    mean = block.mean[:, None]
    width = np.sqrt(block.variance + tau**2)[:, None]
    width = np.maximum(width, _SMALLEST * (1.0 + np.abs(mean)))

    def position(y: np.ndarray) -> np.ndarray:
        point = mirror.at(y)
        return root * point.weight + theta / root * point.dual

    first, last = _ends(mirror, root, theta, mean, width)
    table = first + (last - first) * np.linspace(0.0, 1.0, _TABLE)
    slowest = mirror.slowest()
    if resolve_slowest:
        steps = np.geomspace(_NARROW, 1.0, _TABLE) * (last - first)
        table = np.concatenate([table, slowest - steps, slowest + steps], axis=1)
        table = np.sort(np.clip(table, first, last), axis=1)
    distance = (table - first) + (position(table) - position(first)) / width
    if resolve_slowest:
        distance += np.arcsinh((table - slowest) / _NARROW)
        distance -= distance[:, :1]
    panels = int(np.ceil(distance[:, -1].max())) + 1
    share = np.linspace(0.0, 1.0, panels + 1)
    edges = np.array([np.interp(share * d[-1], d, y) for d, y in zip(distance, table, strict=True)])
    points, measure = _gauss_rule()
    half = np.diff(edges, axis=1)[:, :, None] / 2
    y = ((edges[:, 1:] + edges[:, :-1])[:, :, None] / 2 + half * points).reshape(len(block), -1)
    point = mirror.at(y)
    slope = root * point.weight_slope + theta / root * point.dual_slope
    offset = root * point.weight + theta / root * point.dual - mean
    density = np.exp(-0.5 * (offset / width) ** 2) * slope
    density *= (half * measure).reshape(len(block), -1)
    # Normalising takes out the tails and, for a law of one number, rounding.
    probability = block.probability[:, None] * density / density.sum(axis=1, keepdims=True)
    return _Nodes(
        channel=np.repeat(np.arange(len(block)), y.shape[1]),
        probability=probability.ravel(),
        offset=offset.ravel(),
        weight=point.weight.ravel(),
        scaled_dual=(point.dual / root).ravel(),
        speed=(root**2 * point.weight_slope / point.dual_slope).ravel(),
    )


@lru_cache
def _gauss_rule() -> tuple[np.ndarray, np.ndarray]:
    points, measure = np.polynomial.legendre.leggauss(_GAUSS)
    return points, measure


def _ends(
    mirror: Mirror, root: np.ndarray, theta: float, mean: np.ndarray, width: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Parameters y between which x goes through its law, each of shape (channel, 1).

    Bracketed Newton steps towards x(y) = mean -+ tail, which need not be precise.
    """
    target = mean + np.array([-_TAIL, _TAIL]) * width
    beyond = mirror.parameter_of(target / root)
    low, high = np.minimum(0.0, beyond), np.maximum(0.0, beyond)
    y = beyond if theta == 0.0 else 0.5 * (low + high)
    for _ in range(200):
        point = mirror.at(y)
        excess = root * point.weight + theta / root * point.dual - target
        if np.all(np.abs(excess) <= _SLACK * width):
            break
        low, high = np.where(excess < 0, y, low), np.where(excess < 0, high, y)
        new = y - excess / (root * point.weight_slope + theta / root * point.dual_slope)
        # Where x grows exponentially, Newton would come down from afar in steps of one.
        usable = (new > low) & (new < high) & (high - low < _WIDE)
        y = np.where(usable, new, 0.5 * (low + high))
    return y[:, :1], y[:, 1:]
