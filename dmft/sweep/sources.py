"""The results behind a virtual collection: HDF5 reads NaN, without a word, what it cannot open."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np

from dmft.errors import InputError
from dmft.store.hdf5 import check_readable
from dmft.store.integrity import verify

_SPARE = 64  # files that a process has open for other reasons


def check_sources(collection: Path, files: str | np.ndarray) -> None:
    """Refuse a virtual collection whose results moved, are damaged, or are too many to open.

    Parameters
    ----------
    files : paths from the folder of the collection, empty where a point has no result.

    Raises
    ------
    InputError : it names the result and says what to do.
    """
    names = [str(name) for name in np.ravel(np.asarray(files, dtype=object)) if name]
    _raise_limit(len(names) + _SPARE)
    for name in names:
        path = collection.resolve().parent / name
        try:
            check_readable(path)
            verify(path)
        except InputError as error:
            raise InputError(
                f"its curves are in {path}, which {_clause(error.message)}; put it back where it "
                "was, or collect again with --packed",
                str(collection),
            ) from None


def _clause(message: str) -> str:
    return "is missing" if message == "no such file" else message


def _raise_limit(wanted: int) -> None:
    """Let this process open so many files, if the system allows.

    Raises
    ------
    InputError : it does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise InputError(
            f"shows {wanted - _SPARE} files at once, this process may open {hard}; "
            "collect again with --packed"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
