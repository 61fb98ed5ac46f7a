"""Tangents of the classical algorithm: the response of every path, averaged, by matrix products.

Differentiating the Euler step in a force h_l added to g_l gives, for Gamma[k, l] = dG_k/dh_l,

    Gamma[k+1, l] = Gamma[k, l] + increment_k (delta s sum_j R_r[k, j] D[j, l] + (k = l)),
    D[j, l] = slope_j Gamma[j, l],    l < j <= k,

one recursion per path and kick l. All paths share R_r, so the memory of a block of rows, which is
nearly all of the work, is one matrix product for many paths and kicks at once; only the few rows
inside the block are summed one after the other. Zeros are skipped by whole blocks of kicks, which
leaves n_paths T^3 / 6 multiplications and additions for T nodes.
"""

from __future__ import annotations

import numba
import numpy as np

_ROWS = 24  # of a block: few, as its inside is no matrix product
_KICKS = 32
_CHUNK = 16  # paths at a time


def mean_response(
    slope: np.ndarray,
    residual_response: np.ndarray,
    increment: np.ndarray,
    variance: np.ndarray,
    probability: np.ndarray,
    ratio: float,
) -> np.ndarray:
    """R_w = E[s slope_i Gamma[i, l]], shape (time, time), strictly lower triangular.

    Parameters
    ----------
    slope : d phi/dG along every path, shape (time, path).
    residual_response : R_r, (time, time), lower triangular with unit diagonal.
    increment : weight of the force in a step, (time,).
    variance, probability : s and share of every path, (path,).
    ratio : delta.
    """
    nodes, paths = slope.shape
    total = np.zeros((nodes, nodes))
    for start in range(0, paths, _CHUNK):
        part = slice(start, min(start + _CHUNK, paths))
        _add_chunk(
            total,
            np.ascontiguousarray(slope[:, part]),
            residual_response,
            increment,
            ratio * variance[part],
            probability[part] * variance[part],
        )
    return total


def _add_chunk(
    total: np.ndarray,
    slope: np.ndarray,
    residual_response: np.ndarray,
    increment: np.ndarray,
    feedback: np.ndarray,
    share: np.ndarray,
) -> None:
    """Add what a few paths contribute to R_w, one block of kicks after the other."""
    nodes, paths = slope.shape
    for first in range(0, nodes - 1, _KICKS):
        kicks = min(_KICKS, nodes - 1 - first)
        # Row j - first - 1 holds D[j] of these kicks, which begins at j = first + 1.
        moved = np.zeros((nodes - 1 - first, kicks * paths))
        gamma = np.zeros((kicks, paths))
        memory = np.empty((_ROWS, kicks * paths))
        for start in range(first, nodes - 1, _ROWS):
            stop = min(start + _ROWS, nodes - 1)
            done = start - first
            past = residual_response[start:stop, first + 1 : start + 1]
            np.matmul(past, moved[:done], out=memory[: stop - start])
            _finish_block(
                first, start, stop, residual_response, increment, feedback, share, slope,
                memory.reshape(_ROWS, kicks, paths), moved.reshape(-1, kicks, paths), gamma, total,
            )  # fmt: skip


@numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc"})
def _finish_block(
    first, start, stop, residual_response, increment, feedback, share, slope,
    memory, moved, gamma, total,
):  # fmt: skip
    """Steps start .. stop - 1 of a block of kicks, given the memory of the rows before."""
    kicks, paths = gamma.shape
    for k in range(start, stop):
        row = memory[k - start]
        known = min(kicks, k - first)  # kicks that act before this step
        for j in range(start + 1, k + 1):
            factor = residual_response[k, j]
            earlier = moved[j - first - 1]
            for kick in range(min(kicks, j - first)):
                for m in range(paths):
                    row[kick, m] += factor * earlier[kick, m]
        new = moved[k - first]
        for kick in range(known):
            mean = 0.0
            for m in range(paths):
                gamma[kick, m] += increment[k] * feedback[m] * row[kick, m]
                new[kick, m] = slope[k + 1, m] * gamma[kick, m]
                mean += share[m] * new[kick, m]
            total[k + 1, first + kick] += mean
        if known < kicks:
            mean = 0.0
            for m in range(paths):
                gamma[known, m] = increment[k]
                new[known, m] = slope[k + 1, m] * increment[k]
                mean += share[m] * new[known, m]
            total[k + 1, first + known] += mean
