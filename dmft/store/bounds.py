"""What an HDF5 file claims, held against what it has, before anything is allocated for it.

A few bytes can declare a dataset of any size, whose values then come from nowhere (those never
written are zero), from another file, or from a pipe that never answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from dmft.errors import InputError
from dmft.texts import DEEPEST

if TYPE_CHECKING:
    import h5py

_BEST_COMPRESSION = 1032  # of deflate, the strongest filter that is common
# Bytes from which on a dataset must be denser, and how much: results compress tenfold at most.
_LARGE, _BEST_OF_LARGE = 1 << 25, 64
_UNWRITTEN = 1 << 20  # bytes of a dataset that may be all fill value


def check_contents(file: h5py.File, *, views: bool) -> None:
    """Refuse a file that leads to others, or that declares more than its bytes can hold.

    Parameters
    ----------
    views : whether datasets may be views of other files; who reads them checks those.

    Raises
    ------
    InputError : it names the link or the dataset.
    """
    import h5py

    length = file.id.get_filesize()

    # Both return what is wrong, which ends the visit; HDF5 cannot pass exceptions on.
    def wrong_link(path: bytes, link: h5py.h5l.LinkInfo) -> str | None:
        if link.type == h5py.h5l.TYPE_EXTERNAL:
            name = _decoded(path)
            other = file.get(name, getlink=True).filename
            return f"holds a link /{name} to another file ({other}), refused"
        if path.count(b"/") > DEEPEST:
            return f"is nested deeper than {DEEPEST} levels"
        return None

    def wrong_size(name: str, dataset: h5py.Dataset) -> str | None:
        if dataset.shape is None:
            return None
        if dataset.external or (dataset.is_virtual and not views):
            return f"dataset /{name} has its values in other files, refused"
        wanted = dataset.dtype.itemsize * math.prod(dataset.shape)
        there = min(dataset.id.get_storage_size(), length)
        best = _BEST_COMPRESSION if wanted < _LARGE else _BEST_OF_LARGE
        if not dataset.is_virtual and wanted > best * there + _UNWRITTEN:
            return f"dataset /{name} declares {wanted} bytes and has {there} in the file, damaged?"
        return None

    wrong = file.id.links.visit(wrong_link, info=True) or visit_datasets(file, wrong_size)
    if wrong:
        raise InputError(wrong)


def visit_datasets(file: h5py.File, look: Callable[[str, h5py.Dataset], str | None]) -> str | None:
    """What `look` finds in a dataset, given its path; groups are not opened, there may be many."""
    import h5py

    def visit(path: bytes, thing: h5py.h5o.ObjInfo) -> str | None:
        name = _decoded(path)
        return look(name, file[name]) if thing.type == h5py.h5o.TYPE_DATASET else None

    found: str | None = h5py.h5o.visit(file.id, visit, info=True)
    return found


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
