"""Compiled losses: value, slope r = dl/dh and curvature d2l/dh2 of a sample, and fields that
answer to their own slopes."""

from __future__ import annotations

import math

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.solver.compiled import compiled, solve_in_place

_MOST_ITERATIONS = 200
_MANY_ITERATIONS = 30  # of Newton, after which steps are halved: piecewise linear slopes may cycle
_NEWTON_TOLERANCE = 1e-8  # of a Newton step: what is left is of the order of its square
_LONGEST_STEP = 2.0  # of Newton in a field: slopes of the losses change over about 1


@compiled
def loss_terms(code, parameter, h, y):
    """(l, dl/dh, d2l/dh2) of the loss with this code, as problem/losses.py defines it.

    At the kinks of huber and hinge the curvature is that of the inner side.
    """
    if code == 0:
        return 0.5 * (h - y) ** 2, h - y, 1.0
    if code == 1:
        m = y * h
        e = math.exp(-abs(m))  # never overflows
        if m > 0.0:
            s = e / (1.0 + e)
            return math.log1p(e), -y * s, s / (1.0 + e)
        s = 1.0 / (1.0 + e)
        return math.log1p(e) - m, -y * s, s * e / (1.0 + e)
    if code == 2:
        r = h - y
        if abs(r) <= parameter:
            return 0.5 * r * r, r, 1.0
        return parameter * (abs(r) - 0.5 * parameter), math.copysign(parameter, r), 0.0
    if code == 3:
        gap = parameter - y * h
        if gap > 0.0:
            return gap, -y, 0.0
        return 0.0, 0.0, 0.0
    if code == 4:
        e = math.exp(h)
        return e - y * h, e - y, e
    raise ValueError("unknown loss")


@compiled
def losses(code, parameter, h, y, value, slope, curvature):
    """Fill value, slope and curvature, all (n, k), at fields h (n, k) for labels y (n,)."""
    for m in range(h.shape[0]):
        for i in range(h.shape[1]):
            value[m, i], slope[m, i], curvature[m, i] = loss_terms(code, parameter, h[m, i], y[m])


@compiled
def solve_fields(code, parameter, labels, response, drive, field, slope, curvature):
    """Solve h_i = drive_i + sum_j R_ij l'(h_j, y) for every row of the data by damped Newton.

    R is `response` (k, k), `drive` (n, k); `field` holds the first guess and then the result,
    `slope` l'(h, y) and `curvature` l''. Returns (iterations, rows that did not converge).
    """
    count = drive.shape[0]
    jacobian, residual = np.empty((STAGES, STAGES)), np.empty(STAGES)
    iterations = 0
    failed = 0
    for m in range(count):
        converged = False
        for iteration in range(_MOST_ITERATIONS):
            iterations += 1
            for i in range(STAGES):
                _, slope[m, i], curvature[m, i] = loss_terms(
                    code, parameter, field[m, i], labels[m]
                )
            if converged:
                break
            for i in range(STAGES):
                total = drive[m, i]
                for j in range(STAGES):
                    total += response[i, j] * slope[m, j]
                    jacobian[i, j] = -response[i, j] * curvature[m, j]
                jacobian[i, i] += 1.0
                residual[i] = field[m, i] - total
            solve_in_place(jacobian, residual)
            longest = np.max(np.abs(residual))
            if not math.isfinite(longest):
                break
            part = 1.0 if iteration < _MANY_ITERATIONS else 0.5
            if longest > _LONGEST_STEP:
                part = _LONGEST_STEP / longest
            for i in range(STAGES):
                field[m, i] -= part * residual[i]
            converged = longest < _NEWTON_TOLERANCE * (1.0 + abs(field[m, STAGES - 1]))
        if not converged:
            failed += 1
    return iterations, failed
