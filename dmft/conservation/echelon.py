"""Exact rank over a prime field: an echelon form that grows by batches of rows."""

from __future__ import annotations

import numpy as np

from dmft.conservation.kernels import reduce_rows

_HALF = 16  # bits of the lower half of an entry in `product`
_BLOCK = 128  # rows that are reduced against each other by the compiled loop


def product(a: np.ndarray, b: np.ndarray, p: int) -> np.ndarray:
    """Return a @ b mod p for int64 matrices with entries in [0, p), p < 2^31.

    Entries are split into halves of 16 bits; three products of float64 matrices (Karatsuba) are
    exact as long as the inner dimension is below 2^19.
    """
    mask = (1 << _HALF) - 1
    a_high, a_low = (a >> _HALF).astype(float), (a & mask).astype(float)
    b_high, b_low = (b >> _HALF).astype(float), (b & mask).astype(float)
    high, low = a_high @ b_high, a_low @ b_low
    middle = ((a_high + a_low) @ (b_high + b_low) - high - low).astype(np.int64) % p
    high, low = high.astype(np.int64) % p, low.astype(np.int64) % p
    return (((high << _HALF) + middle) % p * (1 << _HALF) + low) % p


class Echelon:
    """Row space of all rows inserted so far, in reduced echelon form mod p.

    The memory is that of one matrix of rank x width, and the temporaries of a batch.

    Attributes
    ----------
    rows : (rank, width) reduced echelon form; the column `pivots[i]` is the i-th unit vector.
    pivots : (rank,) pivot columns, in the order of insertion.
    """

    def __init__(self, width: int, p: int) -> None:
        self.width = width
        self.p = p
        self._rows = np.zeros((min(width, 64), width), np.int64)
        self.pivots = np.zeros(0, np.int64)

    @property
    def rank(self) -> int:
        return len(self.pivots)

    @property
    def rows(self) -> np.ndarray:
        return self._rows[: self.rank]

    def insert(self, rows: np.ndarray) -> int:
        """Add the span of `rows` (n, width); return by how much the rank grew."""
        before = self.rank
        for start in range(0, len(rows), _BLOCK):
            self._insert_block(self.reduce(rows[start : start + _BLOCK]))
        return self.rank - before

    def reduce(self, rows: np.ndarray) -> np.ndarray:
        """Remainder of `rows` modulo the row space: zero exactly for its members."""
        rows = np.ascontiguousarray(rows, np.int64)
        if self.rank == 0:
            return rows.copy()
        return (rows - product(rows[:, self.pivots], self.rows, self.p)) % self.p

    def _insert_block(self, block: np.ndarray) -> None:
        pivots = reduce_rows(block, self.p)
        found = pivots >= 0
        if not found.any():
            return
        block, pivots = block[found], pivots[found]
        old = self.rows
        if len(old):
            old -= product(old[:, pivots], block, self.p)
            old %= self.p
        rank = self.rank + len(pivots)
        if rank > len(self._rows):
            grown = np.zeros(
                (min(self.width, max(rank, 2 * len(self._rows))), self.width), np.int64
            )
            grown[: self.rank] = old
            self._rows = grown
        self._rows[self.rank : rank] = block
        self.pivots = np.concatenate([self.pivots, pivots])

    def null_space(self) -> np.ndarray:
        """Basis (width - rank, width) of all v with rows @ v = 0, in reduced form.

        The entries at the non-pivot columns form a unit matrix.
        """
        free = np.setdiff1d(np.arange(self.width), self.pivots)
        basis = np.zeros((len(free), self.width), np.int64)
        basis[np.arange(len(free)), free] = 1
        basis[:, self.pivots] = (-self.rows[:, free].T) % self.p
        return basis
