"""Gram matrices as products of factors, for trajectories whose matrices would not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BLOCKS = 16  # of the jackknife


@dataclass(frozen=True, eq=False)
class Factors:
    """Blocks G_j = F_j F_j^T of a Gram matrix, formed one at a time.

    Stands where an array of shape (block, T, T) does.

    values : F, the columns of block j are j, j + BLOCKS, ...; shape (T, k).
    """

    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """(blocks, T, T)."""
        count, width = self.values.shape
        return min(BLOCKS, width), count, count

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[block] for block in range(len(self)))

    def __getitem__(self, block: int) -> np.ndarray:
        return self._small[block] if self._small is not None else self._formed(block)

    def sum(self, axis: int = 0) -> np.ndarray:
        """The whole matrix, (T, T)."""
        if self._small is not None:
            return np.asarray(self._small.sum(axis=0))
        return np.asarray(self.values @ self.values.T)

    @cached_property
    def _small(self) -> np.ndarray | None:
        """All blocks, where they take no more than the factors: each is asked for several times."""
        if 8 * math.prod(self.shape) > self.values.nbytes:
            return None
        count, width = self.values.shape
        if width % len(self):
            return np.array([self._formed(block) for block in range(len(self))])
        # Row by row: a column is far from the next one of its block.
        parts = np.empty((len(self), count, width // len(self)))
        for t, row in enumerate(self.values):
            parts[:, t] = row.reshape(-1, len(self)).T
        return np.array([part @ part.T for part in parts])

    def _formed(self, block: int) -> np.ndarray:
        part = np.ascontiguousarray(self.values[:, block :: len(self)])
        return np.asarray(part @ part.T)

    def changed(self, change: np.ndarray) -> Factors:
        """Factors of change G change^T."""
        return Factors(change @ self.values)


def is_finite(blocks: np.ndarray | Factors) -> bool:
    """Whether there is neither NaN nor infinity."""
    return bool(np.isfinite(blocks.values if isinstance(blocks, Factors) else blocks).all())


def changed(blocks: np.ndarray | Factors, change: np.ndarray) -> np.ndarray | Factors:
    """Blocks in another basis: change G_j change^T."""
    return blocks.changed(change) if isinstance(blocks, Factors) else change @ blocks @ change.T
