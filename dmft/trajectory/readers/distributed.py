"""Folders of torch.distributed.checkpoint: files .distcp and a table of where every chunk lies.

The table (.metadata) is a pickle, read as data by `plainpickle`; a chunk is a PyTorch file inside
a .distcp file, read with weights only.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.texts import words_of
from dmft.trajectory.readers.formats import check_sizes, within
from dmft.trajectory.readers.plainpickle import Record, parsed
from dmft.trajectory.readers.state import role
from dmft.trajectory.readers.tensor import BFLOAT16, Shelf, Tensor, Whole

METADATA = ".metadata"
_LONGEST_TABLE = 1 << 28


def read(folder: Path, key: str | None = None) -> tuple[list[Tensor], dict[str, str]]:
    """The tensors of the model, and what was left out with the reason.

    Parameters
    ----------
    key : leading words of the names that are wanted.

    Raises
    ------
    InputError : damaged metadata, or a file that is missing.
    """
    where = str(folder)
    table = parsed(_table_bytes(folder / METADATA), str(folder / METADATA))
    try:
        entries = _fields(table)["state_dict_metadata"]
        places = _places(_fields(table)["storage_data"])
        shapes = {name: _shape(entry) for name, entry in entries.items()}
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise InputError(f"has metadata of another version ({words_of(error)})", where) from None
    found = {name: shape for name, shape in shapes.items() if shape is not None}
    found, left_out = _of_model(found, key, where)
    shelf = Shelf()
    tensors = [
        _tensor(folder, name, shape, _dtype(entries[name]), places.get(name, []), shelf)
        for name, shape in found.items()
    ]
    check_sizes(tensors, sum(file.stat().st_size for file in files_of(folder)), folder)
    return tensors, left_out


def _table_bytes(path: Path) -> bytes:
    if path.stat().st_size > _LONGEST_TABLE:
        raise InputError(f"is longer than {_LONGEST_TABLE} bytes", str(path))
    return path.read_bytes()


def files_of(folder: Path) -> tuple[Path, ...]:
    """All files of such a checkpoint, by which it is recognised again."""
    return (folder / METADATA, *sorted(folder.glob("*.distcp")))


def _of_model(
    found: dict[str, Any], key: str | None, where: str
) -> tuple[dict[str, Any], dict[str, str]]:
    if key is not None:
        chosen = {n: s for n, s in found.items() if n == key or n.startswith(f"{key}.")}
        if not chosen:
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in found))
            raise InputError(f"has no entry '{key}', there are {known}", where)
        return chosen, {}
    first = {name: name.partition(".")[0] for name in found}
    left_out = {word: why for word in first.values() if (why := role(word)) is not None}
    kept = {name: shape for name, shape in found.items() if first[name] not in left_out}
    if not kept:
        raise InputError("holds no parameters, choose an entry with --key", where)
    return kept, left_out


def _fields(record: Any) -> Mapping[str, Any]:
    state = record.state
    if isinstance(state, tuple):  # of classes with slots
        state = next(part for part in state if part)
    if not isinstance(state, Mapping):
        raise TypeError(f"{record.name} without fields")
    return state


def _places(storage: Mapping[Any, Any]) -> dict[str, list[tuple[tuple[int, ...], Any]]]:
    """Of every tensor: start of each chunk in it, and where the chunk lies."""
    places: dict[str, list[tuple[tuple[int, ...], Any]]] = {}
    for index, info in storage.items():
        fields = _fields(index)
        start = () if fields.get("offset") is None else _size(fields["offset"])
        places.setdefault(fields["fqn"], []).append((start, _fields(info)))
    return places


def _shape(entry: Record) -> tuple[int, ...] | None:
    return _size(_fields(entry)["size"]) if entry.name.endswith("TensorStorageMetadata") else None


def _size(record: Any) -> tuple[int, ...]:
    content = record.arguments[0] if isinstance(record, Record) else record
    return tuple(int(extent) for extent in content)


def _dtype(entry: Record) -> str:
    state = _fields(entry)["properties"].state
    record = state["dtype"] if isinstance(state, Mapping) else state[0]
    return str(record.name).removeprefix("torch.")


def _tensor(
    folder: Path,
    name: str,
    shape: tuple[int, ...],
    dtype: str,
    chunks: list[tuple[tuple[int, ...], Any]],
    shelf: Shelf,
) -> Tensor:
    if any(info.get("transform_descriptors") for _, info in chunks):
        dtype = f"compressed {dtype}"
    for _, info in chunks:
        within(folder, str(info["relative_path"]), folder)
    return Tensor(folder, name, shape, dtype, whole=Whole(_loader(folder, shape, chunks), shelf))


def _loader(
    folder: Path, shape: tuple[int, ...], chunks: list[tuple[tuple[int, ...], Any]]
) -> Callable[[], np.ndarray]:
    def load() -> np.ndarray:
        whole: np.ndarray | None = None
        for start, info in chunks:
            part = _chunk(folder / info["relative_path"], info["offset"], info["length"])
            if whole is None:
                whole = np.zeros(shape, part.dtype)
            begin = start or (0,) * part.ndim
            try:
                whole[tuple(slice(b, b + n) for b, n in zip(begin, part.shape, strict=True))] = part
            except (ValueError, IndexError) as error:
                raise InputError(
                    f"has a chunk that does not fit ({words_of(error)})", str(folder)
                ) from None
        return np.zeros(shape) if whole is None else whole

    return load


def _chunk(path: Path, offset: int, length: int) -> np.ndarray:
    import torch

    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(min(length, path.stat().st_size))
        tensor = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError,
            OverflowError, pickle.UnpicklingError) as error:  # fmt: skip
        text = str(error).partition("\n")[0]
        raise InputError(f"cannot be read, damaged? ({text})", str(path)) from None
    if str(tensor.dtype) == f"torch.{BFLOAT16}":
        return np.asarray(tensor.detach().float().numpy())
    return np.asarray(tensor.detach().numpy())
