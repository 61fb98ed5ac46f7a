"""Laws of the feature variances s_j; column j of the data has variance s_j / d."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field, model_validator

from dmft.problem.laws import Component, as_list, atom, check_same_length, discrete
from dmft.problem.laws import Weights as Shares
from dmft.validation import Settings, default_kind, register_kinds

Variances = Annotated[
    tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), BeforeValidator(as_list)
]


class Isotropic(Settings):
    """s_j = 1."""

    kind: Literal["isotropic"] = "isotropic"

    def components(self) -> tuple[Component, ...]:
        return (atom(1.0),)


class DiscreteFeatures(Settings):
    """A few variances with probabilities proportional to `weights`.

    values : the variances.
    weights : relative probability of each; equal if not given.
    """

    kind: Literal["discrete"] = "discrete"
    values: Variances
    weights: Shares = None

    @model_validator(mode="after")
    def _lengths(self) -> DiscreteFeatures:
        check_same_length(self.values, self.weights)
        return self

    def components(self) -> tuple[Component, ...]:
        return discrete(self.values, self.weights)


class PowerLaw(Settings):
    """s = c (x + cutoff)^(-exponent), x uniform on (0, 1) the relative rank, E[s] = 1.

    The cutoff bounds the largest variance; without it s_j ~ j^(-exponent) has no limit law
    with finite moments.

    exponent : how fast the variances fall with their rank.
    cutoff : relative rank below which they hardly grow.
    """

    kind: Literal["power-law"] = "power-law"
    exponent: float = Field(1.0, ge=0, le=10)
    cutoff: float = Field(0.01, gt=0, le=1)

    def components(self) -> tuple[Component, ...]:
        low, high, p = self.cutoff, 1.0 + self.cutoff, self.exponent
        mean = np.log(high / low) if p == 1.0 else (high ** (1 - p) - low ** (1 - p)) / (1 - p)
        # Decreasing in the rank x = 1 - u, so increasing in u as a quantile must be.
        return (Component(1.0, lambda u: (1.0 - np.asarray(u) + low) ** (-p) / mean),)


class EmpiricalFeatures(Settings):
    """The empirical law of a list of variances, independent of the teacher.

    values : variances, in Python an array or a list.
    """

    kind: Literal["empirical"] = "empirical"
    values: Variances

    def components(self) -> tuple[Component, ...]:
        values = np.sort(np.asarray(self.values))

        def quantile(u: np.ndarray) -> np.ndarray:
            rank = (np.asarray(u) * len(values)).astype(np.int64)
            return values[np.minimum(rank, len(values) - 1)]

        return (Component(1.0, quantile),)


Features = Annotated[
    Isotropic | DiscreteFeatures | PowerLaw | EmpiricalFeatures,
    Field(discriminator="kind"),
    default_kind("isotropic", array="empirical"),
]
register_kinds("isotropic", "discrete", "power-law", "empirical")
