"""Deep networks with weight decay: a penalty that is not convex, and what can be said about it.

At depth L >= 3 the smallest |a|^2 + |b|^2 at given w is (L |w|)^(2/L), so the flow ends in a
stationary point of

    1/2 |Xw - y|^2 + lambda/2 sum_j (L |w_j|)^q,    q = 2/L < 1     ("bridge" penalty),

of which there are many: w_j = 0 is always one for each coordinate, and which one is reached
depends on the start and on the way. Unlike for depth 2 the problem alone does not determine the
limit. In scaled weights v = sqrt(s) w a coordinate sees x and minimises (v - x)^2 / 2 + c |v|^q,
c = (theta/2) (L / sqrt s)^q. Its nonzero minimum satisfies x = v + c q v^(q-1), exists for |x|
above a *spinodal* and is the lower of the two above a larger *global* threshold. A selection says
which of the two thresholds counts; fixed points of the two selections are solutions of the
replica-symmetric equations, which are an approximation here because the proximal map jumps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dmft.problem import Problem
from dmft.theory.averages import Moments
from dmft.theory.channels import Channels, gauss_legendre
from dmft.theory.fixed_point import FixedPoint, fixed_point_of

Selection = Literal["global", "spinodal"]
_TAIL = 9.0
_PANELS = 16
_GAUSS = 8


@dataclass(frozen=True)
class BridgePenalty:
    """(L |w|)^(2/L) / 2 with a rule that chooses between its two local minima."""

    channels: Channels
    depth: int
    selection: Selection

    def moments(self, tau: float, theta: float) -> Moments:
        from scipy.special import ndtr

        law = self.channels
        width = np.sqrt(law.variance + tau**2)
        trust = law.variance / width**2
        edge, strength = self._threshold(theta)
        low, high = (-edge - law.mean) / width, (edge - law.mean) / width
        at_low, at_high = _density(low), _density(high)
        # Below the threshold v = 0; its error is that of the teacher itself.
        inside = ndtr(high) - ndtr(low)
        spread = trust * width
        risk = law.variance * tau**2 / width**2 + law.mean**2 * inside
        risk += 2 * law.mean * spread * (at_low - at_high)
        risk += spread**2 * (inside + low * at_low - high * at_high)
        slope = np.zeros(len(law))
        for sign in (-1.0, 1.0):
            mean = sign * law.mean
            x, measure, v = self._branch(mean, width, edge, strength)
            probability = _density((x - mean[:, None]) / width[:, None]) / width[:, None] * measure
            best = mean[:, None] + trust[:, None] * (x - mean[:, None])
            risk += np.sum(probability * (v - best) ** 2, axis=1)
            # dv/dx integrated by parts, which includes the jump of v at the threshold.
            slope += np.sum(probability * v * (x - mean[:, None]), axis=1) / width**2
        return Moments(float(law.probability @ slope), float(law.probability @ risk))

    def thinned(self, count: int) -> BridgePenalty:
        return BridgePenalty(self.channels.thinned(count), self.depth, self.selection)

    def strength(self, size: float) -> float:
        return size ** (2 - 2 / self.depth)

    def nonzero(self, tau: float, theta: float) -> float:
        """Share of the weights that are not zero."""
        from scipy.special import ndtr

        law = self.channels
        width = np.sqrt(law.variance + tau**2)
        edge = self._threshold(theta)[0]
        outside = ndtr((-edge - law.mean) / width) + ndtr((law.mean - edge) / width)
        return float(law.probability @ outside)

    def _threshold(self, theta: float) -> tuple[np.ndarray, np.ndarray]:
        """|x| at the threshold, and c; both of shape (channel,)."""
        q = 2 / self.depth
        strength = theta / 2 * (self.depth / np.sqrt(self.channels.feature)) ** q
        factor = 2 * (1 - q) if self.selection == "global" else q * (1 - q)
        jump = (factor * strength) ** (1 / (2 - q))
        return jump + strength * q * jump ** (q - 1), strength

    def _branch(
        self, mean: np.ndarray, width: np.ndarray, edge: np.ndarray, strength: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """x above the threshold, its measure and v(x), each of shape (channel, node)."""
        q = 2 / self.depth
        # x = edge + y^2 takes the root singularity out of a spinodal.
        start = np.maximum(mean - _TAIL * width - edge, 0.0)
        end = np.maximum(mean + _TAIL * width - edge, 1e-300)
        low, high = np.sqrt(start)[:, None], np.sqrt(end)[:, None]
        unit, share = gauss_legendre(np.linspace(0.0, 1.0, _PANELS + 1), _GAUSS)
        y = low + (high - low) * unit
        x = edge[:, None] + y**2
        c = strength[:, None]
        v = x.copy()
        for _ in range(60):  # Newton from above on a convex function: monotone
            step = (v + c * q * v ** (q - 1) - x) / np.maximum(
                1 - c * q * (1 - q) * v ** (q - 2), 1e-8
            )
            v = np.maximum(v - step, 0.5 * v)
            if np.all(np.abs(step) <= 1e-13 * v):
                break
        return x, 2 * y * (high - low) * share, v


def solve_bridge(problem: Problem, channels: Channels) -> tuple[FixedPoint, float, FixedPoint]:
    """The fixed point with every coordinate in the lower of its two minima, and its nonzero share.

    Last, the one with every coordinate kept off zero that can be.
    """
    found, nonzero = _solve(problem, channels, "global")
    other, _ = _solve(problem, channels, "spinodal", (found.tau, found.theta))
    return found, nonzero, other


def _solve(
    problem: Problem,
    channels: Channels,
    selection: Selection,
    guess: tuple[float, float] | None = None,
) -> tuple[FixedPoint, float]:
    penalty = BridgePenalty(channels, problem.network.depth, selection)
    found = fixed_point_of(problem, channels, penalty, guess)
    return found, penalty.nonzero(found.tau, found.theta)


def _density(z: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
