"""A nested state in two pieces: a table of what it holds, and the bytes of its arrays.

A state has thousands of small arrays. As datasets of their own they cost HDF5 a tenth of a
millisecond each, whenever a file is written or opened; packed they cost next to nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.texts import parse_json

_KIND = re.compile(r"b1|[iu][1248]|f[248]")
_ENTRY = re.compile(rf"({_KIND.pattern})((?: [0-9]{{1,18}}){{0,8}})")
# Entries that a table may have: so many, and one for so many bytes of the arrays.
_FEW, _BYTES_OF_ONE = 100_000, 8


def pack(state: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The table, as JSON text, and the bytes of the arrays, little-endian and in C order.

    The table maps the path of every array to its kind and shape, like "f8 3 54", that of every
    other value to it, and lists the paths of empty dictionaries.

    Parameters
    ----------
    state : nested dict of text keys; leaves are arrays of numbers, int, float, str or None. Values
        with a true attribute `stays_in_memory` are left out.

    Raises
    ------
    TypeError, ValueError : a value or a key that could not be read back.
    """
    arrays, values, empty, content = {}, {}, [], []
    for path, value in _leaves(state, ""):
        if isinstance(value, Mapping):
            empty.append(path)
        elif isinstance(value, np.ndarray):
            kind = value.dtype.str[1:]
            if not _KIND.fullmatch(kind):
                raise TypeError(f"checkpoint value '{path}' is an array of {value.dtype}")
            arrays[path] = " ".join([kind, *map(str, value.shape)])
            content.append(value.astype(f"<{kind}").tobytes())
        else:
            scalar = value.item() if isinstance(value, np.generic) else value
            if scalar is not None and not isinstance(scalar, bool | int | float | str):
                raise TypeError(f"checkpoint value '{path}' is a {type(value).__name__}")
            values[path] = scalar
    table = {"arrays": arrays, "values": values, "empty": empty}
    return json.dumps(table).encode(), b"".join(content)


def unpack(table: bytes, content: bytes) -> dict[str, Any]:
    """The inverse of `pack`.

    Raises
    ------
    InputError : a table that is none, or that does not fit the bytes; it names the entry.
    """
    arrays, values, empty = _parts(table, _FEW + len(content) // _BYTES_OF_ONE)
    state: dict[str, Any] = {}
    start = 0
    for path, entry in arrays.items():
        kind, shape = _described(path, entry)
        end = start + math.prod(shape) * int(kind[1])
        if end > len(content):
            raise InputError(f"'{path}' of its state is longer than what is there, damaged?")
        _place(state, path, _numbers(content[start:end], kind).reshape(shape))
        start = end
    if start != len(content):
        raise InputError(f"its state has {len(content) - start} bytes that belong to nothing")
    for path, value in values.items():
        if isinstance(value, list | dict):
            raise InputError(f"'{path}' of its state is no plain value, damaged?")
        _place(state, path, value)
    for path in empty:
        _place(state, path, {})
    return state


def _parts(table: bytes, longest: int) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Arrays, values and empty dictionaries of a table."""
    try:
        parts = parse_json(table, elements=longest)
        arrays, values, empty = parts["arrays"], parts["values"], parts["empty"]
    except InputError:
        raise
    except (TypeError, ValueError, LookupError):
        raise InputError("the table of its state is damaged") from None
    tables = isinstance(arrays, dict) and isinstance(values, dict)
    if not (tables and isinstance(empty, list) and all(isinstance(path, str) for path in empty)):
        raise InputError("the table of its state is damaged")
    return arrays, values, empty


def _leaves(tree: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    """Paths and values of what is no dictionary, or an empty one."""
    for key, value in tree.items():
        if not isinstance(key, str) or not key or "/" in key:
            raise ValueError(f"checkpoint key {key!r} must be text without a slash")
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{key}/")
        elif not getattr(value, "stays_in_memory", False):
            yield above + key, value


def _described(path: str, entry: object) -> tuple[str, tuple[int, ...]]:
    """Kind and shape of an array."""
    found = _ENTRY.fullmatch(entry) if isinstance(entry, str) else None
    if not found:
        raise InputError(f"'{path}' of its state is described as {str(entry)[:40]!r}, damaged?")
    return found[1], tuple(map(int, found[2].split()))


def _numbers(content: bytes, kind: str) -> np.ndarray:
    """A row of numbers; what is not zero is true."""
    stored = "u1" if kind == "b1" else f"<{kind}"
    return np.frombuffer(bytearray(content), stored).astype(kind)


def _place(state: dict[str, Any], path: str, value: Any) -> None:
    *above, name = path.split("/")
    inside = state
    for key in above:
        inside = inside.setdefault(key, {})
        if not isinstance(inside, dict):
            raise InputError(f"'{path}' of its state is inside of what is no dictionary, damaged?")
    if name in inside:
        raise InputError(f"'{path}' of its state is there twice, damaged?")
    inside[name] = value
