"""Responses calibrated by Gaussian integration by parts (Stein's identity).

A path's error e depends on the noise rho = L xi through normals xi of unit variance, hence
    E[e_i xi_k] = sqrt(delta) (R_w R_r L)_ik.
Both sides are averages over paths, but the right one is an average of derivatives, near a rich
limit those of steps, and has by far the larger sampling error. So each new row of R_w keeps its
shape and is scaled until the identity holds exactly in the sample, in the direction z_i of the
noise that moves e_i most. In the limit of an interpolating flow the sample's equations then are
the stationarity conditions of a single average over paths, which do not amplify its error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_LARGEST_SCALE = 2.0  # of a row: early on, few paths have moved and averages over them are poor
_ITERATIONS = 3
_STEP = 1e-5  # of the differences in the three by three Jacobian


@dataclass(frozen=True)
class NoiseRows:
    """R_w R_r L on new nodes as a function of their rows of R_w.

    factor : R_r L on past nodes, (past, rank). current : L on new nodes, (new, rank + new).
    diagonal, past : R_d and R_p.
    """

    factor: np.ndarray
    current: np.ndarray
    diagonal: np.ndarray
    past: np.ndarray

    def response(self, scale: np.ndarray) -> np.ndarray:
        """R_w R_r L, shape (new, rank + new), where every row of R_w is scaled."""
        memory = self.past @ self.factor
        fed = self.current.copy()
        fed[:, : memory.shape[1]] += scale[:, None] * memory
        inverse = np.linalg.inv(np.eye(len(scale)) - scale[:, None] * self.diagonal)
        return inverse @ fed - self.current


def row_scales(
    rows: NoiseRows, directions: np.ndarray, moment: np.ndarray, reaction: np.ndarray
) -> np.ndarray:
    """Scales of the new rows of R_w for which E[e z] = z R_w R_r L, shape (new,).

    directions : z, unit vectors in the space of the noise, shape (new, rank + new).
    moment : E[e_i z_i] / sqrt(delta) without any response, shape (new,).
    reaction : what the row j of R_w adds to it when it acts on the paths, shape (new, new).
    """
    scale = np.ones(len(moment))

    def mismatch(scale: np.ndarray) -> np.ndarray:
        expected = np.sum(directions * rows.response(scale), axis=1)
        return np.asarray(moment + reaction @ scale - expected)

    for _ in range(_ITERATIONS):
        left = mismatch(scale)
        changes = [mismatch(scale + step) - left for step in _STEP * np.eye(len(scale))]
        scale = scale - np.linalg.solve(np.array(changes).T / _STEP, left)
        scale = np.clip(scale, 1.0 / _LARGEST_SCALE, _LARGEST_SCALE)
    return scale
