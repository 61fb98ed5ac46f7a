"""Noise of their own that residuals may have, on the panels of a flow: the contract, and none.

A march (march.py) asks what the noise adds to the drive of its paths and how it damps them, lets it
follow the residuals in every sweep, and has it judge what is accurate enough. `WhiteNoise`
(white_noise.py) is that of mini-batches.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from dmft.solver.accuracy import Accuracy, Swept
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.panel_rows import PanelRows, no_intensity
from dmft.solver.sides import CoordinatePaths, Damping


class ResidualNoise(Protocol):
    """What residuals feel beyond the noise of the data.

    calibrates : whether responses obey Stein's identity with the noise of the data alone.
    """

    calibrates: bool

    def guess(self) -> np.ndarray:
        """Intensity at the stages of a panel of which nothing is known yet."""
        ...

    def added(self, drive: np.ndarray, rows: PanelRows) -> np.ndarray:
        """The drive of every path, (paths, stages), with the noise of its panel."""
        ...

    def damping(self, step: float, intensity: np.ndarray) -> Damping | None:
        """What the noise of a panel does to the factors of a weight."""
        ...

    def intensity(self, rows: PanelRows, better: PanelRows, factor: np.ndarray) -> np.ndarray:
        """That of better rows; rows : of the present paths, factor : of better rows."""
        ...

    def commit(self, rows: PanelRows) -> None:
        """Append a panel; called when its samples have been."""
        ...

    def metric(self, rows: PanelRows, probability: np.ndarray, past: np.ndarray) -> np.ndarray:
        """See `Accuracy.metric`."""
        ...

    def unsettled(self, rows: PanelRows, better: PanelRows) -> float:
        """How far the intensity moved in a sweep; below 1 it has settled."""
        ...

    def time_error(self, swept: Swept, better: PanelRows, sweeps: int) -> float:
        """Estimated relative time error of a panel whose last sweep led to better rows."""
        ...

    def residual_factor(self) -> np.ndarray:
        """A root of C_r: rows of R_r L on all nodes, t = 0 first."""
        ...

    def noise_response(self) -> np.ndarray:
        """What the residual of each node takes from each column of the sample's noise."""
        ...

    def charge_decay(self) -> np.ndarray | None:
        """Factor by which noise has moved the charge of every path, (paths, nodes)."""
        ...


class Quiet:
    """Residuals without noise of their own, those of whole batches; see `ResidualNoise`."""

    calibrates = True

    def __init__(self, paths: CoordinatePaths, samples: LinearSamples, accuracy: Accuracy) -> None:
        self._samples = samples
        self._accuracy = accuracy

    def guess(self) -> np.ndarray:
        """None."""
        return no_intensity()

    def added(self, drive: np.ndarray, rows: PanelRows) -> np.ndarray:
        """Nothing is added."""
        return drive

    def damping(self, step: float, intensity: np.ndarray) -> None:
        """Nothing is damped."""

    def intensity(self, rows: PanelRows, better: PanelRows, factor: np.ndarray) -> np.ndarray:
        """None."""
        return no_intensity()

    def commit(self, rows: PanelRows) -> None:
        """Nothing is kept."""

    def metric(self, rows: PanelRows, probability: np.ndarray, past: np.ndarray) -> np.ndarray:
        """That of the force."""
        return self._accuracy.metric(rows, probability, past)

    def unsettled(self, rows: PanelRows, better: PanelRows) -> float:
        """Nothing moves."""
        return 0.0

    def time_error(self, swept: Swept, better: PanelRows, sweeps: int) -> float:
        """That of the paths."""
        return self._accuracy.time_error(swept)

    def residual_factor(self) -> np.ndarray:
        """All of it comes from the data."""
        return self._samples.factor

    def noise_response(self) -> np.ndarray:
        """All of it comes from the data."""
        return self._samples.factor

    def charge_decay(self) -> None:
        """Charges stay."""
