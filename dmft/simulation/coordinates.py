"""Networks of finite dimension in a flow: weights of all coordinates.

Weights are functions of the force accumulated since the last restart. The formulas are
those of `dmft.problem.networks`. `force` is G, shape (d,), and `elapsed` the time tau since the
restart. Two numbers complete the description: the force is accumulated as
G' = exp(-growth tau) g - damping G.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmft.errors import InputError
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR, TRUNCATED, Network


class Coordinates(Protocol):
    """What the integrator asks of a network; every array has shape (d,)."""

    @property
    def growth(self) -> float: ...

    @property
    def damping(self) -> float: ...

    @property
    def decay(self) -> float:
        """r in dw/dtau = -r w at fixed force, for tau = 0."""

    @property
    def restarts(self) -> bool:
        """Whether the force is counted anew from every `advanced` state."""

    def weights(self, force: np.ndarray, elapsed: float) -> np.ndarray:
        """w; infinite or NaN where the force is beyond the network's singularity."""

    def steepness(self) -> np.ndarray:
        """-dw/dG >= 0 at the restart."""

    def magnitude(self) -> np.ndarray:
        """Sum of the terms that w is the difference of: its rounding error over epsilon."""

    def sensitivity(self) -> np.ndarray:
        """Relative change of the larger of a, b per unit of force at the restart."""

    def advanced(self, force: np.ndarray, elapsed: float) -> Coordinates:
        """The same network with its restart moved to (force, elapsed)."""


@dataclass(frozen=True)
class LinearCoordinates:
    """w = -G with G' = g - weight_decay G, which is autonomous at any weight decay."""

    dimension: int
    weight_decay: float
    growth = 0.0
    decay = 0.0
    restarts = False

    @property
    def damping(self) -> float:
        return self.weight_decay

    def weights(self, force: np.ndarray, elapsed: float) -> np.ndarray:
        return -force

    def steepness(self) -> np.ndarray:
        return np.ones(self.dimension)

    def magnitude(self) -> np.ndarray:
        return np.zeros(self.dimension)

    def sensitivity(self) -> np.ndarray:
        return np.zeros(self.dimension)

    def advanced(self, force: np.ndarray, elapsed: float) -> LinearCoordinates:
        return self


@dataclass(frozen=True)
class DepthTwoCoordinates:
    """State (log|a|, log|b|): no start is too small, and either of a, b may vanish."""

    log_a: np.ndarray
    log_b: np.ndarray
    weight_decay: float
    growth = 0.0
    damping = 0.0
    restarts = True

    @property
    def decay(self) -> float:
        return 2.0 * self.weight_decay

    def weights(self, force: np.ndarray, elapsed: float) -> np.ndarray:
        drift = self.weight_decay * elapsed
        a_squared = np.exp(2.0 * (self.log_a - force - drift))
        return 0.5 * (a_squared - np.exp(2.0 * (self.log_b + force - drift)))

    def steepness(self) -> np.ndarray:
        return np.exp(2.0 * self.log_a) + np.exp(2.0 * self.log_b)

    def magnitude(self) -> np.ndarray:
        return self.steepness()

    def sensitivity(self) -> np.ndarray:
        return np.ones(len(self.log_a))

    def advanced(self, force: np.ndarray, elapsed: float) -> DepthTwoCoordinates:
        drift = self.weight_decay * elapsed
        return DepthTwoCoordinates(
            self.log_a - force - drift, self.log_b + force - drift, self.weight_decay
        )


