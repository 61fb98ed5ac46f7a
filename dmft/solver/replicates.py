"""Accumulation of replicates into a Solution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from dmft.numerics.collocation import STAGES, radau
from dmft.problem import Problem
from dmft.problem.dynamics import StochasticGradientFlow
from dmft.problem.networks import DEPTH_TWO, LINEAR
from dmft.problem.population import Coordinates
from dmft.results.curves import Curve, curve_of
from dmft.results.observables import (
    UserObservable,
    Weights,
    derived_curves,
    weight_curves,
)
from dmft.results.overlaps import BlockSums
from dmft.results.solution import Kernels, SamplePaths, Solution
from dmft.settings import SolverSettings
from dmft.solver.march import March
from dmft.solver.pilot import Plan

_SHOWN_PATHS = 16
_EXACT_IN_TIME = ("mean_charge", "effective_alpha")  # they have no error of the time steps
# Time error per rtol, measured on the linear network at delta = 0.5, 1, 2; that of other networks
# with the wider control of the residual that they have (march.py).
_LINEAR_TIME_ERROR = {"excess_risk": 0.2, "train_mse": 0.8}
_TIME_ERROR = {"excess_risk": 0.2, "train_mse": 2.0}
# Twice what the sweeps leave of the residual at the start, per rtol, and more than what tangents in
# single precision do (2e-8).
_RESIDUAL_ERROR = 2e-4
# Of noisy flows, on the linear network too, where train_mse is above 1 % of its start.
_NOISY_TIME_ERROR = {"excess_risk": 3.0, "train_mse": 20.0}
_RISE, _NEGLIGIBLE = 0.05, 1e-6  # of train_mse: what is a rise, and what of its start is nothing
_MEANS = ("response_weights", "response_residual")
_MOMENTS = ("correlation_error", "correlation_residual", "overlap")


@dataclass(frozen=True)
class Finished:
    """What a replicate leaves behind when its march is over.

    curves : every observable of the problem, in the order of their table.
    kernels : the correlations and responses of `Kernels`, shape (time, time).
    parameters : E[u(t) u(s) + v(t) v(s)], None but at depth 2.
    """

    curves: dict[str, np.ndarray]
    kernels: dict[str, np.ndarray]
    parameters: np.ndarray | None
    paths: SamplePaths


@dataclass(frozen=True)
class Grid:
    """Times, panel numbers and quadrature weights of all nodes, t = 0 first."""

    time: np.ndarray
    panel: np.ndarray
    weights: np.ndarray


class Replicates:
    """Curves of all finished replicates and running sums of their kernels."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.curves: dict[str, list[np.ndarray]] = {"train_mse": [], "excess_risk": []}
        self._sums: dict[str, np.ndarray] = {}
        self.work: dict[str, float] = {}
        self._paths: SamplePaths | None = None
        self._blocks = BlockSums()

    @property
    def count(self) -> int:
        """Finished replicates."""
        return len(self.curves["train_mse"])

    def add_work(self, work: Mapping[str, float]) -> None:
        """Add the counters of a march, finished or not."""
        for name, value in work.items():
            self.work[name] = self.work.get(name, 0.0) + value

    def add(self, finished: Finished) -> None:
        """Take in a finished replicate."""
        for name, curve in finished.curves.items():
            self.curves.setdefault(name, []).append(curve)
        for name, kernel in finished.kernels.items():
            self._add(name, kernel)
            if name in _MOMENTS:
                self._add(name + "_square", kernel**2)
        self._blocks.add(weights=finished.kernels["overlap"], parameters=finished.parameters)
        if self._paths is None:
            self._paths = finished.paths

    def _add(self, name: str, values: np.ndarray) -> None:
        self._sums[name] = values if name not in self._sums else self._sums[name] + values

    def relative_error(self) -> float:
        """Largest relative standard error of excess_risk over time (infinite for one replicate)."""
        risk = np.array(self.curves["excess_risk"])
        if len(risk) < 2:
            return np.inf
        mean = risk.mean(axis=0)
        return float(np.max(_stderr(risk) / (mean + 1e-6 * mean[0])))

    def rise(self) -> tuple[float, int]:
        """Largest significant relative rise of train_mse above its past, and the node where.

        Significant: more than five standard errors, and more than a few percent, while train_mse
        is not yet negligible.
        """
        train = np.array(self.curves["train_mse"])
        mean = train.mean(axis=0)
        least = np.minimum.accumulate(mean)
        error = _stderr(train) if len(train) > 1 else np.zeros_like(mean)
        alarming = (mean - least > 5.0 * error + _RISE * least) & (mean > _NEGLIGIBLE * mean[0])
        rises = np.where(alarming, mean / np.maximum(least, 1e-300) - 1.0, 0.0)
        node = int(np.argmax(rises))
        return float(rises[node]), node

    def state(self) -> dict[str, Any]:
        """Everything needed to continue, as a tree of arrays and numbers."""
        tree: dict[str, Any] = {"count": self.count, "work": dict(self.work)}
        if self.count:
            tree["curves"] = {name: np.array(rows) for name, rows in self.curves.items()}
            tree["sums"] = dict(self._sums)
            tree["blocks"] = self._blocks.state()
        if self._paths is not None:
            tree["paths"] = {name: getattr(self._paths, name) for name in _PATH_FIELDS}
        return tree

    @classmethod
    def from_state(cls, problem: Problem, tree: dict[str, Any]) -> Replicates:
        """The inverse of `state`."""
        replicates = cls(problem)
        replicates.work = dict(tree["work"])
        if tree["count"]:
            replicates.curves = {name: list(rows) for name, rows in tree["curves"].items()}
            replicates._sums = dict(tree["sums"])
            replicates._blocks = BlockSums.from_state(tree["blocks"])
        if "paths" in tree:
            replicates._paths = SamplePaths(**tree["paths"])
        return replicates

    def solution(self, settings: SolverSettings, grid: Grid, status: str, reason: str) -> Solution:
        """Means and standard errors over the replicates."""
        return Solution(
            problem=self._problem,
            settings=settings,
            time=grid.time,
            panel=grid.panel,
            curves={name: self._curve(name, settings.rtol) for name in self.curves},
            kernels=self._mean_kernels(grid.weights),
            paths=self._paths,
            blocks=self._blocks.blocks(),
            status=status,
            reason=reason,
            work=dict(self.work),
        )

    def _curve(self, name: str, rtol: float) -> Curve:
        curve = curve_of(np.array(self.curves[name]))
        if self.count > 1 and name not in _EXACT_IN_TIME:
            return replace(curve, stderr=self._stderr(name, rtol))
        return curve

    def _stderr(self, name: str, rtol: float) -> np.ndarray:
        """Standard error of a mean curve and, in quadrature, what the time discretisation may add.

        The start is exact. The sampling error can be far below the time error where second moments
        are exact, as on the linear network and near it.
        """
        rows = np.array(self.curves[name])
        if self._problem.dynamics.discrete:
            return _stderr(rows)
        linear = self._problem.network.code == LINEAR
        time_errors = _LINEAR_TIME_ERROR if linear else _TIME_ERROR
        if isinstance(self._problem.dynamics, StochasticGradientFlow):
            time_errors = _NOISY_TIME_ERROR
        mean = rows.mean(axis=0)
        kind = "train_mse" if name.startswith("train") else "excess_risk"
        systematic = time_errors[kind] * rtol * np.abs(mean)
        if kind == "train_mse" and not linear:
            systematic = np.hypot(systematic, _RESIDUAL_ERROR * rtol * np.sqrt(mean * mean[0]))
        systematic[0] = 0.0
        return np.hypot(_stderr(rows), systematic)

    def _mean_kernels(self, weights: np.ndarray) -> Kernels:
        n = self.count
        means = {name: self._sums[name] / n for name in (*_MEANS, *_MOMENTS)}
        errors: dict[str, np.ndarray] = {}
        if n > 1:
            for name in _MOMENTS:
                spread = self._sums[name + "_square"] / n - means[name] ** 2
                errors[name + "_stderr"] = np.sqrt(np.maximum(spread, 0.0) / (n - 1))
        return Kernels(**means, quadrature_weights=weights, **errors)


