"""Compiled inner loops over the paths of one chunk.

Each is a plain function of arrays; every path is independent of the others, so a chunk can be
handed to any thread. Shapes: n paths, k stages, K past nodes. Packed tangents: a path's row block
of panel m holds k rows of (m+1) k columns, block after block.
"""

from __future__ import annotations

import math

import numba
import numpy as np

_MOST_ITERATIONS = 100
_NEWTON_TOLERANCE = 1e-7  # of a Newton step: what is left is of the order of its square
_LONGEST_STEP = 0.7  # of Newton in G at depth 2, where w grows like e^(2G)
_MARGIN = 0.2  # part of the distance to the singularity of a deep network that a step must leave

_COLUMNS = 1024  # of packed tangents that are worked on at a time

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
# Sums whose terms may be added in any order, so that they fill vector registers.
_reordered = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
)


@compiled
def weight(code, depth, decay, growth, p, q, accumulated, elapsed):
    """w = phi(G) and dphi/dG of one coordinate, as networks.py defines them."""
    if code == 1:
        a = math.exp(2.0 * (p - accumulated - decay * elapsed))
        b = math.exp(2.0 * (q + accumulated - decay * elapsed))
        return 0.5 * (a - b), -(a + b)
    if code == 0:
        damping = math.exp(-decay * elapsed)
        return damping * (p - accumulated), -damping
    if code == 2:
        scale = math.exp(growth * elapsed)
        exponent = -1.0 / (depth - 2)
        a = (scale * (p + (depth - 2) * accumulated)) ** exponent
        b = (scale * (q - (depth - 2) * accumulated)) ** exponent
        w = (a**depth - b**depth) / depth
        return w, -scale * (a ** (2 * depth - 2) + b ** (2 * depth - 2))
    raise ValueError("unknown network")


@compiled
def weights_on_stages(code, depth, decay, growth, p, q, accumulated, elapsed, w, slope):
    """Fill w and slope = dphi/dG, both (n, k), at given accumulated forces (n, k)."""
    for m in range(accumulated.shape[0]):
        for i in range(accumulated.shape[1]):
            w[m, i], slope[m, i] = weight(
                code, depth, decay, growth, p[m], q[m], accumulated[m, i], elapsed[i]
            )


@compiled
def _solve_in_place(matrix, vector):
    """Gaussian elimination without pivoting: the matrices are close to diagonally dominant."""
    k = vector.shape[0]
    for i in range(k):
        for j in range(i + 1, k):
            factor = matrix[j, i] / matrix[i, i]
            for column in range(i, k):
                matrix[j, column] -= factor * matrix[i, column]
            vector[j] -= factor * vector[i]
    for i in range(k - 1, -1, -1):
        for column in range(i + 1, k):
            vector[i] -= matrix[i, column] * vector[column]
        vector[i] /= matrix[i, i]


@compiled
def _admissible_part(code, depth, p, q, accumulated, step):
    """Fraction of a Newton step that neither overflows nor crosses a singularity."""
    part = 1.0
    if code == 1:
        longest = np.max(np.abs(step))
        if longest > _LONGEST_STEP:
            part = _LONGEST_STEP / longest
    elif code == 2:
        for i in range(step.shape[0]):
            while True:
                trial = accumulated[i] - part * step[i]
                left_a = (p + (depth - 2) * trial) / (p + (depth - 2) * accumulated[i])
                left_b = (q - (depth - 2) * trial) / (q - (depth - 2) * accumulated[i])
                if left_a > _MARGIN and left_b > _MARGIN:
                    break
                part *= 0.5
    elif code != 0:
        raise ValueError("unknown network")
    return part


