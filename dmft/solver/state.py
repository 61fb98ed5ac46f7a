"""State of one replicate after the panels committed so far, and how a panel is committed.

With F the force on sqrt(s) w and e = sqrt(s)(w - w*), the effective process on all nodes reads
    F = R_r (delta e + sqrt(delta) rho),    R_r = (1 - R_w)^(-1),    rho = L xi,
so its rows of a new panel need only their own unknowns and the force of the past:
    F_new = inv (delta e_new + b),    b = sqrt(delta) L_new xi + R_p F_past.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dmft.numerics.collocation import STAGES, lagrange, radau
from dmft.numerics.workers import Workers
from dmft.problem import Problem
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR
from dmft.solver.network_state import initial_state, moved_state
from dmft.solver.noise import NoiseBasis
from dmft.solver.response import Tangents
from dmft.solver.sampling import PathSet
from dmft.solver.support import concentration

SWEEP_TOLERANCE = 0.1  # of rtol: to which the sweeps of a panel settle and noise directions count
_LONGEST_GUESS = 3.0
_SINGLE = 1e-6  # tolerance from which on tangents are stored in single precision
# Calibrated responses (calibration.py) take only their shape from tangents: fewer paths need them.
_TRACED_SHARE, _LEAST_TRACED = 1.0 / 8.0, 512


class NoPath(ArithmeticError):
    """Some path has no solution on the panel's stages."""


@dataclass(frozen=True)
class PanelRows:
    """The unknowns of one panel: everything needed to repeat it exactly.

    step : h. scale : of the calibrated responses, where the next panel starts from (stages,).
    diagonal, past : R_d (stages, stages) and R_p (stages, past nodes).
    known, fresh : rows of L on earlier and new directions, (stages, rank) and (stages, stages).
    """

    step: float
    scale: np.ndarray
    diagonal: np.ndarray
    past: np.ndarray
    known: np.ndarray
    fresh: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """Stages that have a noise direction of their own, shape (stages,)."""
        return np.diag(self.fresh) != 0.0

    @property
    def inverse(self) -> np.ndarray:
        """(1 - R_d)^(-1), shape (stages, stages)."""
        return np.linalg.inv(np.eye(len(self.diagonal)) - self.diagonal)

    def flat(self) -> np.ndarray:
        """All unknowns but the scale side by side, one row per stage, as one vector."""
        return np.hstack([self.diagonal, self.past, self.known, self.fresh]).ravel()

    def like(self, flat: np.ndarray) -> PanelRows:
        """The rows whose `flat` is given."""
        widths = [part.shape[1] for part in (self.diagonal, self.past, self.known)]
        parts = np.split(flat.reshape(len(self.diagonal), -1), np.cumsum(widths), axis=1)
        return PanelRows(self.step, self.scale, *parts)


@dataclass
class Stages:
    """Paths on the stages of a panel, all (paths, stages)."""

    accumulated: np.ndarray
    weights: np.ndarray
    slope: np.ndarray


