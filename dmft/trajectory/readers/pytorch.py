"""PyTorch state dicts, weights only: code in a file is refused, never run.

The file is a zip archive of a pickle and of uncompressed storages. PyTorch reads the pickle with
its restricted unpickler and without any data: fake tensors, which from version 2.7 on know where
their bytes are in the file. These are then read in place like those of every other format.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.texts import words_of
from dmft.trajectory.readers.state import model_of
from dmft.trajectory.readers.tensor import BFLOAT16, FLOAT8, Shelf, Tensor, Whole

# Records of settings beside the weights, by the names of their classes. They become empty
# objects: nothing of the module is imported.
_RECORDS = (
    "argparse.Namespace",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
)  # fmt: skip


class _Record(dict[Any, Any]):
    """Stands for a record of settings; what it held is forgotten."""

    def __init__(self, *_content: Any) -> None:
        super().__init__()

    def __new__(cls, *_content: Any) -> _Record:
        return super().__new__(cls)

    def __setstate__(self, _content: Any) -> None:
        pass


def read(path: Path, key: str | None = None) -> tuple[list[Tensor], dict[str, str]]:
    """The tensors of the model in the file, and what was left out with the reason.

    Tensors of the same memory have equal `identity`.

    Parameters
    ----------
    key : entry of the file that is wanted, see `state.model_of`.

    Raises
    ------
    InputError : PyTorch is missing, or the file is no state dict, holds code, or is damaged.
    """
    table = _table(path, fake=True)
    found, left_out = model_of(table, key, str(path))
    if any(_is_sparse(tensor) for tensor in found.values()):
        found, left_out = model_of(_table(path, fake=False), key, str(path))
    shelf = Shelf()
    return [_tensor(path, name, tensor, shelf) for name, tensor in found.items()], left_out


def _table(path: Path, *, fake: bool) -> Mapping[str, Any]:
    try:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode
    except ImportError:
        raise InputError("needs PyTorch: pip install 'dmft[torch]'", str(path)) from None
    if not _is_archive(path):
        raise InputError(
            "is no PyTorch file, truncated, or of a format before PyTorch 1.6 (which torch.save "
            "can write again)",
            str(path),
        )
    _check_archive(path)
    try:
        with (
            warnings.catch_warnings(),
            torch.serialization.safe_globals([(_Record, name) for name in _RECORDS]),
        ):
            warnings.simplefilter("ignore")
            if fake:
                with FakeTensorMode():
                    table = torch.load(path, map_location="cpu", weights_only=True)
            else:
                table = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from None
    except NotImplementedError:  # no fake tensor of a quantised or a sparse one
        return _table(path, fake=False)
    except Exception as error:  # a pickle fails in many ways, of an empty stack by an IndexError
        if fake and "sparse" in str(error).lower():
            return _table(path, fake=False)
        raise InputError(f"cannot be read, damaged? ({words_of(error)})", str(path)) from None
    if not isinstance(table, Mapping):
        kind = type(table).__name__.replace("FakeTensor", "Tensor")
        raise InputError(f"holds a {kind}, must be a state dict", str(path))
    return table


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # one that says to have parts on other disks
        return False


def _check_archive(path: Path) -> None:
    """Refuse an archive that PyTorch has not written: it compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, OSError) as error:
        raise InputError(
            f"is no PyTorch file, or truncated ({words_of(error)})", str(path)
        ) from None
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InputError("is compressed or encrypted, which PyTorch never does", str(path))


def _refusal(path: Path, text: str) -> InputError:
    reason = text.replace("\n", " ")
    found = reason.partition("Unsupported global: GLOBAL ")[2].partition(" was ")[0]
    what = f" ({found})" if found else ""
    return InputError(
        f"holds more than tensors{what}, refused; if you trust it, save its state dict alone: "
        "torch.save(torch.load(OLD, weights_only=False)['model'], NEW)",
        str(path),
    )


def _tensor(path: Path, name: str, tensor: Any, shelf: Shelf) -> Tensor:
    shape = tuple(tensor.shape)
    dtype = str(tensor.dtype).removeprefix("torch.")
    if _is_sparse(tensor):
        whole = Whole(lambda: _dense(tensor), shelf)
        return Tensor(path, name, shape, dtype, whole=whole)
    if tensor.is_quantized:
        return Tensor(path, name, shape, f"quantised {dtype}")
    start = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    if start is None:
        whole = Whole(lambda: _dense(tensor), shelf)
        return Tensor(path, name, shape, dtype, whole=whole)
    offset = start + tensor.storage_offset() * tensor.element_size()
    identity = (offset, _runs(shape, tuple(tensor.stride())), tensor.element_size())
    if tensor.is_contiguous():
        return Tensor(path, name, shape, dtype, offset, identity=identity)
    whole = Whole(_loader(path, start, tensor), shelf)
    return Tensor(path, name, shape, dtype, whole=whole, identity=identity)


def _runs(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Strides and extents of the elements in the order of memory: equal for a view's transpose."""
    runs: list[tuple[int, int]] = []
    for stride, extent in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n != 1):
        if runs and stride == runs[-1][0] * runs[-1][1]:
            runs[-1] = (runs[-1][0], runs[-1][1] * extent)
        else:
            runs.append((stride, extent))
    return tuple(runs)


def _is_sparse(tensor: Any) -> bool:
    return str(tensor.layout) != "torch.strided"


def _dense(tensor: Any) -> np.ndarray:
    values = tensor.to_dense() if _is_sparse(tensor) else tensor
    if str(values.dtype) == f"torch.{BFLOAT16}":
        values = values.float()
    return np.asarray(values.numpy())


def _loader(path: Path, start: int, tensor: Any) -> Callable[[], np.ndarray]:
    """Reads a view of its storage, such as a transpose."""
    name = str(tensor.dtype).removeprefix("torch.")
    dtype = np.dtype("<u2") if name == BFLOAT16 else np.dtype("u1") if name in FLOAT8 else None
    dtype = dtype or np.dtype(name)
    first, strides = tensor.storage_offset(), tensor.stride()
    extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, strides, strict=True))

    def load() -> np.ndarray:
        begin = start + first * dtype.itemsize
        if begin + extent * dtype.itemsize > path.stat().st_size:
            raise InputError("ends inside a tensor", str(path))
        storage = np.fromfile(path, dtype, extent, offset=begin)
        steps = [s * dtype.itemsize for s in strides]
        return np.lib.stride_tricks.as_strided(storage, tuple(tensor.shape), steps)

    return load
