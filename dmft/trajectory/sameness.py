"""Tensors that hold the same numbers: in every checkpoint (still), or as another one (tied)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from dmft.trajectory.readers.descriptors import kept_open
from dmft.trajectory.readers.tensor import Tensor, as_float
from dmft.trajectory.series import Series

_READ = 2**20  # elements at a time,
_FIRST = 2**10  # and before them a few: most tensors differ there


def beginnings(row: Mapping[str, Tensor]) -> dict[str, Hashable]:
    """Shape and first numbers of every tensor: they differ only where the tensors do."""
    with kept_open(tensor.path for tensor in row.values()) as files:
        return {
            # Minus zero equals zero.
            name: (tensor.shape, (_values(tensor, 0, min(_FIRST, tensor.size),
                                          files.get(tensor.path)).astype(float) + 0.0).tobytes())
            for name, tensor in row.items()
        }  # fmt: skip


def is_still(series: Series, name: str) -> bool:
    """Whether a tensor is equal in all checkpoints. The last is looked at first: few stand still
    up to there."""
    rows = series.rows
    order = [len(rows) - 1, *range(1, len(rows) - 1)]
    return all(_equal(rows[0][name], rows[t][name]) for t in order)


def are_equal(series: Series, first: str, second: str) -> bool:
    """Whether two tensors are equal in every checkpoint."""
    rows = series.rows
    if rows[0][first].shape != rows[0][second].shape:
        return False
    return all(_equal(row[first], row[second]) for row in reversed(rows))


def _equal(first: Tensor, second: Tensor) -> bool:
    for start in (0, *range(min(_FIRST, first.size), first.size, _READ)):
        stop = min(start + _READ if start else _FIRST, first.size)
        if not np.array_equal(_values(first, start, stop), _values(second, start, stop)):
            return False
    return True


def _values(tensor: Tensor, start: int, stop: int, file: int | None = None) -> np.ndarray:
    buffer = np.empty((stop - start) * tensor.itemsize, np.uint8)
    return as_float(tensor.read(start, stop, buffer, file), tensor.dtype)
