"""The Newton step of a sweep for the new rows of the noise factor L.

A change dL moves the paths by de = H C sqrt(delta) dL xi, which moves L by its projection on
the directions Q. In the same sweep R_w changes, which moves L likewise.
"""

from __future__ import annotations

import math

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.numerics.gmres import gmres
from dmft.solver.noise import NewRows

_TOLERANCE, _MOST_APPLICATIONS = 0.02, 20  # of the linear solve


class PanelNoise:
    """What all sweeps of a panel share: normals of known and new directions, and the known ones.

    The step is inexact anyway: it reads copies in single precision.

    Attributes
    ----------
    normals : xi of all directions, shape (paths, rank + stages).
    """

    def __init__(
        self,
        probability: np.ndarray,
        ratio: float,
        noise: np.ndarray,
        innovations: np.ndarray,
        directions: np.ndarray,
    ) -> None:
        self.normals = np.hstack([noise, innovations])
        self._single = self.normals.astype(np.float32)
        self._root_ratio = math.sqrt(ratio)
        self._root = self._root_ratio * np.sqrt(probability)[:, None]
        self._directions = np.empty(self._single.shape, dtype=np.float32)
        self._directions[:, :-STAGES] = self._root * directions
        self._moved = np.empty((STAGES, len(self._single)), dtype=np.float32)

    def newton_step(
        self, gain: np.ndarray, found: NewRows, current: np.ndarray, memory: np.ndarray
    ) -> np.ndarray:
        """The step from `current`, the new rows of L, shape (stages, rank + stages).

        gain : H C of every path. found : the rows that the paths have.
        memory : how the change of R_w moves their drive, shape (paths, stages).
        """
        from dmft.solver.small_kernels import follow

        gain = gain.astype(np.float32)
        self._directions[:, -STAGES:] = self._root * found.directions[:-1]

        def projected(drive: np.ndarray) -> np.ndarray:
            follow(gain, drive, self._moved)
            projection = (self._moved @ self._directions).astype(float)
            projection[:, -STAGES:] = found.fresh_change(projection[:, -STAGES:])
            return projection

        def defect(flat: np.ndarray) -> np.ndarray:
            change = flat.reshape(current.shape)
            return (change - projected(self._single @ change.T.astype(np.float32))).ravel()

        reaction = projected((memory / self._root_ratio).astype(np.float32))
        residual = np.hstack([found.known, found.fresh]) - current + reaction
        step = gmres(defect, residual.ravel(), _TOLERANCE, _MOST_APPLICATIONS)
        return step.reshape(current.shape)
