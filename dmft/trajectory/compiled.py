"""Differences of consecutive rows in double precision, from numbers as files hold them.

One pass over the data in compiled loops: of halves, NumPy's conversion alone takes longer than
half of the matrix product that follows.
"""

from __future__ import annotations

import numba
import numpy as np

_HALF_EXPONENT = np.int32(0x7C00)
_HALF_BITS = np.int32(-0x70002000)  # sign and the bits below it, moved to their places in a float32
_REBIAS = 2.0**112  # a float32 with the exponent bits of a half is too small by this
_CHUNK = 4096  # numbers that are converted at a time: they stay in the nearest cache


@numba.njit(nogil=True, cache=True, error_model="numpy")
def of_floats(rows: np.ndarray, first: int, out: np.ndarray) -> None:
    """Columns of float32 or float64, from number `first` on, as many as `out` has.

    out[0] becomes rows[0], and out[t] becomes rows[t] - rows[t - 1]. Both arrays are in C order:
    loops over rows of a slice would not be vectorised.
    """
    count, length = out.shape
    for t in range(count):
        here, before = rows[t, first : first + length], rows[t - 1, first : first + length]
        into = out[t]
        if t == 0:
            for i in range(length):
                into[i] = here[i]
        else:
            for i in range(length):
                into[i] = np.float64(here[i]) - np.float64(before[i])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def of_halves(rows: np.ndarray, first: int, out: np.ndarray) -> None:
    """The same of float16, given by their bits as int16; infinity becomes NaN."""
    count, length = out.shape
    bits = np.empty((2, _CHUNK), np.int32)
    for begin in range(0, length, _CHUNK):
        width = min(_CHUNK, length - begin)
        for t in range(count):
            row = rows[t, first + begin : first + begin + width]
            into = bits[t % 2]
            for i in range(width):
                half = np.int32(row[i])
                moved = (half << np.int32(13)) & _HALF_BITS
                # All bits of the exponent, here and as a float32: neither is a number.
                odd = (half & _HALF_EXPONENT) == _HALF_EXPONENT
                into[i] = np.int32(0x7FC00000) if odd else moved
            _subtract(bits[t % 2], bits[(t + 1) % 2], t > 0, _REBIAS, out[t, begin : begin + width])


@numba.njit(nogil=True, cache=True, error_model="numpy")
def of_bfloats(rows: np.ndarray, first: int, out: np.ndarray) -> None:
    """The same of bfloat16, given by their bits as int16: the upper halves of float32."""
    count, length = out.shape
    bits = np.empty((2, _CHUNK), np.int32)
    for begin in range(0, length, _CHUNK):
        width = min(_CHUNK, length - begin)
        for t in range(count):
            row = rows[t, first + begin : first + begin + width]
            into = bits[t % 2]
            for i in range(width):
                into[i] = np.int32(row[i]) << np.int32(16)
            _subtract(bits[t % 2], bits[(t + 1) % 2], t > 0, 1.0, out[t, begin : begin + width])


@numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _subtract(
    later: np.ndarray, earlier: np.ndarray, both: bool, scale: float, out: np.ndarray
) -> None:
    """Of float32 given by their bits; powers of two as `scale` change no digit."""
    here, there = later.view(np.float32), earlier.view(np.float32)
    if both:
        for i in range(len(out)):
            out[i] = (np.float64(here[i]) - np.float64(there[i])) * scale
    else:
        for i in range(len(out)):
            out[i] = np.float64(here[i]) * scale
