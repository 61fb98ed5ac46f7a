"""Values of variable length in HDF5: their lengths, known before they are read.

HDF5 keeps each such value, most of them texts, in a heap, and where it belongs only its length and
its place: 16 bytes, of which any number may lead to the same value.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmft.errors import InputError
from dmft.texts import LONGEST

if TYPE_CHECKING:
    import h5py

_MARK = b"GCOL\x01\x00\x00\x00"  # at the beginning of a heap, before its size in 8 bytes
_BLOCK = 1 << 20
_LITTLE = 4 * LONGEST
_REFERENCE = np.dtype([("length", "<u4"), ("place", "V12")])


def check_heaps(file: h5py.File) -> None:
    """Refuse a file with a value of more than `LONGEST` bytes in a heap, so with a longer text.

    Raises
    ------
    InputError : as said.
    """
    if file.id.get_filesize() > LONGEST and (largest := largest_heap(file)) > LONGEST:
        raise InputError(f"holds a text of {largest} bytes, must be at most {LONGEST}")


def is_apart(kind: h5py.h5t.TypeID) -> bool:
    """Whether the values of a type are kept in heaps."""
    import h5py

    if kind.get_class() == h5py.h5t.STRING:
        return bool(kind.is_variable_str())
    return bool(kind.get_class() == h5py.h5t.VLEN)


def bytes_apart(
    file: h5py.File, dataset: h5py.h5d.DatasetID, count: int, largest: Callable[[], int]
) -> int:
    """A bound on the bytes in heaps that reading a dataset of `count` values comes to.

    What is not contiguous may come to `_LITTLE` in any case.

    Parameters
    ----------
    largest : the size of the largest heap of the file, asked for where it is needed.
    """
    offset = dataset.get_offset()
    if offset is not None:  # contiguous, as this package writes it
        references = np.fromfile(file.filename, _REFERENCE, count, offset=offset)
        return int(references["length"].sum(dtype=np.int64))
    most = count * largest() if dataset.get_storage_size() else 0
    return most if most > _LITTLE else 0


def largest_heap(file: h5py.File) -> int:
    """Size of the largest heap in a file, which is read as a whole."""
    largest, rest = 0, b""
    with Path(file.filename).open("rb") as content:
        while block := content.read(_BLOCK):
            text = rest + block
            place = text.find(_MARK)
            while place >= 0:
                largest = max(largest, int.from_bytes(text[place + 8 : place + 16], "little"))
                place = text.find(_MARK, place + 1)
            rest = text[-len(_MARK) - 7 :]
    return largest
