"""Compiled loops over the paths of both sides of a panel; see kernels.py for their conventions."""

from __future__ import annotations

import math

import numpy as np

from dmft.solver.kernels import _admissible_part, _solve_in_place, compiled, weight
from dmft.solver.losses import loss_terms

_MOST_ITERATIONS = 200
_MANY_ITERATIONS = 30  # of Newton, after which steps are halved: piecewise linear slopes may cycle
_NEWTON_TOLERANCE = 1e-8  # of a Newton step: what is left is of the order of its square
_LONGEST_STEP = 2.0  # of Newton in a field: slopes of the losses change over about 1


@compiled
def solve_fields(code, parameter, labels, response, drive, field, slope, curvature):
    """Solve h_i = drive_i + sum_j R_ij l'(h_j, y) for every row of the data by damped Newton.

    R is `response` (k, k), `drive` (n, k); `field` holds the first guess and then the result,
    `slope` l'(h, y) and `curvature` l''. Returns (iterations, rows that did not converge).
    """
    count, stages = drive.shape
    jacobian = np.empty((stages, stages))
    residual = np.empty(stages)
    iterations = 0
    failed = 0
    for m in range(count):
        converged = False
        for iteration in range(_MOST_ITERATIONS):
            iterations += 1
            for i in range(stages):
                _, slope[m, i], curvature[m, i] = loss_terms(
                    code, parameter, field[m, i], labels[m]
                )
            if converged:
                break
            for i in range(stages):
                total = drive[m, i]
                for j in range(stages):
                    total += response[i, j] * slope[m, j]
                    jacobian[i, j] = -response[i, j] * curvature[m, j]
                jacobian[i, i] += 1.0
                residual[i] = field[m, i] - total
            _solve_in_place(jacobian, residual)
            longest = np.max(np.abs(residual))
            if not math.isfinite(longest):
                break
            part = 1.0 if iteration < _MANY_ITERATIONS else 0.5
            if longest > _LONGEST_STEP:
                part = _LONGEST_STEP / longest
            for i in range(stages):
                field[m, i] -= part * residual[i]
            converged = longest < _NEWTON_TOLERANCE * (1.0 + abs(field[m, stages - 1]))
        if not converged:
            failed += 1
    return iterations, failed


@compiled
def solve_weights(
    code, depth, decay, growth, p, q, root_variance, elapsed, coupling, drive,
    accumulated, w, slope,
):  # fmt: skip
    """Solve G = sqrt(s) (drive + C sqrt(s) phi(G)) for every coordinate by damped Newton.

    C is `coupling` (k, k), `drive` (n, k); `accumulated` holds the first guess and then the
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
                total = drive[m, i]
                for j in range(stages):
                    total += coupling[i, j] * root * w[m, j]
                    jacobian[i, j] = -root * root * coupling[i, j] * slope[m, j]
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
