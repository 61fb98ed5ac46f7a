"""A digest over the whole of a file, so that no flipped bit is read as a number.

The file ends in a trailer of 48 bytes behind what HDF5 wrote: 16 of mark and the BLAKE2b-256 digest
of every byte before. HDF5 ignores it, and cuts it off when another program changes the file in
place. The root attribute `digest` says that a trailer belongs to the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dmft.errors import InputError

if TYPE_CHECKING:
    import h5py

ATTRIBUTE, ALGORITHM = "digest", "blake2b-256"
_MARK = b"\x00dmft digest 1\r\n"
_DIGEST_BYTES = 32
TRAILER_BYTES = len(_MARK) + _DIGEST_BYTES
_CHUNK = 1 << 20


def trailer(content: bytes | memoryview) -> bytes:
    """What follows `content` in a file."""
    return _MARK + hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()


def verify(path: Path) -> bool:
    """Whether the file ends in a trailer, which then fits its content.

    Raises
    ------
    InputError : the digest does not fit, or another program is writing the file.
    OSError : the file cannot be read.
    """
    with path.open("rb") as file:
        _check_lock(file)
        length = os.fstat(file.fileno()).st_size - TRAILER_BYTES
        if length < 0:
            return False
        file.seek(length)
        mark, wanted = file.read(len(_MARK)), file.read(_DIGEST_BYTES)
        if mark != _MARK:
            return False
        if _hdf5_end(path) not in (None, length):  # before much is read that does not belong here
            raise InputError("is damaged, its checksum is broken")
        file.seek(0)
        digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        while length > 0:
            block = file.read(min(length, _CHUNK))
            if not block:
                raise InputError("changed while it was read, try again")
            digest.update(block)
            length -= len(block)
    if digest.digest() != wanted:
        raise InputError("is damaged, its content does not fit its checksum")
    return True


def warn_if_lost(path: Path, file: h5py.File) -> None:
    """Warn of a file that should end in a trailer and does not.

    Raises
    ------
    InputError : it ends in something else, which no program that knows HDF5 leaves there.
    """
    if ATTRIBUTE not in file.attrs:
        return
    if _hdf5_end(path) not in (None, path.stat().st_size):
        raise InputError("is damaged, its checksum is broken")
    warnings.warn(
        f"{path}: unverified, the checksum was lost: changed by another program, or damaged",
        stacklevel=2,
    )


def _hdf5_end(path: Path) -> int | None:
    """Where the HDF5 content ends, from the superblock; None if it is of an unknown kind."""
    with path.open("rb") as file:
        block = file.read(64)
    place = {0: 40, 1: 44, 2: 28, 3: 28}.get(block[8])
    return None if place is None else int.from_bytes(block[place : place + 8], "little")


def _check_lock(file: BinaryIO) -> None:
    """Refuse a file that a program has open for writing: half of it may be new."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError("is locked, another program is writing it; close it there first") from None
    except OSError:
        return  # a file system without locks
    fcntl.flock(file, fcntl.LOCK_UN)
