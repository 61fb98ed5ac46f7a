"""The paths of a march that have tangents, and the responses that these give."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.numerics.workers import Workers
from dmft.problem import Problem
from dmft.problem.networks import LINEAR
from dmft.solver.panel_rows import PanelRows
from dmft.solver.response import (
    NEWTON_TOLERANCE,
    PanelResponse,
    PastResponse,
    Tangents,
    diagonal_response,
    past_response,
)
from dmft.solver.sampling import PathSet

_DIAGONAL = 1e-3  # of the tolerance: to which R_d is solved
_SINGLE = 1e-6  # tolerance from which on tangents are stored in single precision
# Calibrated responses (calibration.py) take only their shape from tangents: fewer paths need them.
_TRACED_SHARE, _LEAST_TRACED = 1.0 / 8.0, 512


def calibrates(problem: Problem) -> bool:
    """Whether responses can be calibrated: not where all paths respond alike."""
    return problem.network.code != LINEAR


def traced_paths(problem: Problem, count: int, *, abrupt: bool = False) -> int:
    """How many of `count` paths have tangents where responses are calibrated.

    abrupt : whether only a few paths leave zero at a time (support.py): these carry the response,
        an eighth of them is none, and sweeps flicker.
    """
    if abrupt:
        return count
    few = min(count, max(round(_TRACED_SHARE * count), _LEAST_TRACED))
    return few if calibrates(problem) else count


class Tracers:
    """Traced paths and their tangents.

    Attributes
    ----------
    index, probability : of the paths that have tangents.
    """

    def __init__(
        self,
        problem: Problem,
        path_set: PathSet,
        pool: ThreadPoolExecutor | None,
        count: int,
        panels: int,
        tolerance: float,
    ) -> None:
        """count : of paths that have tangents, with room for so many panels."""
        self.index, self.probability = path_set.part(count)
        self._workers = Workers(len(self.index), pool)
        self._root_variance = np.sqrt(path_set.coordinates.variance)[self.index]
        self._ratio = problem.sampling_ratio
        self._growth = problem.network.growth(problem.dynamics.weight_decay)
        single = problem.network.code != LINEAR and tolerance >= _SINGLE
        precision = np.float32 if single else float
        self._precision = max(NEWTON_TOLERANCE, _DIAGONAL * tolerance)
        self._tangents = Tangents(len(self.index), panels, STAGES, precision)

    def employ(self, pool: ThreadPoolExecutor | None) -> None:
        """See `Workers.employ`."""
        self._workers.employ(pool)

    @property
    def entries(self) -> float:
        """Numbers that all tangents have now."""
        return float(len(self.index) * self._tangents.used())

    @property
    def entry_bytes(self) -> int:
        """Bytes of one of them."""
        return int(self._tangents.packed.itemsize)

    def diagonal(
        self, slope: np.ndarray, integration: np.ndarray, scale: np.ndarray, guess: np.ndarray
    ) -> PanelResponse:
        """R_d and the response inside a panel; slope : Phi' of all paths, (paths, stages)."""
        return diagonal_response(
            self._workers, self.probability, self._root_variance, slope[self.index], integration,
            self._ratio, scale, guess, self._precision,
        )  # fmt: skip

    def past(self, panel: PanelResponse) -> PastResponse:
        """R_p."""
        return past_response(
            self._workers, self._tangents, self.probability, self._root_variance, panel
        )

    def advance(self, slope: np.ndarray, rows: PanelRows, integration: np.ndarray) -> None:
        """Append a panel."""
        from dmft.solver.kernels import advance_tangents, path_responses

        tangents, inverse = self._tangents, rows.inverse
        coupling = integration @ inverse
        tangents.reserve()
        slope, root_variance = slope[self.index], self._root_variance
        response = np.empty((len(slope), STAGES, STAGES))
        tangent = np.empty_like(response)
        scale = math.exp(self._growth * rows.step)

        def advance(c: slice) -> None:
            path_responses(
                self.probability[c], root_variance[c], slope[c], coupling, self._ratio,
                response[c], tangent[c],
            )  # fmt: skip
            advance_tangents(
                tangents.packed[c], tangents.start[c], rows.past, root_variance[c],
                slope[c], tangent[c], coupling, inverse, integration, self._ratio, scale,
            )  # fmt: skip

        self._workers.map(advance)
        tangents.advance()
