"""The table of observables: what is measured along a trajectory, in theory and simulation alike.

A new observable is one row of `OBSERVABLES` and one function. Everything that computes, stores,
compares, prints or draws curves reads this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import GradientFlow
from dmft.problem.networks import DEPTH_TWO
from dmft.results.sign_error import sign_error

UserObservable = Callable[[np.ndarray, np.ndarray], np.ndarray]
_LOW, _HIGH = 0.1, 0.99  # the quantiles of |w|


@dataclass(frozen=True)
class Weights:
    """Weights over time on either side: paths of the mean field, coordinates of a network.

    values : w, shape (count, time).
    teacher, variance, probability : w*, s and weight in averages of each, shape (count,).
    charges : u^2 - v^2, shape (count, time), of a network of depth 2, else None.
    threshold : |w| above it counts as active.
    """

    problem: Problem
    values: np.ndarray
    teacher: np.ndarray
    variance: np.ndarray
    probability: np.ndarray
    charges: np.ndarray | None = None
    threshold: float = 0.1

    def since(self, first: int) -> Weights:
        """The same from a node on."""
        charges = None if self.charges is None else self.charges[:, first:]
        return replace(self, values=self.values[:, first:], charges=charges) if first else self

    def mean(self, values: np.ndarray) -> np.ndarray:
        """Average over the coordinates, shape (time,)."""
        return np.asarray(self.probability @ values)

    def part(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """What the chosen coordinates contribute to the average of `values`, shape (time,)."""
        return np.asarray((self.probability * chosen) @ values)

    @cached_property
    def error(self) -> np.ndarray:
        """s (w - w*)^2, shape (count, time)."""
        return self.variance[:, None] * (self.values - self.teacher[:, None]) ** 2

    @cached_property
    def active(self) -> np.ndarray:
        """Where |w| is above the threshold, shape (count, time)."""
        return np.abs(self.values) > self.threshold

    @cached_property
    def quantiles(self) -> tuple[np.ndarray, ...]:
        """Weighted quantiles of |w| at the levels _LOW and _HIGH, each of shape (time,)."""
        size = np.abs(self.values)
        order = np.argsort(size, axis=0)
        below = np.cumsum(self.probability[order], axis=0)

        def at(level: float) -> np.ndarray:
            index = np.argmax(below >= level * (1.0 - 1e-12) * below[-1], axis=0)
            chosen = np.take_along_axis(order, index[None], axis=0)
            return np.take_along_axis(size, chosen, axis=0)[0]

        return at(_LOW), at(_HIGH)

    def share(self, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Average of `values` over the chosen coordinates, shape (time,)."""
        part = self.probability * chosen
        return np.asarray(part @ values / part.sum())


@dataclass(frozen=True)
class Samples:
    """Predictions over time on either side: paths of a sample, or the samples of a data set.

    fields : h, shape (count, time). labels : y, shape (count,). losses : l(h, y), as h.
    probability : weight of each in averages, shape (count,).
    """

    problem: Problem
    fields: np.ndarray
    labels: np.ndarray
    losses: np.ndarray
    probability: np.ndarray

    def since(self, first: int) -> Samples:
        """The same from a node on."""
        return replace(self, fields=self.fields[:, first:], losses=self.losses[:, first:])


def _always(problem: Problem) -> bool:
    return True


def _sparse(problem: Problem) -> bool:
    laws = problem.teacher.components()
    zero = [law.atom and float(law.quantile(np.array(0.5))) == 0.0 for law in laws]
    return any(zero) and not all(zero)


def _signs(problem: Problem) -> bool:
    return problem.labels.signs


def _linear_labels(problem: Problem) -> bool:
    return problem.labels.kind in ("linear", "outliers")


def _moving_charges(problem: Problem) -> bool:
    return problem.network.code == DEPTH_TWO and problem.dynamics != GradientFlow()


def _noisy_charges(problem: Problem) -> bool:
    dynamics = problem.dynamics
    return problem.network.code == DEPTH_TWO and (dynamics.discrete or dynamics.diffusive)


