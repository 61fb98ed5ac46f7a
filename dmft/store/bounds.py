"""What an HDF5 file claims, held against what it has, before anything is allocated for it.

A few bytes can declare a dataset of any size, whose values then come from nowhere (those never
written are zero), from another file, or from a pipe that never answers. The same bytes can be
shown many times: by links, and by texts of variable length, which are kept apart in heaps.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.errors import InputError
from dmft.store.heaps import bytes_apart, is_apart, largest_heap
from dmft.texts import DEEPEST, LONGEST, printable

if TYPE_CHECKING:
    import h5py

_BEST_COMPRESSION = 1032  # of deflate, the strongest filter that is common
# Bytes from which on a dataset must be denser, and how much: results compress tenfold at most.
_LARGE, _BEST_OF_LARGE = 1 << 25, 64
_UNWRITTEN = 1 << 20  # bytes of a file that may be all fill value
_HOLES = 1 << 28  # bytes of a file that may be nowhere on the disk
# Of a file, some for each panel of a march in those of earlier versions; of each group in it.
_MOST_THINGS, _MOST_ATTRIBUTES = 20_000, 4000
_NUMBERS = 1 << 12  # bytes of an attribute of numbers
_MOST_CHUNKS = 20_000  # of a file; HDF5 takes some 4 kB for each that it reads


def check_holes(path: Path, found: os.stat_result) -> None:
    """Refuse a file of which the disk has next to nothing.

    Raises
    ------
    InputError : as said.
    """
    there = 512 * found.st_blocks  # 0 where a file system does not tell
    if there and found.st_size > _BEST_OF_LARGE * there + _HOLES:
        raise InputError(
            f"is said to have {found.st_size} bytes, of which {there} are on the disk, damaged?",
            str(path),
        )


def check_contents(file: h5py.File, *, views: bool, own: bool) -> None:
    """Refuse a file that leads to others, or that declares more than its bytes can hold.

    Parameters
    ----------
    views : whether datasets may be views of other files; who reads them checks those.
    own : of this package, which makes one link to each thing, and attributes of text and numbers.

    Raises
    ------
    InputError : it names the link, the dataset or the attribute.
    """
    import h5py

    length = file.id.get_filesize()
    seen = {h5py.h5o.get_info(file.id).addr}  # of the root, to which a link may lead back
    declared = unwritten = chunks = 0
    largest = cache(lambda: largest_heap(file))  # one look through the file for all datasets

    # These return what is wrong, which ends the visit; HDF5 cannot pass exceptions on.
    def wrong_link(path: bytes, link: h5py.h5l.LinkInfo) -> str | None:
        name = _decoded(path)
        if link.type == h5py.h5l.TYPE_EXTERNAL:
            other = file.get(name, getlink=True).filename
            return f"holds a link /{name} to another file ({other}), refused"
        if path.count(b"/") > DEEPEST:
            return f"is nested deeper than {DEEPEST} levels"
        if own and (link.type != h5py.h5l.TYPE_HARD or link.u in seen):
            return f"holds a link /{name} to what has a name already, refused"
        seen.add(link.u)
        if own and len(seen) > _MOST_THINGS:
            return f"holds more than {_MOST_THINGS} groups and datasets"
        return None

    def wrong_thing(path: bytes, thing: h5py.h5o.ObjInfo) -> str | None:
        if thing.type == h5py.h5o.TYPE_DATASET:
            # By the lower half of h5py, which is ten times as fast: every file passes here.
            return wrong_size(path, h5py.h5d.open(file.id, path))
        if own:  # of others there may be many, and nothing of them is read
            return _wrong_attributes(path, h5py.h5o.open(file.id, path))
        return None

    def wrong_size(path: bytes, dataset: h5py.h5d.DatasetID) -> str | None:
        nonlocal declared, unwritten, chunks
        space, plan = dataset.get_space(), dataset.get_create_plist()
        if space.get_simple_extent_type() == h5py.h5s.NULL:
            return None
        virtual = plan.get_layout() == h5py.h5d.VIRTUAL
        if plan.get_external_count() or (virtual and not views):
            return f"dataset /{_decoded(path)} has its values in other files, refused"
        if virtual:
            return None
        kind, count = dataset.get_type(), math.prod(space.get_simple_extent_dims())
        wanted = kind.get_size() * count
        there = min(dataset.get_storage_size(), length)
        best = _BEST_COMPRESSION if wanted < _LARGE else _BEST_OF_LARGE
        declared += wanted
        unwritten += max(0, wanted - best * there)
        if unwritten > _UNWRITTEN or (own and declared > _BEST_OF_LARGE * length + _LARGE):
            return (
                f"dataset /{_decoded(path)} declares {wanted} bytes and has {there} in the file, "
                "damaged?"
            )
        if own and plan.get_layout() == h5py.h5d.CHUNKED:
            shape = zip(space.get_simple_extent_dims(), plan.get_chunk(), strict=True)
            chunks += math.prod(-(-extent // chunk) for extent, chunk in shape)
            if chunks > _MOST_CHUNKS:
                return f"dataset /{_decoded(path)} is in too many chunks, allowed: {_MOST_CHUNKS}"
        if own and is_apart(kind) and bytes_apart(file, dataset, count, largest) > length:
            return f"dataset /{_decoded(path)} declares more than the file can hold, damaged?"
        return None

    wrong = file.id.links.visit(wrong_link, info=True)
    if own:  # the root itself is not visited
        wrong = wrong or _wrong_attributes(b"", h5py.h5o.open(file.id, b"."))
    wrong = wrong or h5py.h5o.visit(file.id, wrong_thing, info=True)
    if wrong:
        raise InputError(wrong)


def _wrong_attributes(path: bytes, holder: h5py.h5o.ObjectID) -> str | None:
    """What is wrong with the attributes of a group."""
    import h5py

    count = h5py.h5a.get_num_attrs(holder)
    if count > _MOST_ATTRIBUTES:
        return f"has {count} attributes of /{_decoded(path)}, allowed: {_MOST_ATTRIBUTES}"
    names: list[bytes] = []
    h5py.h5a.iterate(holder, names.append)  # by their number each is searched for from the first
    for name in names:
        if not _is_plain(h5py.h5a.open(holder, name)):
            words = printable(_decoded(name))
            return f"attribute '{words}' of /{_decoded(path)} must be a text or numbers"
    return None


def plain_attributes(holder: h5py.HLObject, names: Iterable[str] = ()) -> Iterator[tuple[str, Any]]:
    """Attributes that are one text, or numbers; no other is read.

    Parameters
    ----------
    names : of those that are wanted, where they are there; all by default.
    """
    import h5py

    for name in names or holder.attrs:
        if name in holder.attrs and _is_plain(h5py.h5a.open(holder.id, name.encode())):
            yield name, holder.attrs[name]


def _is_plain(attribute: h5py.h5a.AttrID) -> bool:
    """Whether an attribute is one text, or some numbers.

    Any other can be a few bytes in the file and fill the memory.
    """
    import h5py

    kind, count = attribute.get_type(), attribute.get_space().get_simple_extent_npoints()
    size = kind.get_size() * count
    if kind.get_class() == h5py.h5t.STRING:
        return size <= LONGEST and (count <= 1 or not kind.is_variable_str())
    numbers = kind.get_class() in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM)
    return size <= _NUMBERS and numbers


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
