"""Safetensors: 8 bytes of header length, a JSON header, then the data without gaps.

Format: https://huggingface.co/docs/safetensors, section "Format". Read here rather than with
the package of that name, which maps whole files and has no numpy type for bfloat16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
_LONGEST_HEADER = 1 << 25  # bytes, of 300 000 tensors
_LEAST = 30  # bytes of a tensor in a long header: each takes many times that in memory


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
    if text.count(b"{") + text.count(b"[") / 3 > max(size / _LEAST, 1000):
        raise InputError("has a header that is not one of tensors", str(path))
    try:
        header = parse_json(text)
        entries = [(name, entry) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, AttributeError):
        raise InputError("has a header that is not valid JSON", str(path)) from None
    return [_tensor(path, name, entry, 8 + size, length) for name, entry in entries]


def _tensor(path: Path, name: str, entry: Any, data: int, length: int) -> Tensor:
    try:
        start, stop = (int(offset) for offset in entry["data_offsets"])
        shape = tuple(int(extent) for extent in entry["shape"])
        dtype, width = _TYPES.get(entry["dtype"], (str(entry["dtype"]), 0))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(f"has a damaged header at tensor '{name}'", str(path)) from None
    if data + stop > length:
        raise InputError(
            f"is truncated: {length} bytes, tensor '{name}' ends at {data + stop}", str(path)
        )
    tensor = Tensor(path, name, shape, dtype, data + start)
    if start < 0 or min(shape, default=0) < 0 or (width and stop - start != width * tensor.size):
        raise InputError(f"has a damaged header at tensor '{name}'", str(path))
    return tensor
