"""How loops over paths are compiled.

A compiled function that another file calls is compiled into its caller, and a cached caller does
not notice when that file changes. So what depends on a table of laws (networks.py, losses.py,
optimisers.py) lives beside it.
"""

from __future__ import annotations

import numba

compiled = numba.njit(nogil=True, cache=True, error_model="numpy")
# Sums whose terms may be added in any order, so that they fill vector registers.
reordered = numba.njit(
    nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
)


@compiled
def solve_in_place(matrix, vector):
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
def solve_all_in_place(matrix, columns):
    """`solve_in_place` for every column of `columns`."""
    k, count = columns.shape
    for i in range(k):
        inverse = 1.0 / matrix[i, i]
        for j in range(i + 1, k):
            factor = matrix[j, i] * inverse
            for column in range(i + 1, k):
                matrix[j, column] -= factor * matrix[i, column]
            for c in range(count):
                columns[j, c] -= factor * columns[i, c]
    for i in range(k - 1, -1, -1):
        for column in range(i + 1, k):
            for c in range(count):
                columns[i, c] -= matrix[i, column] * columns[column, c]
        for c in range(count):
            columns[i, c] /= matrix[i, i]
