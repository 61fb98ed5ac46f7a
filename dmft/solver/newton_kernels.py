"""Compiled loops of the Newton step for the noise of a panel (newton.py)."""

from __future__ import annotations

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.compiled import compiled, reordered

_AT_ONCE = 256  # paths whose sums stay in single precision


@reordered
def answer(gain, drive, directions, fresh):
    """How L follows a drive of the paths: what they move, on the directions Q, (stages, width).

    gain : H C, (paths, stages, stages). drive : (paths, stages). directions : (paths, width), in
    single precision. fresh : see `fresh_change`.
    """
    count, width = directions.shape
    projection, part = np.zeros((STAGES, width)), np.empty((STAGES, width), dtype=np.float32)
    for start in range(0, count, _AT_ONCE):
        part[:] = 0.0
        for m in range(start, min(start + _AT_ONCE, count)):
            _add_moved(gain[m], drive[m], directions[m], part)
        projection += part
    projection[:, width - STAGES :] = fresh_change(fresh, projection[:, width - STAGES :])
    return projection


@reordered
def answer_to_noise(gain, normals, change, directions, fresh):
    """`answer` to the drive that a change of L brings, (stages, width); normals : (paths, width)."""
    count, width = directions.shape
    drive = np.empty((count, STAGES), dtype=np.float32)
    for m in range(count):
        for j in range(STAGES):
            total = np.float32(0.0)
            for c in range(width):
                total += normals[m, c] * change[j, c]
            drive[m, j] = total
    return answer(gain, drive, directions, fresh)


@reordered
def _add_moved(gain, drive, directions, part):
    """Add those of one path: part_ic += sum_j gain_ij drive_j directions_c."""
    for i in range(STAGES):
        moved = gain[i, 0] * drive[0]
        for j in range(1, STAGES):
            moved += gain[i, j] * drive[j]
        for c in range(directions.shape[0]):
            part[i, c] += moved * directions[c]


@compiled
def fresh_change(fresh, projection):
    """See noise.NewRows.fresh_change."""
    new = fresh.shape[0]
    turn = np.zeros((new, new))
    for row in range(new - 1, 0, -1):
        if fresh[row, row] == 0.0:
            continue
        for column in range(row):
            later = 0.0
            for n in range(row + 1, new):
                later += fresh[row, n] * turn[n, column]
            turn[row, column] = -(projection[row, column] + later) / fresh[row, row]
            turn[column, row] = -turn[row, column]
    change = np.zeros((new, new))
    for row in range(new):
        for column in range(row, new):
            total = projection[row, column]
            for n in range(new):
                total += fresh[row, n] * turn[n, column]
            change[row, column] = total
    return change
