"""NumPy's .npy and .npz, never with pickled objects.

Arrays in C order and not compressed are read in place, others are loaded one at a time.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np

from dmft.errors import InputError
from dmft.trajectory.readers.tensor import Shelf, Tensor, Whole


def npy_tensors(path: Path) -> list[Tensor]:
    """The array of a .npy file, under the name "array".

    Raises
    ------
    InputError : truncated, no .npy file, or pickled objects.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = _header(path, "array", file)
        offset = file.tell()
    if offset + dtype.itemsize * np.prod(shape, dtype=np.int64) > path.stat().st_size:
        raise InputError("is truncated", str(path))
    if fortran or not _plain(dtype):
        whole = Whole(lambda: _native(np.load(path, allow_pickle=False)), Shelf())
        return [Tensor(path, "array", shape, dtype.name, whole=whole)]
    return [Tensor(path, "array", shape, dtype.name, offset)]


def npz_tensors(path: Path) -> list[Tensor]:
    """All arrays of a .npz file.

    Raises
    ------
    InputError : truncated, no .npz file, or pickled objects.
    """
    shelf = Shelf()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return [_member(path, archive, member, shelf) for member in members]
    except (zipfile.BadZipFile, struct.error) as error:
        raise InputError(f"is no .npz file, or truncated ({error})", str(path)) from None


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, shelf: Shelf) -> Tensor:
    name = member.filename.removesuffix(".npy")
    with archive.open(member) as file:
        shape, fortran, dtype = _header(path, name, file)
        header = file.tell()
    if member.compress_type == zipfile.ZIP_STORED and not fortran and _plain(dtype):
        return Tensor(path, name, shape, dtype.name, data_start(path, member) + header)
    return Tensor(path, name, shape, dtype.name, whole=Whole(_loader(path, name), shelf))


def data_start(path: Path, member: zipfile.ZipInfo) -> int:
    """Offset of the bytes of a stored member; its local header may differ from the central one."""
    with path.open("rb") as file:
        file.seek(member.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return int(member.header_offset + 30 + name + extra)


def _loader(path: Path, name: str) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        with np.load(path, allow_pickle=False) as archive:
            return _native(archive[name])

    return load


def _native(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _plain(dtype: np.dtype) -> bool:
    return dtype.newbyteorder("<") == dtype


def _header(path: Path, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"holds no array '{name}', damaged? ({error})", str(path)) from None
    if dtype.hasobject:
        raise InputError(f"holds pickled objects in '{name}', refused", str(path))
    return shape, fortran and len(shape) > 1, dtype
