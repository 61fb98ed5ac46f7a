"""The fold of `sketch` as a compiled loop, which draws its signs where it needs them."""

from __future__ import annotations

import numba
import numpy as np

_ONE = np.uint64(0x3FF0000000000000)  # the bits of 1.0, to which those of a sign are added


@numba.njit(nogil=True, cache=True, error_model="numpy")
def fold_signed(
    basis: np.ndarray, position: int, bits: np.uint64, places: np.uint64, out: np.ndarray
) -> None:
    """What `sketch.fold` does, for as many numbers as `out` has columns.

    position : number of the first column; bits, places : starts of the two random sequences.
    """
    length, width = basis.shape[1], out.shape[1]
    before = position % 64
    drawn = np.empty(-(-(before + length) // 64) * 64, np.uint64)
    for i in range(len(drawn) // 64):
        word = _hashed(position // 64 + i, bits)
        some = drawn[64 * i : 64 * (i + 1)]
        for j in range(64):
            some[j] = ((word >> np.uint64(j)) << np.uint64(63)) | _ONE
    signs = drawn.view(np.float64)[before : before + length]
    done = 0
    while done < length:
        run, offset = (position + done) // width, (position + done) % width
        begin = (offset + np.int64(_hashed(run, places) % np.uint64(width))) % width
        count = min(width - offset, length - done, width - begin)
        sign = signs[done : done + count]
        for t in range(len(basis)):
            into, row = out[t, begin : begin + count], basis[t, done : done + count]
            for i in range(count):
                into[i] += row[i] * sign[i]
        done += count


@numba.njit(nogil=True, cache=True, inline="always")
def _hashed(number: int, start: np.uint64) -> np.uint64:
    """As `hashes.hashed`."""
    z = np.uint64(number) * np.uint64(0x9E3779B97F4A7C15) + start
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
