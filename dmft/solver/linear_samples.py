"""The sample side of the squared loss and linear labels, which needs no paths of its own.

Residuals are a linear functional of the weights. With F the force on sqrt(s) w and
e = sqrt(s) (w - w*), the effective process on all nodes reads
    F = R_r (delta e + sqrt(delta) rho),    R_r = (1 - R_w)^(-1),    rho = L xi,
so its rows of a new panel need only their own unknowns and the force of the past:
    F_new = inv (delta e_new + b),    b = sqrt(delta) L_new xi + R_p F_past.
The residual itself is R_r rho: its covariance is that of the rows R_r L.
"""

from __future__ import annotations

import math

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.problem import Problem
from dmft.solver.drive import Drive
from dmft.solver.noise import NewRows
from dmft.solver.panel_rows import PanelRows
from dmft.solver.sampling import PathSet


class LinearSamples:
    """What the data answer to the paths of coordinates.

    Attributes
    ----------
    ratio : delta.
    drive : noise directions and the normals of every path on them, a column per node.
    factor : R_r L on the nodes, shape (nodes, rank), t = 0 first.
    response : R_w on the nodes without t = 0.
    first_force, force : F of every path at t = 0 and on the other nodes, (paths, nodes).
    force_now : F at the last node.
    """

    def __init__(self, problem: Problem, path_set: PathSet, error: np.ndarray) -> None:
        """Node t = 0: the first noise direction, the first force; error : e of (paths, 1)."""
        self.ratio = problem.sampling_ratio
        self.drive = Drive(path_set, problem.noise_std, numbered=True)
        rows = self.drive.basis.rows(error)
        self._keep(rows, 1)
        self.factor = rows.fresh.copy()
        noise = math.sqrt(self.ratio) * self.drive.normals * rows.fresh
        self.force_now = (self.ratio * error + noise)[:, 0]
        self.first_force = self.force_now
        self.force = np.zeros((path_set.count, 0))
        self.response = np.zeros((0, 0))

    def drive_of(self, rows: PanelRows, fresh: np.ndarray) -> np.ndarray:
        """b of every path on new nodes; fresh : normals of new directions, (paths, stages)."""
        noise = self.drive.noise(rows.known, rows.fresh, fresh)
        return math.sqrt(self.ratio) * noise + self.force @ rows.past.T

    def force_of(self, error: np.ndarray, drive: np.ndarray, inverse: np.ndarray) -> np.ndarray:
        """F on new nodes, (paths, stages)."""
        return (self.ratio * error + drive) @ inverse.T

    def residual(self, rows: PanelRows) -> np.ndarray:
        """Rows of R_r L on new nodes over known and new directions."""
        fed = np.concatenate([rows.known + rows.past @ self.factor[1:], rows.fresh], axis=1)
        return np.asarray(rows.inverse @ fed)

    def commit(self, rows: PanelRows, found: NewRows, force: np.ndarray) -> None:
        """Append a panel; found : directions of its errors."""
        nodes = len(self.response)
        response = np.zeros((nodes + STAGES, nodes + STAGES))
        response[:nodes, :nodes] = self.response
        response[nodes:, :nodes] = rows.past
        response[nodes:, nodes:] = rows.diagonal
        new = self.residual(rows)
        self.response = response
        self.factor = np.vstack([np.pad(self.factor, ((0, 0), (0, STAGES))), new])
        self._keep(found, STAGES)
        self.force = np.hstack([self.force, force])
        self.force_now = force[:, -1]

    def _keep(self, found: NewRows, nodes: int) -> None:
        self.drive.take(self.drive.drawn(np.ones(nodes, dtype=bool)))
        self.drive.basis.extend(found.directions)
