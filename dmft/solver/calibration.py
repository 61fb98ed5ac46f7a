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

# Of a row, in all and in one sweep: early on, few paths have moved and averages are poor.
_LARGEST_SCALE, _LARGEST_CHANGE = 2.0, 1.15
_ITERATIONS = 3


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

    def response(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R_w R_r L where every row of R_w is scaled, and its derivative in the scales.

        Shapes (new, rank + new) and (new scales, new, rank + new).
        """
        fed, memory = self.current.copy(), np.zeros_like(self.current)
        memory[:, : self.factor.shape[1]] = self.past @ self.factor
        fed += scale[:, None] * memory
        inverse = np.linalg.inv(np.eye(len(scale)) - scale[:, None] * self.diagonal)
        residual = inverse @ fed
        changes = inverse.T[:, :, None] * (memory + self.diagonal @ residual)[:, None, :]
        return residual - self.current, changes


def row_scales(
    rows: NoiseRows,
    directions: np.ndarray,
    moment: np.ndarray,
    reaction: np.ndarray,
    start: np.ndarray,
) -> np.ndarray:
    """Scales of the new rows of R_w for which E[e z] = z R_w R_r L, shape (new,).

    directions : z, unit vectors in the space of the noise, shape (new, rank + new).
    moment : E[e_i z_i] / sqrt(delta) without any response, shape (new,).
    reaction : what the row j of R_w adds to it when it acts on the paths, shape (new, new).
    start : scales of the last sweep, which are not left far behind in one.
    """
    scale = start
    least = np.maximum(start / _LARGEST_CHANGE, 1.0 / _LARGEST_SCALE)
    most = np.minimum(start * _LARGEST_CHANGE, _LARGEST_SCALE)
    for _ in range(_ITERATIONS):
        response, changes = rows.response(scale)
        mismatch = moment + reaction @ scale - np.sum(directions * response, axis=1)
        slope = reaction - np.einsum("ik,jik->ij", directions, changes)
        scale = np.clip(scale - np.linalg.solve(slope, mismatch), least, most)
    return scale
