"""Rows of the response kernel of a new panel, given its paths.

With F = 1 + V the tangent of the force, D = d(sqrt(s) w)/dh that of the weights and h a unit force
at one node, the rows of a new panel obey (matrices over stages, A the weighted integration matrix,
inv = (1 - R_d)^(-1), C = A inv, P and H of kernels.path_responses):
    V_new = inv (delta D_new + R_p V_past),   V_nn = inv delta D_nn,
    dG_new = P (dG_start + sqrt(s) C R_p V_past),   dG_nn = P sqrt(s) A,   D = sqrt(s) Phi' dG,
    R_d = S E[H] A,   R_p = S (E[sqrt(s) Phi' P dG_start] + E[H C R_p V_past]),
with S the diagonal matrix of the rows' scales, 1 unless calibrated (calibration.py).
R_d is found by Newton; R_p solves a linear system, block triangular because V is causal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dmft.numerics.workers import Workers

NEWTON_TOLERANCE = 1e-10  # of R_d
_NEWTON_ITERATIONS = 25
_CONTINUATION = 2.0 ** np.arange(-12.0, 1.0)


class NoCausalResponse(ArithmeticError):
    """The response inside a panel has no causal root: the panel is too long for its paths."""


@dataclass
class PanelResponse:
    """Linear response inside a panel: R_d, C = A inv, and S H per path.

    changes : derivatives of R_d in the logarithms of the scales, (scales, stages, stages).
    """

    diagonal: np.ndarray
    changes: np.ndarray
    coupling: np.ndarray
    response: np.ndarray


@dataclass(frozen=True)
class PastResponse:
    """R_p, shape (stages, past nodes), and the linear system that it solves."""

    rows: np.ndarray
    moments: np.ndarray
    coupling: np.ndarray

    def changes(self) -> np.ndarray:
        """Derivatives of R_p in the logarithms of the scales, (scales, stages, past nodes).

        H and C stay as they are, though they follow R_d: a small part of the change.
        """
        from dmft.solver.small_kernels import solve_past

        changes = np.zeros((len(self.rows), *self.rows.shape))
        for scaled, change in enumerate(changes):
            change[scaled] = self.rows[scaled]
            change[:] = solve_past(self.moments, self.coupling, change)
        return changes


class Tangents:
    """Stored tangents of all paths: V, packed, and dG/dh at the start of the next panel.

    V is what a solve stores and reads most of. Its rounding errors average out over the paths, so
    that single precision is enough for most purposes.
    """

    def __init__(self, paths: int, panels: int, stages: int, precision: type = float) -> None:
        self._stages = stages
        self._panels = 0
        self._capacity = panels
        self.packed: np.ndarray = np.zeros((paths, self._size(panels)), dtype=precision)
        self.start = np.zeros((paths, panels * stages))

    def _size(self, panels: int) -> int:
        return self._stages**2 * panels * (panels + 1) // 2

    @property
    def nodes(self) -> int:
        """Number of past nodes."""
        return self._panels * self._stages

    def reserve(self) -> None:
        """Make room for one more panel."""
        if self._panels < self._capacity:
            return
        self._capacity *= 2
        shape = (len(self.packed), self._size(self._capacity))
        packed = np.zeros(shape, dtype=self.packed.dtype)
        packed[:, : self.packed.shape[1]] = self.packed
        start = np.zeros((len(self.start), self._capacity * self._stages))
        start[:, : self.start.shape[1]] = self.start
        self.packed, self.start = packed, start

    def advance(self) -> None:
        """Count the panel whose rows have been filled in."""
        self._panels += 1

    def used(self) -> int:
        """Packed entries filled so far, per path."""
        return self._size(self._panels)


def diagonal_response(
    workers: Workers,
    probability: np.ndarray,
    root_variance: np.ndarray,
    slope: np.ndarray,
    integration: np.ndarray,
    ratio: float,
    scale: np.ndarray,
    guess: np.ndarray,
    tolerance: float = NEWTON_TOLERANCE,
) -> PanelResponse:
    """Solve R_d = S E[H(R_d)] A by Newton; `slope` is Phi', shape (paths, stages).

    The equation has several roots. The causal one is connected to R_d = 0 at h = 0, and there
    1 - R_d has its spectrum in the right half plane. When `guess` leads to another root, the
    causal one is followed from a short panel to the full one.
    """
    from dmft.solver.small_kernels import panel_inverse, scaled_diagonal

    count, k = slope.shape
    response, tangent = np.empty((count, k, k)), np.empty((count, k, k))

    def moments(coupling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from dmft.solver.kernels import path_responses

        def accumulate(c: slice) -> tuple[np.ndarray, np.ndarray]:
            return path_responses(
                probability[c], root_variance[c], slope[c], coupling, ratio,
                response[c], tangent[c],
            )  # fmt: skip

        mean, square = workers.sums(accumulate)
        return scale[:, None] * mean, scale[:, None, None, None] * square

    found = _newton_diagonal(moments, integration, ratio, guess, tolerance)
    if found is None:
        found = np.zeros((k, k)), np.eye(k * k)
        for part in _CONTINUATION:
            found = _newton_diagonal(moments, part * integration, ratio, found[0], tolerance)
            if found is None:
                raise NoCausalResponse
    diagonal, defect = found
    response *= scale[:, None]
    changes = scaled_diagonal(defect, diagonal)
    return PanelResponse(diagonal, changes, integration @ panel_inverse(diagonal), response)


def _newton_diagonal(
    moments: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    integration: np.ndarray,
    ratio: float,
    guess: np.ndarray,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Newton for R_d from a guess; None when it fails or finds a root that is not causal.

    Also the derivative of R_d - S E[H(R_d)] A in R_d, as a matrix.
    """
    from dmft.solver.small_kernels import improved_diagonal, is_causal, panel_inverse

    diagonal = guess
    for _ in range(_NEWTON_ITERATIONS):
        inverse = panel_inverse(diagonal)
        coupling = integration @ inverse
        mean, square = moments(coupling)
        size, defect, better = improved_diagonal(
            diagonal, mean, square, inverse, coupling, integration, ratio
        )
        if not math.isfinite(size):
            return None
        if size < tolerance * (1.0 + np.abs(diagonal).max()):
            return (diagonal, defect) if is_causal(diagonal) else None
        diagonal = better
    return None


def past_response(
    workers: Workers,
    tangents: Tangents,
    probability: np.ndarray,
    root_variance: np.ndarray,
    panel: PanelResponse,
) -> PastResponse:
    """Solve for R_p."""
    count, k, _ = panel.response.shape
    nodes, used = tangents.nodes, tangents.used()
    if nodes == 0:
        return PastResponse(np.zeros((k, 0)), np.zeros((k * k, 0)), panel.coupling)
    weighted = (probability[:, None, None] * panel.response).reshape(count, k * k)
    weighted = weighted.astype(tangents.packed.dtype, copy=False)
    forcing = (probability / root_variance)[:, None] * panel.response.sum(axis=2)

    def moments(c: slice) -> tuple[np.ndarray, np.ndarray]:
        from dmft.solver.kernels import tangent_moments

        result = np.empty((k * k, used), dtype=tangents.packed.dtype)
        tangent_moments(weighted[c], tangents.packed[c], used, result)
        return result.astype(float), forcing[c].T @ tangents.start[c, :nodes]

    from dmft.solver.small_kernels import solve_past

    packed, constant = workers.sums(moments)
    return PastResponse(solve_past(packed, panel.coupling, constant), packed, panel.coupling)
