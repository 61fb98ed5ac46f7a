"""A panel of a march: what its attempt gives, and the unknowns of one of the squared loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dmft.numerics.collocation import STAGES


@dataclass(frozen=True)
class Attempt:
    """Outcome of solving a panel.

    rows : its unknowns. sweeps : used. time_error : estimated, relative. converged : or not.
    rtol : the tolerance that the sample supports, if that is looser than what was asked for.
    """

    rows: Any
    sweeps: int
    time_error: float
    converged: bool
    rtol: float = 0.0


def no_intensity() -> np.ndarray:
    """That of residuals without noise of their own."""
    return np.zeros((STAGES, 0))


@dataclass(frozen=True)
class PanelRows:
    """The unknowns of one panel: everything needed to repeat it exactly.

    step : h. scale : of the calibrated responses, where the next panel starts from (stages,).
    diagonal, past : R_d (stages, stages) and R_p (stages, past nodes).
    known, fresh : rows of L on earlier and new directions, (stages, rank) and (stages, stages).
    intensity : of white noise on the residuals, (stages, 1), or (stages, 0) where there is none.
    """

    step: float
    scale: np.ndarray
    diagonal: np.ndarray
    past: np.ndarray
    known: np.ndarray
    fresh: np.ndarray
    intensity: np.ndarray = field(default_factory=no_intensity)

    @property
    def active(self) -> np.ndarray:
        """Stages that have a noise direction of their own, shape (stages,)."""
        return np.diag(self.fresh) != 0.0

    @property
    def inverse(self) -> np.ndarray:
        """(1 - R_d)^(-1), shape (stages, stages)."""
        from dmft.solver.small_kernels import panel_inverse

        return np.asarray(panel_inverse(self.diagonal))

    def flat(self) -> np.ndarray:
        """All unknowns but the scale side by side, one row per stage, as one vector."""
        parts = [self.diagonal, self.past, self.known, self.fresh, self.intensity]
        return np.concatenate(parts, axis=1).ravel()

    def like(self, flat: np.ndarray) -> PanelRows:
        """The rows whose `flat` is given; an intensity is never negative."""
        parts = (self.diagonal, self.past, self.known, self.fresh)
        ends = np.cumsum([part.shape[1] for part in parts])
        split = np.split(flat.reshape(len(self.diagonal), -1), ends, axis=1)
        diagonal, past, known, fresh, intensity = split
        intensity = np.maximum(intensity, 0.0)
        return PanelRows(self.step, self.scale, diagonal, past, known, fresh, intensity)
