"""The two sides of the mean field on one panel: coordinates and rows of the data.

Each solves its paths for a given drive, and knows how its outputs follow from its unknowns:
w = phi(G) of a coordinate, r = l'(h, y) of a row.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.numerics.workers import Workers
from dmft.problem import Problem
from dmft.problem.networks import DEPTH_TWO
from dmft.solver.data_rows import DataRows
from dmft.solver.sampling import PathSet

_FARTHEST_FIELD = 5.0  # that a first guess moves a field


class NoPath(ArithmeticError):
    """Some path has no solution on the panel's stages."""


@dataclass
class Stages:
    """Paths on the stages of a panel, all (paths, stages).

    unknown : G or h. output : w or r. slope : dw/dG or dr/dh.
    """

    unknown: np.ndarray
    output: np.ndarray
    slope: np.ndarray

    @classmethod
    def at(cls, unknown: np.ndarray) -> Stages:
        return cls(unknown, np.empty_like(unknown), np.empty_like(unknown))


@dataclass(frozen=True)
class Equation:
    """What the paths of coordinates solve: G = sqrt(s) (c + C (ratio sqrt(s) (w - target) + b)).

    coupling : C, (stages, stages). target : of every path. drive, shift : b and c, (paths, stages).
    tolerance : relative, of the last Newton step.
    """

    coupling: np.ndarray
    ratio: float
    target: np.ndarray
    drive: np.ndarray
    shift: np.ndarray
    tolerance: float


@dataclass(frozen=True)
class Damping:
    """What white noise does to both factors of a path: they shrink by exp(-s Q/2), s its scale.

    scale : of every path, constant within strata. variation : Q at the stages.
    """

    scale: np.ndarray
    variation: np.ndarray


class CoordinatePaths:
    """Coordinates: w = phi(G), restarted at the end of every panel.

    Attributes
    ----------
    probability, root_variance, teacher : of every path. strata : their slices.
    start, first_slope : w and dw/dG at t = 0, (paths,).
    state : (p, q) of networks.py at the start of the panel. growth : mu of the accumulated force.
    """

    def __init__(
        self, problem: Problem, path_set: PathSet, pool: ThreadPoolExecutor | None
    ) -> None:
        from dmft.solver.networks import initial_state

        network, self._decay = problem.network, problem.dynamics.weight_decay
        self.growth = network.growth(self._decay)
        self._law = (network.code, network.constant, self._decay, self.growth)
        self.workers = Workers(path_set.count, pool)
        # A chunk of paths shares its damping, so no chunk crosses a stratum.
        self._damped = Workers(path_set.count, pool, [stratum.start for stratum in path_set.strata])
        self.coordinates = path_set.coordinates
        self.probability = path_set.probability
        self.strata = path_set.strata
        self.teacher = path_set.coordinates.teacher
        self.root_variance = np.sqrt(path_set.coordinates.variance)
        self.state = initial_state(
            network.code, network.constant, path_set.coordinates.a0, path_set.coordinates.b0
        )
        start = Stages.at(np.zeros((path_set.count, 1)))
        self.evaluate(start, np.zeros(1))
        self.start, self.first_slope = start.output[:, 0], start.slope[:, 0]

    def employ(self, pool: ThreadPoolExecutor | None) -> None:
        """See `Workers.employ`."""
        self.workers.employ(pool)
        self._damped.employ(pool)

    def guess(self, accumulated: np.ndarray, elapsed: np.ndarray) -> Stages:
        """Paths at accumulated forces that may be out of bounds, which are moved inside."""
        from dmft.solver.networks import bounded

        return Stages.at(bounded(*self._law[:3], *self.state, accumulated, elapsed))

    def evaluate(self, stages: Stages, elapsed: np.ndarray, damping: Damping | None = None) -> None:
        """Fill in weights and slopes; elapsed : times of the stages since the panel's start."""
        from dmft.solver.networks import weights_on_stages

        p, q = self.state

        def evaluate(c: slice) -> None:
            law, times = self._law_of(c, elapsed, damping)
            weights_on_stages(
                *law, p[c], q[c], stages.unknown[c], times, stages.output[c], stages.slope[c]
            )

        self._workers_of(damping).map(evaluate)

    def solve(
        self,
        stages: Stages,
        elapsed: np.ndarray,
        equation: Equation,
        damping: Damping | None = None,
    ) -> int:
        """Solve the equation of every path from the guess in `stages`; iterations that it took.

        Raises
        ------
        NoPath : some path did not converge.
        """
        from dmft.solver.networks import solve_weights

        p, q = self.state

        def solve(c: slice) -> tuple[int, int]:
            law, times = self._law_of(c, elapsed, damping)
            return solve_weights(
                *law, p[c], q[c], self.root_variance[c], equation.target[c], times,
                equation.coupling, equation.ratio, equation.drive[c], equation.shift[c],
                equation.tolerance, stages.unknown[c], stages.output[c], stages.slope[c],
            )  # fmt: skip

        return _counted(self._workers_of(damping).map(solve))

    def responses(self, slope: np.ndarray, coupling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """E[H] and E[H_ia H_bj] of H = s Phi' (1 - s C Phi')^(-1)."""
        return _responses(self.workers, self.probability, self.root_variance, slope, coupling)

    def gains(self, slope: np.ndarray, coupling: np.ndarray, ratio: float) -> np.ndarray:
        """H C of every path, (paths, stages, stages): how its error follows its drive."""
        from dmft.solver.kernels import panel_gains

        gain = np.empty((len(slope), STAGES, STAGES))

        def fill(c: slice) -> None:
            panel_gains(self.root_variance[c], slope[c], coupling, ratio, gain[c])

        self.workers.map(fill)
        return gain

    def restart(self, accumulated: np.ndarray, step: float, damping: Damping | None = None) -> None:
        """Take the accumulated force at a panel's end into the state."""
        from dmft.solver.networks import moved_state

        p, q = moved_state(*self._law, *self.state, accumulated, step)
        if self._damps(damping):
            shrunk = 0.5 * damping.scale * damping.variation[-1]
            p, q = p - shrunk, q - shrunk
        self.state = p, q

    def _damps(self, damping: Damping | None) -> TypeGuard[Damping]:
        """Weights of depth 2 are quadratic in factors that feel the noise; others are not."""
        return damping is not None and self._law[0] == DEPTH_TWO

    def _workers_of(self, damping: Damping | None) -> Workers:
        return self._damped if self._damps(damping) else self.workers

    def _law_of(
        self, chunk: slice, elapsed: np.ndarray, damping: Damping | None
    ) -> tuple[tuple[int, float, float, float], np.ndarray]:
        """Law and times of the paths of a chunk; damped factors see it as a decay of rate 1."""
        if not self._damps(damping):
            return self._law, elapsed
        shrunk = self._decay * elapsed + 0.5 * damping.scale[chunk.start] * damping.variation
        return (*self._law[:2], 1.0, 0.0), shrunk


class DataPaths:
    """Rows of the data: r = l'(h, y)."""

    def __init__(self, problem: Problem, rows: DataRows, pool: ThreadPoolExecutor | None) -> None:
        self._loss = (problem.loss.code, problem.loss.parameter)
        self._workers = Workers(rows.count, pool)
        self._unit = np.ones(rows.count)
        self.probability = rows.probability
        self.labels, self.teacher_field = rows.labels, rows.teacher_field

    def employ(self, pool: ThreadPoolExecutor | None) -> None:
        """See `Workers.employ`."""
        self._workers.employ(pool)

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
        from dmft.solver.losses import solve_fields

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
