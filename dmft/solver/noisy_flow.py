"""Stochastic gradient flow on panels: what its marches are made of and what they leave behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.problem import Problem
from dmft.problem.dynamics import StochasticGradientFlow
from dmft.problem.networks import LINEAR
from dmft.results.observables import CHARGES, weight_curves
from dmft.solver.flow import panel_memory, time_error
from dmft.solver.march import March
from dmft.solver.outcome import finished, panel_grid
from dmft.solver.panel_rows import PanelRows
from dmft.solver.pilot import PILOT_PATHS, StepControl, noise_rotation
from dmft.solver.plan import Plan
from dmft.solver.sampling import PathSet
from dmft.solver.scheme import Finished, Grid
from dmft.solver.white_noise import white_noise

_GROUP = 3  # ends of panels that share an interpolating polynomial
_DIVERGED, _MOST_PANELS = 10.0, 250
# Of rtol, on the linear network too, where train_mse is above 1 % of its start.
_TIME_ERROR = {"excess_risk": 3.0, "train_mse": 20.0}


class NoisyFlow:
    """Stochastic gradient flow of the squared loss; see `panel_flow.Flow`."""

    rows_type = PanelRows
    descends, method = False, ""
    # With step_size/batch_fraction = 1 sweeps do not settle on every second panel of the pilot.
    most_splits = 40
    pilots_differ = True  # see `WhiteNoise.cautious`

    def __init__(
        self,
        problem: Problem,
        dynamics: StochasticGradientFlow,
        pool: ThreadPoolExecutor | None,
    ) -> None:
        """dynamics : that of the problem."""
        self._problem = problem
        self._dynamics = dynamics
        self._pool = pool

    def start(
        self,
        count: int,
        seed: np.random.SeedSequence,
        rotation: np.ndarray | None,
        panels: int,
        rtol: float,
        pilot: bool,
    ) -> March:
        """A march at t = 0; noise comes in all the time, so none of it is drawn wider."""
        path_set = PathSet(self._problem, count, seed, rotation, width=1.0)
        noise = white_noise(self._problem.network, self._dynamics, path_set, cautious=pilot)
        return March(self._problem, path_set, self._pool, panels, rtol, noise)

    def control(self, march: March, rtol: float) -> StepControl:
        """What chooses the panels of a pilot."""
        return StepControl(self._problem, march, rtol)

    def finish(self, march: March) -> Finished:
        """Only the ends of panels: see `WhiteNoise._on_stages`."""
        whole, ends = finished(self._problem, march), slice(None, None, STAGES)
        weights = whole.weights
        curves = weight_curves(weights) | whole.curves
        return Finished(
            replace(weights, values=weights.values[:, ends], charges=None),
            {name: curves[name][ends] for name in (*whole.curves, *CHARGES) if name in curves},
            {name: kernel[ends, ends] for name, kernel in whole.kernels.items()},
            None if whole.parameters is None else whole.parameters[ends, ends],
            replace(
                whole.paths,
                weights=whole.paths.weights[:, ends],
                force=whole.paths.force[:, ends],
            ),
        )

    def grid(self, plan: Plan) -> Grid:
        """The ends of panels."""
        whole, ends = panel_grid(plan), slice(None, None, STAGES)
        panel = (np.arange(len(plan.edges)) - 1) // _GROUP
        return Grid(whole.time[ends], panel, whole.weights[ends])

    def pilot_paths(self) -> int:
        """As many as any."""
        return PILOT_PATHS

    def rotation(self, march: March) -> np.ndarray:
        """Directions that move the weights most come first."""
        return noise_rotation(march)

    def rehearses(self, march: March) -> bool:
        """Its own noise turns directions, not the pilot's."""
        return False

    def hopeless(self, march: March) -> str:
        """Noise beyond stability, or noise that lasts."""
        dynamics = self._dynamics
        if march.train_mse[-1] > _DIVERGED * march.train_mse[0]:
            return (
                f"diverged at t = {march.time:.6g}: step_size/batch_fraction = "
                f"{dynamics.step_size / dynamics.batch_fraction:g} is above what is stable"
            )
        if len(march.rows) >= _MOST_PANELS:
            return (
                f"stopped at t = {march.time:.6g} after {_MOST_PANELS} panels: noise that lasts "
                "needs short ones"
            )
        return ""

    def memory(self, count: int, panels: int) -> float:
        """Bytes of a march: every path has tangents."""
        return panel_memory(self._problem, count, count, panels)

    def time_error(self, name: str, rtol: float, mean: np.ndarray) -> np.ndarray:
        """Measured shares of rtol."""
        linear = self._problem.network.code == LINEAR
        return time_error(name, rtol, mean, _TIME_ERROR, with_residual=not linear)