@compiled
def solve_paths(
    code, depth, decay, growth, p, q, root_variance, teacher, elapsed, coupling, ratio, drive,
    accumulated, w, slope,
):  # fmt: skip
    """Solve G = sqrt(s) C (delta sqrt(s) (phi(G) - w*) + b) for every path by damped Newton.

    C is `coupling` (k, k), b is `drive` (n, k); `accumulated` holds the first guess and then the
    result, w and slope its weights. Returns (iterations, paths that did not converge).
    """
    count, stages = drive.shape
    jacobian = np.empty((stages, stages))
    residual = np.empty(stages)
    iterations = 0
    failed = 0
    for m in range(count):
        root = root_variance[m]
        converged = False
        for _ in range(_MOST_ITERATIONS):
            iterations += 1
            for i in range(stages):
                w[m, i], slope[m, i] = weight(
                    code, depth, decay, growth, p[m], q[m], accumulated[m, i], elapsed[i]
                )
            if converged:
                break
            for i in range(stages):
                total = 0.0
                for j in range(stages):
                    force = ratio * root * (w[m, j] - teacher[m]) + drive[m, j]
                    total += coupling[i, j] * force
                    jacobian[i, j] = -ratio * root * root * coupling[i, j] * slope[m, j]
                jacobian[i, i] += 1.0
                residual[i] = accumulated[m, i] - root * total
            _solve_in_place(jacobian, residual)
            part = _admissible_part(code, depth, p[m], q[m], accumulated[m], residual)
            longest = 0.0
            for i in range(stages):
                accumulated[m, i] -= part * residual[i]
                longest = max(longest, abs(residual[i]))
            if not math.isfinite(longest):
                break
            converged = longest < _NEWTON_TOLERANCE * (1.0 + abs(accumulated[m, stages - 1]))
        if not converged:
            failed += 1
    return iterations, failed


@compiled
def path_responses(probability, root_variance, slope, coupling, ratio, response, tangent):
    """Linear response of each path inside the panel.

    tangent P = (1 - delta s C Phi')^(-1), response H = s Phi' P, both (n, k, k).
    Returns E[H] (k, k) and E[H_ia H_bj] (k, k, k, k), weighted by `probability`.
    """
    count, k = slope.shape
    mean = np.zeros((k, k))
    square = np.zeros((k, k, k, k))
    matrix = np.empty((k, k))
    for m in range(count):
        variance = root_variance[m] * root_variance[m]
        for i in range(k):
            for j in range(k):
                matrix[i, j] = -ratio * variance * coupling[i, j] * slope[m, j]
                tangent[m, i, j] = 0.0
            matrix[i, i] += 1.0
            tangent[m, i, i] = 1.0
        for i in range(k):
            inverse = 1.0 / matrix[i, i]
            for j in range(k):
                matrix[i, j] *= inverse
                tangent[m, i, j] *= inverse
            for row in range(k):
                if row != i:
                    factor = matrix[row, i]
                    for j in range(k):
                        matrix[row, j] -= factor * matrix[i, j]
                        tangent[m, row, j] -= factor * tangent[m, i, j]
        for i in range(k):
            for j in range(k):
                response[m, i, j] = variance * slope[m, i] * tangent[m, i, j]
                mean[i, j] += probability[m] * response[m, i, j]
        for i in range(k):
            for a in range(k):
                left = probability[m] * response[m, i, a]
                for b in range(k):
                    for j in range(k):
                        square[i, a, b, j] += left * response[m, b, j]
    return mean, square


@compiled
def panel_gains(root_variance, slope, coupling, ratio, gain):
    """H C of every path, (n, k, k): how its error on the stages follows its drive."""
    count, k = slope.shape
    matrix = np.empty((k, k))
    column = np.empty(k)
    for m in range(count):
        variance = root_variance[m] * root_variance[m]
        for j in range(k):
            for i in range(k):
                for n in range(k):
                    matrix[i, n] = -ratio * variance * coupling[i, n] * slope[m, n]
                matrix[i, i] += 1.0
                column[i] = coupling[i, j]
            _solve_in_place(matrix, column)
            for i in range(k):
                gain[m, i, j] = variance * slope[m, i] * column[i]


