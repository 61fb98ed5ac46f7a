"""Responses calibrated by Gaussian integration by parts (Stein's identity).

A path's error e depends on the noise rho = L xi through normals xi of unit variance, hence
    E[e_i xi_k] = sqrt(delta) (R_w R_r L)_ik.
Both sides are averages over paths, but the right one is an average of derivatives, near a rich
limit those of steps, and has by far the larger sampling error. So in each new row of R_w the
average is scaled, wherever it enters (response.py), until the identity holds exactly in the
sample, in the direction z_i of the noise that moves e_i most. In the limit of an interpolating
flow the sample's equations then are the stationarity conditions of a single average over paths,
which do not amplify its error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Of a row, in all and in one sweep: early on, few paths have moved and averages are poor.
_LARGEST_SCALE, _LARGEST_CHANGE = 2.0, 1.15
_ITERATIONS = 2


@dataclass(frozen=True)
class NoiseRows:
    """R_w R_r L on new nodes as a function of x, by how much the logarithms of the scales grow.

    factor : R_r L on past nodes, (past, rank). current : L on new nodes, (new, rank + new).
    diagonal, past : R_d and R_p at x = 0, with their derivatives in x, (new, ...) each.
    """

    factor: np.ndarray
    current: np.ndarray
    diagonal: np.ndarray
    past: np.ndarray
    diagonal_changes: np.ndarray
    past_changes: np.ndarray

    def rows(self, growth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R_d and R_p to first order in x."""
        of_diagonal = growth @ self.diagonal_changes.reshape(len(growth), -1)
        of_past = growth @ self.past_changes.reshape(len(growth), -1)
        diagonal = self.diagonal + of_diagonal.reshape(self.diagonal.shape)
        return diagonal, self.past + of_past.reshape(self.past.shape)

    def response(self, growth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """R_w R_r L for these rows, (new, rank + new), and its derivatives in x."""
        from dmft.solver.small_kernels import noise_response

        response, changes = noise_response(
            self.current, *self.fed, self.diagonal, self.diagonal_changes, growth
        )
        return np.asarray(response), np.asarray(changes)

    def response_along(
        self, directions: np.ndarray, growth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """z_i R_w R_r L, shape (new,), and its derivatives in x, shape (new, scales)."""
        from dmft.solver.small_kernels import along

        value, slope = along(directions, *self.response(growth))
        return np.asarray(value), np.asarray(slope)

    @cached_property
    def fed(self) -> tuple[np.ndarray, np.ndarray]:
        """L_new + R_p R_r L at x = 0, (new, rank + new), and its derivatives in x."""
        rank = self.factor.shape[1]
        fed, changes = self.current.copy(), np.zeros((len(self.current), *self.current.shape))
        fed[:, :rank] += self.past @ self.factor
        changes[:, :, :rank] = self.past_changes @ self.factor
        return fed, changes


def allowed_growth(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest x of one sweep, which leave present scales not far behind."""
    least = np.log(np.maximum(1.0 / _LARGEST_CHANGE, 1.0 / (_LARGEST_SCALE * scale)))
    most = np.log(np.minimum(_LARGEST_CHANGE, _LARGEST_SCALE / scale))
    return least, most


def scale_growth(
    rows: NoiseRows,
    directions: np.ndarray,
    moment: np.ndarray,
    reaction: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """The x for which E[e z] = z R_w R_r L, shape (new,).

    directions : z, unit vectors in the space of the noise, shape (new, rank + new).
    moment : E[e_i z_i] / sqrt(delta) at x = 0, shape (new,).
    reaction : its derivatives in x, shape (new, new).
    scale : the present scales.
    """
    from dmft.solver.small_kernels import calibrated_growth

    growth = calibrated_growth(
        directions, moment, reaction, *allowed_growth(scale), _ITERATIONS,
        rows.current, *rows.fed, rows.diagonal, rows.diagonal_changes,
    )  # fmt: skip
    return np.asarray(growth)
