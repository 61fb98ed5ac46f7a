"""Rows of numbers as they were read from several checkpoints, and their differences in float64."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmft.trajectory.readers.tensor import BFLOAT16, Tensor, as_float


class Columns(Protocol):
    """Columns of [theta_0, differences], made from the rows theta."""

    def differences(self, first: int, out: np.ndarray) -> None:
        """Fill `out`, shape (T, width), with the columns from `first` on; NaN where there is
        NaN or infinity."""

    def every(self, period: int, first: int, width: int, length: int) -> Columns:
        """Of the first `length` columns, seen as runs of `period`, some of each run."""


def columns_of(
    tensors: Sequence[Tensor], rows: Sequence[np.ndarray], raw: np.ndarray, compiled: bool
) -> Columns:
    """Columns of what was read.

    Parameters
    ----------
    tensors : one of each checkpoint.
    rows : what their `read` returned.
    raw : the buffer, shape (T, bytes), whose rows were given to `read`.
    compiled : whether to use compiled loops, where all is of one type and lies in the buffer.
    """
    types = {tensor.dtype for tensor in tensors}
    dtype = tensors[0].dtype
    plain = any(tensor.whole is not None for tensor in tensors) or sys.byteorder != "little"
    if not compiled or plain or len(types) > 1 or dtype not in _SEEN_AS:
        return _Plain(rows, [tensor.dtype for tensor in tensors])
    from dmft.trajectory import compiled as loops

    halves = loops.of_native_halves if loops.converts_halves() else loops.of_halves
    function = {"float16": halves, BFLOAT16: loops.of_bfloats}.get(dtype, loops.of_floats)
    return _Compiled(raw.view(_SEEN_AS[dtype]), function)


_EXPONENT = np.int16(0x7C00)  # of a half
_HALF_BITS = np.int32(-0x70002000)  # its sign and the bits below, as those of a float32
_REBIAS = np.float64(2.0**112)  # between the exponents of both
_SEEN_AS = {"float64": "f8", "float32": "f4", "float16": "i2", BFLOAT16: "i2"}


@dataclass(frozen=True)
class _Plain:
    """Of any types."""

    rows: Sequence[np.ndarray]
    dtypes: Sequence[str]

    def differences(self, first: int, out: np.ndarray) -> None:
        part = slice(first, first + out.shape[1])
        before = None
        for into, row, dtype in zip(out, self.rows, self.dtypes, strict=True):
            # Two steps, of which the first converts: numpy subtracts mixed types far slower.
            theta = _doubles(row[part], dtype)
            np.subtract(theta, 0.0 if before is None else before, out=into)
            before = theta

    def every(self, period: int, first: int, width: int, length: int) -> _Plain:
        chosen = slice(first, first + width)
        return _Plain(
            [row[:length].reshape(-1, period)[:, chosen].reshape(-1) for row in self.rows],
            self.dtypes,
        )


def _doubles(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Numbers of any type in double precision.

    The bits of a half, moved to their places in a float32, are that number but for a power of two:
    less work than numpy's own conversion, which goes through each number by itself.
    """
    if dtype != "float16":
        return as_float(numbers, dtype).astype(np.float64)
    bits = numbers.view(np.int16)
    if (bits & _EXPONENT).max(initial=0) == _EXPONENT:
        return numbers.astype(np.float64)  # infinity or NaN among them
    moved = bits.astype(np.int32)
    np.left_shift(moved, 13, out=moved)
    np.bitwise_and(moved, _HALF_BITS, out=moved)
    return np.multiply(moved.view(np.float32), _REBIAS, dtype=np.float64)


@dataclass(frozen=True)
class _Compiled:
    """Of one type, by the loops of `compiled`."""

    rows: np.ndarray
    loop: Callable[[np.ndarray, int, np.ndarray], None]

    def differences(self, first: int, out: np.ndarray) -> None:
        self.loop(self.rows, first, out)

    def every(self, period: int, first: int, width: int, length: int) -> _Compiled:
        runs = self.rows[:, :length].reshape(len(self.rows), -1, period)
        chosen = runs[:, :, first : first + width].reshape(len(self.rows), -1)
        return _Compiled(np.ascontiguousarray(chosen), self.loop)
