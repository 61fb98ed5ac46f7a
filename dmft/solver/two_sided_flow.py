"""Gradient flow of any smooth loss and any labels: what its marches leave behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.problem import Problem
from dmft.problem.losses import SQUARED
from dmft.problem.networks import DEPTH_TWO, LINEAR
from dmft.results.observables import Samples
from dmft.solver.bias import bias_share
from dmft.solver.data_rows import DataRows
from dmft.solver.outcome import factor_overlap, panel_grid, sample_paths, weights_of
from dmft.solver.pilot import PILOT_PATHS, StepControl
from dmft.solver.plan import Plan
from dmft.solver.rotations import (
    OF_COORDINATES,
    OF_ROWS,
    both_rotations,
    principal_rotation,
    rotation_of,
)
from dmft.solver.sampling import PathSet
from dmft.solver.scheme import Finished, Grid
from dmft.solver.two_sided import PanelDrives, TwoSidedMarch

_VANISHED = 1e-12  # relative to the largest: smaller mean squares decide nothing
# Widths of the teacher and the first noise where weights grow, see `PathSet`.
_WIDE_TEACHER = (1.5, 1.3)
_VECTORS = 30.0  # of all paths of a side that a node takes: outputs, directions, noise, copies


class TwoSidedFlow:
    """Gradient flow of which both sides are sampled; see `panel_flow.Flow`."""

    rows_type = PanelDrives
    most_splits = 8
    pilots_differ = False

    def __init__(self, problem: Problem, n_paths: int, pool: ThreadPoolExecutor | None) -> None:
        """n_paths : of each side of a replicate."""
        self._problem = problem
        self._n_paths = n_paths
        self._pool = pool
        self.method = ""
        self.descends = problem.loss.code == SQUARED and not problem.dynamics.weight_decay

    def start(
        self,
        count: int,
        seed: np.random.SeedSequence,
        rotation: np.ndarray | None,
        panels: int,
        rtol: float,
        pilot: bool,
    ) -> TwoSidedMarch:
        """A march at t = 0 with `count` paths on either side."""
        of_coordinates, of_rows = seed.spawn(2)
        of_weights, of_slopes = (rotation_of(rotation, side) for side in (OF_COORDINATES, OF_ROWS))
        wide = None if self._problem.network.code == LINEAR else _WIDE_TEACHER
        path_set = PathSet(self._problem, count, of_coordinates, of_weights, wide_teacher=wide)
        teacher = path_set.coordinates.variance * path_set.coordinates.teacher**2
        strength = float(np.sqrt(path_set.probability @ teacher))
        rows = DataRows(self._problem, count, of_rows, strength, of_slopes)
        return TwoSidedMarch(self._problem, path_set, rows, self._pool, rtol)

    def control(self, march: TwoSidedMarch, rtol: float) -> StepControl:
        """What chooses the panels of a pilot."""
        return StepControl(self._problem, march, rtol)

    def pilot_paths(self) -> int:
        """As many as any."""
        return PILOT_PATHS

    def rotation(self, march: TwoSidedMarch) -> np.ndarray:
        """Directions that move the outputs of their side most come first (rotations.py).

        Weights count relative to what there is and to what they still lack.
        """
        of_weights, of_slopes = march.responses()
        of_weights *= _inverse_size(march.probability, march.weights, march.all_errors())
        of_slopes *= _inverse_size(march.data.probability, march.slopes)
        return both_rotations([principal_rotation(of_weights), principal_rotation(of_slopes)])

    def rehearses(self, march: TwoSidedMarch) -> bool:
        """Nothing is rotated."""
        return False

    def hopeless(self, march: TwoSidedMarch) -> str:
        """A flow always goes on."""
        return ""

    def finish(self, march: TwoSidedMarch) -> Finished:
        """What a march leaves behind."""
        problem, probability = self._problem, march.probability
        weights = march.all_weights()
        error = march.root_variance[:, None] * (weights - march.teacher[:, None])
        charges = None
        if problem.network.code == DEPTH_TWO:
            start = march.coordinates
            decay = np.exp(-2.0 * problem.dynamics.weight_decay * march.times)
            charges = (2.0 * start.a0 * start.b0)[:, None] * decay[None, :]
        _, values = march.data.at(march.fields)
        data = march.data
        return Finished(
            weights_of(problem, march, weights, charges),
            {},
            {
                "correlation_error": (probability[:, None] * error).T @ error,
                "correlation_residual": (data.probability[:, None] * march.slopes).T @ march.slopes,
                "overlap": (probability[:, None] * weights).T @ weights,
            },
            None if charges is None else factor_overlap(probability, weights, charges),
            sample_paths(march, weights, march.root_variance[:, None] * march.forces),
            Samples(problem, march.fields, data.labels, values, data.probability),
        )

    def grid(self, plan: Plan) -> Grid:
        """All stages of all panels."""
        return panel_grid(plan)

    def memory(self, count: int, panels: int) -> float:
        """Bytes of a march."""
        return 2.0 * count * 8.0 * _VECTORS * STAGES * panels

    def time_error(self, name: str, rtol: float, mean: np.ndarray) -> np.ndarray:
        """What the time steps may add, a share of rtol, and what a finite sample does.

        Echoes are sampled (echo.py), which biases all replicates alike by a share of 1/n_paths.
        """
        bias = bias_share(self._problem, name, self._n_paths)
        systematic = np.hypot(rtol, bias) * np.abs(mean)
        systematic[0] = 0.0
        return np.asarray(systematic)


def _inverse_size(probability: np.ndarray, *outputs: np.ndarray) -> np.ndarray:
    """sqrt(1/E[y^2] + ...) at all nodes, (nodes, 1), of outputs y of shape (paths, nodes)."""
    squares = np.array([probability @ values**2 for values in outputs])
    least = _VANISHED * squares.max(axis=1, keepdims=True) + np.finfo(float).tiny
    return np.asarray(np.sqrt(np.sum(1.0 / (squares + least), axis=0))[:, None])
