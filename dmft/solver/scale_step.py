"""The Newton step of the scales of a panel's calibrated responses (calibration.py).

Scales and the new rows of L move each other: a change of L changes what the paths answer to
noise, and with it the scale that Stein's identity asks for. Late in training this coupling is
strong: steps that know nothing of each other overshoot by five times what they correct, and sweeps
settle slowly or never.
"""

from __future__ import annotations

import math

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.accuracy import Accuracy, Swept
from dmft.solver.calibration import NoiseRows, allowed_growth, scale_growth
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.newton import Following

_NOTHING = 1e-300


class ScaleStep:
    """By how much the logarithms x of the scales grow, for the paths of a sweep.

    Attributes
    ----------
    growth : x while L stays, shape (stages,).
    """

    def __init__(
        self,
        tangents: NoiseRows,
        swept: Swept,
        samples: LinearSamples,
        accuracy: Accuracy,
        probability: np.ndarray,
        gain: np.ndarray,
        normals: np.ndarray,
    ) -> None:
        """gain : H C of every path. normals : xi of all directions, (paths, rank + stages)."""
        self._tangents, self._swept, self._samples = tangents, swept, samples
        self._normals = normals
        self.growth = np.zeros(STAGES)
        towards, _ = tangents.response(np.zeros(STAGES))
        root_ratio = math.sqrt(samples.ratio)
        size = root_ratio * float(np.linalg.norm(towards))
        self._calibrates = not accuracy.unseen(size, swept.error)
        if not self._calibrates:
            return
        towards /= np.linalg.norm(towards, axis=1)[:, None] + _NOTHING
        along = probability[:, None] * (normals @ towards.T) / root_ratio
        followed = (along[:, :, None] * gain).reshape(len(along), -1).T
        of_past = (followed @ samples.force).reshape(STAGES, -1)
        of_panel = (followed @ swept.force).reshape(STAGES, -1)

        def moved(past: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
            """Change of E[e z] for changes of the rows, (stages, changes)."""
            return of_past @ past.reshape(-1, of_past.shape[1]).T + (
                of_panel @ diagonal.reshape(-1, of_panel.shape[1]).T
            )

        rows = swept.rows
        moment = np.sum(along * swept.error, axis=0)
        moment += moved(tangents.past - rows.past, tangents.diagonal - rows.diagonal)[:, 0]
        reaction = moved(tangents.past_changes, tangents.diagonal_changes)
        self._towards, self._followed, self._reaction = towards, followed, reaction
        self.growth = scale_growth(tangents, towards, moment, reaction, rows.scale)

    def following(self) -> Following | None:
        """How x follows a change of L; None where nothing is calibrated.

        The identity E[e z] = sqrt(delta) z R_w R_r L, differentiated in L.
        """
        if not self._calibrates:
            return None
        samples, tangents = self._samples, self._tangents
        slope = self._reaction - tangents.response_along(self._towards, self.growth)[1]
        moment = math.sqrt(samples.ratio) * (self._followed @ self._normals)
        diagonal, _ = tangents.rows(self.growth)
        passed = np.linalg.inv(np.eye(STAGES) - diagonal) - np.eye(STAGES)
        mismatch = moment.reshape(STAGES, STAGES, -1) - np.einsum(
            "ij,ik->ijk", passed, self._towards
        )
        growth = -np.tensordot(np.linalg.inv(slope), mismatch, 1)
        swept = self._swept
        memory = samples.force @ tangents.past_changes.reshape(-1, samples.force.shape[1]).T
        memory += swept.force @ tangents.diagonal_changes.reshape(-1, STAGES).T
        memory = memory.T.reshape(STAGES, STAGES, -1).transpose(0, 2, 1)
        return Following(growth, np.ascontiguousarray(memory))

    def with_noise(self, change: np.ndarray, following: Following) -> np.ndarray:
        """x with a change of L, shape (stages, rank + stages)."""
        grown = self.growth + np.tensordot(following.growth, change, 2)
        return np.clip(grown, *allowed_growth(self._swept.rows.scale))
