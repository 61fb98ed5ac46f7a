"""PyTorch state dicts, weights only: code in a file is refused, never run.

The file is a zip archive of a pickle and of uncompressed storages. PyTorch reads the pickle with
its restricted unpickler and without any data: fake tensors, which from version 2.7 on know where
their bytes are in the file. These are then read in place like those of every other format.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.trajectory.readers.tensor import BFLOAT16, Shelf, Tensor, Whole

# Where training programs put the parameters, beside optimiser and counters.
_NESTED = ("state_dict", "model_state_dict", "model", "module")


def tensors(path: Path) -> list[Tensor]:
    """The tensors of the state dict; tied ones have equal `identity`.

    Raises
    ------
    InputError : PyTorch is missing, or the file is no state dict, holds code, or is damaged.
    """
    table = _state_dict(path)
    shelf = Shelf()
    return [_tensor(path, name, tensor, shelf) for name, tensor in _flat(table)]


def _state_dict(path: Path) -> Mapping[str, Any]:
    try:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode
    except ImportError:
        raise InputError("needs PyTorch: pip install 'dmft[torch]'", str(path)) from None
    if not zipfile.is_zipfile(path):
        raise InputError(
            "is no PyTorch file, truncated, or of a format before PyTorch 1.6 (which torch.save "
            "can write again)",
            str(path),
        )
    try:
        with FakeTensorMode():
            table = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).replace("\n", " ")
        found = reason.partition("Unsupported global: GLOBAL ")[2].partition(" was ")[0]
        what = f" ({found})" if found else ""
        raise InputError(f"holds more than tensors{what}, refused", str(path)) from None
    except (RuntimeError, EOFError, KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        text = str(error).partition("\n")[0]
        raise InputError(f"cannot be read, damaged? ({text})", str(path)) from None
    if not isinstance(table, Mapping):
        raise InputError(f"holds a {type(table).__name__}, must be a state dict", str(path))
    inner = [table[key] for key in _NESTED if isinstance(table.get(key), Mapping)]
    return inner[0] if inner else table


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif hasattr(value, "untyped_storage"):
            yield f"{prefix}{key}", value


def _tensor(path: Path, name: str, tensor: Any, shelf: Shelf) -> Tensor:
    shape = tuple(tensor.shape)
    dtype = str(tensor.dtype).removeprefix("torch.")
    start = tensor.untyped_storage()._checkpoint_offset
    offset = start + tensor.storage_offset() * tensor.element_size()
    identity = (offset, shape, tuple(tensor.stride()))
    if tensor.is_contiguous():
        return Tensor(path, name, shape, dtype, offset, identity=identity)
    whole = Whole(_loader(path, start, tensor), shelf)
    return Tensor(path, name, shape, dtype, whole=whole, identity=identity)


def _loader(path: Path, start: int, tensor: Any) -> Callable[[], np.ndarray]:
    """Reads a view of its storage, such as a transpose."""
    dtype = np.dtype("<u2") if str(tensor.dtype) == f"torch.{BFLOAT16}" else None
    dtype = dtype or np.dtype(str(tensor.dtype).removeprefix("torch."))
    first, strides = tensor.storage_offset(), tensor.stride()
    extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, strides, strict=True))

    def load() -> np.ndarray:
        storage = np.fromfile(path, dtype, extent, offset=start + first * dtype.itemsize)
        if len(storage) < extent:
            raise InputError("ends inside a tensor", str(path))
        steps = [s * dtype.itemsize for s in strides]
        return np.lib.stride_tricks.as_strided(storage, tuple(tensor.shape), steps)

    return load
