"""A solve in discrete dynamics: a pilot for the noise rotation, then replicates, step by step."""

from __future__ import annotations

import numpy as np

from dmft.errors import InputError, NotConverged
from dmft.problem import Problem
from dmft.problem.dynamics import SGD, GradientDescent, step_count, stored_steps
from dmft.problem.networks import DEPTH_TWO
from dmft.solver.descent import Descent, Diverged
from dmft.solver.pilot import PILOT_PATHS, Plan
from dmft.solver.progress import STEP_COSTS
from dmft.solver.replicates import (
    Finished,
    Grid,
    Replicates,
    effective_alpha,
    sample_paths,
)
from dmft.solver.run import Run, Saved, State, memory_excess
from dmft.solver.sampling import Sample

# train_mse relative to its start at which the pilot calls a run diverged; replicates share its end
# and are given room.
_DIVERGED, _HOPELESS = 1e4, 1e12
_VANISHED_RISK = 1e-8  # relative to the start: a smaller excess risk decides nothing


class DescentRun(Run):
    """One solve of gradient descent or SGD; a plan has one panel per step."""

    costs = STEP_COSTS

    def _run_pilot(self, pending: Saved | None) -> Plan:
        steps = step_count(self._settings.t_max)
        self._check_memory(max(PILOT_PATHS, self._settings.n_paths), steps)
        march = self._descent(PILOT_PATHS, 0, None, steps, _DIVERGED)
        reached = self._march_on(march, steps)
        self._done.add_work(march.work)
        if reached == 0:
            raise NotConverged(f"diverged in the first step: {self._too_large()}")
        reason = "" if reached == steps else (
            f"diverged: train_mse passed {_DIVERGED:g} times its start at step {reached + 1}, "
            + self._too_large()
        )  # fmt: skip
        edges, directions = np.arange(reached + 1.0), np.ones((reached, 1), dtype=bool)
        return Plan(edges, directions, _noise_rotation(march, reached + 1), reason)

    def _run_replicate(self, plan: Plan, pending: Saved | None) -> int | None:
        steps = len(plan.edges) - 1
        count = self._settings.n_paths
        self._check_memory(count, steps)
        march = self._descent(count, self._done.count + 1, plan.rotation, steps, _HOPELESS)
        reached = self._march_on(march, steps)
        self._done.add_work(march.work)
        if reached < steps:
            return reached
        self._done.add(_finished(self._problem, march, self._stored(steps)))
        return None

    def _other_plan(self, plan: Plan, panel: int) -> Plan:
        work, self._done = self._done.work, Replicates(self._problem)
        self._done.work = work
        if panel == 0:
            raise NotConverged(f"diverged in the first step: {self._too_large()}")
        return plan.cut(panel, f"diverged at step {panel + 1}: {self._too_large()}")

    def _grid(self, plan: Plan) -> Grid:
        stored = self._stored(len(plan.edges) - 1)
        return Grid(stored.astype(float), np.arange(len(stored)) - 1, np.ones(len(stored)))

    def _state(self) -> State:
        """Finished replicates and the plan; the march under way starts again."""
        state: State = {"splits": 0, "replicates": self._done.state()}
        if self._plan is not None:
            state["plan"] = {
                "edges": self._plan.edges,
                "directions": self._plan.directions,
                "rotation": self._plan.rotation,
                "reason": self._plan.reason,
            }
        return state

    def _descent(
        self, count: int, index: int, rotation: np.ndarray | None, steps: int, growth: float
    ) -> Descent:
        seed = np.random.SeedSequence(self._settings.seed, spawn_key=(index,))
        sample = Sample(self._problem, count, seed, rotation, wide=False)
        return Descent(self._problem, sample, self._pool, steps, growth)

    def _march_on(self, march: Descent, steps: int) -> int:
        """Make the steps; how many there were before divergence."""
        with np.errstate(over="ignore", invalid="ignore"):
            for done in range(steps):
                try:
                    march.step()
                except Diverged:
                    return done
                self._after(done + 1, done + 1, steps)
        return steps

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


def _noise_rotation(march: Descent, nodes: int) -> np.ndarray:
    """As `pilot.noise_rotation`, with steps weighted like equal distances in log time."""
    response = (march.response @ march.noise_response())[:nodes]
    risk = march.risk[:nodes]
    weight = 1.0 / np.sqrt(np.arange(1.0, nodes + 1.0))
    scaled = response * (weight / np.sqrt(risk + _VANISHED_RISK * risk[0]))[:, None]
    return np.linalg.svd(scaled, full_matrices=True)[2]


def _finished(problem: Problem, march: Descent, stored: np.ndarray) -> Finished:
    """What a march leaves behind, on the stored steps."""
    curves = {"train_mse": march.train_mse[stored], "excess_risk": march.risk[stored]}
    parameters = None
    if march.factors is not None and problem.network.code == DEPTH_TWO:
        a, b = march.factors[:, :, stored]
        probability = march.probability
        curves["mean_charge"] = probability @ (2.0 * a * b)
        curves["effective_alpha"] = effective_alpha(probability, 2.0 * a * b)
        parameters = (probability[:, None] * a).T @ a + (probability[:, None] * b).T @ b
    return Finished(
        curves,
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
