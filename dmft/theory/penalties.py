"""Penalties whose averages over Gaussian channels are closed formulas.

In scaled weights v = sqrt(s) w, seen through x = sqrt(s) w* + tau z, the proximal maps are

    quadratic, w^2 / 2 (ridge, minimum l2 norm)    v = x / (1 + theta / s),
    absolute, |w| (LASSO, basis pursuit)           v = sign(x) max(|x| - theta / sqrt s, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.theory.averages import Moments, Speeds
from dmft.theory.channels import Channels


@dataclass(frozen=True)
class QuadraticPenalty:
    """The penalty of the linear model."""

    channels: Channels

    def moments(self, tau: float, theta: float) -> Moments:
        law = self.channels
        gain = law.feature / (law.feature + theta)
        lost = theta / (law.feature + theta)
        risk = lost**2 * (law.mean**2 + law.variance) + (gain * tau) ** 2
        return Moments(float(law.probability @ gain), float(law.probability @ risk))

    def strength(self, size: float) -> float:
        return 1.0

    def thinned(self, count: int) -> QuadraticPenalty:
        return QuadraticPenalty(self.channels.thinned(count))

    def speeds(self, tau: float, theta: float) -> Speeds:
        """The law of S = s: every weight of the linear model moves at the same speed."""
        return Speeds(self.channels.feature, self.channels.probability, bounded=True)


@dataclass(frozen=True)
class AbsolutePenalty:
    """The l1 penalty, that of depth 2 under weight decay and in the limit of a small start."""

    channels: Channels

    def strength(self, size: float) -> float:
        return size

    def thinned(self, count: int) -> AbsolutePenalty:
        return AbsolutePenalty(self.channels.thinned(count))

    def moments(self, tau: float, theta: float) -> Moments:
        from scipy.special import erf, ndtr

        law = self.channels
        width = np.sqrt(law.variance + tau**2)
        width = np.maximum(width, 1e-300)
        threshold = theta / np.sqrt(law.feature)
        trust = law.variance / width**2  # of the report x about sqrt(s) w*
        probability = np.zeros(len(law))
        risk = law.variance * tau**2 / width**2
        for sign in (-1.0, 1.0):
            # Mirrored, the side x > threshold; q is its edge in standard deviations. There
            # v - E[sqrt(s) w* | x] = width (slope z + level) with z standard normal beyond q.
            mean = sign * law.mean
            q = (threshold - mean) / width
            beyond, density = ndtr(-q), np.exp(-0.5 * q**2) / np.sqrt(2 * np.pi)
            probability += beyond
            slope = tau**2 / width**2
            level = -threshold / width
            second = beyond + q * density  # E[z^2; z > q]
            risk += width**2 * (slope**2 * second + 2 * slope * level * density + level**2 * beyond)
        # Between the thresholds v = 0 and E[sqrt(s) w* | x] = mean + trust width z.
        low, high = (-threshold - law.mean) / width, (threshold - law.mean) / width
        inside = np.where(law.mean == 0.0, erf(high / 2**0.5), ndtr(high) - ndtr(low))
        at_low, at_high = (np.exp(-0.5 * e**2) / np.sqrt(2 * np.pi) for e in (low, high))
        second = inside + low * at_low - high * at_high
        spread = trust * width
        risk += law.mean**2 * inside + 2 * law.mean * spread * (at_low - at_high)
        risk += spread**2 * second
        return Moments(float(law.probability @ probability), float(law.probability @ risk))
