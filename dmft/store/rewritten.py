"""Files that netCDF4 has written anew: text of fixed length, in place of that of h5py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py


def is_rewritten(file: h5py.File) -> bool:
    """Whether the root attributes are text of fixed length, which this package never writes."""
    return isinstance(file.attrs.get("schema"), bytes)


@contextmanager
def with_own_text(file: h5py.File) -> Iterator[h5py.File]:
    """A copy in memory whose attributes hold text as this package writes it."""
    import h5py

    with copy_in_memory(file) as copy:

        def mend(_name: str, item: h5py.Group | h5py.Dataset) -> None:
            for key, value in list(item.attrs.items()):
                if isinstance(value, bytes):
                    item.attrs[key] = value.decode("utf-8", errors="replace")
                elif isinstance(value, h5py.Empty) and value.dtype.kind == "S":
                    item.attrs[key] = ""

        mend("/", copy)
        copy.visititems(mend)
        yield copy


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
