"""Networks of finite dimension: weights of all coordinates, and the parameters that steps train.

In a flow weights are functions of the force accumulated since the last restart. The formulas are
those of `dmft.problem.networks`. `force` is G, shape (d,), and `elapsed` the time tau since the
restart. Two numbers complete the description: the force is accumulated as
G' = exp(-growth tau) g - damping G.

In steps an array of parameters has shape (k, d): the rows are w on the linear network; a, b with
w = (a^L - b^L)/L where the update is a descent along the gradient, for which any rotation of
(u, v) is as good; and u, v with w = u v where each parameter has a step size of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmft.errors import InputError
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR, Network


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


def start_of(network: Network, weight_decay: float, a0: np.ndarray, b0: np.ndarray) -> Coordinates:
    """The network's coordinates at its initial values a0, b0, each of shape (d,).

    Raises
    ------
    InputError : initial values so small that a0^(2-L) is no floating-point number.
    ValueError : a network that has no coordinates here.
    """
    if network.code == LINEAR:
        return LinearCoordinates(len(a0), weight_decay)
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


class Parametrisation(Protocol):
    """What descent asks of a network."""

    def start(self, a0: np.ndarray, b0: np.ndarray) -> np.ndarray:
        """Parameters (k, d) at initial factors, each of shape (d,)."""

    def weights(self, parameters: np.ndarray) -> np.ndarray:
        """w, shape (d,)."""

    def slopes(self, parameters: np.ndarray) -> np.ndarray:
        """dw/dparameter, shape (k, d)."""

    def factors(self, parameters: np.ndarray) -> np.ndarray:
        """a and b, shape (2, d); of the linear network w and 0."""


@dataclass(frozen=True)
class Weights:
    """The linear network's weights themselves, from zero."""

    def start(self, a0: np.ndarray, b0: np.ndarray) -> np.ndarray:
        return np.zeros((1, len(a0)))

    def weights(self, parameters: np.ndarray) -> np.ndarray:
        return parameters[0]

    def slopes(self, parameters: np.ndarray) -> np.ndarray:
        return np.ones_like(parameters)

    def factors(self, parameters: np.ndarray) -> np.ndarray:
        return np.stack([parameters[0], np.zeros_like(parameters[0])])


@dataclass(frozen=True)
class Powers:
    """w = (a^L - b^L)/L."""

    depth: int

    def start(self, a0: np.ndarray, b0: np.ndarray) -> np.ndarray:
        return np.stack([a0, b0])

    def weights(self, parameters: np.ndarray) -> np.ndarray:
        a, b = parameters
        return np.asarray((a**self.depth - b**self.depth) / self.depth)

    def slopes(self, parameters: np.ndarray) -> np.ndarray:
        a, b = parameters ** (self.depth - 1)
        return np.stack([a, -b])

    def factors(self, parameters: np.ndarray) -> np.ndarray:
        return parameters


@dataclass(frozen=True)
class Product:
    """w = u v with u = (a+b)/sqrt2 and v = (a-b)/sqrt2."""

    def start(self, a0: np.ndarray, b0: np.ndarray) -> np.ndarray:
        return np.stack([a0 + b0, a0 - b0]) / 2**0.5

    def weights(self, parameters: np.ndarray) -> np.ndarray:
        return np.asarray(parameters[0] * parameters[1])

    def slopes(self, parameters: np.ndarray) -> np.ndarray:
        return parameters[::-1]

    def factors(self, parameters: np.ndarray) -> np.ndarray:
        u, v = parameters
        return np.stack([u + v, u - v]) / 2**0.5


def parametrisation(network: Network, *, coordinatewise: bool) -> Parametrisation:
    """The parameters that are trained.

    coordinatewise : whether the update treats every parameter on its own scale, so that it
        matters which they are: u, v at depth 2.

    Raises
    ------
    ValueError : a network whose parameters are not known.
    """
    if network.code == LINEAR:
        return Weights()
    if network.code == DEPTH_TWO and coordinatewise:
        return Product()
    if network.code in (DEPTH_TWO, DEEP):
        return Powers(network.depth)
    raise ValueError(f"unknown network {network.code}")
