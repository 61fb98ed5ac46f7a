"""Networks of finite dimension in steps: the parameters that are trained.

An array of parameters has shape (k, d): the rows are w on the linear network; a, b with
w = (a^L - b^L)/L where the update is a descent along the gradient, for which any rotation of
(u, v) is as good; and u, v with w = u v where each parameter has a step size of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR, Network, Truncated


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
class Truncations:
    """w = H(a) - H(b), H(a) = a^2/2 up to the level and linear beyond, of slope T(a)."""

    level: float

    def start(self, a0: np.ndarray, b0: np.ndarray) -> np.ndarray:
        return np.stack([a0, b0])

    def weights(self, parameters: np.ndarray) -> np.ndarray:
        cut = np.clip(parameters, -self.level, self.level)
        a, b = cut * (parameters - 0.5 * cut)
        return np.asarray(a - b)

    def slopes(self, parameters: np.ndarray) -> np.ndarray:
        a, b = np.clip(parameters, -self.level, self.level)
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
    if isinstance(network, Truncated):
        return Truncations(network.level)
    if network.code == DEPTH_TWO and coordinatewise:
        return Product()
    if network.code in (DEPTH_TWO, DEEP):
        return Powers(network.depth)
    raise ValueError(f"unknown network {network.code}")
