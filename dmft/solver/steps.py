"""The scheme of discrete dynamics: every panel of a plan is one step, made explicitly."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dmft.errors import InputError, NotConverged
from dmft.problem import Problem
from dmft.problem.dynamics import SGD, GradientDescent, step_count, stored_steps
from dmft.problem.networks import DEPTH_TWO
from dmft.settings import SolverSettings
from dmft.solver.descent import Descent, Diverged
from dmft.solver.memory import memory_excess
from dmft.solver.outcome import curves_of_squared_loss, sample_paths, weights_of
from dmft.solver.pilot import PILOT_PATHS
from dmft.solver.plan import Plan
from dmft.solver.sampling import PathSet
from dmft.solver.scheme import (
    Advance,
    Finished,
    Grid,
    PanelFailed,
    Saved,
    Tree,
    sampling_seed,
)

# train_mse relative to its start at which the pilot calls a run diverged; replicates share its end
# and are given room.
_DIVERGED, _HOPELESS = 1e4, 1e12
_VANISHED_RISK = 1e-8  # relative to the start: a smaller excess risk decides nothing


class Steps:
    """Steps of gradient descent or SGD; see `Scheme`."""

    descends = False

    def __init__(
        self, problem: Problem, settings: SolverSettings, pool: ThreadPoolExecutor | None
    ) -> None:
        self._problem = problem
        self._settings = settings
        self._pool = pool

    def pilot(self, saved: Saved | None) -> StepPilot:
        """A pilot at its start, or where it was left."""
        steps = step_count(self._settings.t_max)
        self._check_memory(max(PILOT_PATHS, self._settings.n_paths), steps)
        march = self._descent(PILOT_PATHS, 0, None, steps, _DIVERGED)
        if saved:
            march.restore(saved)
        return StepPilot(march, steps, self._too_large())

    def march(self, plan: Plan, index: int, saved: Saved | None) -> StepReplicate:
        """Replicate `index` at its start or where it was left."""
        count = self._settings.n_paths
        march = self._descent(count, index, plan.rotation, plan.panels, _HOPELESS)
        if saved:
            march.restore(saved)
        return StepReplicate(self._problem, march, plan.panels, self._stored(plan.panels))

    def other_plan(self, plan: Plan, panel: int, failures: int) -> Plan:
        """The plan up to the step that diverged."""
        if panel == 0:
            raise NotConverged(f"diverged in the first step: {self._too_large()}")
        return plan.cut(panel, f"diverged at step {panel + 1}: {self._too_large()}")

    def grid(self, plan: Plan) -> Grid:
        """The stored steps."""
        stored = self._stored(plan.panels)
        return Grid(stored.astype(float), np.arange(len(stored)) - 1, np.ones(len(stored)))

    def check_memory(self, panels: int) -> None:
        """Refuse steps whose tangents do not fit."""
        self._check_memory(self._settings.n_paths, panels)

    def time_error(self, name: str, mean: np.ndarray, plan: Plan) -> np.ndarray:
        """Steps are exact."""
        return np.zeros_like(mean)

    def _descent(
        self, count: int, index: int, rotation: np.ndarray | None, steps: int, growth: float
    ) -> Descent:
        seed = sampling_seed(self._settings, index)
        path_set = PathSet(self._problem, count, seed, rotation, wide=False)
        return Descent(self._problem, path_set, self._pool, steps, growth)

    def _stored(self, steps: int) -> np.ndarray:
        """Stored steps of the whole run that were reached, and the last."""
        wanted = np.array(stored_steps(step_count(self._settings.t_max)))
        return np.union1d(wanted[wanted <= steps], [steps])

    def _too_large(self) -> str:
        dynamics = self._problem.dynamics
        assert isinstance(dynamics, GradientDescent | SGD)
        return f"step_size {dynamics.step_size:g} is above what is stable"

    def _check_memory(self, count: int, panels: int) -> None:
        excess = memory_excess(8.0 * count * (panels * (panels - 1) / 2 + 12 * panels))
        if excess:
            flow = {"sgd": "stochastic-gradient-flow"}.get(
                self._problem.dynamics.kind, "gradient-flow"
            )
            raise InputError(
                f"given {panels}, which {excess} for {count} paths: take fewer paths and more "
                f"replicates, or dynamics.kind = '{flow}', whose cost does not grow with the "
                "number of steps",
                "solver.t_max",
            )


class StepPilot:
    """The pilot under way: it finds how far the steps go and the rotation of the noise."""

    def __init__(self, march: Descent, steps: int, too_large: str) -> None:
        self._march = march
        self._steps = steps
        self._too_large = too_large
        self._reached = march.count

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        return self._march.work

    def panels(self) -> Iterator[Advance]:
        """Make the steps, up to divergence."""
        while self._reached < self._steps:
            try:
                self._march.step()
            except Diverged:
                return
            self._reached = self._march.count
            yield Advance(float(self._reached), panels=self._reached)

    def saved(self) -> Tree:
        """Its state, where that is small."""
        return self._march.saved()

    def plan(self) -> Plan:
        """One panel per step that was reached."""
        reached, reason = self._reached, ""
        if reached == 0:
            raise NotConverged(f"diverged in the first step: {self._too_large}")
        if reached < self._steps:
            reason = (
                f"diverged: train_mse passed {_DIVERGED:g} times its start at step {reached + 1}, "
                + self._too_large
            )
        edges, directions = np.arange(reached + 1.0), np.ones((reached, 1), dtype=bool)
        return Plan(edges, directions, _noise_rotation(self._march, reached + 1), reason)


class StepReplicate:
    """A replicate under way."""

    def __init__(self, problem: Problem, march: Descent, steps: int, stored: np.ndarray) -> None:
        self._problem = problem
        self._march = march
        self._steps = steps
        self._stored = stored

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        return self._march.work

    def panels(self) -> Iterator[Advance]:
        """Make the steps that are left."""
        for done in range(self._march.count, self._steps):
            try:
                self._march.step()
            except Diverged:
                raise PanelFailed(done) from None
            yield Advance(float(done + 1), panels=done + 1)

    def saved(self) -> Tree:
        """Its state, where that is small."""
        return self._march.saved()

    def finish(self) -> Finished:
        """What it leaves behind, on the stored steps."""
        return _finished(self._problem, self._march, self._stored)


def _noise_rotation(march: Descent, nodes: int) -> np.ndarray:
    """As `pilot.noise_rotation`, with steps weighted like equal distances in log time."""
    response = (march.response @ march.noise_response())[:nodes]
    risk = march.risk[:nodes]
    weight = 1.0 / np.sqrt(np.arange(1.0, nodes + 1.0))
    scaled = response * (weight / np.sqrt(risk + _VANISHED_RISK * risk[0]))[:, None]
    return np.linalg.svd(scaled, full_matrices=True)[2]


def _finished(problem: Problem, march: Descent, stored: np.ndarray) -> Finished:
    """What a march leaves behind, on the stored steps."""
    charges = parameters = None
    if march.factors is not None and problem.network.code == DEPTH_TWO:
        a, b = march.factors[:, :, stored]
        probability = march.probability
        charges = 2.0 * a * b
        parameters = (probability[:, None] * a).T @ a + (probability[:, None] * b).T @ b
    return Finished(
        weights_of(problem, march, march.weights[:, stored], charges),
        curves_of_squared_loss(march.train_mse[stored], march.risk[stored]),
        _kernels(march, stored),
        parameters,
        sample_paths(
            march, march.weights[:, stored], march.root_variance[:, None] * march.force[:, stored]
        ),
    )


def _kernels(march: Descent, stored: np.ndarray) -> dict[str, np.ndarray]:
    square = np.ix_(stored, stored)
    error, weights = march.error[:, stored], march.weights[:, stored]
    factor = np.hstack([march.factor, march.batch_factor])[stored]
    return {
        "correlation_error": (march.probability[:, None] * error).T @ error,
        "correlation_residual": factor @ factor.T,
        "response_weights": march.response[square],
        "response_residual": np.linalg.inv(np.eye(len(march.response)) - march.response)[square],
        "overlap": (march.probability[:, None] * weights).T @ weights,
    }
