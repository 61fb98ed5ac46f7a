"""What is small in a panel of a flow of the squared loss: settled sweeps, and its time error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dmft.numerics.collocation import STAGES, radau
from dmft.problem import Problem
from dmft.problem.networks import DEPTH_TWO, LINEAR
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.panel_rows import PanelRows
from dmft.solver.sides import CoordinatePaths
from dmft.solver.support import ALWAYS_SUPPORTED, Support, concentration, supported_rtol

# Of a Newton step of the paths in sweeps, what is left being of the order of its square: times the
# root of the tolerance and how far paths moved in the last panel, relative to their error.
_NEWTON_STEP = 0.1
_SWEEP_TOLERANCE = 0.1  # of rtol: to which the sweeps of a panel settle and noise directions count
# Relative to their start, below which precision of residual and error is absolute: both may vanish.
# A vanishing residual has a sampling error of many percent, but on the linear network.
_RESIDUAL_FLOOR, _LINEAR_RESIDUAL_FLOOR = 1e-4, 1e-6
_ERROR_FLOOR = 1e-4
# How much of the time error of the residual counts, and below which force, relative to the first,
# it is absolute.
_RESIDUAL_SHARE, _FORCE_FLOOR = 0.05, 1e-3
_LINEAR_RESIDUAL_SHARE, _LINEAR_FORCE_FLOOR = 0.3, 1e-6
# The first paths have left zero when the residual is below so much of its start, the last ones when
# it is below so much. In deep networks errors of the first ones average out soon enough.
_BEGUN, _ESCAPED = 0.95, 0.01
_ABRUPTLY_BEGUN, _ABRUPTLY_ESCAPED = math.inf, 1e-3
_NOTHING = 1e-300  # where the teacher is zero and there is no noise
# What a node must add to the noise to get a direction, times residual and tolerance. News left out
# are missed by C_r between this node and later ones that have more of them: half of rtol, measured.
_LEAST_NEWS = 20.0
# Of the change of e that counts: a smaller response to noise is not calibrated.
_LEAST_RESPONSE = 1e-2
# The residual, relative to its start, from which on training is late, and how far a first guess may
# then move e, relative to its size.
_LATE, _FARTHEST_GUESS = 0.1, 0.3


@dataclass(frozen=True)
class Swept:
    """Paths of a sweep on the stages, all (paths, stages), and the rows they follow."""

    rows: PanelRows
    slope: np.ndarray
    error: np.ndarray
    force: np.ndarray


class Accuracy:
    """How far a panel is from its solution, and the solution from that of continuous time.

    rtol : the tolerance, where enough paths support it (support.py), else that which they do.
    tolerance : relative, to which sweeps settle.
    """

    def __init__(
        self,
        problem: Problem,
        paths: CoordinatePaths,
        samples: LinearSamples,
        first_error: np.ndarray,
        rtol: float,
        supporting: Support | None,
    ) -> None:
        """first_error : e at t = 0, (paths,). supporting : what supports rtol; None if all."""
        self._paths, self._samples = paths, samples
        self._first_risk = float(paths.probability @ first_error**2)
        self._linear = problem.network.code == LINEAR
        self._asked, self._supporting = rtol, supporting
        self._concentration = supporting.foreseen if supporting else 0.0
        self._follow_supported()
        abrupt = supporting is not None and supporting.abrupt
        self._one_by_one = problem.network.code == DEPTH_TWO or abrupt
        self._escape = _BEGUN, _ESCAPED
        if abrupt:
            self._escape = _ABRUPTLY_BEGUN, _ABRUPTLY_ESCAPED
        self._steep = False

    def commit(self, slope: np.ndarray) -> None:
        """Set the tolerance of the next panels, given dw/dG in the last one, (paths, stages)."""
        if self._supporting is None:
            return
        response = self._paths.root_variance[:, None] ** 2 * slope
        here = concentration(self._paths.probability, response)
        self._concentration = max(self._concentration, here)
        self._follow_supported()
        if self._one_by_one and not self._steep:
            few = concentration(self._paths.probability, slope)  # not by their feature variances
            self._steep = supported_rtol(few, self._supporting.paths) == ALWAYS_SUPPORTED

    def _follow_supported(self) -> None:
        paths = self._supporting.paths if self._supporting else math.inf
        self.rtol = max(self._asked, supported_rtol(self._concentration, paths))
        self.tolerance = _SWEEP_TOLERANCE * self.rtol

    def least_news(self) -> float:
        """What a node must add to the noise to get a direction, see `NoiseBasis.rows`.

        Directions that the first few moving paths define differ between samples, and with them
        all that follow, which would undo the rotation of the noise (pilot.py).
        """
        if self._linear:
            return 0.0
        return _LEAST_NEWS * self.tolerance * self.residual()

    def late(self) -> bool:
        """Whether the residual is nearly gone; never on the linear network, which is exact."""
        return not self._linear and self.residual() <= _LATE

    def residual(self) -> float:
        """Root mean square of the residual at the last node, relative to its start."""
        factor = self._samples.factor
        first = float(np.linalg.norm(factor[0]))
        return float(np.linalg.norm(factor[-1])) / first if first else 1.0  # nothing to learn

    def path_tolerance(self, error: np.ndarray) -> float:
        """The tolerance of a Newton step of the paths; error : e so far, (paths, nodes).

        Where nearly nothing moves, errors as large as the motion would be taken for it.
        """
        nodes = error.shape[1]
        if nodes == 0:
            return _NEWTON_STEP * math.sqrt(self.tolerance)
        moved = error[:, -1] - error[:, max(0, nodes - 1 - STAGES)]
        distance = math.sqrt(float(self._paths.probability @ moved**2))
        motion = min(1.0, distance / self.size(error))
        return _NEWTON_STEP * motion * math.sqrt(self.tolerance)

    def remaining(self, error: np.ndarray) -> float:
        """Root mean square of e now, (paths, 1), relative to its start."""
        risk = float(np.sum(self._paths.probability @ error**2))
        return math.sqrt(risk / self._first_risk) if self._first_risk else 0.0

    def trusted(self, moved: np.ndarray, error: np.ndarray) -> float:
        """How much of a first guess to take that moves e by `moved`, (paths, stages).

        Late after a small start the residual is noise that a long panel adds up: sweeps that begin
        far away end nowhere.
        """
        if not self.late():
            return 1.0
        distance = math.sqrt(float(np.max(self._paths.probability @ moved**2)))
        return min(1.0, _FARTHEST_GUESS * self.size(error) / max(distance, 1e-300))

    def unseen(self, response: float, error: np.ndarray) -> bool:
        """Whether a response of e to unit noise is too small to be calibrated.

        E[e z] then is rounding errors, or so few paths that nobody sees it.
        """
        return response < _LEAST_RESPONSE * self.tolerance * self.size(error)

    def metric(self, rows: PanelRows, probability: np.ndarray, past: np.ndarray) -> np.ndarray:
        """Maps a change of the rows of a stage to its effect on the force.

        R_d acts on the new force, whose scale is that of the last one, R_p on the past force
        (through a root of its second moment) and L on unit noise.
        probability, past : of some paths, and F of theirs on the past nodes.
        """
        force = np.sqrt(probability)[:, None] * past
        root: np.ndarray = np.zeros((0, 0))
        if force.shape[1]:
            root = np.asarray(np.linalg.qr(force, mode="r"))
        scale = math.sqrt(self._paths.probability @ self._samples.force_now**2)
        width = rows.known.shape[1] + rows.fresh.shape[1]
        noise = math.sqrt(self._samples.ratio) * np.eye(width)
        parts = (scale * np.eye(STAGES), root, noise)
        ends = np.cumsum([0, *(len(part) for part in parts)])
        stage = np.zeros((ends[-1], sum(part.shape[1] for part in parts)))
        column = 0
        for row, part in zip(ends, parts, strict=False):
            height, width = part.shape
            stage[row : row + height, column : column + width] = part
            column += width
        return stage

    def change(
        self, moved: np.ndarray, error: np.ndarray, factor_moved: np.ndarray, factor: np.ndarray
    ) -> float:
        """How far weights and residual moved in the last sweep; below 1 a panel has settled."""
        from dmft.solver.small_kernels import largest_root_mean_square

        distance = largest_root_mean_square(self._paths.probability, moved)
        floor = _LINEAR_RESIDUAL_FLOOR if self._linear else _RESIDUAL_FLOOR
        residual = _lengths(factor) + floor * self._samples.factor[0, 0] + _NOTHING
        residual_moved = np.max(_lengths(factor_moved) / residual)
        return max(distance / self.size(error), float(residual_moved)) / self.tolerance

    def size(self, error: np.ndarray) -> float:
        """Root of the excess risk at the last stage, no smaller than what can matter."""
        start = math.sqrt(self._first_risk)
        last = error[:, -1]
        now = math.sqrt(float((self._paths.probability * last) @ last))
        return now + _ERROR_FLOOR * start + _NOTHING

    def time_error(self, swept: Swept) -> float:
        """Embedded estimate of the time error, relative to the error e and to the force.

        The difference of the two quadrature rules, filtered by (1 - h gamma df/dG)^(-1) for stiff
        components, displaces each path; the root mean square over paths is compared with that of
        the error e, and with that of the force. During an escape a share of the first counts, as
        errors of the paths average out, and what they have done together to the excess risk.
        """
        tableau, step, ratio = radau(), swept.rows.step, self._samples.ratio
        root, probability = self._paths.root_variance, self._paths.probability
        slope = root * swept.slope[:, -1]
        difference = tableau.start_weight * self._samples.force_now
        difference = difference + swept.force @ tableau.error_weights
        stiffness = 1.0 - step * tableau.start_weight * ratio * root * slope
        moved = slope * root * step * difference / stiffness
        displacement = math.sqrt(probability @ moved**2)
        share = _LINEAR_RESIDUAL_SHARE if self._linear else _RESIDUAL_SHARE
        floor = _LINEAR_FORCE_FLOOR if self._linear else _FORCE_FLOOR
        forces = math.sqrt(probability @ swept.force[:, -1] ** 2)
        first = ratio * math.sqrt(self._first_risk)
        residual_error = ratio * displacement / (forces + floor * first + _NOTHING)
        size, error = self.size(swept.error), swept.error[:, -1]
        if self._supporting is None or not self._escaping():
            return max(displacement / size, share * residual_error)
        of_risk = 2.0 * abs(float(probability @ (error * moved))) / size**2
        counted = self._supporting.escape_share
        return max(counted * displacement / size, of_risk, share * residual_error)

    def _escaping(self) -> bool:
        """Whether paths leave zero one by one, so steeply that the sample supports no tolerance.

        The errors of the first ones do not average out: all of them come early, or late.
        """
        begun, escaped = self._escape
        return self._steep and escaped < self.residual() <= begun


def _lengths(rows: np.ndarray) -> np.ndarray:
    """Of every row."""
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", rows, rows)))
