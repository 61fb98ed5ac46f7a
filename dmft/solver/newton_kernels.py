"""The compiled Newton step for the noise of a panel (newton.py), by GMRES.

Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986). The system is small and
well conditioned: calls of a general implementation would take longer than the operator.
"""

from __future__ import annotations

import math

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.compiled import compiled, reordered

_ROUNDING = 2.0**-52
_AT_ONCE = 256  # paths whose sums stay in single precision


@compiled
def solved_rows(
    gain, normals, directions, fresh, growth, of_scales, right, tolerance, most
):  # fmt: skip
    """The change x of L with x - answer_to_noise(x) - sum_s (growth_s x) of_scales_s = right.

    right : (stages, width). growth, of_scales : of the scales that follow, (scales, stages, width).
    Solved until what is left is below `tolerance` of `right`; after `most` applications the best
    x so far. The other arguments are those of `answer_to_noise`.
    """
    size = math.sqrt(_dot(right, right))
    if size == 0.0:
        return np.zeros_like(right)
    basis = np.zeros((most + 1, STAGES, right.shape[1]))
    basis[0] = right / size
    triangle, target = np.zeros((most, most)), np.zeros(most + 1)
    turns = np.zeros((most, 2))
    target[0] = size
    count = 0
    for k in range(most):
        change = basis[k].astype(np.float32)
        image = basis[k] - answer_to_noise(gain, normals, change, directions, fresh)
        for s in range(growth.shape[0]):
            image -= _dot(growth[s], basis[k]) * of_scales[s]
        column = _projected(basis[: k + 1], image)
        length = column[k + 1]
        # Givens rotations keep the projected problem triangular.
        for i in range(k):
            _turn(column, i, turns[i, 0], turns[i, 1])
        radius = math.hypot(column[k], column[k + 1])
        if radius == 0.0:  # the operator vanishes on the last vector: a singular system
            break
        count = k + 1
        turns[k] = column[k] / radius, column[k + 1] / radius
        triangle[:k, k], triangle[k, k] = column[:k], radius
        _turn(target, k, turns[k, 0], turns[k, 1])
        if abs(target[k + 1]) <= tolerance * size or length <= tolerance * _ROUNDING * size:
            break
        basis[k + 1] = image / length
    return _combined(triangle, target[:count], basis)


@compiled
def _projected(basis, image):
    """Components of an image along a basis, which it loses, and the length that is left of it."""
    known = basis.shape[0]
    column = np.zeros(known + 1)
    for _ in range(2):
        for i in range(known):
            part = _dot(basis[i], image)
            image -= part * basis[i]
            column[i] += part
    column[known] = math.sqrt(_dot(image, image))
    return column


@compiled
def _turn(column, i, cosine, sine):
    """Turn the plane of two neighbouring entries."""
    upper, lower = column[i], column[i + 1]
    column[i], column[i + 1] = cosine * upper + sine * lower, cosine * lower - sine * upper


@compiled
def _combined(triangle, target, basis):
    """sum_k y_k basis_k, with y the solution of triangle y = target, which it replaces."""
    solution = np.zeros_like(basis[0])
    for k in range(len(target) - 1, -1, -1):
        for later in range(k + 1, len(target)):
            target[k] -= triangle[k, later] * target[later]
        target[k] /= triangle[k, k]
        solution += target[k] * basis[k]
    return solution


@reordered
def _dot(one, other):
    total = 0.0
    for i in range(one.shape[0]):
        for j in range(one.shape[1]):
            total += one[i, j] * other[i, j]
    return total


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
    """`answer` to the drive that a change of L, (stages, width), brings.

    normals : (paths, width), in single precision.
    """
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
