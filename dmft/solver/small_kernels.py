"""Compiled loops over the stages and nodes of a panel, where calls would cost more than work."""

from __future__ import annotations

import math

import numpy as np

from dmft.solver.compiled import compiled


@compiled
def _solve_with_pivots(matrix, vector):
    """Gaussian elimination in place; the solution replaces `vector`."""
    size = vector.shape[0]
    for i in range(size):
        pivot = i
        for row in range(i + 1, size):
            if abs(matrix[row, i]) > abs(matrix[pivot, i]):
                pivot = row
        if pivot != i:
            for column in range(i, size):
                matrix[i, column], matrix[pivot, column] = matrix[pivot, column], matrix[i, column]
            vector[i], vector[pivot] = vector[pivot], vector[i]
        for row in range(i + 1, size):
            factor = matrix[row, i] / matrix[i, i]
            for column in range(i, size):
                matrix[row, column] -= factor * matrix[i, column]
            vector[row] -= factor * vector[i]
    for i in range(size - 1, -1, -1):
        for column in range(i + 1, size):
            vector[i] -= matrix[i, column] * vector[column]
        vector[i] /= matrix[i, i]


@compiled
def split_rows(rest, given, least, scale):
    """New directions of NoiseBasis.rows from what earlier ones leave of rows, which it uses up.

    rest : (paths + 1, new). given, least : nodes that need the first of two sizes, relative to
    `scale`; others need the second. Returns `fresh` (new, new) and directions (paths + 1, new).
    """
    count, new = rest.shape
    fresh, directions = np.zeros((new, new)), np.zeros((count, new))
    for node in range(new - 1, -1, -1):
        size = 0.0
        for m in range(count):
            size += rest[m, node] * rest[m, node]
        size = math.sqrt(size)
        if not size > (least[0] if given[node] else least[1]) * scale:
            continue
        for m in range(count):
            directions[m, node] = rest[m, node] / size
            for row in range(node + 1):
                fresh[row, node] += directions[m, node] * rest[m, row]
        for m in range(count):
            for row in range(node + 1):
                rest[m, row] -= directions[m, node] * fresh[row, node]
    return fresh, directions


@compiled
def largest_root_mean_square(probability, moved):
    """Over the paths, of every column of moved, (paths, new): the largest."""
    count, new = moved.shape
    squares = np.zeros(new)
    for m in range(count):
        for node in range(new):
            squares[node] += probability[m] * moved[m, node] ** 2
    return math.sqrt(squares.max())


@compiled
def panel_inverse(diagonal):
    """(1 - R_d)^(-1)."""
    k = diagonal.shape[0]
    inverse = np.empty((k, k))
    for column in range(k):
        matrix, unit = -diagonal, np.zeros(k)
        for i in range(k):
            matrix[i, i] += 1.0
        unit[column] = 1.0
        _solve_with_pivots(matrix, unit)
        inverse[:, column] = unit
    return inverse


@compiled
def improved_diagonal(diagonal, mean, square, inverse, coupling, integration, ratio):
    """A Newton step for R_d = E[H(R_d)] A, all of the panel's stages.

    mean, square : E[H] and E[H_ia H_bj]. inverse, coupling : (1 - R_d)^(-1) and C = A inverse.
    Returns the largest residual, the derivative of R_d - E[H] A in R_d as a matrix, and R_d after
    the step. While paths stay where they are, dH = delta H (A inverse dR_d inverse) H.
    """
    k = diagonal.shape[0]
    defect, step = np.empty((k * k, k * k)), np.empty(k * k)
    size, finite = 0.0, True
    left, both = np.empty((k, k)), np.empty((k, k))  # of one stage: (c, b), then (c, d)
    for i in range(k):
        for j in range(k):
            total = -diagonal[i, j]
            for n in range(k):
                total += mean[i, n] * integration[n, j]
            step[i * k + j] = total
            size, finite = max(size, abs(total)), finite and math.isfinite(total)
            for c in range(k):
                for b in range(k):
                    left[c, b] = 0.0
                    for a in range(k):
                        for n in range(k):
                            factor = coupling[a, c] * integration[n, j]
                            left[c, b] += square[i, a, b, n] * factor
            for c in range(k):
                for d in range(k):
                    both[c, d] = 0.0
                    for b in range(k):
                        both[c, d] += left[c, b] * inverse[d, b]
                    defect[i * k + j, c * k + d] = -ratio * both[c, d]
            defect[i * k + j, i * k + j] += 1.0
    _solve_with_pivots(defect.copy(), step)
    return size if finite else math.inf, defect, diagonal + step.reshape(k, k)


