"""Compiled losses: value, slope r = dl/dh and curvature d2l/dh2 of one sample."""

from __future__ import annotations

import math

from dmft.solver.kernels import compiled


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
