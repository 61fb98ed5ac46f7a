"""Compiled loops of discrete dynamics: one step of every path, and of its tangents.

State of a path: a, b with w = (a^L - b^L)/L (L = 1, b = 0 on the linear network). A step with the
gradient g = sqrt(s) F is
    a <- (1 - eta lambda) a - eta a^(L-1) g,    b <- (1 - eta lambda) b + eta b^(L-1) g;
the powers come from networks.py.
Tangents in a unit force h at an earlier step: da/dh, db/dh of shape (n, steps), and those of the
force, V = dF/dh - 1, packed: row k of a path holds its k earlier steps from k (k - 1)/2 on.
"""

from __future__ import annotations

import numpy as np

from dmft.solver.compiled import compiled


@compiled
def response_row(probability, root_variance, slope_a, slope_b, tangent_a, tangent_b, past):
    """E[sqrt(s) dw/dh] for the earlier steps, shape (past,)."""
    row = np.zeros(past)
    for m in range(len(slope_a)):
        factor = probability[m] * root_variance[m]
        of_a = factor * slope_a[m]
        of_b = factor * slope_b[m]
        for c in range(past):
            row[c] += of_a * tangent_a[m, c] - of_b * tangent_b[m, c]
    return row


@compiled
def advance(
    order, step, decay, ratio, root_variance, force, row, slope_a, slope_b, inner_a, inner_b, a, b,
    tangent_a, tangent_b, packed,
):  # fmt: skip
    """One step of the paths and their tangents; `row` is R_w of this step, shape (past,).

    order : L - 1. slope_a, slope_b, inner_a, inner_b : as `networks.power_terms` fills them.
    """
    past = len(row)
    here = past * (past - 1) // 2
    keep = 1.0 - step * decay
    for m in range(len(a)):
        root = root_variance[m]
        g = root * force[m]
        of_a, of_b = slope_a[m], slope_b[m]
        move_a = keep - step * order * inner_a[m] * g
        move_b = keep + step * order * inner_b[m] * g
        store = packed[m]
        new = store[here : here + past]
        gain = ratio * root
        ta, tb = tangent_a[m], tangent_b[m]
        for c in range(past):
            new[c] = gain * (of_a * ta[c] - of_b * tb[c])
        for j in range(1, past):
            factor = row[j]
            old = store[j * (j - 1) // 2 : j * (j + 1) // 2]
            for c in range(j):
                new[c] += factor * old[c]
        push_a, push_b = -step * root * of_a, step * root * of_b
        for c in range(past):
            ta[c] = move_a * ta[c] + push_a * new[c]
            tb[c] = move_b * tb[c] + push_b * new[c]
        ta[past] = push_a
        tb[past] = push_b
        a[m] = keep * a[m] - step * of_a * g
        b[m] = keep * b[m] + step * of_b * g
