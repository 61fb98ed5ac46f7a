"""Laws of the teacher coefficients w*_j."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from dmft.errors import InputError
from dmft.problem.laws import Component, Values, Weights, atom, check_same_length, discrete, normal
from dmft.validation import Settings, default_kind, register_kinds


class BernoulliGauss(Settings):
    """Zero with probability 1 - density, else N(0, 1/density): unit second moment.

    density : probability of a value other than zero.
    """

    kind: Literal["bernoulli-gauss"] = "bernoulli-gauss"
    density: float = Field(0.1, gt=0, le=1)

    def components(self) -> tuple[Component, ...]:
        slab = normal(0.0, self.density**-0.5, self.density)
        return (slab,) if self.density == 1.0 else (atom(0.0, 1.0 - self.density), slab)


class Gaussian(Settings):
    """N(mean, std^2).

    mean : of the values, in their units.
    std : standard deviation of the values, in their units.
    """

    kind: Literal["gaussian"] = "gaussian"
    mean: float = 0.0
    std: float = Field(1.0, ge=0)

    def components(self) -> tuple[Component, ...]:
        return (normal(self.mean, self.std),)


class Rademacher(Settings):
    """+scale or -scale with equal probability.

    scale : size of every value.
    """

    kind: Literal["rademacher"] = "rademacher"
    scale: float = Field(1.0, gt=0)

    def components(self) -> tuple[Component, ...]:
        return (atom(-self.scale, 0.5), atom(self.scale, 0.5))


class Discrete(Settings):
    """Mixture of point masses at `values` with probabilities proportional to `weights`.

    values : where the masses are.
    weights : relative probability of each value; equal if not given.
    """

    kind: Literal["discrete"] = "discrete"
    values: Values
    weights: Weights = None

    @model_validator(mode="after")
    def _lengths(self) -> Discrete:
        check_same_length(self.values, self.weights)
        return self

    def components(self) -> tuple[Component, ...]:
        return discrete(self.values, self.weights)


class Empirical(Settings):
    """The empirical law of an array of coefficients, drawn jointly with their features.

    values : coefficients, in Python an array or a list.
    feature_variances : a variance s_j for each value; the problem's own feature law must then be
        left isotropic.
    """

    kind: Literal["empirical"] = "empirical"
    values: Values
    feature_variances: tuple[Annotated[float, Field(gt=0)], ...] | None = None

    @model_validator(mode="after")
    def _lengths(self) -> Empirical:
        pairs = self.feature_variances
        if pairs is not None and len(pairs) != len(self.values):
            raise InputError(
                f"given {len(pairs)} variances for {len(self.values)} values, must be as many",
                "feature_variances",
            )
        return self

    def components(self) -> tuple[Component, ...]:
        values, _ = self.sorted_pairs()
        mean, std = float(values.mean()), float(values.std())
        return (Component(1.0, lambda u: values[rank_of(u, len(values))], mean=mean, std=std),)

    def sorted_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Values in increasing order and the feature variances that go with them."""
        values = np.asarray(self.values)
        order = np.argsort(values, kind="stable")
        if self.feature_variances is None:
            return values[order], np.ones(len(values))
        return values[order], np.asarray(self.feature_variances)[order]


def rank_of(u: np.ndarray, count: int) -> np.ndarray:
    """Index into a sorted array of `count` entries that a uniform `u` selects."""
    return np.minimum((np.asarray(u) * count).astype(np.int64), count - 1)


Law = Annotated[
    BernoulliGauss | Gaussian | Rademacher | Discrete | Empirical, Field(discriminator="kind")
]
Teacher = Annotated[Law, default_kind("bernoulli-gauss", array="empirical")]
register_kinds("bernoulli-gauss", "gaussian", "rademacher", "discrete", "empirical")
