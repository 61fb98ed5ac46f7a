"""The scheme of few steps of plain descent, which traces tangents of all paths."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import SGD, GradientDescent, step_count
from dmft.problem.networks import DEPTH_TWO
from dmft.settings import SolverSettings
from dmft.solver.descent import Descent
from dmft.solver.memory import memory_excess
from dmft.solver.outcome import curves_of_squared_loss, sample_paths, weights_of
from dmft.solver.pilot import PILOT_PATHS
from dmft.solver.plan import Plan
from dmft.solver.progress import TRACED_STEP_COSTS
from dmft.solver.sampling import PathSet
from dmft.solver.scheme import (
    Finished,
    Grid,
    Onward,
    Saved,
    Tree,
    Underway,
    sampling_seed,
)
from dmft.solver.stepping import (
    DIVERGED,
    HOPELESS,
    VANISHED_RISK,
    StepPilot,
    StepReplicate,
    blamed,
    no_later_steps,
    plan_before,
    step_grid,
    stored_of,
    too_large,
)


class Steps:
    """Steps of gradient descent or SGD; see `Scheme`."""

    descends, method = False, ""
    costs = TRACED_STEP_COSTS
    pilot_paths = PILOT_PATHS

    def __init__(
        self,
        problem: Problem,
        dynamics: GradientDescent | SGD,
        settings: SolverSettings,
        pool: ThreadPoolExecutor | None,
    ) -> None:
        """dynamics : that of the problem."""
        self._problem = problem
        self._dynamics = dynamics
        self._limit = too_large(dynamics)
        self._settings = settings
        self._pool = pool

    def pilot(self, saved: Saved | None) -> StepPilot:
        """A pilot at its start, or where it was left."""
        steps = step_count(self._settings.t_max)
        self._check_memory(max(PILOT_PATHS, self._settings.n_paths), steps)
        march = self._descent(PILOT_PATHS, 0, None, steps, DIVERGED)
        if saved:
            march.restore(saved)
        return StepPilot(march, steps, self._limit, partial(_noise_rotation, march))

    def onward(self, plan: Plan, saved: Saved) -> Onward:
        """Steps do not go on."""
        raise no_later_steps(self._settings, plan)

    def march(self, plan: Plan, index: int, saved: Saved | None) -> StepReplicate:
        """Replicate `index` at its start or where it was left."""
        count = self._settings.n_paths
        march = self._descent(count, index, plan.rotation, plan.panels, HOPELESS)
        if saved:
            march.restore(saved)
        stored = stored_of(self._settings, plan.panels)
        return StepReplicate(march, plan.panels, partial(_finished, self._problem, march, stored))

    def other_plan(self, plan: Plan, panel: int, failures: int) -> Plan:
        """The plan up to the step that diverged."""
        why = blamed(plan, self._limit, self._settings.n_paths)
        return plan_before(plan, panel, why)

    def grid(self, plan: Plan) -> Grid:
        """The stored steps."""
        return step_grid(stored_of(self._settings, plan.panels))

    def check_memory(self, panels: int) -> None:
        """Refuse steps whose tangents do not fit."""
        self._check_memory(self._settings.n_paths, panels)

    def kept(self, march: Underway) -> Tree:
        """Nothing: which steps are stored depends on how many there are."""
        return {}

    def ended(self, march: Underway) -> None:
        """Steps do not go on."""

    def time_error(self, name: str, mean: np.ndarray, plan: Plan) -> np.ndarray:
        """Steps are exact."""
        return np.zeros_like(mean)

    def _descent(
        self, count: int, index: int, rotation: np.ndarray | None, steps: int, growth: float
    ) -> Descent:
        seed = sampling_seed(self._settings, index)
        path_set = PathSet(self._problem, count, seed, rotation, width=1.0)
        return Descent(self._problem, self._dynamics, path_set, self._pool, steps, growth)

    def _check_memory(self, count: int, panels: int) -> None:
        excess = memory_excess(8.0 * count * (panels * (panels - 1) / 2 + 12 * panels))
        if excess:
            flow = "stochastic-gradient-flow" if self._dynamics.batches else "gradient-flow"
            raise InputError(
                f"given {panels}, which {excess} for {count} paths: take fewer paths and more "
                f"replicates, or dynamics.kind = '{flow}', whose cost does not grow with the "
                "number of steps",
                "solver.t_max",
            )


def _noise_rotation(march: Descent, steps: int) -> np.ndarray:
    """As `pilot.noise_rotation`, with steps weighted like equal distances in log time."""
    nodes = steps + 1
    response = (march.response @ march.noise_response())[:nodes]
    risk = march.risk[:nodes]
    weight = 1.0 / np.sqrt(np.arange(1.0, nodes + 1.0))
    scaled = response * (weight / np.sqrt(risk + VANISHED_RISK * risk[0]))[:, None]
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
