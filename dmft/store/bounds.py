"""What an HDF5 file claims, held against what it has, before anything is allocated for it.

A few bytes can declare a dataset of any size, whose values then come from nowhere (those never
written are zero), from another file, or from a pipe that never answers.
"""

from __future__ import annotations

import math
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

    def wrong_size(path: bytes, thing: h5py.h5o.ObjInfo) -> str | None:
        if thing.type != h5py.h5o.TYPE_DATASET:  # groups are not opened, there may be many
            return None
        # By the lower half of h5py, which is ten times as fast: every file passes here.
        dataset = h5py.h5d.open(file.id, path)
        space, plan = dataset.get_space(), dataset.get_create_plist()
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            return None
        virtual = plan.get_layout() == h5py.h5d.VIRTUAL
        if plan.get_external_count() or (virtual and not views):
            return f"dataset /{_decoded(path)} has its values in other files, refused"
        wanted = dataset.get_type().get_size() * math.prod(space.get_simple_extent_dims())
        there = min(dataset.get_storage_size(), length)
        best = _BEST_COMPRESSION if wanted < _LARGE else _BEST_OF_LARGE
        if not virtual and wanted > best * there + _UNWRITTEN:
            return (
                f"dataset /{_decoded(path)} declares {wanted} bytes and has {there} in the file, "
                "damaged?"
            )
        return None

    wrong = file.id.links.visit(wrong_link, info=True) or h5py.h5o.visit(
        file.id, wrong_size, info=True
    )
    if wrong:
        raise InputError(wrong)


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