@compiled
def is_causal(diagonal):
    """Whether 1 - R_d, (3, 3), has its spectrum in the right half plane, by Hurwitz's criterion."""
    a, b, c = 1.0 - diagonal[0, 0], 1.0 - diagonal[1, 1], 1.0 - diagonal[2, 2]
    ab = a * b - diagonal[0, 1] * diagonal[1, 0]
    ac = a * c - diagonal[0, 2] * diagonal[2, 0]
    bc = b * c - diagonal[1, 2] * diagonal[2, 1]
    around = diagonal[0, 1] * diagonal[1, 2] * diagonal[2, 0]
    around += diagonal[0, 2] * diagonal[2, 1] * diagonal[1, 0]
    determinant = a * bc - b * diagonal[0, 2] * diagonal[2, 0] - around
    determinant -= c * diagonal[0, 1] * diagonal[1, 0]
    trace, minors = a + b + c, ab + ac + bc
    return trace > 0.0 and determinant > 0.0 and trace * minors > determinant


@compiled
def scaled_diagonal(defect, diagonal):
    """Derivatives of R_d in the logarithms of its rows' scales, (scales, k, k)."""
    k = diagonal.shape[0]
    changes = np.zeros((k, k * k))
    for scaled in range(k):
        changes[scaled, scaled * k : (scaled + 1) * k] = diagonal[scaled]
        _solve_with_pivots(defect.copy(), changes[scaled])
    return changes.reshape(k, k, k)


@compiled
def noise_response(current, fed, fed_changes, diagonal, diagonal_changes, growth):
    """See calibration.NoiseRows.response."""
    k, width = fed.shape
    for scaled in range(k):
        diagonal = diagonal + growth[scaled] * diagonal_changes[scaled]
        fed = fed + growth[scaled] * fed_changes[scaled]
    inverse = panel_inverse(diagonal)
    residual, moved = np.zeros((k, width)), np.empty((k, width))
    changes = np.zeros((k, k, width))
    for i in range(k):
        for j in range(k):
            for c in range(width):
                residual[i, c] += inverse[i, j] * fed[j, c]
    for scaled in range(k):
        moved[:] = fed_changes[scaled]
        for i in range(k):
            for j in range(k):
                for c in range(width):
                    moved[i, c] += diagonal_changes[scaled, i, j] * residual[j, c]
        for i in range(k):
            for j in range(k):
                for c in range(width):
                    changes[scaled, i, c] += inverse[i, j] * moved[j, c]
    return residual - current, changes


@compiled
def along(directions, response, changes):
    """z_i response_i and its derivatives (i, j), for unit vectors z and changes (j, i, width)."""
    k, width = directions.shape
    value, slope = np.zeros(k), np.zeros((k, k))
    for i in range(k):
        for c in range(width):
            value[i] += directions[i, c] * response[i, c]
        for j in range(k):
            for c in range(width):
                slope[i, j] += directions[i, c] * changes[j, i, c]
    return value, slope


@compiled
def calibrated_growth(
    directions, moment, reaction, least, most, iterations,
    current, fed, fed_changes, diagonal, diagonal_changes,
):  # fmt: skip
    """See calibration.scale_growth; the last five as in `noise_response`."""
    growth = np.zeros(moment.shape[0])
    for _ in range(iterations):
        response = noise_response(current, fed, fed_changes, diagonal, diagonal_changes, growth)
        value, slope = along(directions, *response)
        step = moment + reaction @ growth - value
        _solve_with_pivots(reaction - slope, step)
        growth = np.minimum(np.maximum(growth - step, least), most)
    return growth


@compiled
def solve_past(packed, coupling, constant):
    """Solve U_ij - sum_aq E[H_ia V_qj] (C U)_aq = constant_ij for U (k, K), the last panel first.

    packed : E[H_ia V], one row for each (i, a), V packed as in kernels.py.
    """
    k, nodes = constant.shape
    solution = np.empty((k, nodes))
    coupled = np.empty((k, nodes))  # C U
    matrix = np.empty((k * k, k * k))
    right = np.empty(k * k)
    for panel in range(nodes // k - 1, -1, -1):
        first = panel * k
        for i in range(k):
            for c in range(k):
                total = constant[i, first + c]
                for q in range(first + k, nodes):
                    later, stage = q // k, q % k
                    width = (later + 1) * k
                    entry = k * k * later * (later + 1) // 2 + stage * width + first + c
                    for a in range(k):
                        total += packed[i * k + a, entry] * coupled[a, q]
                right[i * k + c] = total
        offset, width = k * k * panel * (panel + 1) // 2, first + k
        for i in range(k):
            for c in range(k):
                for n in range(k):
                    for stage in range(k):
                        total = 0.0
                        for a in range(k):
                            moment = packed[i * k + a, offset + stage * width + first + c]
                            total += moment * coupling[a, n]
                        matrix[i * k + c, n * k + stage] = -total
                matrix[i * k + c, i * k + c] += 1.0
        _solve_with_pivots(matrix, right)
        for i in range(k):
            for c in range(k):
                solution[i, first + c] = right[i * k + c]
        for a in range(k):
            for c in range(k):
                total = 0.0
                for n in range(k):
                    total += coupling[a, n] * solution[n, first + c]
                coupled[a, first + c] = total
    return solution
