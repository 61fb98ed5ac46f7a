"""Parametrisations w = phi(G) of the weights and how each moves under gradient flow.

Within a panel that starts at time t_k the state of one coordinate is a pair (p, q) and
G(tau) = int_0^tau exp(-mu s) g(t_k + s) ds is the accumulated force; every network gives
w = phi(p, q, G, tau), its derivative in G, and the state at the panel's end.

diagonal, depth 2 : (p, q) = (log|a|, log|b|), mu = 0,
    a = exp(p - G - lambda tau), b = exp(q + G - lambda tau), w = (a^2 - b^2)/2.
diagonal, depth L >= 3 : (p, q) = (a^(2-L), b^(2-L)), mu = (L-2) lambda,
    a^(2-L) = e^(mu tau) (p + (L-2) G), b^(2-L) = e^(mu tau) (q - (L-2) G), w = (a^L - b^L)/L.
linear : p = w, mu = -lambda, w = e^(-lambda tau) (p - G).
truncated : (p, q) = (X(a), X(b)), mu = 0, no weight decay, w = h(p - G) - h(q + G) with
    X(a) = log|a| and h(x) = e^(2x)/2 for |a| <= level, beyond it X(a) = log level + |a|/level - 1
    and h(x) = level^2 (x - log level + 1/2): w is linear in G there.

A network has a `code`, by which its own formulas are chosen, and says whether it is `linear`: its
weights are then the parameters themselves, from zero, and no limit depends on a start.

In steps an array of parameters has shape (k, d): the rows are w on the linear network; a, b with
w = (a^L - b^L)/L where the update is a descent along the gradient, for which any rotation of
(u, v) is as good; and u, v with w = u v where each parameter has a step size of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from dmft.errors import InputError
from dmft.problem.laws import Component, atom
from dmft.problem.teachers import Law
from dmft.validation import Settings, Shorthand, default_kind, register_kinds

LINEAR, DEPTH_TWO, DEEP, TRUNCATED = 0, 1, 2, 3


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


# A number stands for the law that always takes this value.
Start = Annotated[Law, BeforeValidator(Shorthand(number="discrete", array="empirical"))]


class Diagonal(Settings):
    """Diagonal network w = u∘v of depth 2, or w = (a^L - b^L)/L of depth L >= 3.

    With a = (u+v)/sqrt2 and b = (u-v)/sqrt2 the standard start is a = b = init_scale, that is
    u = sqrt2 init_scale and v = 0, so w(0) = 0. `init_u` and `init_v` replace it by any pair of
    independent laws (a number means that constant).

    depth : L, the number of factors of a weight.
    init_scale : alpha, the start a = b = alpha, in units of the L-th root of a weight.
    init_u : law of u(0), given together with init_v.
    init_v : law of v(0), given together with init_u.
    """

    linear: ClassVar[Literal[False]] = False

    kind: Literal["diagonal"] = "diagonal"
    depth: int = Field(2, ge=2, le=20)
    init_scale: float = Field(0.3, gt=0)
    init_u: Start | None = None
    init_v: Start | None = None

    @model_validator(mode="after")
    def _start(self) -> Diagonal:
        _check_pair(self)
        return self

    @property
    def code(self) -> int:
        return DEPTH_TWO if self.depth == 2 else DEEP

    @property
    def constant(self) -> float:
        """The constant of its law: L."""
        return self.depth

    def growth(self, weight_decay: float) -> float:
        """The exponent mu of the accumulated force."""
        return (self.depth - 2) * weight_decay

    def parametrisation(self, coordinatewise: bool) -> Parametrisation:
        """The parameters that steps train; u, v where each has a step size of its own."""
        return Product() if coordinatewise and self.depth == 2 else Powers(self.depth)

    def initial_components(self) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
        """Laws of u(0) and v(0)."""
        return _start_of(self)


class Truncated(Settings):
    """Diagonal network of depth 2, w = H(a) - H(b), whose factors are cut off at a level.

    H(a) = a^2/2 up to |a| = level and grows linearly beyond, level |a| - level^2/2, so that the
    gradient of a is T(a) = a cut off at +-level: weights and updates are Lipschitz functions of the
    parameters, as proofs of the mean field ask for. Where |a|, |b| stay below the level it is the
    diagonal network of depth 2, with a = (u+v)/sqrt2 and b = (u-v)/sqrt2.

    Its dynamics are gradient flow without weight decay, gradient descent and SGD.

    level : where factors are cut off, in units of the square root of a weight.
    init_scale : alpha, the start a = b = alpha.
    init_u : law of u(0), given together with init_v.
    init_v : law of v(0), given together with init_u.
    """

    linear: ClassVar[Literal[False]] = False

    kind: Literal["truncated"] = "truncated"
    level: float = Field(2.0, gt=0)
    init_scale: float = Field(0.3, gt=0)
    init_u: Start | None = None
    init_v: Start | None = None

    @model_validator(mode="after")
    def _start(self) -> Truncated:
        _check_pair(self)
        return self

    @property
    def code(self) -> int:
        return TRUNCATED

    @property
    def depth(self) -> int:
        return 2

    @property
    def constant(self) -> float:
        """The constant of its law: its level."""
        return self.level

    def growth(self, weight_decay: float) -> float:
        """The exponent mu of the accumulated force."""
        return 0.0

    def parametrisation(self, coordinatewise: bool) -> Parametrisation:
        """The parameters that steps train; u, v have no place here."""
        if coordinatewise:
            raise ValueError("truncated networks have no rotation to (u, v)")
        return Truncations(self.level)

    def initial_components(self) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
        """Laws of u(0) and v(0)."""
        return _start_of(self)


def _check_pair(network: Diagonal | Truncated) -> None:
    if (network.init_u is None) != (network.init_v is None):
        raise InputError("given init_u or init_v alone, must be given both or neither")


def _start_of(
    network: Diagonal | Truncated,
) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
    if network.init_u is None or network.init_v is None:
        return (atom(2.0**0.5 * network.init_scale),), (atom(0.0),)
    return network.init_u.components(), network.init_v.components()


class Linear(Settings):
    """The linear model w' = -g - weight_decay w from w(0) = 0: the lazy limit, solvable."""

    linear: ClassVar[Literal[True]] = True

    kind: Literal["linear"] = "linear"

    @property
    def code(self) -> int:
        return LINEAR

    @property
    def depth(self) -> int:
        return 1

    @property
    def constant(self) -> float:
        """The constant of its law, which has none."""
        return 1

    def growth(self, weight_decay: float) -> float:
        """The exponent mu of the accumulated force."""
        return -weight_decay

    def parametrisation(self, coordinatewise: bool) -> Parametrisation:
        """The parameters that steps train."""
        return Weights()

    def initial_components(self) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
        """Unused by this network: its only state is w = 0."""
        return (atom(0.0),), (atom(0.0),)


Network = Annotated[
    Diagonal | Linear | Truncated, Field(discriminator="kind"), default_kind("diagonal")
]
register_kinds("diagonal", "linear", "truncated")