class State:
    """State of one replicate after the panels committed so far.

    Attributes
    ----------
    calibrated : whether responses obey Stein's identity, so that fewer paths need tangents.
    traced, traced_probability : indices and probabilities of the paths that have tangents.
    time : the end of the last committed panel. times : all nodes, starting at 0.
    force, error : F and e of every path, shape (paths, nodes without t = 0).
    basis, factor : noise directions and R_r L on the nodes, shape (nodes, rank), t = 0 first.
    response : R_w on the nodes without t = 0.
    rows : the unknowns of every committed panel; committing them again repeats the march.
    rtol : the tolerance, where `supporting` paths support it (support.py), else that which they do.
    """

    @classmethod
    def _calibrates(cls, problem: Problem) -> bool:
        """Not where all paths respond alike."""
        return problem.network.code != LINEAR

    @classmethod
    def traced_of(cls, problem: Problem, count: int) -> int:
        """How many of `count` paths have tangents."""
        few = min(count, max(round(_TRACED_SHARE * count), _LEAST_TRACED))
        return few if cls._calibrates(problem) else count

    def __init__(
        self,
        problem: Problem,
        path_set: PathSet,
        pool: ThreadPoolExecutor | None,
        panels: int,
        rtol: float,
        supporting: int | None = None,
    ) -> None:
        network = problem.network
        self._decay = problem.dynamics.weight_decay
        self._growth = network.growth(self._decay)
        self._law = (network.code, network.depth, self._decay, self._growth)
        self.ratio = problem.sampling_ratio
        self._path_set = path_set
        self._workers = Workers(path_set.count, pool)
        self.calibrated = self._calibrates(problem)
        self.traced, self.traced_probability = path_set.part(
            self.traced_of(problem, path_set.count)
        )
        self._tracers = Workers(len(self.traced), pool)
        coordinates = self.coordinates = path_set.coordinates
        self.strata = path_set.strata
        self.probability = path_set.probability
        self.teacher = coordinates.teacher
        self.root_variance = np.sqrt(coordinates.variance)
        self._traced_root_variance = self.root_variance[self.traced]
        self._p, self._q = initial_state(*self._law[:2], coordinates.a0, coordinates.b0)
        self._rtol = self.rtol = rtol
        self._tolerance = SWEEP_TOLERANCE * rtol
        self._supporting, self._concentration = supporting, 0.0
        self._start(problem.noise_std, panels)

    def _start(self, noise_std: float, panels: int) -> None:
        """Node t = 0: known weights, the first noise direction, the first force."""
        from dmft.solver.kernels import weights_on_stages

        count = self._path_set.count
        self.initial_weights, slope = np.empty((count, 1)), np.empty((count, 1))
        zero = np.zeros(1)
        weights_on_stages(
            *self._law, self._p, self._q, np.zeros((count, 1)), zero, self.initial_weights, slope
        )
        error = self.root_variance[:, None] * (self.initial_weights - self.teacher[:, None])
        self.initial_error = error
        for known in (self.teacher, self.root_variance, error[:, 0]):
            self._path_set.learn(known)
        self.basis = NoiseBasis(np.sqrt(self.probability), noise_std)
        rows = self.basis.rows(error)
        self.noise = self._path_set.innovations(1)
        self._path_set.use(1)
        self.basis.extend(rows)
        self.factor = rows.fresh.copy()
        self._force_now = (self.ratio * error + math.sqrt(self.ratio) * self.noise * rows.fresh)[
            :, 0
        ]
        self.first_force = self._force_now
        self.time = 0.0
        self.times = np.zeros(1)
        self.force = np.zeros((count, 0))
        self.error = np.zeros((count, 0))
        self.response = np.zeros((0, 0))
        self._diagonal, self._last_step = np.zeros((STAGES, STAGES)), 1.0
        self._last_scale = 1.0
        single = self._law[0] != LINEAR and self._tolerance >= _SINGLE
        precision = np.float32 if single else float
        self._tangents = Tangents(len(self.traced), panels, STAGES, precision)
        self._last_nodes: np.ndarray | None = None
        self.first_slope = slope[:, 0]
        self.rows: list[PanelRows] = []
        self.work = {
            "panels": 0.0, "sweeps": 0.0, "path_iterations": 0.0,
            "tangent_flops": 0.0, "tangent_bytes": 0.0,
        }  # fmt: skip

    @property
    def risk(self) -> np.ndarray:
        """excess_risk on all nodes."""
        return self.probability @ self.all_errors() ** 2

    def all_errors(self) -> np.ndarray:
        """e of every path on all nodes, t = 0 first."""
        return np.hstack([self.initial_error, self.error])

    def all_weights(self) -> np.ndarray:
        """w of every path on all nodes, t = 0 first."""
        return self.teacher[:, None] + self.all_errors() / self.root_variance[:, None]

    def all_forces(self) -> np.ndarray:
        """g of every path on all nodes, t = 0 first."""
        return self.root_variance[:, None] * np.hstack([self.first_force[:, None], self.force])

    @property
    def residual_factor(self) -> np.ndarray:
        """A root of C_r: rows of R_r L on all nodes, t = 0 first."""
        return self.factor

    def noise_response(self) -> np.ndarray:
        """What the residual of each node takes from each column of the sample's noise."""
        return self.factor

    def charge_decay(self) -> np.ndarray:
        """Factor by which the charge 2ab of a depth-2 path has moved, (paths or 1, nodes)."""
        return np.exp(-2.0 * self._decay * self.times)[None, :]

    @property
    def train_mse(self) -> np.ndarray:
        """Mean squared residual on all nodes, |row of R_r L|^2: never negative."""
        return np.sum(self.residual_factor**2, axis=1)

    # ------------------------------------------------------------------ one panel

    def commit(self, rows: PanelRows) -> None:
        """Append the panel with these rows: a pure function of the state and the rows."""
        tableau = radau(self._growth * rows.step)
        integration, elapsed = rows.step * tableau.integration, rows.step * tableau.nodes
        inverse = rows.inverse
        coupling = integration @ inverse
        innovations = self._path_set.innovations(STAGES)
        stages = self._guess(integration, elapsed)
        drive = self._drive(rows, innovations)
        self._solve(stages, elapsed, coupling, drive)
        error = self._error_of(stages)
        found = self.basis.rows(error, np.inf, rows.active)
        self._concentration = self._concentrated(stages)
        self._advance_tangents(stages, rows, integration, inverse, coupling)
        self._advance_kernels(rows, inverse)
        force = (self.ratio * error + drive) @ inverse.T
        self.noise = np.hstack([self.noise, innovations])
        self.basis.extend(found)
        self._path_set.use(STAGES)
        self.force, self.error = np.hstack([self.force, force]), np.hstack([self.error, error])
        self._force_now = force[:, -1]
        self._diagonal, self._last_step = rows.diagonal, rows.step
        self._last_scale = float(rows.scale[-1])
        self._advance_state(stages.accumulated[:, -1], rows.step)
        self._last_nodes = self.time + elapsed
        self.times = np.append(self.times, self._last_nodes)
        self.time = float(self.times[-1])
        self.work["panels"] += 1
        self.rows.append(rows)

    def _guess(self, integration: np.ndarray, elapsed: np.ndarray) -> Stages:
        """Accumulated force from the last panel's force, continued as a line in log time.

        A parabola overshoots where panels grow as fast as time: half as many sweeps more, measured.
        """
        shape = (self._path_set.count, STAGES)
        if self._last_nodes is None:
            force = np.repeat(self._force_now[:, None], STAGES, axis=1)
        else:
            values = lagrange(np.log(self._last_nodes[-2:]), np.log(self.time + elapsed))
            force = self.force[:, -2:] @ values.T
        guess = (self.root_variance[:, None] * force) @ integration.T
        code, depth = self._law[:2]
        if code == DEPTH_TWO:
            # On the support of a stationary state |G| grows like the weight decay.
            limit = _LONGEST_GUESS + self._decay * elapsed
            guess = np.clip(guess, -limit, limit)
        elif code == DEEP:
            room = 0.8 / (depth - 2)
            guess = np.clip(guess, -room * self._p[:, None], room * self._q[:, None])
        return Stages(guess, np.empty(shape), np.empty(shape))

    def _evaluate(self, stages: Stages, elapsed: np.ndarray) -> None:
        from dmft.solver.kernels import weights_on_stages

        def evaluate(c: slice) -> None:
            weights_on_stages(
                *self._law, self._p[c], self._q[c], stages.accumulated[c], elapsed,
                stages.weights[c], stages.slope[c],
            )  # fmt: skip

        self._workers.map(evaluate)

    def _solve(
        self, stages: Stages, elapsed: np.ndarray, coupling: np.ndarray, drive: np.ndarray
    ) -> None:
        from dmft.solver.kernels import solve_paths

        def solve(c: slice) -> tuple[int, int]:
            return solve_paths(
                *self._law, self._p[c], self._q[c], self.root_variance[c], self.teacher[c],
                elapsed, coupling, self.ratio, drive[c],
                stages.accumulated[c], stages.weights[c], stages.slope[c],
            )  # fmt: skip

        self._count_paths(self._workers.map(solve))

    def _concentrated(self, stages: Stages) -> float:
        """How few paths have carried the response of all, up to and on these stages."""
        if self._supporting is None:
            return 0.0
        response = self.root_variance[:, None] ** 2 * stages.slope
        return max(self._concentration, concentration(self.probability, response))

    def _count_paths(self, parts: list[tuple[int, int]]) -> None:
        """Count iterations; refuse paths that did not converge."""
        self.work["path_iterations"] += sum(part[0] for part in parts)
        if any(part[1] for part in parts):
            raise NoPath

    def _error_of(self, stages: Stages) -> np.ndarray:
        return self.root_variance[:, None] * (stages.weights - self.teacher[:, None])

    def _drive(self, rows: PanelRows, innovations: np.ndarray) -> np.ndarray:
        noise = self.noise @ rows.known.T + innovations @ rows.fresh.T
        return math.sqrt(self.ratio) * noise + self.force @ rows.past.T

    def _factor_input(self, rows: PanelRows) -> np.ndarray:
        """Rows of L + R_p (R_r L)_past over known and new directions."""
        return np.hstack([rows.known + rows.past @ self.factor[1:], rows.fresh])

    # ------------------------------------------------------------------ after a panel

    def _advance_tangents(
        self,
        stages: Stages,
        rows: PanelRows,
        integration: np.ndarray,
        inverse: np.ndarray,
        coupling: np.ndarray,
    ) -> None:
        from dmft.solver.kernels import advance_tangents, path_responses

        tangents = self._tangents
        tangents.reserve()
        slope, root_variance = stages.slope[self.traced], self._traced_root_variance
        response = np.empty((len(slope), STAGES, STAGES))
        tangent = np.empty_like(response)
        scale = math.exp(self._growth * rows.step)

        def advance(c: slice) -> None:
            path_responses(
                self.traced_probability[c], root_variance[c], slope[c], coupling,
                self.ratio, response[c], tangent[c],
            )  # fmt: skip
            advance_tangents(
                tangents.packed[c], tangents.start[c], rows.past, root_variance[c],
                slope[c], tangent[c], coupling, inverse, integration, self.ratio, scale,
            )  # fmt: skip

        self._tracers.map(advance)
        tangents.advance()

    def _advance_kernels(self, rows: PanelRows, inverse: np.ndarray) -> None:
        nodes = len(self.response)
        response = np.zeros((nodes + STAGES, nodes + STAGES))
        response[:nodes, :nodes] = self.response
        response[nodes:, :nodes] = rows.past
        response[nodes:, nodes:] = rows.diagonal
        self.response = response
        new = inverse @ self._factor_input(rows)
        padded = np.pad(self.factor, ((0, 0), (0, STAGES)))
        self.factor = np.vstack([padded, new])

    def _advance_state(self, accumulated: np.ndarray, step: float) -> None:
        """Restart every path at the panel's end (see networks.py)."""
        self._p, self._q = moved_state(*self._law, self._p, self._q, accumulated, step)
