"""The Newton step of a sweep for the new rows of the noise factor L.

A change dL moves the paths by de = H C sqrt(delta) dL xi, which moves L by its projection on
the directions Q. In the same sweep R_w changes, which moves L likewise. Where the scales of
responses follow the step (scale_step.py), it solves for both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.noise import NewRows

_TOLERANCE, _MOST_APPLICATIONS = 0.02, 20  # of the linear solve


@dataclass(frozen=True)
class Following:
    """Logarithms of the scales of responses, which follow the step.

    growth : their derivatives in the new rows of L, shape (scales, stages, rank + stages).
    memory : how the change of R_w with each moves the drive of paths, (scales, paths, stages).
    """

    growth: np.ndarray
    memory: np.ndarray


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

    def newton_step(
        self,
        gain: np.ndarray,
        found: NewRows,
        current: np.ndarray,
        memory: np.ndarray,
        following: Following | None = None,
    ) -> np.ndarray:
        """The step from `current`, the new rows of L, shape (stages, rank + stages).

        gain : H C of every path. found : the rows that the paths have.
        memory : how the change of R_w moves their drive, shape (paths, stages).
        following : how the scales follow the step.
        """
        from dmft.solver.newton_kernels import answer, solved_rows

        gain, directions = gain.astype(np.float32), self._directions
        directions[:, -STAGES:] = self._root * found.directions[:-1]

        def answered(memory: np.ndarray) -> np.ndarray:
            drive = (memory / self._root_ratio).astype(np.float32)
            return np.asarray(answer(gain, drive, directions, found.fresh))

        growth, of_scales = np.zeros((2, 0, *current.shape))
        if following is not None:
            growth = following.growth
            of_scales = np.array([answered(part) for part in following.memory])
        right = np.hstack([found.known, found.fresh]) - current + answered(memory)
        return np.asarray(
            solved_rows(
                gain, self._single, directions, found.fresh, growth, of_scales, right,
                _TOLERANCE, _MOST_APPLICATIONS,
            )
        )  # fmt: skip
