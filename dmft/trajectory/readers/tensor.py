"""A tensor on disk, read in pieces without ever holding a whole file.

Nearly every format stores a tensor as one uncompressed run of bytes. Knowing where it starts, a
piece is one plain read: no mapping of the file, whose pages would count as memory of the process,
and no library of the format in the inner loop.
"""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from dmft.errors import InputError

BFLOAT16 = "bfloat16"
# Sign, exponent and fraction bits of 8: exponent bits, bias, and whether infinity exists.
FLOAT8 = {"float8_e4m3fn": (4, 7, False), "float8_e5m2": (5, 15, True)}
FLOATS = ("float64", "float32", "float16", BFLOAT16, *FLOAT8)


@dataclass(frozen=True, slots=True)  # there may be a million of them
class Tensor:
    """One array of numbers in a file, seen as flat and in C order.

    path : the file.
    name : its name there.
    shape : as stored.
    dtype : one of `FLOATS`, or the name of another type, which is not read.
    offset : of its first byte, little-endian data; None if only `whole` can read it.
    whole : loads all of it, for what is compressed, chunked or not in C order.
    identity : equal for two names of the same memory (tied weights).
    check : holds the bytes against the checksum of the file, if that has one for each tensor;
        called when the first of them are read.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int | None = None
    whole: Whole | None = None
    identity: object = None
    check: Callable[[], None] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _stored(self.dtype).itemsize

    def read(
        self, start: int, stop: int, buffer: np.ndarray, file: int | None = None
    ) -> np.ndarray:
        """Elements start to stop in their own type, held by `buffer`.

        Of bfloat16 and float8 the bits, as uint16 and uint8.

        Parameters
        ----------
        buffer : bytes (uint8), at least itemsize (stop - start) of them.
        file : descriptor of the file, where it is open; opened for the moment by default.

        Raises
        ------
        InputError : the file ends early or cannot be read.
        """
        if self.whole is not None:
            return self.whole.array()[start:stop]
        assert self.offset is not None
        dtype = _stored(self.dtype)
        raw = buffer[: (stop - start) * dtype.itemsize]
        try:
            if self.check is not None and start == 0:
                self.check()
            self._fill(raw.data, self.offset + start * dtype.itemsize, file)
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", str(self.path)) from None
        numbers = raw.view(dtype)
        return numbers if sys.byteorder == "little" else numbers.astype(dtype.newbyteorder("="))

    def _fill(self, view: memoryview, place: int, given: int | None) -> None:
        """Read bytes from a place of the file on: with many checkpoints pieces are small, and
        Python's own file objects cost more than the bytes."""
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC) if given is None else given
        try:
            while len(view):
                count = os.preadv(file, [view], place)
                if not count:
                    raise InputError(f"ends inside tensor '{self.name}'", str(self.path))
                view, place = view[count:], place + count
        finally:
            if given is None:
                os.close(file)


@cache
def _stored(dtype: str) -> np.dtype:
    """The type of the numbers in a file, little-endian; of bfloat16 and float8 that of the bits."""
    if dtype in FLOAT8:
        return np.dtype("u1")
    return np.dtype("<u2" if dtype == BFLOAT16 else dtype).newbyteorder("<")


@dataclass
class Whole:
    """Loads a tensor at its first use and keeps it until another of the same file is asked for."""

    load: Callable[[], np.ndarray]
    shelf: Shelf
    key: object = field(default_factory=object)

    def array(self) -> np.ndarray:
        """All elements, flat, in C order."""
        return self.shelf.get(self.key, self.load)


class Shelf:
    """Room for one loaded tensor of a file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: object = None
        self._array = np.empty(0)

    def get(self, key: object, load: Callable[[], np.ndarray]) -> np.ndarray:
        """What `load` returned for this key, loaded again only if another key came between."""
        with self._lock:
            if self._key is not key:
                self._key, self._array = None, np.empty(0)
                self._array = np.ascontiguousarray(load()).reshape(-1)
                self._key = key
            return self._array


def as_float(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Floats of what `Tensor.read` returned; bfloat16 is the upper half of a float32."""
    if dtype == BFLOAT16 and numbers.dtype == np.uint16:
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    if dtype in FLOAT8 and numbers.dtype == np.uint8:
        return _float8_values(dtype)[numbers]
    return numbers


@cache
def _float8_values(dtype: str) -> np.ndarray:
    """The numbers that the 256 patterns of 8 bits stand for ("FP8 formats", arXiv:2209.05433)."""
    exponent_bits, bias, has_infinity = FLOAT8[dtype]
    fraction_bits = 7 - exponent_bits
    bits = np.arange(256)
    fraction = (bits & (2**fraction_bits - 1)) / 2**fraction_bits
    exponent = (bits >> fraction_bits) & (2**exponent_bits - 1)
    normal = np.where(exponent > 0, 1.0 + fraction, fraction)
    values = normal * 2.0 ** (np.maximum(exponent, 1) - bias)
    top = exponent == 2**exponent_bits - 1
    if has_infinity:
        values[top] = np.where(fraction[top] == 0.0, np.inf, np.nan)
    else:
        values[top & (fraction == fraction.max())] = np.nan
    return np.asarray(np.where(bits >= 128, -values, values), dtype=np.float32)
