"""Which reader a file needs, by its ending."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from dmft.errors import InputError
from dmft.texts import parse_json, read_text
from dmft.trajectory.readers.tensor import FLOATS, Tensor
from dmft.validation import echo

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
# Of deflate; and what weights of a large tensor never reach, which is held in memory whole.
_BEST_COMPRESSION, _LARGE, _BEST_OF_LARGE = 1032, 1 << 25, 64
_EXPANDED = 1 << 20  # bytes of a tensor that repeats a few
_LONGEST_INDEX, _MOST_NAMES = 100_000_000, 1_200_000  # bytes, tensors; of a model of many experts


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
    if ending is None and not path.exists():
        raise InputError("no such file or folder", str(path))
    if ending is None:
        raise InputError(
            f"given the ending '{path.suffix}', allowed: {', '.join(ENDINGS)}", str(path)
        )
    module, function = _READERS[ending]
    reader = importlib.import_module(f"dmft.trajectory.readers.{module}")
    try:
        if module == "pytorch":
            found: tuple[list[Tensor], dict[str, str]] = getattr(reader, function)(path, key)
            check_sizes(found[0], path.stat().st_size, path)
            return found
        tensors: list[Tensor] = getattr(reader, function)(path)
        check_sizes(tensors, path.stat().st_size, path)
    except FileNotFoundError:
        raise InputError("no such file", str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    if key is not None:
        tensors = [t for t in tensors if t.name.replace("/", ".").startswith(f"{key}.")]
        if not tensors:
            raise InputError(f"has no tensors under '{key}'", str(path))
    return tensors, {}


def check_sizes(tensors: Sequence[Tensor], there: int, where: Path) -> None:
    """Refuse what no compression can have made of so many bytes.

    Raises
    ------
    InputError : it names the tensor.
    """
    for tensor in tensors:
        declared = tensor.size * tensor.itemsize if tensor.dtype in FLOATS else 0
        best = _BEST_COMPRESSION if declared < _LARGE else _BEST_OF_LARGE
        if declared > best * there + _EXPANDED:
            what = f"'{tensor.name}' of shape {echo(tensor.shape)}"
            raise InputError(f"declares {what} in {there} bytes, damaged?", str(where))


def within(folder: Path, name: str, where: Path) -> Path:
    """A file that a table names, in the folder of the table or below.

    Raises
    ------
    InputError : it is elsewhere, or missing.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"names {name}, must be a file beside it", str(where))
    if not (folder / name).is_file():
        raise InputError(f"names {Path(name).name}, which is missing", str(where))
    return folder / name


def shards(index: Path) -> list[Path]:
    """The files that an index of a sharded checkpoint names.

    Raises
    ------
    InputError : no valid index, or a file that is missing.
    """
    try:
        names = sorted(
            set(parse_json(read_text(index, _LONGEST_INDEX), _MOST_NAMES)["weight_map"].values())
        )
    except InputError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise InputError(
            "is no index of a sharded checkpoint (no 'weight_map')", str(index)
        ) from None
    return [within(index.parent, str(name), index) for name in names]
