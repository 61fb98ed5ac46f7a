"""The mirror potential psi of each network, as a smooth curve of weights and dual values.

Without weight decay the flow moves p = -G, the accumulated force, and w = phi(-p); so
p = psi'(w) for a convex psi (for depth 2 and a0 = b0 = alpha, psi'(w) = asinh(w / alpha^2) / 2,
the hypentropy of Woodworth et al. 2020). Both are analytic functions of one parameter y:

    linear            w = p = y,
    depth 2           p = y,  w = (a0^2 e^(2y) - b0^2 e^(-2y)) / 2,
    depth L >= 3      a^(2-L) = (a0^(2-L) + b0^(2-L)) / (1 + e^l),  b^(2-L) likewise at -l,
                      l = y + log(b0^(2-L) / a0^(2-L)),
                      p = (a0^(2-L) - a^(2-L)) / (L-2),  w = (a^L - b^L) / L.

The start is y = 0. In a deep network p is bounded: a diverges at p = a0^(2-L) / (L-2).
dw/dp = a^(2L-2) + b^(2L-2) is the *speed* of the weight: w' = -(dw/dp) g.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.problem import Problem
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR, Network
from dmft.theory.channels import Channels


@dataclass(frozen=True)
class Point:
    """Values on the curve, all of one shape: p, w and their derivatives in y."""

    dual: np.ndarray
    weight: np.ndarray
    dual_slope: np.ndarray
    weight_slope: np.ndarray


@dataclass(frozen=True)
class Mirror:
    """The curves of all channels of a problem; parameters have shape (channel, 1).

    Attributes: the network's `code` and `depth`, and |a0|, |b0|.
    """

    code: int
    depth: int
    a0: np.ndarray
    b0: np.ndarray

    def at(self, y: np.ndarray) -> Point:
        """The curve at y, shape (channel, point)."""
        if self.code == DEPTH_TWO:
            product, shift = self.a0 * self.b0, np.log(self.a0 / self.b0)
            angle = 2 * y + shift
            return Point(y, product * np.sinh(angle), np.ones_like(y), 2 * product * np.cosh(angle))
        if self.code == DEEP:
            return self._deep(y)
        self._must_be_linear()
        return Point(y, y, np.ones_like(y), np.ones_like(y))

    def _deep(self, y: np.ndarray) -> Point:
        power, depth = self.depth - 2, self.depth
        end_a, end_b = self.a0**-power, self.b0**-power
        logit = y + np.log(end_b / end_a)
        # -log of 1/(1 + e^logit) and 1/(1 + e^-logit); a^-power = (end_a + end_b) below
        below, above = np.logaddexp(0.0, logit), np.logaddexp(0.0, -logit)
        log_a = (below - np.log(end_a + end_b)) / power
        log_b = (above - np.log(end_a + end_b)) / power
        speed = np.exp((2 * depth - 2) * log_a) + np.exp((2 * depth - 2) * log_b)
        dual_slope = (end_a + end_b) / power * np.exp(-below - above)
        # Differences of large numbers are written as sinh and expm1.
        weight = 2 / depth * np.exp(depth / 2 * (log_a + log_b))
        weight = weight * np.sinh(depth / (2 * power) * logit)
        late = np.where(y > 0, -np.expm1(-np.abs(y)), np.expm1(-np.abs(y)))
        dual = late / power * np.where(y > 0, end_a * np.exp(-above), end_b * np.exp(-below))
        return Point(dual, weight, dual_slope, speed * dual_slope)

    def slowest(self) -> np.ndarray:
        """The parameter at which |a| = |b|, where dw/dp is smallest; shape (channel, 1)."""
        if self.code == DEPTH_TWO:
            return np.log(self.b0 / self.a0) / 2
        if self.code == DEEP:
            return (self.depth - 2) * np.log(self.b0 / self.a0)
        self._must_be_linear()
        return np.zeros_like(self.a0)

    def parameter_of(self, weight: np.ndarray) -> np.ndarray:
        """A parameter at which the curve is beyond `weight`, seen from the start.

        Exact but for deep networks, where the smaller of a, b is bounded by its start.
        """
        if self.code == DEPTH_TWO:
            return 0.5 * (np.arcsinh(weight / (self.a0 * self.b0)) - np.log(self.a0 / self.b0))
        if self.code == DEEP:
            return self._deep_parameter(weight)
        self._must_be_linear()
        return weight

    def _must_be_linear(self) -> None:
        if self.code != LINEAR:
            raise ValueError(f"unknown network {self.code}")

    def _deep_parameter(self, weight: np.ndarray) -> np.ndarray:
        power, depth = self.depth - 2, self.depth
        # The growing one of a, b stays below (L |w| + largest^L)^(1/L) =: largest e^(growth/power),
        # and its power -(L-2) is (a0^-power + b0^-power) / (1 + e^|logit|).
        largest = np.maximum(self.a0, self.b0)
        growth = power / depth * np.log1p(depth * np.abs(weight) / largest**depth)
        ratio = (largest / np.minimum(self.a0, self.b0)) ** power
        bound = np.log1p((1.0 + ratio) / ratio * np.expm1(growth))
        grows_from_below = np.where(weight > 0, self.a0 < self.b0, self.b0 < self.a0)
        return np.sign(weight) * (bound + np.where(grows_from_below, 2.0 * np.log(ratio), 0.0))


def start_of(network: Network, channels: Channels) -> np.ndarray:
    """w(0) of every channel, shape (channel,).

    Raises
    ------
    ValueError : a network whose weights are not known.
    """
    if network.code == LINEAR:
        return np.zeros_like(channels.a0)
    if network.code not in (DEPTH_TWO, DEEP):
        raise ValueError(f"unknown network {network.code}")
    depth = network.depth
    return np.asarray((channels.a0**depth - channels.b0**depth) / depth)


def mirror_of(problem: Problem, channels: Channels) -> Mirror:
    """The curves of a problem's network.

    Raises
    ------
    ValueError : a network whose curve is not known.
    """
    network = problem.network
    if network.code not in (LINEAR, DEPTH_TWO, DEEP):
        raise ValueError(f"unknown network {network.code}")
    return Mirror(network.code, network.depth, channels.a0[:, None], channels.b0[:, None])
