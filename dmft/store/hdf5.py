"""Opening HDF5 files and moving arrays in and out of them, with errors of one line."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dmft.errors import InputError
from dmft.store.bounds import check_contents, check_holes, plain_attributes
from dmft.store.heaps import check_heaps
from dmft.store.integrity import ALGORITHM, ATTRIBUTE, trailer, verify, warn_if_lost
from dmft.store.kinds import kind_of_text
from dmft.store.output import one_line, replacing
from dmft.store.rewritten import is_rewritten, with_own_text
from dmft.store.schema import COLLECTION, FAMILY, SCALES, Variable

if TYPE_CHECKING:
    import h5py


_WIDEST = 8  # bytes of a number
_MEMORY_BLOCK = 2**20  # bytes by which a file grows in memory


@contextmanager
def reading(path: Path, *, own: bool = True) -> Iterator[h5py.File]:
    """Open a file for reading, once its checksum fits its content.

    A file without a checksum is read unverified, with a warning if it once had one.

    Parameters
    ----------
    own : whether it must be one of this package; of others no attribute is read.

    Raises
    ------
    InputError : there is no such file, it is not HDF5, it is damaged or another program has it
        open for writing.
    """
    import h5py

    check_readable(path)
    try:
        verified = verify(path)
        if not h5py.is_hdf5(path):
            kind = kind_of_text(path)
            known = f"is {kind}, which is JSON, and " if kind else "is "
            raise InputError(f"{known}not an HDF5 file", str(path))
        with h5py.File(path, "r") as file:
            if own:
                check_heaps(file)
            schema = dict(plain_attributes(file, ["schema"])).get("schema")
            own = own and not _is_foreign(file, schema)
            check_contents(file, views=own and schema == COLLECTION, own=own)
            if own and is_rewritten(file):
                with with_own_text(file) as copy:
                    yield copy
            else:
                yield file
            if not verified:  # only now: where reading failed, the error says enough
                warn_if_lost(path, file)
    except InputError as error:
        # What is wrong was found inside; which file it is, is known here.
        raise error if error.location else InputError(error.message, str(path)) from None
    except PermissionError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError,
            MemoryError, SystemError) as error:  # fmt: skip
        # A damaged file makes h5py raise any of these; RecursionError is a RuntimeError.
        raise InputError(f"cannot be read, damaged? ({one_line(error)})", str(path)) from None


def _is_foreign(file: h5py.File, schema: object) -> bool:
    """Whether a file says to be of another program, which who reads its schema tells.

    schema : its attribute, None where that is absent or nothing to be read.
    """
    if schema is None:
        return "schema" not in file.attrs
    text = schema.decode(errors="replace") if isinstance(schema, bytes) else str(schema)
    return not text.startswith(FAMILY)


def check_readable(path: Path) -> None:
    """Refuse what is no file, before it is opened.

    Raises
    ------
    InputError : nothing is there, an empty file, a folder, a device, or an impossible name.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        raise InputError("no such file", str(path)) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({one_line(error)})", str(path)) from None
    if stat.S_ISDIR(found.st_mode):
        raise InputError("is a folder, must be an HDF5 file", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise InputError("is a device or a pipe, must be an HDF5 file", str(path))
    if not found.st_size:  # also a file of the kernel, which may never answer
        raise InputError("is empty; is not an HDF5 file", str(path))
    check_holes(path, found)


def numbers_of(dataset: h5py.Dataset) -> np.ndarray:
    """All values of a dataset of numbers.

    Raises
    ------
    InputError : NaN or infinity among them.
    """
    if dataset.dtype.kind not in "iufb":
        raise InputError(f"dataset {dataset.name} has type {dataset.dtype}, must be numbers")
    values = np.asarray(dataset[()])
    if not np.isfinite(values).all():
        raise InputError(f"dataset {dataset.name} holds NaN or infinity, refused")
    return values


@contextmanager
def writing(path: Path) -> Iterator[h5py.File]:
    """Write a new file that takes the place of `path` only when it is complete.

    The file is put together in memory: the HDF5 library can crash the process when the disk is
    full, plain writing of bytes cannot.
    """
    import h5py

    # By the library's own memory: a Python file under it is not safe from garbage collection.
    with _creation_order(), h5py.File.in_memory(block_size=_MEMORY_BLOCK, track_order=True) as file:
        file.attrs[ATTRIBUTE] = ALGORITHM
        yield file
        file.flush()
        image = file.id.get_file_image()
    with replacing(path) as temporary:
        temporary.write_bytes(b"".join((image, trailer(image))))


@contextmanager
def _creation_order() -> Iterator[None]:
    """Note in what order things are made: netCDF adds to a file only where it is known."""
    import h5py

    config = h5py.get_config()
    before, config.track_order = config.track_order, True
    try:
        yield
    finally:
        config.track_order = before


def write_variable(file: h5py.File, variable: Variable, values: np.ndarray) -> None:
    """Write one dataset, labelled, attached to the scales of its dimensions.

    Raises
    ------
    InputError : NaN or infinity among the values; nothing that is not a number is stored.
    """
    values = np.asarray(values)
    if not np.isfinite(values).all():
        raise InputError("holds NaN or infinity, refused", variable.attribute)
    dataset = file.require_group(_parent(variable.path)).create_dataset(
        variable.path.rpartition("/")[2], data=values
    )
    dataset.attrs["long_name"] = variable.long_name
    dataset.attrs["units"] = variable.units
    if SCALES[variable.dimensions[0]] == variable.path:
        dataset.make_scale(variable.dimensions[0])
        return
    for axis, dimension in enumerate(variable.dimensions):
        _ensure_scale(file, dimension, values.shape[axis])
        dataset.dims[axis].attach_scale(file[SCALES[dimension]])


def _ensure_scale(file: h5py.File, dimension: str, length: int) -> None:
    """Create the scale if no variable is its scale itself: a copy of time, or a plain count."""
    path = SCALES[dimension]
    if path in file:
        return
    if dimension == "time_other":
        values = np.asarray(file["time"])
        units = str(file["time"].attrs["units"])
        scale = Variable(path, path, (dimension,), "time of the column", units)
    else:
        values = np.arange(length)
        scale = Variable(path, path, (dimension,), f"number of the {dimension}")
    write_variable(file, scale, values)


def read_variables(file: h5py.File, variables: Sequence[Variable]) -> dict[str, np.ndarray | None]:
    """Read datasets by attribute and check that their shapes fit together.

    Raises
    ------
    InputError : a dataset is missing, is not numeric, has another shape than the rest, or holds
        NaN.
    """
    import h5py

    found: dict[str, np.ndarray | None] = {}
    lengths: dict[str, int] = {}
    for variable in variables:
        if variable.optional and variable.path not in file:
            found[variable.attribute] = None
            continue
        dataset = file.get(variable.path)
        if not isinstance(dataset, h5py.Dataset):
            raise InputError(f"dataset /{variable.path} is missing")
        if dataset.dtype.kind not in "iuf":
            raise InputError(f"dataset /{variable.path} has type {dataset.dtype}, must be numbers")
        expected = [lengths.get(dimension) for dimension in variable.dimensions]
        if "time_other" in variable.dimensions:
            expected[variable.dimensions.index("time_other")] = lengths["time"]
        if len(dataset.shape) != len(expected) or any(
            length not in (None, actual)
            for length, actual in zip(expected, dataset.shape, strict=True)
        ):
            wanted = ", ".join("any" if length is None else str(length) for length in expected)
            raise InputError(
                f"dataset /{variable.path} has shape {dataset.shape}, must be ({wanted})"
            )
        lengths.update(zip(variable.dimensions, dataset.shape, strict=True))
        values = dataset[()]
        if values.dtype.itemsize > _WIDEST:
            with np.errstate(over="ignore"):  # what overflows is refused
                values = values.astype(float)  # of what a long double holds, not all is finite here
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"dataset /{variable.path} holds NaN or infinity, refused")
        found[variable.attribute] = values
    return found


def _parent(path: str) -> str:
    return "/" + path.rpartition("/")[0]
