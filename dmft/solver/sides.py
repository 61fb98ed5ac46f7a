"""The two sides of the mean field on one panel: coordinates and rows of the data.

Each solves its paths for a given drive, and knows how its outputs follow from its unknowns:
sqrt(s) w = sqrt(s) phi(G) of a coordinate, r = l'(h, y) of a row.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.numerics.workers import Workers
from dmft.problem import Problem
from dmft.problem.networks import DEEP, DEPTH_TWO
from dmft.solver.data_rows import DataRows
from dmft.solver.network_state import initial_state, moved_state
from dmft.solver.sampling import PathSet
from dmft.solver.state import NoPath

_LONGEST_GUESS = 3.0
_FARTHEST_FIELD = 5.0  # that a first guess moves a field


@dataclass
class Stages:
    """Paths on the stages of a panel, all (paths, stages).

    unknown : G or h. output : sqrt(s) w or r. slope : d w/d G or dr/dh.
    """

    unknown: np.ndarray
    output: np.ndarray
    slope: np.ndarray

    @classmethod
    def at(cls, unknown: np.ndarray) -> Stages:
        return cls(unknown, np.empty_like(unknown), np.empty_like(unknown))


class CoordinatePaths:
    """Coordinates: w = phi(G), restarted at the end of every panel.

    Attributes: probability, root_variance, teacher, start (initial w), all (paths,).
    """

    def __init__(
        self, problem: Problem, path_set: PathSet, pool: ThreadPoolExecutor | None
    ) -> None:
        from dmft.solver.kernels import weights_on_stages

        network, self._decay = problem.network, problem.dynamics.weight_decay
        self.growth = network.growth(self._decay)
        self._law = (network.code, network.depth, self._decay, self.growth)
        self._workers = Workers(path_set.count, pool)
        self.coordinates = path_set.coordinates
        self.probability = path_set.probability
        self.strata = path_set.strata
        self.teacher = path_set.coordinates.teacher
        self.root_variance = np.sqrt(path_set.coordinates.variance)
        self._p, self._q = initial_state(
            network.code, network.depth, path_set.coordinates.a0, path_set.coordinates.b0
        )
        start = Stages.at(np.zeros((path_set.count, 1)))
        weights_on_stages(
            *self._law, self._p, self._q, start.unknown, np.zeros(1), start.output, start.slope
        )
        self.start, self.first_slope = start.output[:, 0], start.slope[:, 0]

    def guess(self, accumulated: np.ndarray, elapsed: np.ndarray) -> Stages:
        """Paths at accumulated forces that may be out of bounds, which are moved inside."""
        from dmft.solver.kernels import weights_on_stages

        code, depth = self._law[:2]
        if code == DEPTH_TWO:
            limit = _LONGEST_GUESS + self._decay * elapsed
            accumulated = np.clip(accumulated, -limit, limit)
        elif code == DEEP:
            room = 0.8 / (depth - 2)
            accumulated = np.clip(accumulated, -room * self._p[:, None], room * self._q[:, None])
        stages = Stages.at(accumulated)

        def evaluate(c: slice) -> None:
            weights_on_stages(
                *self._law, self._p[c], self._q[c], stages.unknown[c], elapsed,
                stages.output[c], stages.slope[c],
            )  # fmt: skip

        self._workers.map(evaluate)
        stages.output *= self.root_variance[:, None]
        return stages

    def solve(
        self, stages: Stages, elapsed: np.ndarray, coupling: np.ndarray, drive: np.ndarray
    ) -> int:
        """Solve G = sqrt(s) (drive + C sqrt(s) w), C = `coupling`, from the guess in `stages`."""
        from dmft.solver.side_kernels import solve_weights

        def solve(c: slice) -> tuple[int, int]:
            return solve_weights(
                *self._law, self._p[c], self._q[c], self.root_variance[c], elapsed, coupling,
                drive[c], stages.unknown[c], stages.output[c], stages.slope[c],
            )  # fmt: skip

        iterations = _counted(self._workers.map(solve))
        stages.output *= self.root_variance[:, None]
        return iterations

    def responses(self, slope: np.ndarray, coupling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[H] and E[H_ia H_bj] of H = s Phi' (1 - s C Phi')^(-1)."""
        return _responses(self._workers, self.probability, self.root_variance, slope, coupling)

    def restart(self, accumulated: np.ndarray, step: float) -> None:
        """Take the accumulated force at a panel's end into the state."""
        self._p, self._q = moved_state(*self._law, self._p, self._q, accumulated, step)


class DataPaths:
    """Rows of the data: r = l'(h, y)."""

    def __init__(self, problem: Problem, rows: DataRows, pool: ThreadPoolExecutor | None) -> None:
        self._loss = (problem.loss.code, problem.loss.parameter)
        self._workers = Workers(rows.count, pool)
        self._unit = np.ones(rows.count)
        self.probability = rows.probability
        self.labels, self.teacher_field = rows.labels, rows.teacher_field

    def at(self, field: np.ndarray) -> tuple[Stages, np.ndarray]:
        """Slopes and values of the loss at given fields."""
        from dmft.solver.losses import losses

        stages, value = Stages.at(field), np.empty_like(field)

        def evaluate(c: slice) -> None:
            losses(
                *self._loss, field[c], self.labels[c], value[c], stages.output[c],
                stages.slope[c],
            )  # fmt: skip

        self._workers.map(evaluate)
        return stages, value

    def guess(self, last: np.ndarray, change: np.ndarray) -> Stages:
        """Paths that move from their last field, (rows,), by a change that is kept in bounds."""
        field = last[:, None] + np.clip(change, -_FARTHEST_FIELD, _FARTHEST_FIELD)
        return self.at(field)[0]

    def solve(self, stages: Stages, response: np.ndarray, drive: np.ndarray) -> int:
        """Solve h = drive + R_d r(h), R_d = `response`, from the guess in `stages`."""
        from dmft.solver.side_kernels import solve_fields

        def solve(c: slice) -> tuple[int, int]:
            return solve_fields(
                *self._loss, self.labels[c], response, drive[c], stages.unknown[c],
                stages.output[c], stages.slope[c],
            )  # fmt: skip

        return _counted(self._workers.map(solve))

    def responses(self, slope: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[N] and E[N_ia N_bj] of N = l'' (1 - R_d l'')^(-1)."""
        return _responses(self._workers, self.probability, self._unit, slope, response)


def _responses(
    workers: Workers,
    probability: np.ndarray,
    root_variance: np.ndarray,
    slope: np.ndarray,
    coupling: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    from dmft.solver.kernels import path_responses

    scratch = np.empty((2, len(slope), STAGES, STAGES))

    def accumulate(c: slice) -> tuple[np.ndarray, np.ndarray]:
        return path_responses(
            probability[c], root_variance[c], slope[c], coupling, 1.0, scratch[0, c], scratch[1, c]
        )

    mean, square = workers.sums(accumulate)
    return mean, square


def _counted(parts: list[tuple[int, int]]) -> int:
    """Iterations of all chunks; refuse paths that did not converge."""
    if any(failed for _, failed in parts):
        raise NoPath
    return sum(iterations for iterations, _ in parts)
