"""Differences of consecutive rows in double precision, from numbers as files hold them.

One pass over the data in compiled loops: of halves, NumPy's conversion alone takes longer than
half of the matrix product that follows. Processors that convert halves themselves do.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]
import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

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


def _converting(context: Any, bits: Any) -> Any:
    """A float32 from the bits of a half as int16, by the processor's own instruction."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return numba.float32(numba.int16), code


_float_of_half: Any = intrinsic(_converting)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def of_native_halves(rows: np.ndarray, first: int, out: np.ndarray) -> None:
    """As `of_halves`, where the processor converts; infinity and NaN stay what they are."""
    count, length = out.shape
    for t in range(count):
        here, before = rows[t, first : first + length], rows[t - 1, first : first + length]
        into = out[t]
        if t == 0:
            for i in range(length):
                into[i] = _float_of_half(here[i])
        else:
            for i in range(length):
                later, earlier = _float_of_half(here[i]), _float_of_half(before[i])
                into[i] = np.float64(later) - np.float64(earlier)


def converts_halves() -> bool:
    """Whether the processor has an instruction for it; without, the compiler's does not link."""
    given = (getattr(numba.config, name, None) for name in ("CPU_NAME", "CPU_FEATURES"))
    if any(value is not None for value in given):
        return False  # code for another processor than this
    return _processor_converts()


@cache
def _processor_converts() -> bool:
    arm = platform.machine().lower() in ("arm64", "aarch64")
    return arm or bool(llvmlite.binding.get_host_cpu_features().get("f16c", False))


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
