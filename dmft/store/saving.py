"""One way to write a file: checked before the work, with a header, whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.config import Config
from dmft.store.hdf5 import writing
from dmft.store.header import write_header
from dmft.store.output import check_output

if TYPE_CHECKING:
    import h5py


@contextmanager
def saving(
    path: str | Path,
    schema: str,
    config: Config | Mapping[str, Any],
    *,
    overwrite: bool = False,
    seeds: tuple[int, ...] = (),
    command_line: str | None = None,
    status: str = "done",
    reason: str = "",
) -> Iterator[h5py.File]:
    """Yield a new file with its root attributes; it takes the place of `path` when it is complete.

    Parameters
    ----------
    path : the file.
    schema : what it is.
    config : the configuration of a solve, or the settings of another subject.
    overwrite : replace an existing file.
    seeds : the seeds that every random number derives from.
    command_line : stored as the origin of the file; that of this process by default.
    status, reason : of the result.

    Raises
    ------
    InputError : `path` cannot be written.
    DmftError : writing failed half-way, for instance on a full disk; `path` is as before.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    with writing(path) as file:
        write_header(
            file, schema, config, seeds=seeds, command_line=command_line, status=status,
            reason=reason,
        )  # fmt: skip
        yield file
