"""The scheme of steps without tangents: any optimiser, loss and law of the labels.

Panels of a plan are steps. `Steps` (steps.py) traces tangents instead, at a cost that grows with
the cube of their number; `schemes.scheme_of` says which of the two marches what.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dmft.errors import InputError, NotConverged
from dmft.problem import Problem
from dmft.problem.dynamics import step_count, stored_steps
from dmft.problem.networks import DEPTH_TWO
from dmft.results.observables import Samples
from dmft.settings import SolverSettings
from dmft.solver.memory import memory_excess
from dmft.solver.outcome import curves_of_squared_loss, sample_paths, weights_of
from dmft.solver.path_residuals import PathResiduals
from dmft.solver.pilot import PILOT_PATHS
from dmft.solver.plan import Plan
from dmft.solver.residuals import CAPACITY
from dmft.solver.scheme import Advance, Finished, Grid, PanelFailed, Saved, Tree, sampling_seed
from dmft.solver.stepwise import Diverged, Stepwise

# E[r^2] relative to its start at which the pilot calls a run diverged; replicates share its end
# and are given room.
_DIVERGED, _HOPELESS = 1e4, 1e12
_VANISHED_RISK = 1e-8  # relative to the start: a smaller excess risk decides nothing


class TangentFree:
    """Steps of any discrete dynamics; see `Scheme`."""

    descends = False

    def __init__(self, problem: Problem, settings: SolverSettings) -> None:
        self._problem = problem
        self._settings = settings

    def pilot(self, saved: Saved | None) -> StepPilot:
        """A pilot at its start, or where it was left."""
        steps = step_count(self._settings.t_max)
        march = self._stepwise(PILOT_PATHS, 0, None, steps, np.arange(0), _DIVERGED)
        march.residuals.traced = True
        if saved:
            march.restore(saved)
        return StepPilot(march, steps, self._too_large())

    def march(self, plan: Plan, index: int, saved: Saved | None) -> StepReplicate:
        """Replicate `index` at its start or where it was left."""
        stored, count = self._stored(plan.panels), self._settings.n_paths
        march = self._stepwise(count, index, plan.rotation, plan.panels, stored, _HOPELESS)
        if saved:
            march.restore(saved)
        return StepReplicate(self._problem, march, plan.panels, stored)

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
        """Refuse paths whose directions and stored steps do not fit."""
        count, sides = self._settings.n_paths, 1 if self._problem.regression else 2
        stored = len(self._stored(panels))
        excess = memory_excess(8.0 * count * (sides * 4.0 * CAPACITY + 8.0 * stored))
        if excess:
            raise InputError(
                f"given {count}, which {excess}: take fewer paths and more replicates",
                "solver.n_paths",
            )

    def time_error(self, name: str, mean: np.ndarray, plan: Plan) -> np.ndarray:
        """Steps are exact."""
        return np.zeros_like(mean)

    def _stepwise(
        self,
        count: int,
        index: int,
        rotation: np.ndarray | None,
        steps: int,
        stored: np.ndarray,
        growth: float,
    ) -> Stepwise:
        seed = sampling_seed(self._settings, index)
        return Stepwise(self._problem, count, seed, rotation, steps, stored, growth)

    def _stored(self, steps: int) -> np.ndarray:
        """Stored steps of the whole run that were reached, and the last."""
        wanted = np.array(stored_steps(step_count(self._settings.t_max)))
        return np.union1d(wanted[wanted <= steps], [steps])

    def _too_large(self) -> str:
        step_size: float = self._problem.dynamics.step_size  # type: ignore[union-attr]
        return f"step_size {step_size:g} is above what is stable"


class StepPilot:
    """The pilot under way: it finds how far the steps go and the rotation of the noise."""

    def __init__(self, march: Stepwise, steps: int, too_large: str) -> None:
        self._march = march
        self._steps = steps
        self._too_large = too_large

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        return self._march.work

    def panels(self) -> Iterator[Advance]:
        """Make the steps, up to divergence."""
        while self._march.count < self._steps:
            try:
                self._march.step()
            except Diverged:
                return
            yield Advance(float(self._march.count), panels=self._march.count)

    def saved(self) -> Tree:
        """Its state."""
        return self._march.state()

    def plan(self) -> Plan:
        """One panel per step that was reached."""
        reached, reason = self._march.count, ""
        if reached == 0:
            raise NotConverged(f"diverged in the first step: {self._too_large}")
        if reached < self._steps:
            reason = (
                f"diverged: the mean square of residuals passed {_DIVERGED:g} times its start at "
                f"step {reached + 1}, " + self._too_large
            )
        edges, directions = np.arange(reached + 1.0), np.ones((reached, 1), dtype=bool)
        return Plan(edges, directions, noise_rotation(self._march), reason)


class StepReplicate:
    """A replicate under way."""

    def __init__(self, problem: Problem, march: Stepwise, steps: int, stored: np.ndarray) -> None:
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
        """Its state."""
        return self._march.state()

    def finish(self) -> Finished:
        """What it leaves behind, on the stored steps."""
        problem, march = self._problem, self._march
        weights = np.array(march.kept_weights).T
        probability, residuals = march.probability[:, None], march.residuals
        charges = overlap_of_parameters = None
        if problem.network.code == DEPTH_TWO:
            u, v = np.array(march.kept_parameters).transpose(1, 2, 0)
            charges = u**2 - v**2
            overlap_of_parameters = (probability * u).T @ u + (probability * v).T @ v
        observed = weights_of(problem, march, weights, charges)
        root = np.sqrt(march.coordinates.variance)[:, None]
        error = root * (weights - march.teacher[:, None])
        curves: dict[str, np.ndarray] = {}
        samples = None
        if isinstance(residuals, PathResiduals):
            fields, losses = residuals.kept_losses()
            rows = residuals.rows
            samples = Samples(problem, fields, rows.labels, losses, rows.probability)
        else:
            curves = curves_of_squared_loss(
                march.moment[self._stored], march.probability @ error**2
            )
        return Finished(
            observed,
            curves,
            {
                "correlation_error": (probability * error).T @ error,
                "correlation_residual": residuals.correlation,
                "overlap": (probability * weights).T @ weights,
            },
            overlap_of_parameters,
            sample_paths(march, weights, np.array(march.kept_force).T),
            samples,
        )


def noise_rotation(march: Stepwise) -> np.ndarray:
    """Rotate noise directions into those that move the weights most, relative to their error.

    Steps count like equal distances in the logarithm of time. The rows E[sqrt(s) w_k z_d] are
    those of the pilot, up to where it folded directions for the first time.
    """
    echoes = march.residuals.echoes
    rows = np.zeros((len(echoes), max(len(row) for row in echoes)))
    for padded, row in zip(rows, echoes, strict=True):
        padded[: len(row)] = row
    risk = march.risk[: len(rows)]
    scale = np.arange(1.0, len(rows) + 1.0) * (risk + _VANISHED_RISK * risk[0])
    scaled = rows / np.sqrt(scale)[:, None]
    return np.ascontiguousarray(np.linalg.eigh(scaled.T @ scaled)[1][:, ::-1].T)
