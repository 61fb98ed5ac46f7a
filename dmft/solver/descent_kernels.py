"""Compiled loops of discrete dynamics: one step of every path, and of its tangents.

State of a path: a, b with w = (a^L - b^L)/L (L = 1, b = 0 on the linear network). A step with the
gradient g = sqrt(s) F is
    a <- (1 - eta lambda) a - eta a^(L-1) g,    b <- (1 - eta lambda) b + eta b^(L-1) g.
Tangents in a unit force h at an earlier step: da/dh, db/dh of shape (n, steps), and those of the
force, V = dF/dh - 1, packed: row k of a path holds its k earlier steps from k (k - 1)/2 on.
"""

from __future__ import annotations

import numpy as np

from dmft.solver.compiled import compiled


@compiled
def weights(depth, a, b, w):
    """Fill w, shape (n,)."""
    for m in range(len(a)):
        w[m] = (a[m] ** depth - b[m] ** depth) / depth if depth > 1 else a[m]


@compiled
def response_row(depth, probability, root_variance, a, b, tangent_a, tangent_b, past):
    """E[sqrt(s) dw/dh] for the earlier steps, shape (past,)."""
    row = np.zeros(past)
    for m in range(len(a)):
        factor = probability[m] * root_variance[m]
        of_a = factor * a[m] ** (depth - 1)
        of_b = factor * b[m] ** (depth - 1)
        if depth == 1:
            of_b = 0.0
        for c in range(past):
            row[c] += of_a * tangent_a[m, c] - of_b * tangent_b[m, c]
    return row


@compiled
def advance(
    depth, step, decay, ratio, root_variance, force, row, a, b, tangent_a, tangent_b, packed,
):  # fmt: skip
    """One step of the paths and their tangents; `row` is R_w of this step, shape (past,)."""
    past = len(row)
    here = past * (past - 1) // 2
    keep = 1.0 - step * decay
    for m in range(len(a)):
        root = root_variance[m]
        g = root * force[m]
        of_a, of_b = a[m] ** (depth - 1), b[m] ** (depth - 1)
        move_a = keep
        move_b = keep
        if depth == 1:
            of_b = 0.0
        else:
            move_a -= step * (depth - 1) * a[m] ** (depth - 2) * g
            move_b += step * (depth - 1) * b[m] ** (depth - 2) * g
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
