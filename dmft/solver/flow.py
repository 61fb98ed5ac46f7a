"""Gradient flow on panels: what its marches are made of and how accurate they are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.problem import Problem
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR
from dmft.solver.march import March
from dmft.solver.outcome import finished, panel_grid
from dmft.solver.panel_rows import PanelRows
from dmft.solver.pilot import PILOT_PATHS, StepControl, noise_rotation
from dmft.solver.plan import Plan
from dmft.solver.sampling import PathSet
from dmft.solver.scheme import Finished, Grid
from dmft.solver.support import Support, first_speed
from dmft.solver.tracers import traced_paths

# Time error per rtol, measured on the linear network at delta = 0.5, 1, 2; that of other networks
# with the wider control of the residual that they have (march.py).
_LINEAR_TIME_ERROR = {"excess_risk": 0.2, "train_mse": 0.8}
_TIME_ERROR = {"excess_risk": 0.2, "train_mse": 2.0}
_EXACT_IN_TIME = ("mean_charge", "effective_alpha")  # powers of e^(-decay t), without steps
# Twice what the sweeps leave of the residual at the start, per rtol, and more than what tangents in
# single precision do (2e-8).
_RESIDUAL_ERROR = 2e-4
# Speed of the weights at the start (support.py) below which a pilot needs more paths, and where
# they leave zero abruptly (0.08 at depth 3).
_SMALLEST, _SMALLEST_ABRUPT, _PILOT_OF_SMALLEST = 1e-6, 1e-4, 4096
# Widths of the teacher and the first noise of small starts, see `PathSet`. With 1.5 and 1.3 the end
# of the escape scatters more.
_WIDE_TEACHER = (1.25, 1.15)
# By how much train_mse of a pilot may rise once it is below so much of its start, and where it
# has vanished.
_RISEN, _LATE, _VANISHED = 30.0, 1e-2, 1e-8


class PlainFlow:
    """Gradient flow of the squared loss; see `panel_flow.Flow`."""

    rows_type = PanelRows
    most_splits = 8
    pilots_differ = False

    def __init__(self, problem: Problem, n_paths: int, pool: ThreadPoolExecutor | None) -> None:
        self._n_paths = n_paths
        self._problem = problem
        self._pool = pool
        # With decay deep networks have a weight in G (networks.py), which no panels in log t have.
        deep = problem.network.code == DEEP and problem.dynamics.weight_decay == 0.0
        self._support = Support(n_paths, first_speed(problem), deep)
        self._logarithmic = self._support.small and (deep or problem.network.code == DEPTH_TWO)
        self.method = "log-time" if self._logarithmic else ""
        self.descends = problem.dynamics.weight_decay == 0.0

    def start(
        self,
        count: int,
        seed: np.random.SeedSequence,
        rotation: np.ndarray | None,
        panels: int,
        rtol: float,
        pilot: bool,
    ) -> March:
        """A march at t = 0."""
        wide = _WIDE_TEACHER if self._support.small else None
        path_set = PathSet(self._problem, count, seed, rotation, wide_teacher=wide)
        supporting = None if self._linear else self._support
        return March(
            self._problem, path_set, self._pool, panels, rtol,
            supporting=supporting, logarithmic=self._logarithmic,
        )  # fmt: skip

    def control(self, march: March, rtol: float) -> StepControl:
        """What chooses the panels of a pilot."""
        return StepControl(self._problem, march, rtol)

    def pilot_paths(self) -> int:
        """As many as any, more where few of them carry the response.

        A sample that is too small may not settle late, and its panels are those of all replicates.
        """
        smallest = _SMALLEST_ABRUPT if self._support.abrupt else _SMALLEST
        small = self._support.first_speed < smallest
        return max(_PILOT_OF_SMALLEST, self._n_paths) if small else PILOT_PATHS

    def rotation(self, march: March) -> np.ndarray:
        """Directions that move the weights most come first."""
        return noise_rotation(march)

    def rehearses(self, march: March) -> bool:
        """Whether the start is small: few paths carry what noise does, a pilot's fewest."""
        return self._support.small

    def hopeless(self, march: March) -> str:
        """A residual that has risen, which no flow without decay lets it: the sample is too small.

        Its panels would get shorter and shorter.
        """
        first = march.train_mse[0]
        if not self.descends or not first:  # or nothing to learn
            return ""
        train_mse = march.train_mse / first
        least = max(float(np.min(train_mse)), _VANISHED)
        if least > _LATE or train_mse[-1] < _RISEN * least:
            return ""
        return (
            f"stopped at t = {march.time:.6g}: train_mse of the pilot has risen by a factor of "
            f"{train_mse[-1] / least:.2g}, which gradient flow cannot do: take more n_paths"
        )

    def finish(self, march: March) -> Finished:
        """Curves, kernels and paths on all nodes."""
        return finished(self._problem, march)

    def grid(self, plan: Plan) -> Grid:
        """All nodes."""
        return panel_grid(plan, logarithmic=self._logarithmic)

    def memory(self, count: int, panels: int) -> float:
        """Bytes of tangents, single precision but for the linear network, and vectors per node."""
        traced = traced_paths(self._problem, count, abrupt=self._support.abrupt)
        return panel_memory(self._problem, traced, count, panels)

    def time_error(self, name: str, rtol: float, mean: np.ndarray) -> np.ndarray:
        """Measured shares of rtol, and the bias of few paths of a small start; the start is exact.

        The sampling error can be far below the time error where second moments are exact, as on
        the linear network and near it. Small starts have larger errors where less of them counts.
        """
        if self._linear:
            return time_error(name, rtol, mean, _LINEAR_TIME_ERROR, with_residual=False)
        allowed = rtol * self._support.allowance
        found = time_error(name, allowed, mean, _TIME_ERROR, with_residual=True)
        if name in _EXACT_IN_TIME:
            return found
        return np.hypot(found, self._support.bias * np.abs(mean) * _moved(mean))

    @property
    def _linear(self) -> bool:
        return self._problem.network.code == LINEAR


def _moved(mean: np.ndarray) -> np.ndarray:
    """How far a curve is from its start, relative to the larger of both."""
    size = np.maximum(np.abs(mean), abs(mean[0]))
    return np.divide(np.abs(mean - mean[0]), size, out=np.zeros_like(mean), where=size > 0.0)


def panel_memory(problem: Problem, traced: int, count: int, panels: int) -> float:
    """Bytes of a march of which some paths have tangents."""
    size = 8.0 if problem.network.code == LINEAR else 4.0
    tangents = size * STAGES**2 * panels * (panels + 1) / 2
    return traced * tangents + count * 64.0 * STAGES * panels


def time_error(
    name: str, rtol: float, mean: np.ndarray, of_kind: dict[str, float], *, with_residual: bool
) -> np.ndarray:
    """Absolute time error of a mean curve, from measured shares of rtol; zero at the start."""
    if name in _EXACT_IN_TIME:
        return np.zeros_like(mean)
    of_residual = name in ("train_mse", "train_loss")
    systematic = of_kind["train_mse" if of_residual else "excess_risk"] * rtol * np.abs(mean)
    if of_residual and with_residual:
        systematic = np.hypot(systematic, _RESIDUAL_ERROR * rtol * np.sqrt(mean * mean[0]))
    systematic[0] = 0.0
    return np.asarray(systematic)