@dataclass(frozen=True)
class Observable:
    """One row of the table.

    words : what tables and figures call it. positive : it cannot be negative, and may be drawn on a
    log axis. counted : a share of samples or weights, zero where none is found by chance.
    exists : whether a problem has it.
    of_weights, of_samples : how it is computed from either side; what has neither is computed from
    other curves or by the solver itself.
    """

    name: str
    words: str
    positive: bool = True
    unit: str = "1"
    counted: bool = False
    exists: Callable[[Problem], bool] = _always
    of_weights: Callable[[Weights], np.ndarray] | None = None
    of_samples: Callable[[Samples], np.ndarray] | None = None


def _overlap(x: Weights) -> np.ndarray:
    return x.mean(x.variance[:, None] * x.values * x.teacher[:, None])


def _squared_norm(x: Weights) -> np.ndarray:
    return x.mean(x.variance[:, None] * x.values**2)


def _test_error(x: Weights) -> np.ndarray:
    strength = float(x.probability @ (x.variance * x.teacher**2))
    return sign_error(x.problem, _overlap(x), _squared_norm(x), strength)


def _effective_alpha(x: Weights) -> np.ndarray:
    assert x.charges is not None
    with np.errstate(divide="ignore"):
        return np.exp(0.5 * x.mean(np.log(np.abs(x.charges)))) / np.sqrt(2.0)


def _mean_charge(x: Weights) -> np.ndarray:
    assert x.charges is not None
    return x.mean(x.charges)


def label_variance(problem: Problem) -> float:
    """Variance of the noise on labels y = h* + noise."""
    variance = problem.noise_std * problem.noise_std  # which may overflow to infinity
    if problem.labels.kind == "outliers":
        share, std = problem.labels.fraction, problem.labels.outlier_std
        variance = (1.0 - share) * variance + share * std * std
    return variance


_TABLE = (
    Observable(
        "train_mse",
        "training mean squared error",
        of_samples=lambda x: x.probability @ (x.fields - x.labels[:, None]) ** 2,
    ),
    Observable("excess_risk", "excess risk", of_weights=lambda x: x.mean(x.error)),
    Observable(
        "train_loss", "training loss", positive=True, of_samples=lambda x: x.probability @ x.losses
    ),
    Observable(
        "train_error",
        "training error of the signs",
        exists=_signs,
        counted=True,
        of_samples=lambda x: x.probability @ (x.labels[:, None] * x.fields <= 0.0),
    ),
    Observable("test_error", "test error of the signs", exists=_signs, of_weights=_test_error),
    Observable(
        "test_mse",
        "test mean squared error",
        exists=_linear_labels,
        of_weights=lambda x: x.mean(x.error) + label_variance(x.problem),
    ),
    Observable(
        "generalisation_gap", "test minus training mse", positive=False, exists=_linear_labels
    ),
    Observable("overlap", "overlap with the teacher", positive=False, of_weights=_overlap),
    Observable("squared_norm", "squared norm of the weights", of_weights=_squared_norm),
    Observable("l1_norm", "l1 norm of the weights", of_weights=lambda x: x.mean(np.abs(x.values))),
    Observable(
        "active_fraction",
        "fraction of active weights",
        counted=True,
        of_weights=lambda x: x.mean(x.active),
    ),
    Observable(
        "true_positive_rate",
        "active part of the support",
        exists=_sparse,
        counted=True,
        of_weights=lambda x: x.share(x.active, x.teacher != 0.0),
    ),
    Observable(
        "false_positive_rate",
        "active part off the support",
        exists=_sparse,
        counted=True,
        of_weights=lambda x: x.share(x.active, x.teacher == 0.0),
    ),
    Observable(
        "risk_on_support",
        "excess risk on the support",
        exists=_sparse,
        of_weights=lambda x: x.part(x.error, x.teacher != 0.0),
    ),
    Observable(
        "risk_off_support",
        "excess risk off the support",
        exists=_sparse,
        of_weights=lambda x: x.part(x.error, x.teacher == 0.0),
    ),
    Observable("small_weight", "10 % quantile of |w|", of_weights=lambda x: x.quantiles[0]),
    Observable("large_weight", "99 % quantile of |w|", of_weights=lambda x: x.quantiles[1]),
    Observable(
        "mean_charge",
        "mean charge",
        positive=False,
        exists=_moving_charges,
        of_weights=_mean_charge,
    ),
    Observable(
        "effective_alpha",
        "effective alpha",
        positive=False,
        exists=_noisy_charges,
        of_weights=_effective_alpha,
    ),
)
OBSERVABLES = {row.name: row for row in _TABLE}
CHARGES = ("mean_charge", "effective_alpha")  # of depth 2, where they move
PRINCIPAL = ("train_mse", "excess_risk")  # of every problem, with the error of the time steps


