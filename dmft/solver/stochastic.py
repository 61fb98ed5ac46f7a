"""The march of stochastic gradient flow: white noise on the residuals, on the same panels.

Mini-batches add to every residual white noise of intensity I(t) = step_size N(t), N that of
docs/finite-steps.md. On a panel it is a polynomial through the stages, nu = A^(-1) B eta with
independent standard normals eta and B_ij = sqrt(Q_j - Q_(j-1)) for j <= i, Q_i = int_0^(c_i h) I:
the accumulated noise A nu then has at the stages exactly the law of a Brownian motion with
quadratic variation Q. At depth 2 noise also damps both factors (Ito),
    a = exp(p - G - lambda tau - s delta Q/2),    b = exp(q + G - lambda tau - s delta Q/2),
so that the charge 2ab falls by exp(-s delta Q), whatever the path.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.numerics.collocation import STAGES, lagrange, radau
from dmft.problem import Problem
from dmft.problem.dynamics import StochasticGradientFlow
from dmft.problem.networks import DEPTH_TWO
from dmft.solver.march import Attempt, March, Swept
from dmft.solver.newton import PanelNoise
from dmft.solver.noise import NewRows
from dmft.solver.response import PanelResponse
from dmft.solver.sampling import PathSet
from dmft.solver.state import PanelRows, Stages

_LEAST_INTENSITY = 1e-300
_VANISHED = 1e-4  # of its start, below which an intensity has to be known absolutely
_SWEEPS = 14.0  # that a pilot aims at
_RESIDUAL_SHARE, _SMALL_RESIDUAL = 0.07, 0.01  # how much train_mse counts, and below which start
_GROWTH = 0.35  # largest length of a panel relative to the time where it starts
_KICKS = 0.02  # time error of excess_risk per squared share of it that a panel's noise adds


@dataclass(frozen=True)
class StochasticRows(PanelRows):
    """The unknowns of a panel, and `intensity`: I at its stages, shape (stages, 1)."""

    intensity: np.ndarray

    def flat(self) -> np.ndarray:
        """All unknowns side by side, one row per stage, as one vector."""
        parts = [self.diagonal, self.past, self.known, self.fresh, self.intensity]
        return np.hstack(parts).ravel()

    def like(self, flat: np.ndarray) -> StochasticRows:
        """The rows whose `flat` is given; an intensity is never negative."""
        values = flat.reshape(len(self.diagonal), -1)
        rows = PanelRows.like(self, values[:, :-1].ravel())
        return _with_intensity(rows, np.maximum(values[:, -1:], 0.0))


def _with_intensity(rows: PanelRows, intensity: np.ndarray) -> StochasticRows:
    return StochasticRows(
        rows.step,
        rows.scale,
        rows.diagonal,
        rows.past,
        rows.known,
        rows.fresh,
        np.asarray(intensity),
    )


class StochasticMarch(March):
    """A replicate of stochastic gradient flow.

    Attributes
    ----------
    batch_factor : rows of R_r on the noise eta of all panels, (nodes, 3 panels), t = 0 first.
    fresh_factor : the part of it that is the noise of the node's own panel.
    variation : Q since t = 0 on all nodes, shape (nodes,).
    cautious : whether many sweeps count as a time error, so that a pilot chooses panels on which
        replicates converge as well.
    """

    cautious = False

    @classmethod
    def _calibrates(cls, problem: Problem) -> bool:
        return False

    def __init__(
        self,
        problem: Problem,
        path_set: PathSet,
        pool: ThreadPoolExecutor | None,
        panels: int,
        rtol: float,
    ) -> None:
        assert isinstance(problem.dynamics, StochasticGradientFlow)
        self._dynamics = problem.dynamics
        self.batch_factor: np.ndarray = np.zeros((1, 0))
        self.fresh_factor: np.ndarray = np.zeros((1, 0))
        self.variation: np.ndarray = np.zeros(1)
        super().__init__(problem, path_set, pool, panels, rtol)
        self._scale = _variances(problem, path_set) * self.ratio
        # A chunk of paths shares its damping, so no chunk crosses a stratum.
        edges = {c.start for c in self._workers.chunks} | {c.start for c in path_set.strata}
        ends = sorted(edges | {path_set.count})
        self._workers.chunks = [slice(a, b) for a, b in pairwise(ends)]
        self._ends = [(0.0, self._intensity_of(float(self.train_mse[0])))]
        self._smooth_now = self._force_now
        self._loading: np.ndarray = np.zeros((STAGES, STAGES))
        self._panel_variation: np.ndarray = np.zeros(STAGES)
        self._brownian: np.ndarray = np.zeros((STAGES, STAGES))
        self._residual_rows: np.ndarray = np.zeros((STAGES, 0))
        self._unsettled = 0.0

    # ------------------------------------------------------------------ kernels

    @property
    def residual_factor(self) -> np.ndarray:
        """A root of C_r: what residuals take from noise, without the noise of the batch itself."""
        return np.hstack([self.factor, self.batch_factor - self.fresh_factor])

    def noise_response(self) -> np.ndarray:
        """R_r [L, nu] with columns in the order in which the sample's noise is drawn."""
        parts = [self.factor[:, :1]]
        for panel in range(len(self.rows)):
            of_weights = slice(1 + panel * STAGES, 1 + (panel + 1) * STAGES)
            of_batches = slice(panel * STAGES, (panel + 1) * STAGES)
            parts += [self.factor[:, of_weights], self.batch_factor[:, of_batches]]
        return np.hstack(parts)

    def charge_decay(self) -> np.ndarray:
        """Factor by which the charge 2ab of every path has moved, (paths, nodes)."""
        return super().charge_decay() * np.exp(-self._scale[:, None] * self.variation)

    def _intensity_of(self, train_mse: float) -> float:
        return self._dynamics.step_size * self._dynamics.noise_variance(train_mse)

    def _on_stages(self, step: float, end: float) -> np.ndarray:
        """I at the stages, from the ends of this panel and of the last two.

        Second moments at the end of a panel are far more accurate than at the stages inside, where
        collocation lets noise act before its time.
        Parabola in log I, line in I if it vanishes.
        """
        times = np.array([time for time, _ in self._ends[-2:]] + [self.time + step])
        values = np.array([value for _, value in self._ends[-2:]] + [end])
        at = self.time + step * radau().nodes
        if np.all(values > 0.0):
            return np.exp(lagrange(times - self.time, at - self.time) @ np.log(values))
        return np.interp(at, times, values)

    # ------------------------------------------------------------------ one panel

    def attempt(self, step: float, active: np.ndarray | None = None) -> Attempt | None:
        """Solve the panel of length `step`; None when its equations have no solution."""
        self._use(step, np.full((STAGES, 1), self._ends[-1][1]))
        attempt = super().attempt(step, active)
        if attempt is None or not self.cautious:
            return attempt
        # The fourth power makes the control of the step aim at this number of sweeps.
        effort = self._rtol * (attempt.sweeps / _SWEEPS) ** 4
        return replace(attempt, time_error=max(attempt.time_error, effort))

    def commit(self, rows: PanelRows) -> None:
        """Append the panel with these rows: a pure function of the state and the rows."""
        assert isinstance(rows, StochasticRows)
        self._use(rows.step, rows.intensity)
        white = self._white()[:, -1]
        super().commit(rows)
        self._smooth_now = self._force_now - white
        self._path_set.use(STAGES)
        self._ends.append((self.time, float(rows.intensity[-1, 0])))

    def _use(self, step: float, intensity: np.ndarray) -> None:
        """Loading B of the panel's noise and its Q, from the intensity at the stages."""
        integration = step * radau().integration
        variation = np.maximum.accumulate(np.maximum(integration @ intensity[:, 0], 0.0))
        steps = np.sqrt(np.diff(variation, prepend=0.0))
        brownian: np.ndarray = np.tril(np.tile(steps, (STAGES, 1)))
        self._panel_variation = variation
        self._brownian = brownian
        self._loading = np.asarray(np.linalg.solve(integration, brownian))

    def _white(self) -> np.ndarray:
        """sqrt(delta) nu of every path, (paths, stages)."""
        noise = self._path_set.innovations(2 * STAGES)[:, STAGES:]
        return math.sqrt(self.ratio) * noise @ self._loading.T

    def _drive(self, rows: PanelRows, innovations: np.ndarray) -> np.ndarray:
        assert isinstance(rows, StochasticRows)
        self._use(rows.step, rows.intensity)
        return super()._drive(rows, innovations) + self._white()

    def _predicted_rows(
        self, step: float, stages: Stages, integration: np.ndarray, noise: NewRows
    ) -> PanelRows:
        rows = super()._predicted_rows(step, stages, integration, noise)
        return _with_intensity(rows, np.full((STAGES, 1), self._ends[-1][1]))

    def _better_rows(
        self, panel: PanelResponse, found: NewRows, swept: Swept, noise: PanelNoise
    ) -> PanelRows:
        rows = swept.rows
        assert isinstance(rows, StochasticRows)
        better = super()._better_rows(panel, found, swept, noise)
        factor = better.inverse @ self._factor_input(better)
        batches = self._batch_rows(better, better.inverse)
        batches[:, -STAGES:] -= self._loading
        self._residual_rows = np.hstack([factor, batches])
        last = float(np.sum(self._residual_rows[-1] ** 2))
        intensity = self._on_stages(rows.step, self._intensity_of(last))
        moved = np.abs(intensity - rows.intensity[:, 0])
        scale = intensity + _VANISHED * self._ends[0][1] + _LEAST_INTENSITY
        self._unsettled = float(np.max(moved / scale))
        return _with_intensity(better, intensity[:, None])

    def _batch_rows(self, rows: PanelRows, inverse: np.ndarray) -> np.ndarray:
        """Rows of R_r on the noise eta, known and new."""
        return inverse @ np.hstack([rows.past @ self.batch_factor[1:], self._loading])

    def _change(self, *changes: Any) -> float:
        """How far weights, residual and intensity moved."""
        return max(super()._change(*changes), 0.1 * self._unsettled / self._tolerance)

    def _metric(self, error: np.ndarray, rows: PanelRows) -> np.ndarray:
        """No residual counts, which leaves the iteration as it is: with rough paths, combining
        sweeps takes twice as many (13 to 20 a panel instead of 6 to 9, measured).
        """
        return np.zeros((1, rows.flat().size))

    # ------------------------------------------------------------------ paths

    def _damping(self, chunk: slice, elapsed: np.ndarray) -> np.ndarray:
        """lambda tau + s delta Q/2 at the stages, for the paths of a chunk."""
        return self._decay * elapsed + 0.5 * self._scale[chunk.start] * self._panel_variation

    def _evaluate(self, stages: Stages, elapsed: np.ndarray) -> None:
        from dmft.solver.kernels import weights_on_stages

        if self._law[0] != DEPTH_TWO:
            return super()._evaluate(stages, elapsed)

        def evaluate(c: slice) -> None:
            weights_on_stages(
                *self._law[:2], 1.0, 0.0, self._p[c], self._q[c], stages.accumulated[c],
                self._damping(c, elapsed), stages.weights[c], stages.slope[c],
            )  # fmt: skip

        self._workers.map(evaluate)
        return None

    def _solve(
        self, stages: Stages, elapsed: np.ndarray, coupling: np.ndarray, drive: np.ndarray
    ) -> None:
        from dmft.solver.kernels import solve_paths

        if self._law[0] != DEPTH_TWO:
            return super()._solve(stages, elapsed, coupling, drive)

        def solve(c: slice) -> tuple[int, int]:
            return solve_paths(
                *self._law[:2], 1.0, 0.0, self._p[c], self._q[c], self.root_variance[c],
                self.teacher[c], self._damping(c, elapsed), coupling, self.ratio, drive[c],
                stages.accumulated[c], stages.weights[c], stages.slope[c],
            )  # fmt: skip

        self._count_paths(self._workers.map(solve))
        return None

    def _advance_state(self, accumulated: np.ndarray, step: float) -> None:
        super()._advance_state(accumulated, step)
        if self._law[0] == DEPTH_TWO:
            damping = 0.5 * self._scale * self._panel_variation[-1]
            self._p, self._q = self._p - damping, self._q - damping

    def _advance_kernels(self, rows: PanelRows, inverse: np.ndarray) -> None:
        new = self._batch_rows(rows, inverse)
        fresh = np.zeros_like(new)
        fresh[:, -STAGES:] = self._loading
        for name, added in (("batch_factor", new), ("fresh_factor", fresh)):
            padded = np.pad(getattr(self, name), ((0, 0), (0, STAGES)))
            setattr(self, name, np.vstack([padded, added]))
        self.variation = np.append(self.variation, self.variation[-1] + self._panel_variation)
        super()._advance_kernels(rows, inverse)

    def _time_error(
        self, step: float, stages: Stages, force: np.ndarray, error: np.ndarray
    ) -> float:
        """Relative error of excess_risk: what the displacement of paths does to their average.

        The path of a noisy coordinate is rough and no panel follows it closely, but averages do
        not need that. The embedded displacement, without the force that the panel's own noise
        leads to, counts by its correlation with the error e, as far as that is significant. What
        the noise itself adds to the risk, x, is known to a share of the part of it that has
        relaxed within the panel; measured, the error is below _KICKS x^2.
        """
        tableau = radau()
        slope = self.root_variance[:, None] * stages.slope
        noise = self._path_set.innovations(2 * STAGES)[:, STAGES:] @ self._brownian.T
        kicks = math.sqrt(self.ratio) * self.root_variance[:, None] * slope * noise
        smooth = force - self._white() - self.ratio * kicks
        difference = tableau.start_weight * self._smooth_now + smooth @ tableau.error_weights
        rate = -self.ratio * self.root_variance * slope[:, -1]
        moved = self.root_variance * slope[:, -1] * step * difference
        moved /= 1.0 + step * tableau.start_weight * rate
        product = error[:, -1] * moved
        mean, square = self.probability @ product, self.probability @ product**2
        significant = max(abs(mean) - 2.0 * math.sqrt(square / self._path_set.count), 0.0)
        relaxed = self.probability @ (kicks[:, -1] ** 2 * np.minimum(1.0, rate * step))
        size = self._size(error) ** 2
        error_of_risk = float(significant / size + _KICKS * (relaxed / size) ** 2)
        # Of train_mse: the part y that the panel's own noise makes is known to y^4, measured on the
        # linear model. As in other flows it may be less exact, and all the more once it is small.
        train = float(np.sum(self._residual_rows[-1] ** 2))
        own = float(np.sum(self._residual_rows[-1, -STAGES:] ** 2))
        matters = _RESIDUAL_SHARE * train / (train + _SMALL_RESIDUAL * self.train_mse[0])
        error_of_train = matters * (own / (train + _LEAST_INTENSITY)) ** 4
        # Curves are known at the ends of panels; they should not be too far apart. The fourth power
        # makes the control of the step choose exactly this growth.
        growth = (step / (_GROWTH * self.time)) ** 4 if self.time else 0.0
        return max(error_of_risk, error_of_train, self._rtol * growth)


def _variances(problem: Problem, path_set: PathSet) -> np.ndarray:
    """s of every path, constant within a stratum.

    Raises
    ------
    InputError : feature variances of a continuous law.
    """
    variance = path_set.coordinates.variance
    for stratum in path_set.strata:
        values = variance[stratum]
        if problem.network.code == DEPTH_TWO and np.ptp(values) > 1e-12 * values.max():
            raise InputError(
                "given a continuous law, must be isotropic or discrete with few values under "
                "'stochastic-gradient-flow'; 'sgd' takes any",
                "problem.features",
            )
    return variance
