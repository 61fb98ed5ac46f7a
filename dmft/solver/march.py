"""The march of one replicate: every new panel is solved self-consistently, then committed.

A sweep solves every path for given rows (R_d, R_p, L_new) of the panel, then finds the rows for
these paths: responses as they come out, noise by a Newton step, all of it under Anderson
acceleration. Usually three or four sweeps settle a panel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.numerics.anderson import Anderson
from dmft.numerics.collocation import STAGES, radau
from dmft.problem.networks import LINEAR
from dmft.solver.calibration import NoiseRows, scale_growth
from dmft.solver.newton import PanelNoise
from dmft.solver.noise import NewRows
from dmft.solver.response import (
    NoCausalResponse,
    PanelResponse,
    PastResponse,
    diagonal_response,
    past_response,
)
from dmft.solver.state import SWEEP_TOLERANCE, NoPath, PanelRows, Stages, State
from dmft.solver.support import supported_rtol

_MOST_SWEEPS = 40
# Relative to their start, below which precision of residual and error is absolute: both may vanish.
# A vanishing residual has a sampling error of many percent, but on the linear network.
_RESIDUAL_FLOOR, _LINEAR_RESIDUAL_FLOOR = 1e-4, 1e-6
_ERROR_FLOOR = 1e-4
# How much of the time error of the residual counts, and below which force, relative to the first,
# it is absolute.
_RESIDUAL_SHARE, _FORCE_FLOOR = 0.05, 1e-3
_LINEAR_RESIDUAL_SHARE, _LINEAR_FORCE_FLOOR = 0.3, 1e-6
# What a node must add to the noise to get a direction, times residual and tolerance. News left out
# are missed by C_r between this node and later ones that have more of them: half of rtol, measured.
_LEAST_NEWS = 20.0
# Of the change of e that counts: a smaller response to noise is not calibrated.
_LEAST_RESPONSE = 1e-2
_NOTHING = 1e-300


@dataclass(frozen=True)
class Attempt:
    """Outcome of solving a panel.

    rows : its unknowns. sweeps : used. time_error : estimated, relative. converged : or not.
    rtol : the tolerance that the sample supports, if that is looser than what was asked for.
    """

    rows: Any
    sweeps: int
    time_error: float
    converged: bool
    rtol: float = 0.0


@dataclass(frozen=True)
class Swept:
    """Paths of a sweep on the stages, all (paths, stages), and the rows they follow."""

    rows: PanelRows
    slope: np.ndarray
    error: np.ndarray
    force: np.ndarray


class March(State):
    """A replicate that can attempt its next panel."""

    def attempt(self, step: float, active: np.ndarray | None = None) -> Attempt | None:
        """Solve the panel of length `step`; None when its equations have no solution.

        active : the stages that get a noise direction; by default those that add to the noise.
        """
        try:
            attempt = self._attempt(step, active)
        except (NoCausalResponse, NoPath, np.linalg.LinAlgError):
            return None
        finite = all(np.isfinite(part).all() for part in (attempt.rows.flat(), attempt.time_error))
        return attempt if finite else None

    def _attempt(self, step: float, active: np.ndarray | None) -> Attempt:
        tableau = radau(self._growth * step)
        integration, elapsed = step * tableau.integration, step * tableau.nodes
        stages = self._guess(integration, elapsed)
        self._evaluate(stages, elapsed)
        self._tolerate(stages)
        error = self._error_of(stages)
        least = self._least_news() if active is None else np.inf
        active = np.zeros(STAGES, dtype=bool) if active is None else active
        found = self.basis.rows(error, least, active)
        active = active | found.active
        rows = self._predicted_rows(step, stages, integration, found)
        factor = rows.inverse @ self._factor_input(rows)
        innovations = self._path_set.innovations(STAGES)
        noise = PanelNoise(self.probability, self.ratio, self.noise, innovations, self.basis.paths)
        acceleration = Anderson(self._metric(error, rows))
        converged, sweep = False, 0
        while sweep < _MOST_SWEEPS and not converged:
            sweep += 1
            inverse, drive = rows.inverse, self._drive(rows, innovations)
            self._solve(stages, elapsed, integration @ inverse, drive)
            previous, error = error, self._error_of(stages)
            force = (self.ratio * error + drive) @ inverse.T
            panel = self._diagonal_response(stages, integration, rows.scale, rows.diagonal)
            found = self.basis.rows(error, least, active)
            active = active | found.active  # never given up again, or the sweeps might flicker
            swept = Swept(rows, stages.slope, error, force)
            better = self._better_rows(panel, found, swept, noise)
            rows = better.like(acceleration.mix(rows.flat(), better.flat()))
            last_factor, factor = factor, better.inverse @ self._factor_input(better)
            change = self._change(error - previous, error, factor - last_factor, factor)
            converged = change < 1.0
            if converged:
                rows = better
        self._count(sweep)
        error_of_time = self._time_error(step, stages, force, error)
        return Attempt(rows, sweep, error_of_time, converged, self.rtol)

    def _tolerate(self, stages: Stages) -> None:
        """Set the tolerance of a panel that begins on these stages."""
        if self._supporting is not None:
            supported = supported_rtol(self._concentrated(stages), self._supporting)
            self.rtol = max(self._rtol, supported)
            self._tolerance = SWEEP_TOLERANCE * self.rtol

    def _least_news(self) -> float:
        """What a node must add to the noise to get a direction, see `NoiseBasis.rows`.

        Directions that the first few moving paths define differ between samples, and with them
        all that follow, which would undo the rotation of the noise (pilot.py).
        """
        if self._law[0] == LINEAR:
            return 0.0
        residual = float(np.linalg.norm(self.factor[-1]) / np.linalg.norm(self.factor[0]))
        return _LEAST_NEWS * self._tolerance * residual

    def _predicted_rows(
        self, step: float, stages: Stages, integration: np.ndarray, noise: NewRows
    ) -> PanelRows:
        """Rows for paths that keep following their last force."""
        scale = np.full(STAGES, self._last_scale)
        longer = self._diagonal * (step / self._last_step)
        panel = self._diagonal_response(stages, integration, scale, longer)
        past = self._past_response(panel).rows
        return PanelRows(step, scale, panel.diagonal, past, noise.known, noise.fresh)

    def _diagonal_response(
        self, stages: Stages, integration: np.ndarray, scale: np.ndarray, guess: np.ndarray
    ) -> PanelResponse:
        return diagonal_response(
            self._tracers, self.traced_probability, self._traced_root_variance,
            stages.slope[self.traced], integration, self.ratio, scale, guess,
        )  # fmt: skip

    def _past_response(self, panel: PanelResponse) -> PastResponse:
        return past_response(
            self._tracers, self._tangents, self.traced_probability, self._traced_root_variance,
            panel,
        )  # fmt: skip

    def _metric(self, error: np.ndarray, rows: PanelRows) -> np.ndarray:
        """Maps a change of the rows, one stage after the other, to its effect on the force.

        R_d acts on the new force, whose scale is that of the last one, R_p on the past force
        (through a root of its second moment) and L on unit noise.
        """
        force = np.sqrt(self.traced_probability)[:, None] * self.force[self.traced]
        past: np.ndarray = np.zeros((0, 0))
        if force.shape[1]:
            past = np.asarray(np.linalg.qr(force, mode="r"))
        scale = math.sqrt(self.probability @ self._force_now**2)
        noise = math.sqrt(self.ratio) * np.eye(rows.known.shape[1] + rows.fresh.shape[1])
        ends = np.cumsum([0, STAGES, len(past), len(noise)])
        stage = np.zeros((ends[-1], sum(part.shape[1] for part in (self._diagonal, past, noise))))
        column = 0
        for row, part in zip(ends, (scale * np.eye(STAGES), past, noise), strict=False):
            height, width = part.shape
            stage[row : row + height, column : column + width] = part
            column += width
        return np.kron(np.eye(STAGES), stage)

    def _better_rows(
        self, panel: PanelResponse, found: NewRows, swept: Swept, noise: PanelNoise
    ) -> PanelRows:
        """Rows for the present paths: calibrated responses, noise by one Newton step."""
        rows = swept.rows
        current = np.hstack([rows.known, rows.fresh])
        gain = self._gains(swept.slope, panel.coupling)
        response, scale = self._past_response(panel), rows.scale
        diagonal, past = panel.diagonal, response.rows
        if self.calibrated and past.size:
            tangents = NoiseRows(
                self.factor[1:], current, diagonal, past, panel.changes, response.changes()
            )
            growth = self._scale_growth(gain, noise.normals, swept, tangents)
            diagonal, past = tangents.rows(growth)
            scale = scale * np.exp(growth)
        memory = self.force @ (past - rows.past).T + swept.force @ (diagonal - rows.diagonal).T
        better = current + noise.newton_step(gain, found, current, memory)
        known, fresh = np.split(better, [self.basis.rank], axis=1)
        return PanelRows(rows.step, scale, diagonal, past, known, fresh)

    def _gains(self, slope: np.ndarray, coupling: np.ndarray) -> np.ndarray:
        """H C of every path, (paths, stages, stages): how its error follows its drive."""
        from dmft.solver.kernels import panel_gains

        gain = np.empty((self._path_set.count, STAGES, STAGES))

        def fill(c: slice) -> None:
            panel_gains(self.root_variance[c], slope[c], coupling, self.ratio, gain[c])

        self._workers.map(fill)
        return gain

    def _scale_growth(
        self, gain: np.ndarray, noise: np.ndarray, swept: Swept, tangents: NoiseRows
    ) -> np.ndarray:
        """By how much the logarithms of the scales grow to calibrate responses, (stages,)."""
        rows = swept.rows
        towards, _ = tangents.response(np.zeros(STAGES))
        seen = _LEAST_RESPONSE * self._tolerance * self._size(swept.error)
        if math.sqrt(self.ratio) * np.linalg.norm(towards) < seen:
            return np.zeros(STAGES)  # e z is rounding errors, or so few paths that nobody sees it
        towards /= np.linalg.norm(towards, axis=1)[:, None] + _NOTHING
        along = self.probability[:, None] * (noise @ towards.T) / math.sqrt(self.ratio)
        followed = (along[:, :, None] * gain).reshape(len(along), -1).T
        of_past = (followed @ self.force).reshape(STAGES, STAGES, -1)
        of_panel = (followed @ swept.force).reshape(STAGES, STAGES, -1)

        def moved(past: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
            """Change of E[e z] for a change of the rows, whose axes are the last two."""
            return np.asarray(
                np.einsum("ijk,...jk->...i", of_past, past)
                + np.einsum("ijk,...jk->...i", of_panel, diagonal)
            )

        moment = np.sum(along * swept.error, axis=0)
        moment += moved(tangents.past - rows.past, tangents.diagonal - rows.diagonal)
        reaction = moved(tangents.past_changes, tangents.diagonal_changes).T
        return scale_growth(tangents, towards, moment, reaction, rows.scale)

    def _change(
        self,
        error_change: np.ndarray,
        error: np.ndarray,
        factor_change: np.ndarray,
        factor: np.ndarray,
    ) -> float:
        """How far weights and residual moved in the last sweep; below 1 a panel has settled."""
        moved = math.sqrt(float(np.max(self.probability @ error_change**2)))
        size = self._size(error)
        floor = _LINEAR_RESIDUAL_FLOOR if self._law[0] == LINEAR else _RESIDUAL_FLOOR
        residual = np.linalg.norm(factor, axis=1) + floor * self.factor[0, 0]
        residual_moved = np.max(np.linalg.norm(factor_change, axis=1) / residual)
        return max(moved / size, 0.1 * float(residual_moved)) / self._tolerance

    def _size(self, error: np.ndarray) -> float:
        """Root of the excess risk at the last stage, no smaller than what can matter."""
        start = math.sqrt(float(self.probability @ self.initial_error[:, 0] ** 2))
        return math.sqrt(float(self.probability @ error[:, -1] ** 2)) + _ERROR_FLOOR * start

    def _time_error(
        self, step: float, stages: Stages, force: np.ndarray, error: np.ndarray
    ) -> float:
        """Embedded estimate of the time error, relative to the error e and to the force.

        The difference of the two quadrature rules, filtered by (1 - h gamma df/dG)^(-1) for stiff
        components, displaces each path; the root mean square over paths is compared with that of
        the error e, and with that of the force.
        """
        tableau = radau()
        slope = self.root_variance * stages.slope[:, -1]
        difference = tableau.start_weight * self._force_now + force @ tableau.error_weights
        stiffness = 1.0 - step * tableau.start_weight * self.ratio * self.root_variance * slope
        moved = slope * self.root_variance * step * difference / stiffness
        displacement = math.sqrt(self.probability @ moved**2)
        linear = self._law[0] == LINEAR
        share = _LINEAR_RESIDUAL_SHARE if linear else _RESIDUAL_SHARE
        floor = _LINEAR_FORCE_FLOOR if linear else _FORCE_FLOOR
        forces = math.sqrt(self.probability @ force[:, -1] ** 2)
        first = self.ratio * math.sqrt(self.probability @ self.initial_error[:, 0] ** 2)
        residual_error = self.ratio * displacement / (forces + floor * first)
        return max(displacement / self._size(error), share * residual_error)

    def _count(self, sweeps: int) -> None:
        """Work of one panel: each sweep reads all tangents once, so does the commit."""
        entries = len(self.traced) * self._tangents.used()
        self.work["sweeps"] += sweeps
        self.work["tangent_flops"] += 2.0 * entries * (STAGES**2 * (sweeps + 1) + STAGES)
        self.work["tangent_bytes"] += self._tangents.packed.itemsize * entries * (sweeps + 2)
