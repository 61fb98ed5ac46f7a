"""Files of older schema versions, brought to the current one in memory; the disk stays as it is.

Version 1 had the kernels at top level and called the attribute `schema_version` `version`.
Version 2 has them in /kernels, beside the second scale `time_other` that xarray needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dmft.errors import InputError
from dmft.store.hdf5 import reading
from dmft.store.rewritten import copy_in_memory
from dmft.store.schema import FAMILY, MAJOR, VERSION

if TYPE_CHECKING:
    import h5py


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file of this package for reading, as one of the current version.

    Raises
    ------
    InputError : unreadable, of another program, or of a newer major version.
    """
    with reading(path) as file:
        major = int(schema_version(file).partition(".")[0])
        if major == MAJOR:
            yield file
            return
        with copy_in_memory(file) as copy:
            for step in _STEPS[major - 1 :]:
                step(copy)
            yield copy


def schema_version(file: h5py.File) -> str:
    """The version "major.minor" of a file, which must be of this package and not too new."""
    schema = file.attrs.get("schema")
    if not isinstance(schema, str) or not schema.startswith(FAMILY):
        given = "no schema" if schema is None else f"schema {str(schema)[:40]!r}"
        raise InputError(f"has {given}, must be a file written by dmft")
    version = str(file.attrs.get("schema_version", file.attrs.get("version")))
    major = version.partition(".")[0]
    if not major.isdecimal() or int(major) < 1:
        raise InputError(f"has schema version {version[:40]!r}, must be like {VERSION!r}")
    if int(major) > MAJOR:
        raise InputError(
            f"has schema version {version[:40]}, this dmft reads up to {MAJOR}, a newer one is "
            "needed"
        )
    return version


def _kernels_into_group(file: h5py.File) -> None:
    """Version 1 to version 2."""
    file.attrs["schema_version"] = "2.0"
    file.attrs.pop("version", None)
    kernels = file.require_group("kernels")
    for name in (
        "correlation_error",
        "correlation_error_stderr",
        "correlation_residual",
        "correlation_residual_stderr",
        "response_weights",
        "response_residual",
        "overlap",
        "overlap_stderr",
        "quadrature_weights",
    ):
        if name in file:
            file.move(name, f"{kernels.name}/{name}")


# The step at position m - 1 leads from major version m to m + 1.
_STEPS: tuple[Callable[[h5py.File], None], ...] = (_kernels_into_group,)
