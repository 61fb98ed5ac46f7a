"""The march of one replicate for any loss and label law: both sides are sampled.

A panel's unknowns are the drives of both sides (echo.py). A sweep solves the rows of the data for
a given drive, which gives that of the coordinates, solves these, which gives that of the rows.
The equations are in docs/losses.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dmft.numerics.anderson import Anderson
from dmft.numerics.collocation import STAGES, lagrange, radau
from dmft.problem import Problem
from dmft.problem.losses import LOGISTIC
from dmft.problem.networks import LINEAR
from dmft.solver.data_rows import DataRows
from dmft.solver.echo import DriveRows, EchoDrive
from dmft.solver.noise import NewRows
from dmft.solver.panel_rows import Attempt
from dmft.solver.response import NoCausalResponse
from dmft.solver.sampling import PathSet
from dmft.solver.sides import CoordinatePaths, DataPaths, Equation, NoPath, Stages

_MOST_SWEEPS = 40
_SWEEP_TOLERANCE = 0.1  # of rtol
# Squared, of rtol: what a node must add, relative to its size, to get a direction. What it leaves
# out is noise of that relative variance. A direction more is an echo more that is sampled, and the
# errors of all echoes add up: with huber, twice the bias at .01. Logistic flows have little bias,
# and go on to times where weights like log t add only about 1/log t of their size.
# On the linear network echoes are exact in the mean, and all directions count.
_LEAST_NEWS, _LEAST_LOGISTIC_NEWS, _LEAST_LINEAR_NEWS = 0.3, 0.01, 1e-6
_PLAIN_ITERATIONS, _NEWTON_ITERATIONS, _NEWTON_TOLERANCE = 12, 30, 1e-6  # of R_d
_PATH_TOLERANCE = 1e-8  # of a Newton step of the weights
_SLOPE_SHARE = 0.1  # how much of the time error of r counts


@dataclass(frozen=True)
class PanelDrives:
    """The unknowns of one panel: everything needed to repeat it exactly."""

    step: float
    fields: DriveRows
    forces: DriveRows

    def __post_init__(self) -> None:
        for name in ("fields", "forces"):  # a checkpoint keeps them as trees
            part = getattr(self, name)
            if isinstance(part, Mapping):
                object.__setattr__(self, name, DriveRows(**part))

    @property
    def active(self) -> np.ndarray:
        """Stages that give the fields a direction of noise."""
        return self.fields.active


@dataclass(frozen=True)
class Panel:
    """What all sweeps of a panel share: its step, times of the stages since its start, the
    integration matrix h A, and the noise of new directions on the paths of both sides."""

    step: float
    elapsed: np.ndarray
    integration: np.ndarray
    field_noise: np.ndarray
    force_noise: np.ndarray


class TwoSidedMarch:
    """State of one replicate after the panels committed so far.

    Attributes
    ----------
    time : the end of the last committed panel. times : all nodes, starting at 0.
    paths, data : the paths of both sides. coordinates, teacher, probability, strata : as drawn.
    weights : sqrt(s) w on all nodes, (paths, nodes). fields, slopes : h and r, (rows, nodes).
    forces : the force on sqrt(s) w on all nodes.
    rows : the unknowns of every committed panel; committing them again repeats the march.
    """

    def __init__(
        self,
        problem: Problem,
        path_set: PathSet,
        rows: DataRows,
        pool: ThreadPoolExecutor | None,
        rtol: float,
    ) -> None:
        self.ratio = problem.sampling_ratio
        self.tolerance = _SWEEP_TOLERANCE * rtol
        self.paths = CoordinatePaths(problem, path_set, pool)
        self.coordinates, self.strata = path_set.coordinates, path_set.strata
        self.teacher, self.probability = path_set.coordinates.teacher, path_set.probability
        self.data = DataPaths(problem, rows, pool)
        self.root_variance, self.first_slope = self.paths.root_variance, self.paths.first_slope
        news = _LEAST_LOGISTIC_NEWS if problem.loss.code == LOGISTIC else _LEAST_NEWS
        if problem.network.code == LINEAR:
            news = _LEAST_LINEAR_NEWS
        least = math.sqrt(news * rtol)
        self._of_rows = EchoDrive(rows, 1.0, least)
        self._of_weights = EchoDrive(path_set, math.sqrt(self.ratio), least)
        self.time = 0.0
        self.times = np.zeros(1)
        self.rows: list[PanelDrives] = []
        self.work = {"panels": 0.0, "sweeps": 0.0, "path_iterations": 0.0}
        for known in (self.teacher, self.root_variance, self.paths.start):
            path_set.learn(known)
        self._start(rows.field)

    def _start(self, field: np.ndarray) -> None:
        """Node t = 0, whose weights are known: the first directions and the first force."""
        weights, rows = self._of_weights, self._of_rows
        teacher = weights.rows((self.root_variance * self.teacher)[:, None])
        weights.extend(teacher, np.zeros(0, dtype=bool))
        if teacher.active[0]:
            rows.learn(field[:, None])
        self.weights = (self.root_variance * self.paths.start)[:, None]
        of_weights = weights.rows(self.weights)
        self.fields = rows.noise @ of_weights.known.T + rows.fresh_noise(1) @ of_weights.fresh
        stages, _ = self.data.at(self.fields)
        self.slopes = stages.output
        of_rows = rows.rows(self.slopes)
        rows.extend(of_rows, of_weights.active)
        weights.extend(of_weights, of_rows.active)
        moments = (self.data.probability[:, None] * rows.noise).T @ self.slopes
        noise = weights.noise @ of_rows.fresh[:, of_rows.active].T
        self.forces = math.sqrt(self.ratio) * noise + self.ratio * weights.directions @ moments
        self._response, self._last_step = np.zeros((STAGES, STAGES)), 1.0

    def all_weights(self) -> np.ndarray:
        """w of every path on all nodes, t = 0 first."""
        return self.weights / self.root_variance[:, None]

    def all_errors(self) -> np.ndarray:
        """e of every path on all nodes, t = 0 first."""
        return self.weights - (self.root_variance * self.teacher)[:, None]

    @property
    def risk(self) -> np.ndarray:
        """excess_risk on all nodes."""
        return self.probability @ self.all_errors() ** 2

    def responses(self) -> tuple[np.ndarray, np.ndarray]:
        """What weights and slopes take from the normals of their paths, (nodes, normals) each."""
        return self._of_weights.responses(self.weights), self._of_rows.responses(self.slopes)

    def employ(self, pool: ThreadPoolExecutor | None) -> None:
        """See `Workers.employ`."""
        self.paths.employ(pool)
        self.data.employ(pool)

    # ------------------------------------------------------------------ one panel

    def attempt(self, step: float, active: np.ndarray | None = None) -> Attempt | None:
        """Solve the panel of length `step`; None when its equations have no solution."""
        try:
            attempt = self._attempt(step)
        except (NoCausalResponse, NoPath, np.linalg.LinAlgError):
            return None
        parts = (attempt.rows.fields.flat(), attempt.rows.forces.flat(), attempt.time_error)
        return attempt if all(np.isfinite(part).all() for part in parts) else None

    def _attempt(self, step: float) -> Attempt:
        panel = self._panel(step)
        weights, data = self._guess(panel)
        every = np.zeros(STAGES, dtype=bool)
        of_weights = self._of_weights.rows(weights.output, every)
        of_rows = self._of_rows.rows(data.output, every)
        response = self._first_response(panel, weights.slope, data.slope)
        fields = self._drive_of(self._of_weights, of_weights, of_rows.known, response)
        acceleration = Anderson(self._metric(fields, data.output))
        converged, sweep = False, 0
        active_weights, active_rows = of_weights.active, of_rows.active
        while sweep < _MOST_SWEEPS and not converged:
            sweep += 1
            last_weights, last_slopes = weights.output.copy(), data.output.copy()
            self._solve_data(panel, data, fields)
            of_rows = self._of_rows.rows(data.output, active_rows)
            active_rows = active_rows | of_rows.active
            mean, square = self.data.responses(data.slope, fields.response)
            forces = self._drive_of(self._of_rows, of_rows, fields.known, mean)
            force = self._solve_weights(panel, weights, forces)
            of_weights = self._of_weights.rows(weights.output, active_weights)
            active_weights = active_weights | of_weights.active
            response = self._better_response(panel, weights.slope, fields.response, mean, square)
            better = self._drive_of(self._of_weights, of_weights, of_rows.known, response)
            change = max(
                _relative(weights.output - last_weights, weights.output, self.paths),
                _relative(data.output - last_slopes, data.output, self.data),
            )
            converged = change < self.tolerance
            if not converged:
                fields = fields.like(acceleration.mix(fields.flat(), better.flat()))
        self.work["sweeps"] += sweep
        error = self._time_error(panel, weights, data, force)
        return Attempt(PanelDrives(step, fields, forces), sweep, error, converged)

    def commit(self, rows: PanelDrives) -> None:
        """Append the panel with these rows: a pure function of the state and the rows."""
        panel = self._panel(rows.step)
        weights, data = self._guess(panel)
        self._solve_data(panel, data, rows.fields)
        force = self._solve_weights(panel, weights, rows.forces)
        of_weights = self._of_weights.rows(weights.output, rows.fields.active)
        of_rows = self._of_rows.rows(data.output, rows.forces.active)
        self._of_rows.extend(of_rows, of_weights.active)
        self._of_weights.extend(of_weights, of_rows.active)
        self.paths.restart(weights.unknown[:, -1], rows.step)
        self.weights = np.hstack([self.weights, weights.output])
        self.fields = np.hstack([self.fields, data.unknown])
        self.slopes = np.hstack([self.slopes, data.output])
        self.forces = np.hstack([self.forces, force])
        self._response, self._last_step = rows.fields.response, rows.step
        self.times = np.append(self.times, self.time + panel.elapsed)
        self.time = float(self.times[-1])
        self.work["panels"] += 1
        self.rows.append(rows)

    def _panel(self, step: float) -> Panel:
        tableau = radau(self.paths.growth * step)
        return Panel(
            step, step * tableau.nodes, step * tableau.integration,
            self._of_rows.fresh_noise(), self._of_weights.fresh_noise(),
        )  # fmt: skip

    def _guess(self, panel: Panel) -> tuple[Stages, Stages]:
        """Forces and fields continued as lines in log time: late forces fall like 1/t."""
        if len(self.times) == 1:
            force = np.repeat(self.forces, STAGES, axis=1)
            change = np.zeros((len(self.fields), STAGES))
        else:
            before, after = np.log(self.times[-2:]), np.log(self.time + panel.elapsed)
            values = lagrange(before, after)
            force = self.forces[:, -2:] @ values.T
            change = self.fields[:, -2:] @ values.T - self.fields[:, -1:]
        accumulated = (self.root_variance[:, None] * force) @ panel.integration.T
        weights = self.paths.guess(accumulated, panel.elapsed)
        self.paths.evaluate(weights, panel.elapsed)
        weights.output *= self.root_variance[:, None]
        return weights, self.data.guess(self.fields[:, -1], change)

    def _solve_data(self, panel: Panel, data: Stages, rows: DriveRows) -> None:
        drive = self._of_rows.values(rows, panel.field_noise)
        self.work["path_iterations"] += self.data.solve(data, rows.response, drive)

    def _solve_weights(self, panel: Panel, weights: Stages, rows: DriveRows) -> np.ndarray:
        """Solve the coordinates; the force on their stages."""
        drive = self._of_weights.values(rows, panel.force_noise)
        coupling = self.ratio * panel.integration @ rows.response
        equation = Equation(
            coupling, 1.0, np.zeros(len(drive)), np.zeros_like(drive),
            drive @ panel.integration.T, _PATH_TOLERANCE,
        )  # fmt: skip
        self.work["path_iterations"] += self.paths.solve(weights, panel.elapsed, equation)
        weights.output *= self.root_variance[:, None]
        return drive + self.ratio * weights.output @ rows.response.T

    @staticmethod
    def _drive_of(
        other: EchoDrive, found: NewRows, known: np.ndarray, response: np.ndarray
    ) -> DriveRows:
        """The drive of one side that follows from the outputs of the other.

        known : rows of L of the driven side, on whose directions the panel's answer is left out.
        """
        return DriveRows(
            found.known, found.fresh, other.moments(found) - response @ known, response
        )

    # ------------------------------------------------------------------ responses in the panel

    def _first_response(
        self, panel: Panel, weight_slope: np.ndarray, field_slope: np.ndarray
    ) -> np.ndarray:
        """R_d of the rows for guessed paths: plain iterations from 0, then Newton's."""
        response = np.zeros((STAGES, STAGES))
        for iteration in range(_NEWTON_ITERATIONS):
            mean, square = self.data.responses(field_slope, response)
            plain = iteration < _PLAIN_ITERATIONS
            last, response = (
                response,
                self._better_response(
                    panel, weight_slope, response, mean, None if plain else square
                ),
            )
            if np.abs(response - last).max() <= _NEWTON_TOLERANCE * np.abs(response).max():
                return response
        raise NoCausalResponse

    def _better_response(
        self,
        panel: Panel,
        weight_slope: np.ndarray,
        response: np.ndarray,
        mean: np.ndarray,
        square: np.ndarray | None,
    ) -> np.ndarray:
        """Newton's next R_d = E[H] A with H of E[N(R_d)]; the plain iteration without `square`."""
        coupling = self.ratio * panel.integration @ mean
        of_weights, squares = self.paths.responses(weight_slope, coupling)
        new = of_weights @ panel.integration
        if square is None:
            return new
        feedback = self.ratio * np.einsum(
            "iabk,ap,pcdb,kj->ijcd", squares, panel.integration, square, panel.integration,
            optimize=True,
        )  # fmt: skip
        defect = np.eye(STAGES**2) - feedback.reshape(STAGES**2, STAGES**2)
        step = np.linalg.solve(defect, (new - response).ravel())
        return response + step.reshape(STAGES, STAGES)

    # ------------------------------------------------------------------ what is small

    def _metric(self, fields: DriveRows, slopes: np.ndarray) -> np.ndarray:
        """Maps a change of the rows' drive to its effect on the fields."""
        scale = np.sqrt(self.data.probability @ slopes**2)
        widths = [part.shape[1] for part in (fields.known, fields.fresh, fields.echo)]
        return np.diag(np.tile(np.concatenate([scale, np.ones(sum(widths))]), STAGES))

    def _time_error(self, panel: Panel, weights: Stages, data: Stages, force: np.ndarray) -> float:
        """Embedded estimate of the time error, relative to the weights and to the slopes.

        The difference of the two quadrature rules, filtered by (1 - h gamma dg/dG)^(-1) for stiff
        components, displaces each weight; fields move by as much.
        """
        tableau = radau()
        slope = self.root_variance**2 * weights.slope[:, -1]
        difference = tableau.start_weight * self.forces[:, -1] + force @ tableau.error_weights
        inner = float(self.data.responses(data.slope, np.zeros((STAGES, STAGES)))[0][-1, -1])
        stiffness = 1.0 - panel.step * tableau.start_weight * self.ratio * inner * slope
        moved = slope * panel.step * difference / stiffness
        probability = self.probability
        displacement = math.sqrt(probability @ moved**2)
        size = math.sqrt(probability @ weights.output[:, -1] ** 2)
        chosen = self.data.probability
        curvature = math.sqrt(chosen @ data.slope[:, -1] ** 2 / (chosen @ data.output[:, -1] ** 2))
        return max(displacement / size, _SLOPE_SHARE * curvature * displacement)


def _relative(change: np.ndarray, values: np.ndarray, side: CoordinatePaths | DataPaths) -> float:
    """Largest root mean square of a change over the stages, relative to that of the values."""
    moved, size = np.max(side.probability @ change**2), np.max(side.probability @ values**2)
    return math.sqrt(moved / size) if size > 0.0 else 0.0
