"""The march of one replicate of a flow of the squared loss, panel by panel.

`attempt` solves a panel self-consistently. A sweep solves every path for given rows (R_d, R_p,
L_new) of the panel, then finds the rows for these paths: responses as they come out, noise by a
Newton step, all of it under Anderson acceleration. Usually three or four sweeps settle a panel.
`commit` appends a panel with given rows.

A march is made of parts: the paths of coordinates (sides.py), what the data answer to them
(linear_samples.py), tangents of some of them (tracers.py), and noise that residuals have of their
own (residual_noise.py), with what is accurate enough for it (accuracy.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from dmft.numerics.anderson import Anderson
from dmft.numerics.collocation import STAGES
from dmft.problem import Problem
from dmft.problem.population import Coordinates
from dmft.solver.accuracy import Accuracy, Swept
from dmft.solver.calibration import NoiseRows
from dmft.solver.first_guess import FirstGuess
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.newton import PanelNoise
from dmft.solver.noise import NewRows
from dmft.solver.panel_rows import Attempt, PanelRows
from dmft.solver.panel_time import PanelTime, panel_time
from dmft.solver.residual_noise import Quiet, ResidualNoise
from dmft.solver.response import NoCausalResponse, PanelResponse
from dmft.solver.rest import Rest, rests
from dmft.solver.sampling import PathSet
from dmft.solver.scale_step import ScaleStep
from dmft.solver.sides import CoordinatePaths, Damping, Equation, NoPath, Stages
from dmft.solver.support import Support
from dmft.solver.tracers import Tracers, calibrates, traced_paths

_MOST_SWEEPS = 40
_NEWTON_TOLERANCE = 1e-7  # of a step of the paths, what is left being of the order of its square
_COUNTERS = ("panels", "sweeps", "path_iterations", "tangent_flops", "tangent_bytes")


class March:
    """State of one replicate after the panels committed so far.

    Attributes
    ----------
    paths, samples, tracers, noise, accuracy : its parts.
    root_variance, first_slope : sqrt(s) and dw/dG at the start, of every path.
    time : the end of the last committed panel. times : all nodes, starting at 0.
    initial_error, error : e of every path at t = 0 and on the other nodes, (paths, nodes).
    rows : the unknowns of every committed panel; committing them again repeats the march.
    work : counters.
    """

    def __init__(
        self,
        problem: Problem,
        path_set: PathSet,
        pool: ThreadPoolExecutor | None,
        panels: int,
        rtol: float,
        noise: Callable[[CoordinatePaths, LinearSamples, Accuracy], ResidualNoise] = Quiet,
        supporting: Support | None = None,
        logarithmic: bool = False,
    ) -> None:
        """A march at t = 0.

        noise : makes that of its residuals. supporting : see accuracy.py. logarithmic : whether
        panels are those of log time, see panel_time.py.
        """
        self._path_set = path_set
        self._logarithmic = logarithmic
        self._decay = problem.dynamics.weight_decay
        self.paths = CoordinatePaths(problem, path_set, pool)
        self.root_variance, self.first_slope = self.paths.root_variance, self.paths.first_slope
        first = self.root_variance * (self.paths.start - self.teacher)
        self.initial_error = first[:, None]
        for known in (self.teacher, self.root_variance, first):
            path_set.learn(known)
        self.samples = LinearSamples(problem, path_set, self.initial_error)
        self.accuracy = Accuracy(problem, self.paths, self.samples, first, rtol, supporting)
        self.noise = noise(self.paths, self.samples, self.accuracy)
        self._calibrated = self.noise.calibrates and calibrates(problem)
        self._first_guess = FirstGuess(
            self.paths, self.samples, self.accuracy,
            logarithmic=logarithmic, calibrated=self._calibrated,
        )  # fmt: skip
        decay = self._decay if self._calibrated else 0.0
        self._rest = Rest(self.paths, self.samples, self.accuracy, decay, logarithmic)
        count = path_set.count
        abrupt = supporting is not None and supporting.abrupt
        traced = traced_paths(problem, count, abrupt=abrupt) if self._calibrated else count
        self.tracers = Tracers(problem, path_set, pool, traced, panels, self.accuracy.tolerance)
        self.time = 0.0
        self.times = np.zeros(1)
        self.error = np.zeros((count, 0))
        self._unshifted = np.zeros((count, STAGES))
        self._diagonal, self._last_step, self._last_scale = np.zeros((STAGES, STAGES)), 1.0, 1.0
        self.rows: list[PanelRows] = []
        self.work = dict.fromkeys(_COUNTERS, 0.0)

    # ------------------------------------------------------------------ what is known

    @property
    def coordinates(self) -> Coordinates:
        """Those of every path."""
        return self._path_set.coordinates

    @property
    def strata(self) -> list[slice]:
        """The paths of each stratum."""
        return self._path_set.strata

    @property
    def probability(self) -> np.ndarray:
        """Weight of every path."""
        return self._path_set.probability

    @property
    def teacher(self) -> np.ndarray:
        """w* of every path."""
        return self._path_set.coordinates.teacher

    @property
    def response(self) -> np.ndarray:
        """R_w on the nodes without t = 0."""
        return self.samples.response

    @property
    def risk(self) -> np.ndarray:
        """excess_risk on all nodes."""
        return self.probability @ self.all_errors() ** 2

    @property
    def train_mse(self) -> np.ndarray:
        """Mean squared residual on all nodes, |row of R_r L|^2: never negative."""
        return np.sum(self.residual_factor**2, axis=1)

    @property
    def residual_factor(self) -> np.ndarray:
        """A root of C_r: rows of R_r L on all nodes, t = 0 first."""
        return self.noise.residual_factor()

    def noise_response(self) -> np.ndarray:
        """What the residual of each node takes from each column of the sample's noise."""
        return self.noise.noise_response()

    def charge_decay(self) -> np.ndarray:
        """Factor by which the charge 2ab of a depth-2 path has moved, (paths or 1, nodes)."""
        decay = np.exp(-2.0 * self._decay * self.times)[None, :]
        of_noise = self.noise.charge_decay()
        return decay if of_noise is None else decay * of_noise

    def all_errors(self) -> np.ndarray:
        """e of every path on all nodes, t = 0 first."""
        return np.hstack([self.initial_error, self.error])

    def all_weights(self) -> np.ndarray:
        """w of every path on all nodes, t = 0 first."""
        return self.teacher[:, None] + self.all_errors() / self.root_variance[:, None]

    def all_forces(self) -> np.ndarray:
        """g of every path on all nodes, t = 0 first."""
        force = np.hstack([self.samples.first_force[:, None], self.samples.force])
        return self.root_variance[:, None] * force

    def employ(self, pool: ThreadPoolExecutor | None) -> None:
        """See `Workers.employ`."""
        self.paths.employ(pool)
        self.tracers.employ(pool)

    # ------------------------------------------------------------------ one panel

    def commit(self, rows: PanelRows) -> None:
        """Append the panel with these rows: a pure function of the state and the rows."""
        panel = self._panel(rows.step)
        felt = panel.nothing() if rests(rows) else panel
        stages = self._first_guess.again(felt, self.times, self.error)
        drive = self._drive(rows)
        damping = self.noise.damping(rows.step, rows.intensity)
        coupling = felt.integration @ rows.inverse
        self._solve(stages, felt.elapsed, coupling, drive, damping, _NEWTON_TOLERANCE)
        error = self._error_of(stages)
        found = self.samples.drive.basis.rows(error, np.inf, rows.active)
        self.accuracy.commit(stages.slope)
        self.tracers.advance(stages.slope, rows, felt.integration)
        self.samples.commit(rows, found, self.samples.force_of(error, drive, rows.inverse))
        self.noise.commit(rows)
        self.paths.restart(stages.unknown[:, -1], felt.elapsed[-1], damping)
        self.error = np.hstack([self.error, error])
        self._diagonal, self._last_step = rows.diagonal, rows.step
        self._last_scale = float(rows.scale[-1])
        self.times = np.append(self.times, self.time + panel.elapsed)
        self.time = float(self.times[-1])
        self.work["panels"] += 1
        self.rows.append(rows)

    def attempt(self, step: float, active: np.ndarray | None = None) -> Attempt | None:
        """Solve the panel of length `step`; None when its equations have no solution.

        active : the stages that get a noise direction; by default those that add to the noise.
        """
        if self.rows and rests(self.rows[-1]):
            return self._resting(step)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
                attempt = self._attempt(step, active)
        except (NoCausalResponse, NoPath, np.linalg.LinAlgError):
            return self._resting(step)
        parts = (attempt.rows.flat(), attempt.time_error)
        if not all(np.isfinite(part).all() for part in parts):
            return self._resting(step)
        lingers = self._rest.lingers(attempt.rows, self.time, self.error[:, -1:])
        return attempt if attempt.converged and not lingers else self._resting(step) or attempt

    def _resting(self, step: float) -> Attempt | None:
        """The panel in which all stays as it is; None where something moves."""
        return self._rest.attempt(self.rows, step, self.error[:, -1:]) if self.rows else None

    def _attempt(self, step: float, active: np.ndarray | None) -> Attempt:
        samples, basis = self.samples, self.samples.drive.basis
        time = self._panel(step)
        integration, elapsed = time.integration, time.elapsed
        stages = self._first_guess(time, self.times, self.error)
        self.paths.evaluate(stages, elapsed, self.noise.damping(step, self.noise.guess()))
        error = self._error_of(stages)
        least = self.accuracy.least_news() if active is None else np.inf
        active = np.zeros(STAGES, dtype=bool) if active is None else active
        found = basis.rows(error, least, active)
        active = active | found.active
        rows = self._predicted_rows(step, stages, integration, found)
        factor = samples.residual(rows)
        fresh = samples.drive.fresh(STAGES)
        noise = PanelNoise(
            self.probability, samples.ratio, samples.drive.normals, fresh, basis.paths
        )
        past = samples.force[self.tracers.index]
        acceleration = Anderson(self.noise.metric(rows, self.tracers.probability, past))
        precision = max(self.accuracy.path_tolerance(self.error), _NEWTON_TOLERANCE)
        converged, sweep, last_change = False, 0, 0.0
        while sweep < _MOST_SWEEPS and not converged:
            sweep += 1
            drive, inverse = self._drive(rows), rows.inverse
            damping = self.noise.damping(step, rows.intensity)
            self._solve(stages, elapsed, integration @ inverse, drive, damping, precision)
            previous, error = error, self._error_of(stages)
            force = samples.force_of(error, drive, inverse)
            swept = Swept(rows, stages.slope, error, force)
            panel = self.tracers.diagonal(stages.slope, integration, rows.scale, rows.diagonal)
            found = basis.rows(error, least, active, passes=1)
            active = active | found.active  # never given up again, or the sweeps might flicker
            better = self._better_rows(panel, found, swept, noise)
            last_factor, factor = factor, samples.residual(better)
            intensity = self.noise.intensity(rows, better, factor)
            better = replace(better, intensity=intensity)
            change = max(
                self.accuracy.change(error - previous, error, factor - last_factor, factor),
                self.noise.unsettled(rows, better),
            )
            # What another sweep would change is small: the commit solves the paths once more.
            converged = change < 1.0 or change**2 < last_change
            last_change = change
            mixed = acceleration.mix(rows.flat(), better.flat())
            rows = better if converged else better.like(mixed)
        self._count(sweep)
        time_error = self.noise.time_error(swept, better, sweep)
        return Attempt(rows, sweep, time_error, converged, self.accuracy.rtol)

    def _panel(self, step: float) -> PanelTime:
        return panel_time(self.time, step, growth=self.paths.growth, logarithmic=self._logarithmic)

    def _drive(self, rows: PanelRows) -> np.ndarray:
        samples = self.samples
        drive = samples.drive_of(rows, samples.drive.fresh(STAGES))
        return self.noise.added(drive, rows)

    def _solve(
        self,
        stages: Stages,
        elapsed: np.ndarray,
        coupling: np.ndarray,
        drive: np.ndarray,
        damping: Damping | None,
        precision: float,
    ) -> None:
        equation = Equation(
            coupling, self.samples.ratio, self.teacher, drive, self._unshifted, precision
        )
        self.work["path_iterations"] += self.paths.solve(stages, elapsed, equation, damping)

    def _error_of(self, stages: Stages) -> np.ndarray:
        return self.root_variance[:, None] * (stages.output - self.teacher[:, None])

    def _predicted_rows(
        self, step: float, stages: Stages, integration: np.ndarray, noise: NewRows
    ) -> PanelRows:
        """Rows for paths that keep following their last force."""
        scale = np.full(STAGES, self._last_scale)
        longer = self._diagonal * (step / self._last_step)
        panel = self.tracers.diagonal(stages.slope, integration, scale, longer)
        past = self.tracers.past(panel).rows
        intensity = self.noise.guess()
        return PanelRows(step, scale, panel.diagonal, past, noise.known, noise.fresh, intensity)

    def _better_rows(
        self, panel: PanelResponse, found: NewRows, swept: Swept, noise: PanelNoise
    ) -> PanelRows:
        """Rows for the present paths: calibrated responses, noise by one Newton step."""
        rows, samples = swept.rows, self.samples
        current = np.concatenate([rows.known, rows.fresh], axis=1)
        gain = self.paths.gains(swept.slope, panel.coupling, samples.ratio)
        response, scale = self.tracers.past(panel), rows.scale
        diagonal, past = panel.diagonal, response.rows
        calibrated, following = self._calibrated and past.size > 0, None
        if calibrated:
            tangents = NoiseRows(
                samples.factor[1:], current, diagonal, past, panel.changes, response.changes()
            )
            scales = ScaleStep(
                tangents, swept, samples, self.accuracy, self.probability, gain, noise.normals
            )
            following = scales.following() if self.accuracy.late() else None
            growth = scales.growth
            diagonal, past = tangents.rows(growth)
        memory = samples.force @ (past - rows.past).T
        memory = memory + swept.force @ (diagonal - rows.diagonal).T
        step = noise.newton_step(gain, found, current, memory, following)
        if following is not None:
            growth = scales.with_noise(step, following)
            diagonal, past = tangents.rows(growth)
        if calibrated:
            scale = scale * np.exp(growth)
        better = current + step
        known, fresh = np.split(better, [samples.drive.basis.rank], axis=1)
        return PanelRows(rows.step, scale, diagonal, past, known, fresh, rows.intensity)

    def _count(self, sweeps: int) -> None:
        """Work of one panel: each sweep reads all tangents once, so does the commit."""
        entries = self.tracers.entries
        self.work["sweeps"] += sweeps
        self.work["tangent_flops"] += 2.0 * entries * (STAGES**2 * (sweeps + 1) + STAGES)
        self.work["tangent_bytes"] += self.tracers.entry_bytes * entries * (sweeps + 2)
