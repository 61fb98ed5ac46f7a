"""Anderson acceleration of a fixed-point iteration x -> g(x).

Source: Walker & Ni, SIAM J. Numer. Anal. 49 (2011).
"""

from __future__ import annotations

import numpy as np

_WINDOW = 8
_CONDITION = 1e-10


class Anderson:
    """Combines the last few iterates so that their combined residual is least.

    metric : matrix that maps a residual g(x) - x, or each of the equal parts that it is as long
        as, to the vector whose length is made least.
    """

    def __init__(self, metric: np.ndarray) -> None:
        self._metric = metric
        self._values: list[np.ndarray] = []
        self._residuals: list[np.ndarray] = []

    def mix(self, point: np.ndarray, value: np.ndarray) -> np.ndarray:
        """The next point, given x and g(x)."""
        parts = (value - point).reshape(-1, self._metric.shape[1])
        residual = (parts @ self._metric.T).ravel()
        self._values.append(value)
        self._residuals.append(residual)
        del self._values[:-_WINDOW], self._residuals[:-_WINDOW]
        if len(self._values) == 1:
            return value
        changes = np.diff(np.array(self._residuals), axis=0).T
        weights = np.linalg.lstsq(changes, residual, rcond=_CONDITION)[0]
        return value - np.diff(np.array(self._values), axis=0).T @ weights
