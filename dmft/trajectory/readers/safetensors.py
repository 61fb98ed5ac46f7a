"""Safetensors: 8 bytes of header length, a JSON header, then the data without gaps.

Format: https://huggingface.co/docs/safetensors, section "Format". Read here rather than with
the package of that name, which maps whole files and has no numpy type for bfloat16.
"""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dmft.errors import InputError
from dmft.texts import parse_json
from dmft.trajectory.readers.tensor import BFLOAT16, Tensor

_TYPES = {
    "F64": ("float64", 8),
    "F32": ("float32", 4),
    "F16": ("float16", 2),
    "BF16": (BFLOAT16, 2),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "BOOL": ("bool", 1),
    **{f"I{8 * n}": (f"int{8 * n}", n) for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": (f"uint{8 * n}", n) for n in (1, 2, 4, 8)},
    "C64": ("complex64", 8),
}
_LONGEST_HEADER = 1 << 24  # bytes, of 150 000 tensors
# Bytes of a tensor, and of each part of it, in a long header: many times that in memory.
_LEAST, _LEAST_PART = 30, 8


def tensors(path: Path) -> list[Tensor]:
    """All tensors of one file.

    Raises
    ------
    InputError : truncated, or no safetensors.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        size = int.from_bytes(head, "little")
        if len(head) < 8 or size > _LONGEST_HEADER:
            raise InputError("is no safetensors file", str(path))
        if 8 + size > length:
            raise InputError(
                f"is truncated: {length} bytes, its header ends at {8 + size}", str(path)
            )
        text = file.read(size)
    if not text.startswith(b"{"):
        raise InputError("has a header that is not valid JSON", str(path))
    tables, parts = text.count(b"{") + text.count(b"[") / 3, text.count(b",")
    if tables > max(size / _LEAST, 1000) or parts > max(size / _LEAST_PART, 100_000):
        raise InputError("has a header that is not one of tensors", str(path))
    try:
        entries = _entries(text)
    except InputError as error:
        raise InputError(error.message, str(path)) from None
    for entry in entries:
        if 8 + size + entry.stop > length:
            end = 8 + size + entry.stop
            raise InputError(
                f"is truncated: {length} bytes, tensor '{entry.name}' ends at {end}", str(path)
            )
    return [Tensor(path, e.name, e.shape, e.dtype, 8 + size + e.start) for e in entries]


def head(path: Path) -> tuple[int, bytes] | None:
    """Length of a file, and its header with the 8 bytes before; None of what has none."""
    try:
        with path.open("rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            size = int.from_bytes(file.read(8), "little")
            if 8 + size > min(length, _LONGEST_HEADER):
                return None
            return length, size.to_bytes(8, "little") + file.read(size)
    except OSError:
        return None


class _Entry(NamedTuple):
    name: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int


@lru_cache(maxsize=2)  # the checkpoints of a run have the same header
def _entries(text: bytes) -> tuple[_Entry, ...]:
    try:
        header = parse_json(text, _LONGEST_HEADER, _LONGEST_HEADER)  # bounded by `tensors`
        items = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, AttributeError):
        raise InputError("has a header that is not valid JSON") from None
    return tuple(_entry(name, entry) for name, entry in items)


def _entry(name: str, entry: Any) -> _Entry:
    try:
        start, stop = (int(offset) for offset in entry["data_offsets"])
        shape = tuple(int(extent) for extent in entry["shape"])
        dtype, width = _TYPES.get(entry["dtype"], (str(entry["dtype"]), 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"has a damaged header at tensor '{name}'") from None
    wrong = width and stop - start != width * math.prod(shape)
    if start < 0 or min(shape, default=0) < 0 or wrong:
        raise InputError(f"has a damaged header at tensor '{name}'")
    return _Entry(name, shape, dtype, start, stop)