@_reordered
def tangent_moments(weighted, packed, used, result):
    """result = weighted^T packed[:, :used], with weighted (n, 3 r): what every sweep reads most.

    Four paths and three rows at a time, on columns that stay in cache: twice as fast as a general
    product, whose blocks are made for more rows than a few.
    """
    count, rows = weighted.shape
    result[:] = 0.0
    fours = count - count % 4
    for start in range(0, used, _COLUMNS):
        stop = min(start + _COLUMNS, used)
        for m in range(0, fours, 4):
            v0, v1 = packed[m, start:stop], packed[m + 1, start:stop]
            v2, v3 = packed[m + 2, start:stop], packed[m + 3, start:stop]
            for i in range(0, rows, 3):
                sum0, sum1 = result[i, start:stop], result[i + 1, start:stop]
                sum2 = result[i + 2, start:stop]
                a0, a1, a2 = weighted[m, i], weighted[m, i + 1], weighted[m, i + 2]
                b0, b1, b2 = weighted[m + 1, i], weighted[m + 1, i + 1], weighted[m + 1, i + 2]
                c0, c1, c2 = weighted[m + 2, i], weighted[m + 2, i + 1], weighted[m + 2, i + 2]
                d0, d1, d2 = weighted[m + 3, i], weighted[m + 3, i + 1], weighted[m + 3, i + 2]
                for c in range(stop - start):
                    sum0[c] += a0 * v0[c] + b0 * v1[c] + c0 * v2[c] + d0 * v3[c]
                    sum1[c] += a1 * v0[c] + b1 * v1[c] + c1 * v2[c] + d1 * v3[c]
                    sum2[c] += a2 * v0[c] + b2 * v1[c] + c2 * v2[c] + d2 * v3[c]
        for m in range(fours, count):
            for i in range(rows):
                for c in range(start, stop):
                    result[i, c] += weighted[m, i] * packed[m, c]


@compiled
def advance_tangents(
    packed, tangent_start, past_response, root_variance, slope, tangent, coupling, inverse,
    integration, ratio, scale,
):  # fmt: skip
    """Append the panel's rows of V = dF/dh - 1 to `packed` and update dG/dh in `tangent_start`.

    F is the force, h a unit force at an earlier node. `past_response` is R_p (k, K); `scale` is
    e^(mu h). New columns of tangent_start start at K; see response.py for the formulas.
    """
    count = slope.shape[0]
    k, past = past_response.shape
    panels = past // k
    start = k * k * panels * (panels + 1) // 2
    width = past + k
    memory = np.empty((k, width))
    moved = np.empty((k, width))
    forced = np.empty((k, k))
    for m in range(count):
        row = packed[m]
        memory[:] = 0.0
        offset = 0
        for panel in range(panels):
            columns = (panel + 1) * k
            for stage in range(k):
                node = panel * k + stage
                for i in range(k):
                    factor = past_response[i, node]
                    for c in range(columns):
                        memory[i, c] += factor * row[offset + c]
                offset += columns
        root = root_variance[m]
        for i in range(k):
            for j in range(k):
                forced[i, j] = 0.0
                for n in range(k):
                    forced[i, j] += tangent[m, i, n] * root * coupling[n, j]
        for i in range(k):
            total = 0.0
            for j in range(k):
                total += tangent[m, i, j]
            for c in range(past):
                moved[i, c] = total * tangent_start[m, c]
            for c in range(past, width):
                moved[i, c] = 0.0
            for j in range(k):
                for c in range(past):
                    moved[i, c] += forced[i, j] * memory[j, c]
                for c in range(k):
                    moved[i, past + c] += root * tangent[m, i, j] * integration[j, c]
        for c in range(width):
            tangent_start[m, c] = scale * moved[k - 1, c]
        for i in range(k):
            factor = ratio * root * slope[m, i]
            for c in range(width):
                memory[i, c] += factor * moved[i, c]
        for i in range(k):
            target = start + i * width
            for c in range(width):
                row[target + c] = 0.0
            for j in range(k):
                factor = inverse[i, j]
                for c in range(width):
                    row[target + c] += factor * memory[j, c]
