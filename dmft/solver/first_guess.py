"""What the paths of a panel are taken to do before its first sweep."""

from __future__ import annotations

import numpy as np

from dmft.numerics.collocation import STAGES, lagrange
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.panel_time import PanelTime
from dmft.solver.sides import CoordinatePaths, Equation, Stages

_TOLERANCE = 1e-3  # of the paths


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
