"""Files that netCDF4 has written anew: text of fixed length, in place of that of h5py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from dmft.store.bounds import plain_attributes

if TYPE_CHECKING:
    import h5py


def is_rewritten(file: h5py.File) -> bool:
    """Whether the root attributes are text of fixed length, which this package never writes."""
    return isinstance(file.attrs.get("schema"), bytes)


@contextmanager
def with_own_text(file: h5py.File) -> Iterator[h5py.File]:
    """A copy in memory that holds text, in datasets and attributes, as this package writes it."""
    import h5py

    with h5py.File.in_memory() as copy:
        _copy_group(file, copy)
        yield copy


def _copy_group(source: h5py.Group, target: h5py.Group) -> None:
    import h5py

    _copy_attributes(source, target)
    for name, item in source.items():
        if isinstance(item, h5py.Group):
            _copy_group(item, target.create_group(name))
        elif h5py.check_string_dtype(item.dtype) is None:
            source.copy(name, target)
            _copy_attributes(item, target[name])
        else:  # which HDF5 does not copy well if it has a fill value
            text = item.asstr()[()]
            dataset = target.create_dataset(name, data=text, dtype=h5py.string_dtype())
            _copy_attributes(item, dataset)


def _copy_attributes(source: h5py.Group | h5py.Dataset, target: h5py.Group | h5py.Dataset) -> None:
    """Text and numbers; references between datasets are copied with them."""
    import h5py

    for key, value in plain_attributes(source):
        if isinstance(value, bytes):
            target.attrs[key] = value.decode("utf-8", errors="replace")
        elif isinstance(value, h5py.Empty) and value.dtype.kind == "S":
            target.attrs[key] = ""
        elif isinstance(value, str | int | float | np.number):
            target.attrs[key] = value


@contextmanager
def copy_in_memory(file: h5py.File) -> Iterator[h5py.File]:
    """A copy of a file that may be changed."""
    import h5py

    with h5py.File.in_memory() as copy:
        for name, value in file.attrs.items():
            copy.attrs[name] = value
        for name in file:
            file.copy(name, copy)
        yield copy