_PATH_FIELDS = ("teacher", "probability", "weights", "force")


def panel_grid(plan: Plan) -> Grid:
    """The nodes of the panels of a plan."""
    time, panel, weight = [np.zeros(1)], [np.full(1, -1)], [np.zeros(1)]
    tableau = radau()  # a unit force is a unit force also where the accumulated one is weighted
    for index, (start, end) in enumerate(zip(plan.edges[:-1], plan.edges[1:], strict=True)):
        time.append(start + (end - start) * tableau.nodes)
        panel.append(np.full(STAGES, index))
        weight.append((end - start) * tableau.integration[-1])
    return Grid(np.concatenate(time), np.concatenate(panel), np.concatenate(weight))


def finished(
    problem: Problem,
    march: March,
    threshold: float,
    user: Mapping[str, UserObservable] | None,
) -> Finished:
    """What a march over panels leaves behind.

    threshold : |w| of active weights. user : observables of the user, by name.
    """
    charges = None
    if problem.network.code == DEPTH_TWO:
        coordinates = march.coordinates
        charges = (2.0 * coordinates.a0 * coordinates.b0)[:, None] * march.charge_decay()
    weights = weights_of(problem, march, march.all_weights(), charges, threshold)
    return Finished(
        curves_of(weights, march.train_mse, march.risk, user),
        _kernels(march),
        None if charges is None else _factor_overlap(march, charges),
        sample_paths(march, march.all_weights(), march.all_forces()),
    )


