"""Scalar probability laws as finite mixtures of components with explicit quantiles.

Every random quantity of a problem (teacher value, feature variance, initial value) is such
a mixture, which is what a stratified sampler and a deterministic quadrature both need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from dmft.errors import InputError
from dmft.numerics.normal import normal_quantile

Array = np.ndarray


@dataclass(frozen=True)
class Component:
    """One component of a mixture.

    Attributes
    ----------
    probability : its weight in the mixture, in (0, 1].
    quantile : maps uniforms in (0, 1) to values, monotone; for an atom it is constant.
    atom : True when the component is a single value.
    mean, std : its exact moments where they are known, so that samples can be made to match.
    """

    probability: float
    quantile: Callable[[Array], Array]
    atom: bool = False
    mean: float | None = None
    std: float | None = None


def atom(value: float, probability: float = 1.0) -> Component:
    """The point mass at `value`."""
    return Component(probability, lambda u: np.full(np.shape(u), float(value)), atom=True)


def normal(mean: float, std: float, probability: float = 1.0) -> Component:
    """The normal law; a point mass when `std` is zero."""
    if std == 0.0:
        return atom(mean, probability)

    def quantile(u: Array) -> Array:
        return mean + std * normal_quantile(u)

    return Component(probability, quantile, mean=mean, std=std)


def discrete(values: tuple[float, ...], weights: tuple[float, ...] | None) -> tuple[Component, ...]:
    """Atoms at `values` with probabilities proportional to `weights` (equal if None)."""
    shares = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    if shares.max() > np.finfo(float).max / len(shares):
        shares = shares / shares.max()  # whose sum is no number
    shares = shares / shares.sum()
    return tuple(atom(v, float(p)) for v, p in zip(values, shares, strict=True) if p > 0)


def as_single(components: tuple[Component, ...]) -> Component:
    """The same mixture as one component: quantiles run through the components in order."""
    if len(components) == 1:
        return components[0]
    edges = np.concatenate([[0.0], np.cumsum([c.probability for c in components])])
    edges /= edges[-1]

    def quantile(u: Array) -> Array:
        u = np.asarray(u, float)
        index = np.clip(np.searchsorted(edges, u, side="right") - 1, 0, len(components) - 1)
        inner = (u - edges[index]) / (edges[index + 1] - edges[index])
        values = np.empty(u.shape)
        for i in np.unique(index):
            chosen = index == i
            values[chosen] = components[i].quantile(np.clip(inner[chosen], 1e-16, 1 - 1e-16))
        return values

    return Component(1.0, quantile)


def _positive_total(weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if weights is not None and sum(weights) <= 0.0:
        raise InputError(f"given weights that sum to {sum(weights)}, must sum to more than 0")
    return weights


def as_list(given: object) -> object:
    """An array of one dimension as the list of its entries."""
    if not isinstance(given, np.ndarray):
        return given
    if given.ndim != 1:
        raise InputError(f"given an array of shape {given.shape}, must have one dimension")
    return given.tolist()


Values = Annotated[tuple[float, ...], Field(min_length=1), BeforeValidator(as_list)]
Weights = Annotated[
    tuple[Annotated[float, Field(ge=0)], ...] | None,
    AfterValidator(_positive_total),
    BeforeValidator(as_list),
]


def check_same_length(values: tuple[float, ...], weights: tuple[float, ...] | None) -> None:
    """Refuse a list of weights that does not match its list of values."""
    if weights is not None and len(weights) != len(values):
        raise InputError(
            f"given {len(weights)} weights for {len(values)} values, must be as many", "weights"
        )