def observables_of(problem: Problem) -> tuple[str, ...]:
    """Names of the observables that a problem has, in the order of the table."""
    return tuple(row.name for row in _TABLE if row.exists(problem))


def main_curves(problem: Problem) -> tuple[str, ...]:
    """The curves that tables show and comparisons judge, where a result has them."""
    if problem.labels.signs:
        return ("train_loss", "train_error", "test_error", "overlap", "squared_norm")
    return (*PRINCIPAL, *CHARGES) if problem.regression else ("train_loss", *PRINCIPAL)


def is_positive(name: str) -> bool:
    """Whether a curve cannot be negative; of a user's own nothing is known."""
    return name in OBSERVABLES and OBSERVABLES[name].positive


def is_counted(name: str) -> bool:
    """Whether a curve is a share that may be zero on one side by chance."""
    return name in OBSERVABLES and OBSERVABLES[name].counted


def weight_curves(
    weights: Weights, user: Mapping[str, UserObservable] | None = None
) -> dict[str, np.ndarray]:
    """All observables of the weights, and those of the user, each of shape (time,).

    Raises
    ------
    InputError : a function of the user that returns another shape or no numbers.
    """
    problem, found = weights.problem, {}
    for name in observables_of(problem):
        function = OBSERVABLES[name].of_weights
        if function is not None and (weights.charges is not None or name not in CHARGES):
            found[name] = np.asarray(function(weights), dtype=float)
    for name, of_user in (user or {}).items():
        values = np.asarray(of_user(weights.values, weights.teacher[:, None]))
        if values.shape != weights.values.shape or not np.isfinite(values).all():
            raise InputError(
                f"returned {values.dtype} of shape {values.shape}, must return finite numbers of "
                f"the shape of the weights, {weights.values.shape}",
                f"observables['{name}']",
            )
        found[name] = weights.mean(values)
    return found


def sample_curves(samples: Samples) -> dict[str, np.ndarray]:
    """All observables of the samples, each of shape (time,)."""
    rows = (OBSERVABLES[name] for name in observables_of(samples.problem))
    return {row.name: np.asarray(row.of_samples(samples)) for row in rows if row.of_samples}


def derived_curves(curves: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What follows from other curves, in the order of the table; users' own come last."""
    found = dict(curves)
    if "test_mse" in found:
        found["generalisation_gap"] = found["test_mse"] - found["train_mse"]
    order = [name for name in OBSERVABLES if name in found]
    return {name: found[name] for name in [*order, *(n for n in found if n not in OBSERVABLES)]}


def check_user_observables(user: Mapping[str, UserObservable] | None) -> None:
    """Refuse names that are taken or no identifiers, and values that cannot be called.

    Raises
    ------
    InputError : as said.
    """
    for name, function in (user or {}).items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InputError(f"given {name!r}, must be a name of letters and digits", "observables")
        if name in OBSERVABLES or name.endswith("_stderr"):
            raise InputError(f"given '{name}', a name that is taken", "observables")
        if not callable(function):
            raise InputError("must be a function of weights and teacher", f"observables['{name}']")
