"""NumPy's .npy and .npz, never with pickled objects.

Arrays in C order and not compressed are read in place, others are loaded one at a time. What a
header declares is held against the bytes that are there, before anything is allocated.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from textwrap import shorten
from typing import IO

import numpy as np

from dmft.errors import InputError
from dmft.texts import words_of
from dmft.trajectory.readers.tensor import Shelf, Tensor, Whole

_LONGEST_HEADER = 1 << 16  # bytes, of the text that holds shape and type
_BEST_COMPRESSION = 1032  # of deflate
_BLOCK = 1 << 20
_ENCRYPTED = 1  # bit of the flags of a member
_LOCAL, _LOCAL_MARK = 30, b"PK\x03\x04"  # bytes of the header before a member, and their first
# What NumPy writes before an array of numbers. It evaluates the text of any such header at a tenth
# of a millisecond, and an archive may hold many thousands of arrays.
_USUAL = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)\{'descr': '(?P<type>[<>|](?:f[248]|[iu][1248]|b1))', "
    rb"'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>|\d{1,18},|\d{1,18}(?:, \d{1,18}){1,31})\), \} *\n",
    re.DOTALL,
)
_FIRST = 256  # bytes of a member, in which it ends


def npy_tensors(path: Path) -> list[Tensor]:
    """The array of a .npy file, under the name "array".

    Raises
    ------
    InputError : truncated, no .npy file, or pickled objects.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = _header(path, "array", file)
        offset = file.tell()
    if offset + _bytes(shape, dtype) > path.stat().st_size:
        raise InputError("is truncated", str(path))
    if fortran or not _plain(dtype):
        whole = Whole(lambda: _native(np.load(path, allow_pickle=False)), Shelf())
        return [Tensor(path, "array", shape, dtype.name, whole=whole)]
    return [Tensor(path, "array", shape, dtype.name, offset)]


def npz_tensors(path: Path) -> list[Tensor]:
    """All arrays of a .npz file.

    Raises
    ------
    InputError : truncated, encrypted, no .npz file, or pickled objects.
    """
    shelf = Shelf()
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith(".npy")]
            return [_member(path, file, archive, member, shelf) for member in members]
    except (zipfile.BadZipFile, struct.error, zlib.error, EOFError, NotImplementedError,
            ValueError, RuntimeError) as error:  # fmt: skip
        if isinstance(error, InputError):
            raise
        raise InputError(f"is no .npz file, or truncated ({words_of(error)})", str(path)) from None


def _member(
    path: Path, file: IO[bytes], archive: zipfile.ZipFile, member: zipfile.ZipInfo, shelf: Shelf
) -> Tensor:
    name = member.filename.removesuffix(".npy")
    if member.flag_bits & _ENCRYPTED:
        raise InputError("is encrypted, write it again without a password", str(path))
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"holds '{name}' in a compression that NumPy never writes", str(path))
    stored = member.compress_type == zipfile.ZIP_STORED
    start, first = _beginning(file, member)
    usual = _usual_header(first if stored else zlib.decompressobj(-15).decompress(first, _FIRST))
    if usual is None:
        with archive.open(member) as inner:
            shape, fortran, dtype = _header(path, name, inner)
            header = inner.tell()
    else:
        shape, fortran, dtype, header = usual
    there = min(member.compress_size, os.fstat(file.fileno()).st_size)
    declared = header + _bytes(shape, dtype)
    if declared != member.file_size or declared > there * (1 if stored else _BEST_COMPRESSION):
        raise InputError(
            f"declares {declared} bytes of '{name}' and has {member.file_size}, damaged?", str(path)
        )
    if stored and not fortran and _plain(dtype):

        def check() -> None:
            _check_sum(path, name, start, member)

        return Tensor(path, name, shape, dtype.name, start + header, check=check)
    return Tensor(path, name, shape, dtype.name, whole=Whole(_loader(path, name), shelf))


def _beginning(file: IO[bytes], member: zipfile.ZipInfo) -> tuple[int, bytes]:
    """Offset of the bytes of a member, and the first of them.

    Its local header may differ in length from the central one.
    """
    file.seek(member.header_offset)
    local = file.read(_LOCAL)
    if not local.startswith(_LOCAL_MARK):
        raise zipfile.BadZipFile("no member where one is said to be")
    start = member.header_offset + _LOCAL + sum(struct.unpack("<HH", local[26:]))
    file.seek(start)
    return start, file.read(_FIRST)


def _usual_header(first: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int] | None:
    """Shape, whether in Fortran order, type, and length of a header; None of an unusual one."""
    found = _USUAL.match(first)
    if found is None or 10 + int.from_bytes(found["length"], "little") != found.end():
        return None
    shape = tuple(int(extent) for extent in found["shape"].split(b",") if extent)
    fortran = found["fortran"] == b"True" and len(shape) > 1
    return shape, fortran, _dtype(found["type"]), found.end()


@cache
def _dtype(name: bytes) -> np.dtype:
    return np.dtype(name.decode())


def _check_sum(path: Path, name: str, start: int, member: zipfile.ZipInfo) -> None:
    """Hold the bytes of a stored member against its checksum, which reading in place passes by."""
    left, found = member.file_size, 0
    with path.open("rb") as file:
        file.seek(start)
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            found, left = zlib.crc32(block, found), left - len(block)
    if not left and found != member.CRC:  # of a file that is shorter now, reading says so
        raise InputError(f"is damaged, '{name}' does not fit its checksum", str(path))


def _loader(path: Path, name: str) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        try:
            with np.load(path, allow_pickle=False) as archive:
                return _native(archive[name])
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
            raise InputError(f"is damaged in '{name}' ({words_of(error)})", str(path)) from None

    return load


def _native(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _plain(dtype: np.dtype) -> bool:
    return dtype.newbyteorder("<") == dtype


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    return dtype.itemsize * math.prod(shape)


def _header(path: Path, name: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        start = file.read(12)
        version = start[6:7]
        length = int.from_bytes(start[8:10] if version == b"\x01" else start[8:12], "little")
        if length > _LONGEST_HEADER:
            raise ValueError(f"a header of {length} bytes")
        file.seek(0)
        read = (
            np.lib.format.read_array_header_1_0
            if np.lib.format.read_magic(file) == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if min(shape, default=0) < 0:
            raise ValueError(f"a shape of {shape}")
    except Exception as error:  # NumPy evaluates the text of a header, which fails in many ways
        reason = shorten(str(error), 100)
        raise InputError(f"holds no array '{name}', damaged? ({reason})", str(path)) from None
    if dtype.hasobject:
        raise InputError(f"holds pickled objects in '{name}', refused", str(path))
    return shape, fortran and len(shape) > 1, dtype