@dataclass(frozen=True)
class DeepCoordinates:
    """State (a^(2-L), b^(2-L)), in which a path to the singularity is a straight line."""

    a_power: np.ndarray
    b_power: np.ndarray
    depth: int
    weight_decay: float
    damping = 0.0
    restarts = True

    @property
    def growth(self) -> float:
        return (self.depth - 2) * self.weight_decay

    @property
    def decay(self) -> float:
        return self.depth * self.weight_decay

    def weights(self, force: np.ndarray, elapsed: float) -> np.ndarray:
        a_power, b_power = self._powers(force, elapsed)
        exponent = -self.depth / (self.depth - 2)
        # A nonpositive argument lies beyond the singularity; NaN makes the integrator retreat.
        return (_power(a_power, exponent) - _power(b_power, exponent)) / self.depth

    def steepness(self) -> np.ndarray:
        exponent = -(2 * self.depth - 2) / (self.depth - 2)
        return _power(self.a_power, exponent) + _power(self.b_power, exponent)

    def magnitude(self) -> np.ndarray:
        exponent = -self.depth / (self.depth - 2)
        return _power(self.a_power, exponent) + _power(self.b_power, exponent)

    def sensitivity(self) -> np.ndarray:
        return 1.0 / np.minimum(self.a_power, self.b_power)

    def advanced(self, force: np.ndarray, elapsed: float) -> DeepCoordinates:
        a_power, b_power = self._powers(force, elapsed)
        return DeepCoordinates(a_power, b_power, self.depth, self.weight_decay)

    def _powers(self, force: np.ndarray, elapsed: float) -> tuple[np.ndarray, np.ndarray]:
        expansion = np.exp(self.growth * elapsed)
        scaled = (self.depth - 2) * force
        return expansion * (self.a_power + scaled), expansion * (self.b_power - scaled)


@dataclass(frozen=True)
class TruncatedCoordinates:
    """State (X(a), X(b)), log|a| up to the level and linear in |a| beyond; no weight decay."""

    stretched_a: np.ndarray
    stretched_b: np.ndarray
    level: float
    growth = 0.0
    damping = 0.0
    decay = 0.0
    restarts = True

    @classmethod
    def start(cls, a0: np.ndarray, b0: np.ndarray, level: float) -> TruncatedCoordinates:
        def stretched(a: np.ndarray) -> np.ndarray:
            size = np.abs(a) / level
            with np.errstate(divide="ignore"):
                return np.log(level) + np.where(size > 1.0, size - 1.0, np.log(size))

        return cls(stretched(a0), stretched(b0), level)

    def weights(self, force: np.ndarray, elapsed: float) -> np.ndarray:
        return self._half_square(self.stretched_a - force) - self._half_square(
            self.stretched_b + force
        )

    def steepness(self) -> np.ndarray:
        return self._slope(self.stretched_a) + self._slope(self.stretched_b)

    def magnitude(self) -> np.ndarray:
        return 2.0 * (self._half_square(self.stretched_a) + self._half_square(self.stretched_b))

    def sensitivity(self) -> np.ndarray:
        return np.ones(len(self.stretched_a))

    def advanced(self, force: np.ndarray, elapsed: float) -> TruncatedCoordinates:
        return TruncatedCoordinates(self.stretched_a - force, self.stretched_b + force, self.level)

    def _slope(self, stretched: np.ndarray) -> np.ndarray:
        """T(a)^2."""
        return np.exp(2.0 * np.minimum(stretched, np.log(self.level)))

    def _half_square(self, stretched: np.ndarray) -> np.ndarray:
        """H(a)."""
        beyond = np.maximum(stretched - np.log(self.level), 0.0)
        return self._slope(stretched) * (0.5 + beyond)


def start_of(network: Network, weight_decay: float, a0: np.ndarray, b0: np.ndarray) -> Coordinates:
    """The network's coordinates at its initial values a0, b0, each of shape (d,).

    Raises
    ------
    InputError : initial values so small that a0^(2-L) is no floating-point number.
    ValueError : a network that has no coordinates here.
    """
    if network.code == LINEAR:
        return LinearCoordinates(len(a0), weight_decay)
    if network.code == TRUNCATED:
        return TruncatedCoordinates.start(a0, b0, network.constant)
    if network.code not in (DEPTH_TWO, DEEP):
        raise ValueError(f"unknown network {network.code}")
    with np.errstate(divide="ignore", over="ignore"):
        if network.code == DEPTH_TWO:
            return DepthTwoCoordinates(np.log(np.abs(a0)), np.log(np.abs(b0)), weight_decay)
        a_power, b_power = a0 ** (2.0 - network.depth), b0 ** (2.0 - network.depth)
    if not (np.isfinite(a_power).all() and np.isfinite(b_power).all()):
        raise InputError(
            f"given a start of {min(a0.min(), b0.min()):.3g} at depth {network.depth}, "
            "too small: start^(2 - depth) must be below 1e308",
            "problem.network",
        )
    return DeepCoordinates(a_power, b_power, network.depth, weight_decay)


def _power(base: np.ndarray, exponent: float) -> np.ndarray:
    """base^exponent for a negative exponent; NaN where base <= 0."""
    return np.where(base > 0.0, base, np.nan) ** exponent
