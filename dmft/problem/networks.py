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
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from dmft.errors import InputError
from dmft.problem.laws import Component, atom
from dmft.problem.teachers import Law
from dmft.validation import Settings, Shorthand, default_kind, register_kinds

LINEAR, DEPTH_TWO, DEEP, TRUNCATED = 0, 1, 2, 3


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

    def initial_components(self) -> tuple[tuple[Component, ...], tuple[Component, ...]]:
        """Unused by this network: its only state is w = 0."""
        return (atom(0.0),), (atom(0.0),)


Network = Annotated[
    Diagonal | Linear | Truncated, Field(discriminator="kind"), default_kind("diagonal")
]
register_kinds("diagonal", "linear", "truncated")
