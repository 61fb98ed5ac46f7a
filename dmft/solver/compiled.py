"""How loops over paths are compiled.

A compiled function that another file calls is compiled into its caller, and a cached caller does
not notice when that file changes. So what depends on a table of laws (networks.py, losses.py,
optimisers.py) lives beside it.

Loops over the stages of a panel are as long as a constant says: they are unrolled, and kernels that
are full of them take half the time.
"""

from __future__ import annotations

import numba

from dmft.numerics.collocation import STAGES

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
# Sums whose terms may be added in any order, so that they fill vector registers.
reordered = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
)


@compiled
def solve_in_place(matrix, vector):
    """Solve for all stages without pivoting: the matrices are close to diagonally dominant."""
    for i in range(STAGES):
        for j in range(i + 1, STAGES):
            factor = matrix[j, i] / matrix[i, i]
            for column in range(i, STAGES):
                matrix[j, column] -= factor * matrix[i, column]
            vector[j] -= factor * vector[i]
    for i in range(STAGES - 1, -1, -1):
        for column in range(i + 1, STAGES):
            vector[i] -= matrix[i, column] * vector[column]
        vector[i] /= matrix[i, i]


@compiled
def solve_all_in_place(matrix, columns):
    """`solve_in_place` for every column of `columns`, as many as stages."""
    for i in range(STAGES):
        inverse = 1.0 / matrix[i, i]
        for j in range(i + 1, STAGES):
            factor = matrix[j, i] * inverse
            for column in range(i + 1, STAGES):
                matrix[j, column] -= factor * matrix[i, column]
            for c in range(STAGES):
                columns[j, c] -= factor * columns[i, c]
    for i in range(STAGES - 1, -1, -1):
        for column in range(i + 1, STAGES):
            for c in range(STAGES):
                columns[i, c] -= matrix[i, column] * columns[column, c]
        for c in range(STAGES):
            columns[i, c] /= matrix[i, i]
