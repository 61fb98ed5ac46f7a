"""The scheme of steps without tangents: any optimiser, loss and law of the labels.

Panels of a plan are steps. `Steps` (steps.py) traces tangents instead, at a cost that grows with
the cube of their number; `schemes.scheme_of` says which of the two marches what.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import step_count
from dmft.problem.networks import DEPTH_TWO
from dmft.settings import SolverSettings
from dmft.solver.bias import FIRST_FOLD, bias_share, folded_share
from dmft.solver.fewer import Accompanied, accompanied, fewer_paths
from dmft.solver.memory import memory_excess
from dmft.solver.outcome import curves_of_squared_loss, sample_paths, weights_of
from dmft.solver.pilot import PILOT_PATHS
from dmft.solver.plan import Plan
from dmft.solver.progress import STEP_COSTS
from dmft.solver.residuals import crowded, room_of
from dmft.solver.rotations import both_rotations, principal_rotation
from dmft.solver.scheme import Finished, Grid, Onward, Saved, Tree, Underway, sampling_seed
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
from dmft.solver.stepwise import Stepwise


class TangentFree:
    """Steps of any discrete dynamics; see `Scheme`."""

    descends, method = False, ""
    costs = STEP_COSTS
    pilot_paths = PILOT_PATHS

    def __init__(self, problem: Problem, settings: SolverSettings) -> None:
        self._problem = problem
        self._settings = settings
        self._limit = too_large(problem.dynamics)

    def pilot(self, saved: Saved | None) -> StepPilot:
        """A pilot at its start, or where it was left."""
        steps = step_count(self._settings.t_max)
        seed = sampling_seed(self._settings, 0)
        nothing = np.arange(0)
        march = Stepwise(self._problem, PILOT_PATHS, seed, None, steps, nothing, DIVERGED)
        march.residuals.traced = True
        if saved:
            march.restore(saved)
        return StepPilot(march, steps, self._limit, partial(_noise_rotation, march))

    def onward(self, plan: Plan, saved: Saved) -> Onward:
        """Steps do not go on."""
        raise no_later_steps(self._settings, plan)

    def march(self, plan: Plan, index: int, saved: Saved | None) -> StepReplicate:
        """Replicate `index` at its start or where it was left."""
        settings = self._settings
        stored, count = stored_of(settings, plan.panels), settings.n_paths

        def start(paths: int, beside: bool) -> Stepwise:
            seed = sampling_seed(settings, index, beside=beside)
            of_plan = (plan.rotation, plan.panels, stored, HOPELESS)
            return Stepwise(self._problem, paths, seed, *of_plan)

        fewer = self._fewer(plan.panels) if accompanied(index) else 0
        march = Accompanied(start(count, False), start(fewer, True) if fewer else None)
        if saved:
            march.restore(saved)
        return StepReplicate(march, plan.panels, partial(self._finished, march, stored))

    def other_plan(self, plan: Plan, panel: int, failures: int) -> Plan:
        """The plan up to the step that diverged."""
        why = blamed(plan, self._limit, self._settings.n_paths)
        return plan_before(plan, panel, why)

    def grid(self, plan: Plan) -> Grid:
        """The stored steps."""
        return step_grid(stored_of(self._settings, plan.panels))

    def check_memory(self, panels: int) -> None:
        """Refuse paths whose directions and stored steps do not fit."""
        count, sides = self._settings.n_paths, 1 if self._problem.regression else 2
        stored = len(stored_of(self._settings, panels))
        both = count + self._fewer(panels)
        held = sides * 4.0 * room_of(self._problem).capacity
        excess = memory_excess(8.0 * both * (held + 8.0 * stored))
        if excess:
            raise InputError(
                f"given {count}, which {excess}: take fewer paths and more replicates",
                "solver.n_paths",
            )

    def kept(self, march: Underway) -> Tree:
        """Nothing: which steps are stored depends on how many there are."""
        return {}

    def ended(self, march: Underway) -> None:
        """Steps do not go on."""

    def time_error(self, name: str, mean: np.ndarray, plan: Plan) -> np.ndarray:
        """Steps are exact, but for the echoes of sampled rows (bias.py) and what is folded."""
        share = np.zeros_like(mean)
        if not self._problem.regression:
            share[1:] += bias_share(self._problem, name, self._settings.n_paths)
        if crowded(self._problem):
            share[self.grid(plan).time > FIRST_FOLD] += folded_share(name)
        return np.asarray(share * np.abs(mean))

    def _fewer(self, steps: int) -> int:
        """Paths of the march beside a replicate."""
        return fewer_paths(self._settings.n_paths, steps, crowded(self._problem))

    def _finished(self, march: Accompanied, stored: np.ndarray) -> Finished:
        """What a march leaves behind, with the curves of the one beside it."""
        main = march.main
        finished = self._observed(main, stored)
        weights = finished.weights.values
        error = np.sqrt(main.coordinates.variance)[:, None] * (weights - main.teacher[:, None])
        parameters = None
        if self._problem.network.code == DEPTH_TWO:
            u, v = main.kept_parameters.transpose(1, 2, 0)
            parameters = _averages(main.probability, u) + _averages(main.probability, v)
        kernels = {
            "correlation_error": _averages(main.probability, error),
            "correlation_residual": main.residuals.correlation,
            "overlap": _averages(main.probability, weights),
        }
        fewer = None if march.beside is None else self._observed(march.beside, stored)
        return replace(
            finished, kernels=kernels, parameters=parameters, fewer=fewer, lever=march.lever
        )

    def _observed(self, march: Stepwise, stored: np.ndarray) -> Finished:
        """What curves of one march are made of, on the stored steps that it reached."""
        stored = stored[: len(march.kept_weights)]
        problem = self._problem
        weights = march.kept_weights.T
        charges = None
        if problem.network.code == DEPTH_TWO:
            u, v = march.kept_parameters.transpose(1, 2, 0)
            charges = u**2 - v**2
        samples = march.residuals.samples(problem)
        curves: dict[str, np.ndarray] = {}
        if samples is None:
            curves = curves_of_squared_loss(march.moment[stored], march.risk[stored])
        return Finished(
            weights_of(problem, march, weights, charges),
            curves,
            {},
            None,
            sample_paths(march, weights, march.kept_force.T),
            samples,
        )


def _averages(probability: np.ndarray, values: np.ndarray) -> np.ndarray:
    """E[x x'] of all pairs of nodes, of x on the paths, (paths, nodes)."""
    rooted = np.sqrt(probability)[:, None] * values
    return np.asarray(rooted.T @ rooted)  # one array: half of the work


def _noise_rotation(march: Stepwise, steps: int) -> np.ndarray:
    """Rotate noise directions into those that move the weights most, relative to their error.

    Where rows are sampled, theirs into those that move the slopes most, relative to their size.
    """
    residuals = march.residuals
    of_weights = _rotation_of(residuals.echoes, march.risk)
    if not residuals.row_echoes:
        return of_weights
    return both_rotations([of_weights, _rotation_of(residuals.row_echoes, march.moment)])


def _rotation_of(echoes: list[np.ndarray], squares: np.ndarray) -> np.ndarray:
    """The rotation for echoes of outputs whose errors count relative to a mean square.

    Steps count like equal distances in the logarithm of time. The rows E[y_k z_d] are those of the
    pilot, up to where it folded directions for the first time.
    """
    rows = np.zeros((len(echoes), max(len(row) for row in echoes)))
    for padded, row in zip(rows, echoes, strict=True):
        padded[: len(row)] = row
    squares = squares[: len(rows)]
    scale = np.arange(1.0, len(rows) + 1.0) * (squares + VANISHED_RISK * squares[0])
    return principal_rotation(rows / np.sqrt(scale)[:, None])
