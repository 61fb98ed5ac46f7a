"""A tensor on disk, read in pieces without ever holding a whole file.

Nearly every format stores a tensor as one uncompressed run of bytes. Knowing where it starts, a
piece is one plain read: no mapping of the file, whose pages would count as memory of the process,
and no library of the format in the inner loop.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dmft.errors import InputError

BFLOAT16 = "bfloat16"
FLOATS = ("float64", "float32", "float16", BFLOAT16)


@dataclass(frozen=True)
class Tensor:
    """One array of numbers in a file, seen as flat and in C order.

    path : the file.
    name : its name there.
    shape : as stored.
    dtype : one of `FLOATS`, or the name of another type, which is not read.
    offset : of its first byte, little-endian data; None if only `whole` can read it.
    whole : loads all of it, for what is compressed, chunked or not in C order.
    identity : equal for two names of the same memory (tied weights).
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: str
    offset: int | None = None
    whole: Whole | None = None
    identity: object = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return 2 if self.dtype == BFLOAT16 else np.dtype(self.dtype).itemsize

    def read(self, start: int, stop: int, buffer: np.ndarray) -> np.ndarray:
        """Elements start to stop in their own type (bfloat16: as uint16), held by `buffer`.

        Parameters
        ----------
        buffer : bytes (uint8), at least itemsize (stop - start) of them.

        Raises
        ------
        InputError : the file ends early or cannot be read.
        """
        if self.whole is not None:
            return self.whole.array()[start:stop]
        assert self.offset is not None
        raw = buffer[: (stop - start) * self.itemsize]
        view = memoryview(raw.data)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset + start * self.itemsize)
                while len(view):
                    count = file.readinto(view)
                    if not count:
                        raise InputError(f"ends inside tensor '{self.name}'", str(self.path))
                    view = view[count:]
        except OSError as error:
            raise InputError(f"cannot be read ({error.strerror})", str(self.path)) from None
        numbers = raw.view("<u2" if self.dtype == BFLOAT16 else f"<f{self.itemsize}")
        return (
            numbers
            if sys.byteorder == "little"
            else numbers.astype(numbers.dtype.newbyteorder("="))
        )


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
    return numbers
