"""Which tensors share memory, and how."""

from __future__ import annotations

from typing import Any

import numpy as np

_LARGEST = 300_000  # entries of a storage beyond which any two parts are taken to overlap


def covers(one: Any, other: Any) -> bool:
    """Whether two aliases have the same entries in the same order."""
    same = one.numel() == other.numel() and one.storage_offset() == other.storage_offset()
    return bool(same and one.is_contiguous() and other.is_contiguous())


def overlap(one: Any, other: Any) -> bool:
    """Whether two aliases have an entry in common."""
    size = one.untyped_storage().nbytes() // max(one.element_size(), 1)
    if size > _LARGEST or one.dtype != other.dtype:
        return True
    return bool(np.intersect1d(_places(one, size), _places(other, size)).size)


def _places(tensor: Any, size: int) -> np.ndarray:
    """Where the entries of a tensor are in its storage."""
    places = np.full(tuple(tensor.shape), tensor.storage_offset())
    for axis, (n, step) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
        shape = [1] * places.ndim
        shape[axis] = n
        places = places + step * np.arange(n).reshape(shape)
    return places[places < size]