def weights_of(
    problem: Problem,
    march: Paths,
    values: np.ndarray,
    charges: np.ndarray | None,
    threshold: float,
) -> Weights:
    """The weights of a march's paths, (paths, nodes), as the table of observables wants them."""
    variance, probability = march.coordinates.variance, march.probability
    return Weights(problem, values, march.teacher, variance, probability, charges, threshold)


def curves_of(
    weights: Weights,
    train_mse: np.ndarray,
    risk: np.ndarray,
    user: Mapping[str, UserObservable] | None,
) -> dict[str, np.ndarray]:
    """All observables of the squared loss, whose residuals are known without their paths."""
    known = {"train_mse": train_mse, "excess_risk": risk, "train_loss": 0.5 * train_mse}
    return derived_curves({**weight_curves(weights, user), **known})


def _stderr(rows: np.ndarray) -> np.ndarray:
    return rows.std(axis=0, ddof=1) / np.sqrt(len(rows))


def _kernels(march: March) -> dict[str, np.ndarray]:
    size = len(march.times)
    response = np.zeros((size, size))
    response[1:, 1:] = march.response
    error, weights = march.all_errors(), march.all_weights()
    return {
        "correlation_error": (march.probability[:, None] * error).T @ error,
        "correlation_residual": march.residual_factor @ march.residual_factor.T,
        "response_weights": response,
        "response_residual": np.linalg.inv(np.eye(size) - response),
        "overlap": (march.probability[:, None] * weights).T @ weights,
    }


def _factor_overlap(march: March, charges: np.ndarray) -> np.ndarray:
    """E[u(t) u(s) + v(t) v(s)] = E[sqrt(|C(t) C(s)|) cosh(z(t) + z(s))], z = asinh(2 w/|C|) / 2.

    C = u^2 - v^2 = 2ab is the charge of a path, (paths, nodes). With e^(+-z) at hand the average
    is two matrix products. A charge of zero (u = +-v) is its limit.
    """
    charge = np.maximum(np.abs(charges), 1e-200)
    z = 0.5 * np.arcsinh(2.0 * march.all_weights() / charge)
    root = np.sqrt(0.5 * march.probability[:, None] * charge)
    up, down = root * np.exp(z), root * np.exp(-z)
    return up.T @ up + down.T @ down


class Paths(Protocol):
    """What `sample_paths` asks of a march."""

    @property
    def coordinates(self) -> Coordinates: ...

    @property
    def strata(self) -> list[slice]: ...

    @property
    def teacher(self) -> np.ndarray: ...

    @property
    def probability(self) -> np.ndarray: ...


def sample_paths(march: Paths, weights: np.ndarray, force: np.ndarray) -> SamplePaths:
    """A few paths of every stratum, spread over its teacher values."""
    strata = march.strata
    each = max(1, _SHOWN_PATHS // len(strata))
    chosen = []
    for stratum in strata:
        order = np.argsort(march.teacher[stratum], kind="stable") + stratum.start
        spread = np.linspace(0, len(order) - 1, min(each, len(order)) + 2)[1:-1]
        chosen.append(order[spread.astype(int)])
    index = np.concatenate(chosen)
    return SamplePaths(march.teacher[index], march.probability[index], weights[index], force[index])
