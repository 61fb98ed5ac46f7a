"""Accumulation of replicates into a Solution."""

from __future__ import annotations

from typing import Any

import numpy as np

from dmft.config import SolverSettings
from dmft.networks import DEPTH_TWO, LINEAR
from dmft.overlaps import BlockSums
from dmft.problem import Problem
from dmft.solution import Kernels, SamplePaths, Solution
from dmft.solver.march import March
from dmft.solver.pilot import Plan
from dmft.solver.tableau import STAGES, radau

_SHOWN_PATHS = 16
# Time error per rtol, measured on the linear network at delta = 0.5, 1, 2; that of other networks
# with the wider control of the residual that they have (march.py).
_LINEAR_TIME_ERROR = {"excess_risk": 0.1, "train_mse": 0.5}
_TIME_ERROR = {"excess_risk": 0.2, "train_mse": 2.0}
# Twice what the sweeps leave of the residual at the start, per rtol, and more than what tangents in
# single precision do (2e-8).
_RESIDUAL_ERROR = 2e-4
_RISE, _NEGLIGIBLE = 0.05, 1e-6  # of train_mse: what is a rise, and what of its start is nothing
_MEANS = ("response_weights", "response_residual")
_MOMENTS = ("correlation_error", "correlation_residual", "overlap")


class Replicates:
    """Curves of all finished replicates and running sums of their kernels."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.curves: dict[str, list[np.ndarray]] = {
            "train_mse": [], "excess_risk": [], "mean_charge": [],
        }  # fmt: skip
        self._sums: dict[str, np.ndarray] = {}
        self.work: dict[str, float] = {}
        self._paths: SamplePaths | None = None
        self._blocks = BlockSums()

    @property
    def count(self) -> int:
        """Finished replicates."""
        return len(self.curves["train_mse"])

    def add_work(self, march: March) -> None:
        """Add the counters of a march, finished or not."""
        for name, value in march.work.items():
            self.work[name] = self.work.get(name, 0.0) + value

    def add(self, march: March) -> None:
        """Take in a finished replicate."""
        self.add_work(march)
        coordinates = march.coordinates
        decay = np.exp(-2.0 * self._problem.dynamics.weight_decay * march.times)
        charge = march.probability @ (2.0 * coordinates.a0 * coordinates.b0)
        self.curves["train_mse"].append(march.train_mse)
        self.curves["excess_risk"].append(march.risk)
        self.curves["mean_charge"].append(charge * decay)
        kernels = _kernels(march)
        for name, kernel in kernels.items():
            self._add(name, kernel)
            if name in _MOMENTS:
                self._add(name + "_square", kernel**2)
        depth_two = self._problem.network.code == DEPTH_TWO
        factors = _factor_overlap(march, decay) if depth_two else None
        self._blocks.add(weights=kernels["overlap"], parameters=factors)
        if self._paths is None:
            self._paths = _sample_paths(march)

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

    def solution(self, settings: SolverSettings, plan: Plan, status: str, reason: str) -> Solution:
        """Means and standard errors over the replicates."""
        train, risk, charge = (
            np.array(self.curves[name]) for name in ("train_mse", "excess_risk", "mean_charge")
        )
        several = self.count > 1
        network, dynamics = self._problem.network, self._problem.dynamics
        charges_move = network.code == DEPTH_TWO and dynamics.weight_decay > 0
        time, panel, weights = nodes(plan)
        return Solution(
            problem=self._problem,
            settings=settings,
            time=time,
            panel=panel,
            train_mse=train.mean(axis=0),
            excess_risk=risk.mean(axis=0),
            train_mse_stderr=self._stderr("train_mse", settings.rtol) if several else None,
            excess_risk_stderr=self._stderr("excess_risk", settings.rtol) if several else None,
            mean_charge=charge.mean(axis=0) if charges_move else None,
            mean_charge_stderr=_stderr(charge) if charges_move and several else None,
            kernels=self._mean_kernels(weights),
            replicate_train_mse=train,
            replicate_excess_risk=risk,
            paths=self._paths,
            blocks=self._blocks.blocks(),
            status=status,
            reason=reason,
            work=dict(self.work),
        )

    def _stderr(self, name: str, rtol: float) -> np.ndarray:
        """Standard error of a mean curve and, in quadrature, what the time discretisation may add.

        The start is exact. The sampling error can be far below the time error where second moments
        are exact, as on the linear network and near it.
        """
        linear = self._problem.network.code == LINEAR
        rows = np.array(self.curves[name])
        time_error = (_LINEAR_TIME_ERROR if linear else _TIME_ERROR)[name] * rtol
        mean = rows.mean(axis=0)
        systematic = time_error * mean
        if name == "train_mse" and not linear:
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


def nodes(plan: Plan) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, panel numbers and quadrature weights of all nodes, t = 0 first."""
    time, panel, weight = [np.zeros(1)], [np.full(1, -1)], [np.zeros(1)]
    tableau = radau()  # a unit force is a unit force also where the accumulated one is weighted
    for index, (start, end) in enumerate(zip(plan.edges[:-1], plan.edges[1:], strict=True)):
        time.append(start + (end - start) * tableau.nodes)
        panel.append(np.full(STAGES, index))
        weight.append((end - start) * tableau.integration[-1])
    return np.concatenate(time), np.concatenate(panel), np.concatenate(weight)


def _stderr(rows: np.ndarray) -> np.ndarray:
    return rows.std(axis=0, ddof=1) / np.sqrt(len(rows))


def _kernels(march: March) -> dict[str, np.ndarray]:
    size = len(march.times)
    response = np.zeros((size, size))
    response[1:, 1:] = march.response
    error, weights = march.all_errors(), march.all_weights()
    return {
        "correlation_error": (march.probability[:, None] * error).T @ error,
        "correlation_residual": march.factor @ march.factor.T,
        "response_weights": response,
        "response_residual": np.linalg.inv(np.eye(size) - response),
        "overlap": (march.probability[:, None] * weights).T @ weights,
    }


def _factor_overlap(march: March, decay: np.ndarray) -> np.ndarray:
    """E[u(t) u(s) + v(t) v(s)] = E[sqrt(|C(t) C(s)|) cosh(z(t) + z(s))], z = asinh(2 w/|C|) / 2.

    C = u^2 - v^2 = 2ab is the charge of a path, `decay` its fall with time. With e^(+-z) at hand
    the average is two matrix products. A charge of zero (u = +-v) is its limit.
    """
    coordinates = march.coordinates
    charge = 2.0 * np.abs(coordinates.a0 * coordinates.b0)[:, None] * decay
    charge = np.maximum(charge, 1e-200)
    z = 0.5 * np.arcsinh(2.0 * march.all_weights() / charge)
    root = np.sqrt(0.5 * march.probability[:, None] * charge)
    up, down = root * np.exp(z), root * np.exp(-z)
    return up.T @ up + down.T @ down


def _sample_paths(march: March) -> SamplePaths:
    """A few paths of every stratum, spread over its teacher values."""
    strata = march.strata
    each = max(1, _SHOWN_PATHS // len(strata))
    chosen = []
    for stratum in strata:
        order = np.argsort(march.teacher[stratum], kind="stable") + stratum.start
        spread = np.linspace(0, len(order) - 1, min(each, len(order)) + 2)[1:-1]
        chosen.append(order[spread.astype(int)])
    index = np.concatenate(chosen)
    return SamplePaths(
        march.teacher[index],
        march.probability[index],
        march.all_weights()[index],
        march.all_forces()[index],
    )
