"""Accumulation of replicates into a Solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dmft.problem import Problem
from dmft.results.curves import Curve, curve_of
from dmft.results.observables import UserObservable
from dmft.results.overlaps import BlockSums
from dmft.results.solution import Kernels, SamplePaths, Solution
from dmft.settings import SolverSettings
from dmft.solver.scheme import Finished, Grid

_RISE, _NEGLIGIBLE = 0.05, 1e-6  # of train_mse: what is a rise, and what of its start is nothing
# What a replicate must not be: times the others; relative to their largest, what is nothing.
_RUNAWAYS = {"excess_risk": (3.0, 1e-3), "train_mse": (30.0, 1e-4)}
_MEANS = ("response_weights", "response_residual")
_MOMENTS = ("correlation_error", "correlation_residual", "overlap")

TimeError = Callable[[str, np.ndarray], np.ndarray]


class Replicates:
    """Curves of all finished replicates and running sums of their kernels."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self.curves: dict[str, list[np.ndarray]] = {"train_mse": [], "excess_risk": []}
        self._biases: dict[str, list[np.ndarray]] = {}  # of curves, as each replicate measures them
        self._sums: dict[str, np.ndarray] = {}
        self.work: dict[str, float] = {}
        self._paths: SamplePaths | None = None
        self._blocks = BlockSums()

    @property
    def count(self) -> int:
        """Finished replicates."""
        return len(self.curves["train_mse"])

    @property
    def nodes(self) -> int:
        """Nodes of their curves; 0 where there is no replicate yet."""
        return len(self.curves["train_mse"][0]) if self.count else 0

    def add_work(self, work: Mapping[str, float]) -> None:
        """Add the counters of a march, finished or not."""
        for name, value in work.items():
            self.work[name] = self.work.get(name, 0.0) + value

    def add(
        self,
        finished: Finished,
        threshold: float,
        user: Mapping[str, UserObservable] | None = None,
        known: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Take in a finished replicate; see `Finished.observed` for the rest."""
        observed = finished.observed(threshold, user, known)
        for name, curve in observed.items():
            self.curves.setdefault(name, []).append(curve)
        if finished.fewer is not None:
            for name, curve in finished.fewer.observed(threshold, user).items():
                whole = np.pad(curve, (0, len(observed[name]) - len(curve)), mode="edge")
                bias = finished.lever * (whole - observed[name])
                self._biases.setdefault(name, []).append(bias)
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

    def runaway(self) -> tuple[int, int] | None:
        """A replicate that leaves the others far behind, and the node where.

        A mean over such replicates would be that of a few paths; standard errors do not tell.
        """
        for name, (times, small) in _RUNAWAYS.items():
            rows = np.array(self.curves[name])
            if len(rows) < 2:
                return None
            usual = np.median(rows, axis=0) if len(rows) > 2 else rows.min(axis=0)
            far = rows > times * usual + small * usual.max()
            if far.any():
                node = int(np.argmax(far.any(axis=0)))
                return int(np.argmax(rows[:, node])), node
        return None

    def state(self) -> dict[str, Any]:
        """Everything needed to continue, as a tree of arrays and numbers."""
        tree: dict[str, Any] = {"count": self.count, "work": dict(self.work)}
        if self.count:
            tree["curves"] = {name: np.array(rows) for name, rows in self.curves.items()}
            tree["biases"] = {name: np.array(rows) for name, rows in self._biases.items()}
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
            kept = tree.get("biases", {})  # older states have none
            replicates._biases = {name: list(rows) for name, rows in kept.items()}
            replicates._sums = dict(tree["sums"])
            replicates._blocks = BlockSums.from_state(tree["blocks"])
        if "paths" in tree:
            replicates._paths = SamplePaths(**tree["paths"])
        return replicates

    def solution(
        self,
        settings: SolverSettings,
        grid: Grid,
        time_error: TimeError,
        status: str,
        reason: str,
        rtol: float | None = None,
    ) -> Solution:
        """Means and standard errors over the replicates; `time_error` is that of the scheme."""
        return Solution(
            problem=self._problem,
            settings=settings,
            time=grid.time,
            panel=grid.panel,
            curves={name: self._curve(name, grid.time, time_error) for name in self._common()},
            kernels=self._mean_kernels(grid.weights),
            paths=self._paths,
            blocks=self._blocks.blocks(),
            status=status,
            reason=reason,
            rtol=rtol,
            work=dict(self.work),
        )

    def _common(self) -> list[str]:
        """Curves that every replicate has: an older checkpoint knows fewer of those it finished."""
        return [name for name, rows in self.curves.items() if len(rows) == self.count]

    def _curve(self, name: str, time: np.ndarray, time_error: TimeError) -> Curve:
        curve = curve_of(np.array(self.curves[name]))
        if self.count > 1:
            return replace(curve, stderr=self._stderr(name, time, time_error))
        return curve

    def _stderr(self, name: str, time: np.ndarray, time_error: TimeError) -> np.ndarray:
        """Standard error of a mean curve and, in quadrature, what replicates have in common.

        That is what the time discretisation may add and the bias of few paths, where it is
        measured (`_lately`): its square grows by that of its own sampling error. The start is
        exact. The sampling error can be far below the time error where second moments are exact,
        as on the linear network and near it.
        """
        rows = np.array(self.curves[name])
        mean = rows.mean(axis=0)
        error = np.hypot(_stderr(rows), time_error(name, mean))
        biases = self._biases.get(name)
        if not biases:
            return error
        return np.hypot(error, _lately(time, np.mean(biases, axis=0), mean))

    def _mean_kernels(self, weights: np.ndarray) -> Kernels:
        n = self.count
        means = {name: self._sums[name] / n for name in (*_MEANS, *_MOMENTS) if name in self._sums}
        errors: dict[str, np.ndarray] = {}
        if n > 1:
            for name in _MOMENTS:
                spread = self._sums[name + "_square"] / n - means[name] ** 2
                errors[name + "_stderr"] = np.sqrt(np.maximum(spread, 0.0) / (n - 1))
        known = "response_weights" in means
        return Kernels(**means, quadrature_weights=weights if known else None, **errors)


_PATH_FIELDS = ("teacher", "probability", "weights", "force")


def _lately(time: np.ndarray, bias: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """How large a measured bias is at each step or was shortly before, shape (time,).

    A bias that changes sign is measured small where it passes zero, at other steps than it does.
    So it is what is measured here or, if that is more, the root mean square of what is measured
    from half as many steps on, relative to the curve's own there.
    """
    first, count = np.searchsorted(time, 0.5 * time), np.arange(1, len(time) + 1)

    def size(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0.0], np.cumsum(values**2)])
        return np.sqrt(np.maximum(sums[count] - sums[first], 0.0) / (count - first))

    scale = size(curve)
    relative = np.divide(bias, scale, out=np.zeros_like(bias), where=scale > 0.0)
    return np.maximum(np.abs(bias), size(relative) * scale)


def _stderr(rows: np.ndarray) -> np.ndarray:
    return rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
