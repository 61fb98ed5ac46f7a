"""Which reader a file needs, by its ending."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

from dmft.errors import InputError
from dmft.trajectory.readers.tensor import Tensor

# ending: module of this package and its function
_READERS = {
    ".safetensors": ("safetensors", "tensors"),
    ".npz": ("numpy", "npz_tensors"),
    ".npy": ("numpy", "npy_tensors"),
    ".h5": ("hdf5", "tensors"),
    ".hdf5": ("hdf5", "tensors"),
    **dict.fromkeys((".pt", ".pth", ".bin", ".ckpt", ".pth.tar", ".pt.tar"), ("pytorch", "read")),
}
ENDINGS = tuple(_READERS)
INDEX = ".index.json"


def file_tensors(path: Path) -> list[Tensor]:
    """The table of tensors of one file, of training checkpoints those of the model.

    Raises
    ------
    InputError : an unknown ending, or a file that is damaged or not what its ending says.
    """
    return read_file(path)[0]


def read_file(path: Path, key: str | None = None) -> tuple[list[Tensor], dict[str, str]]:
    """The table of tensors, and what is left out of it with the reason.

    Parameters
    ----------
    key : entry of the file that is wanted; None finds the model.

    Raises
    ------
    InputError : as `file_tensors`; nothing under this key.
    """
    ending = next((e for e in ENDINGS if path.name.lower().endswith(e)), None)
    if ending is None:
        raise InputError(
            f"given the ending '{path.suffix}', allowed: {', '.join(ENDINGS)}", str(path)
        )
    module, function = _READERS[ending]
    reader = importlib.import_module(f"dmft.trajectory.readers.{module}")
    try:
        if module == "pytorch":
            found: tuple[list[Tensor], dict[str, str]] = getattr(reader, function)(path, key)
            return found
        tensors: list[Tensor] = getattr(reader, function)(path)
    except FileNotFoundError:
        raise InputError("no such file", str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    if key is not None:
        tensors = [t for t in tensors if t.name.replace("/", ".").startswith(f"{key}.")]
        if not tensors:
            raise InputError(f"has no tensors under '{key}'", str(path))
    return tensors, {}


def shards(index: Path) -> list[Path]:
    """The files that an index of a sharded checkpoint names.

    Raises
    ------
    InputError : no valid index, or a file that is missing.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise InputError(
            "is no index of a sharded checkpoint (no 'weight_map')", str(index)
        ) from None
    files = [index.parent / str(name) for name in names]
    for file in files:
        if not file.is_file():
            raise InputError(f"names {file.name}, which is missing", str(index))
    return files
