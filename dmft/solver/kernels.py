"""Compiled inner loops over the paths of one chunk.

Each is a plain function of arrays; every path is independent of the others, so a chunk can be
handed to any thread. Shapes: n paths, k stages, K past nodes. Packed tangents: a path's row block
of panel m holds k rows of (m+1) k columns, block after block.
"""

from __future__ import annotations

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.compiled import compiled, reordered, solve_all_in_place

_COLUMNS = 1024  # of packed tangents that are worked on at a time


@compiled
def path_responses(probability, root_variance, slope, coupling, ratio, response, tangent):
    """Linear response of each path inside the panel.

    tangent P = (1 - delta s C Phi')^(-1), response H = s Phi' P, both (n, k, k).
    Returns E[H] (k, k) and E[H_ia H_bj] (k, k, k, k), weighted by `probability`.
    """
    count = slope.shape[0]
    mean = np.zeros((STAGES, STAGES))
    square = np.zeros((STAGES, STAGES, STAGES, STAGES))
    matrix = np.empty((STAGES, STAGES))
    for m in range(count):
        variance = root_variance[m] * root_variance[m]
        for i in range(STAGES):
            for j in range(STAGES):
                matrix[i, j] = -ratio * variance * coupling[i, j] * slope[m, j]
                tangent[m, i, j] = 0.0
            matrix[i, i] += 1.0
            tangent[m, i, i] = 1.0
        solve_all_in_place(matrix, tangent[m])
        for i in range(STAGES):
            for j in range(STAGES):
                response[m, i, j] = variance * slope[m, i] * tangent[m, i, j]
                mean[i, j] += probability[m] * response[m, i, j]
        for i in range(STAGES):
            for a in range(STAGES):
                left = probability[m] * response[m, i, a]
                for b in range(STAGES):
                    for j in range(STAGES):
                        square[i, a, b, j] += left * response[m, b, j]
    return mean, square


@compiled
def panel_gains(root_variance, slope, coupling, ratio, gain):
    """H C of every path, (n, k, k): how its error on the stages follows its drive."""
    count = slope.shape[0]
    matrix = np.empty((STAGES, STAGES))
    for m in range(count):
        variance = root_variance[m] * root_variance[m]
        for i in range(STAGES):
            for n in range(STAGES):
                matrix[i, n] = -ratio * variance * coupling[i, n] * slope[m, n]
                gain[m, i, n] = coupling[i, n]
            matrix[i, i] += 1.0
        solve_all_in_place(matrix, gain[m])
        for i in range(STAGES):
            for j in range(STAGES):
                gain[m, i, j] *= variance * slope[m, i]


@reordered
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
