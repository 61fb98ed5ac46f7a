"""What the paths of a panel are taken to do before its first sweep."""

from __future__ import annotations

import numpy as np

from dmft.numerics.collocation import STAGES, lagrange
from dmft.solver.accuracy import Accuracy
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.panel_time import PanelTime
from dmft.solver.sides import CoordinatePaths, Equation, Stages

_TOLERANCE = 1e-3  # of the paths


class FirstGuess:
    """Makes the guesses of a march. The commit of a panel begins where its attempt did."""

    def __init__(
        self,
        paths: CoordinatePaths,
        samples: LinearSamples,
        accuracy: Accuracy,
        *,
        logarithmic: bool,
        calibrated: bool,
    ) -> None:
        """Whether panels are those of log time, and whether responses are calibrated."""
        self._paths, self._samples, self._accuracy = paths, samples, accuracy
        self._logarithmic, self._calibrated = logarithmic, calibrated
        self._last: tuple[np.ndarray, np.ndarray] | None = None  # elapsed times, and G there

    def __call__(self, panel: PanelTime, nodes: np.ndarray, error: np.ndarray) -> Stages:
        """That of a panel after `nodes`, t = 0 first; error : e on the others, (paths, nodes).

        Raises
        ------
        NoPath : some path has no solution.
        """
        stages = self._made(panel, nodes, error)
        self._last = panel.elapsed, stages.unknown.copy()
        return stages

    def again(self, panel: PanelTime, nodes: np.ndarray, error: np.ndarray) -> Stages:
        """That of the last attempt, if it was at the same panel, or the same bits made anew."""
        last, self._last = self._last, None
        if last is not None and np.array_equal(last[0], panel.elapsed):
            return Stages.at(last[1])
        return self._made(panel, nodes, error)

    def _made(self, panel: PanelTime, nodes: np.ndarray, error: np.ndarray) -> Stages:
        line = continued(nodes, nodes[-1] + panel.elapsed) if len(nodes) > 1 else None
        if self._logarithmic and line is not None:
            return of_drive(self._paths, self._samples, error, line, panel)
        stages = of_force(self._paths, self._samples, line, panel)
        if self._calibrated and line is not None:
            self._paths.evaluate(stages, panel.elapsed, None)
            moved = stages.output - self._paths.teacher[:, None]
            moved = self._paths.root_variance[:, None] * moved - error[:, -1:]
            stages.unknown *= self._accuracy.trusted(moved, error[:, -1:])
        return stages


def continued(nodes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Weights of the last two nodes in a line in log time, (times, 2).

    A parabola overshoots where panels grow as fast as time: half as many sweeps more, measured.
    """
    return lagrange(np.log(nodes[-2:]), np.log(times))


def of_force(
    paths: CoordinatePaths, samples: LinearSamples, line: np.ndarray | None, panel: PanelTime
) -> Stages:
    """Paths under the last panel's force, continued along `line`; the first panel has none."""
    if line is None:
        force = np.repeat(samples.force_now[:, None], STAGES, axis=1)
    else:
        force = samples.force[:, -2:] @ line.T
    accumulated = (paths.root_variance[:, None] * force) @ panel.integration.T
    return paths.guess(accumulated, panel.elapsed)


def of_drive(
    paths: CoordinatePaths,
    samples: LinearSamples,
    error: np.ndarray,
    line: np.ndarray,
    panel: PanelTime,
) -> Stages:
    """Paths that answer themselves: what is continued is their force but for the own error.

    A path that leaves zero while its force is taken to last overshoots, and sweeps that begin
    there may end nowhere. error : e of the paths on all nodes, (paths, nodes).

    Raises
    ------
    NoPath : some path has no solution.
    """
    drive = (samples.force[:, -2:] - samples.ratio * error[:, -2:]) @ line.T
    stages = of_force(paths, samples, line, panel)
    nothing = np.zeros_like(drive)
    equation = Equation(panel.integration, samples.ratio, paths.teacher, drive, nothing, _TOLERANCE)
    paths.solve(stages, panel.elapsed, equation)
    return stages
