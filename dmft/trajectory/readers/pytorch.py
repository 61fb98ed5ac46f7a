"""PyTorch state dicts, weights only: code in a file is refused, never run.

The file is a zip archive of a pickle and of uncompressed storages. PyTorch reads the pickle with
its restricted unpickler and without any data: tensors on the device "meta", which know where their
bytes are in the file. These are then read in place like those of every other format. Of versions
of PyTorch whose meta tensors do not know it, fake tensors do, at ten times the cost.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
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

# Of the pickle, which PyTorch reads in Python, at some microseconds an operation: bytes, and those
# of them that may be an operation of one or two bytes; for values, and for each storage. A tensor
# has 100 bytes and a name, 30 of them short operations.
_BYTES, _BYTES_OF_STORAGE = 4_000_000, 400
_SHORT, _SHORT_OF_STORAGE = 400_000, 100
_SHORT_OPERATIONS = b"()]}NKhq\x85\x86\x87\x88\x89"


class _Placed(Enum):
    """How tensors are made that have no data, and know where it is in the file."""

    META = "meta"
    FAKE = "fake"
    NOT = "with data"  # mapped


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
    found, left_out = model_of(_table(path, _Placed.META), key, str(path))
    if any(_is_sparse(tensor) for tensor in found.values()):
        found, left_out = model_of(_table(path, _Placed.NOT), key, str(path))
    elif any(_start(tensor) is None and not tensor.is_quantized for tensor in found.values()):
        found, left_out = model_of(_table(path, _Placed.FAKE), key, str(path))
    shelf = Shelf()
    return [_tensor(path, name, tensor, shelf) for name, tensor in found.items()], left_out


def _table(path: Path, placed: _Placed) -> Mapping[str, Any]:
    try:
        import torch
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
            _without_data(placed),
        ):
            warnings.simplefilter("ignore")
            where = "meta" if placed is _Placed.META else "cpu"
            mapped = placed is _Placed.NOT
            table = torch.load(path, map_location=where, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise _refusal(path, str(error)) from None
    except NotImplementedError:  # no tensor without data of a quantised or a sparse one
        return _table(path, _Placed.NOT)
    except Exception as error:  # a pickle fails in many ways, of an empty stack by an IndexError
        if placed is not _Placed.NOT and "sparse" in str(error).lower():
            return _table(path, _Placed.NOT)
        raise InputError(f"cannot be read, damaged? ({words_of(error)})", str(path)) from None
    if not isinstance(table, Mapping):
        kind = type(table).__name__.replace("FakeTensor", "Tensor")
        raise InputError(f"holds a {kind}, must be a state dict", str(path))
    return table


@contextmanager
def _without_data(placed: _Placed) -> Iterator[None]:
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    if placed is _Placed.META:
        with torch.serialization.skip_data():
            yield
    elif placed is _Placed.FAKE:
        with FakeTensorMode():
            yield
    else:
        yield


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # one that says to have parts on other disks
        return False


def _check_archive(path: Path) -> None:
    """Refuse an archive that PyTorch has not written: it compresses nothing, and keeps no more
    values beside the tensors than it can read in seconds."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise InputError("is compressed or encrypted, which PyTorch never does", str(path))
            storages = sum("/data/" in member.filename for member in members)
            for member in members:
                if member.filename.rpartition("/")[2] == "data.pkl":
                    _check_pickle(archive, member, storages, str(path))
    except InputError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, RuntimeError) as error:
        raise InputError(
            f"is no PyTorch file, or truncated ({words_of(error)})", str(path)
        ) from None


def _check_pickle(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, storages: int, where: str
) -> None:
    """Refuse a pickle that takes long to read, for the tensors that it can hold."""
    longest, most = _BYTES + _BYTES_OF_STORAGE * storages, _SHORT + _SHORT_OF_STORAGE * storages
    if member.file_size > longest:
        raise InputError(
            f"holds {member.file_size} bytes beside {storages} tensors, allowed: {longest}; save "
            "its state dict alone",
            where,
        )
    program = archive.read(member)
    short = sum(program.count(operation) for operation in _SHORT_OPERATIONS)
    if short > most:
        raise InputError(
            f"holds about {short} values beside {storages} tensors, allowed: {most}; save its "
            "state dict alone",
            where,
        )


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
    start = _start(tensor)
    if start is None:
        whole = Whole(lambda: _dense(tensor), shelf)
        return Tensor(path, name, shape, dtype, whole=whole)
    offset = start + tensor.storage_offset() * tensor.element_size()
    identity = (offset, _runs(shape, tuple(tensor.stride())), tensor.element_size())
    if tensor.is_contiguous():
        return Tensor(path, name, shape, dtype, offset, identity=identity)
    whole = Whole(_loader(path, start, tensor), shelf)
    return Tensor(path, name, shape, dtype, whole=whole, identity=identity)


def _start(tensor: Any) -> int | None:
    """Where the storage of a tensor begins in the file; None if it has its data, or is read so."""
    return getattr(tensor.untyped_storage(), "_checkpoint_offset", None)


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
