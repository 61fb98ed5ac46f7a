"""Files appear whole or not at all: checks before the work, atomic replacement after it."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dmft.errors import DmftError, InputError

_PART = ".part"


def check_output(path: Path, *, overwrite: bool) -> None:
    """Find out before any work whether `path` can be written.

    Raises
    ------
    InputError : it or its folder is read-only, the folder is missing, it is a folder or a device,
        or it exists and `overwrite` is false.
    """
    where = str(path)
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.stat()  # what the questions below would pass over
        final = path.resolve()
        folder = final.parent
        if not folder.is_dir():
            raise InputError(f"given a folder that does not exist: {folder}", where)
        if path.is_dir():
            raise InputError("is a folder, must be a file", where)
        if path.exists() and not path.is_file():
            raise InputError("is a device or a pipe, must be a file", where)
        if path.exists() and not overwrite:
            raise InputError("exists already, --overwrite (overwrite=True) replaces it", where)
        _check_length(final)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a loop of links
        raise InputError(f"cannot be written ({one_line(error)})", where) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"cannot be written, folder {folder} is read-only", where)
    if final.exists() and not os.access(final, os.W_OK):  # its owner protects what it holds
        raise InputError("cannot be written, it is read-only", where)


def _check_length(final: Path) -> None:
    """Refuse a name that leaves no room for that of its temporary file."""
    most = os.pathconf(final.parent, "PC_NAME_MAX")
    room = most - len(os.fsencode(temporary_name(final).name)) + len(os.fsencode(final.name))
    if len(os.fsencode(final.name)) > room:
        raise InputError(
            f"has a name of {len(os.fsencode(final.name))} bytes, must be at most {room}",
            str(final),
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the name of a temporary file that replaces `path` when the block succeeds.

    The temporary is in the same folder, so that the replacement is atomic, and is flushed to
    the disk before it. When the block fails, the temporary is gone and `path` untouched.

    Raises
    ------
    DmftError : an OSError on the way, for instance a full disk.
    """
    final = path.resolve()  # a link keeps pointing where it did
    temporary = temporary_name(final)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, final)
        _flush_folder(final.parent)
    except OSError as error:
        raise DmftError(f"{path}: could not be written ({one_line(error)})") from None
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def temporary_name(final: Path) -> Path:
    """A fresh name beside `final`; the suffix stays, for writers that choose a format by it."""
    return final.with_name(f".{final.name}.{secrets.token_hex(4)}.tmp{final.suffix}")


def part_of(path: Path) -> Path:
    """Beside a finished file, where its extension is kept until it is finished too."""
    path = path.resolve() if path.is_symlink() else path
    return path.with_name(path.name + _PART)


def whole_of(path: Path) -> Path | None:
    """The file whose extension `path` is by its name, if that is there."""
    if not path.name:  # a folder, as in `.`
        return None
    whole = path.with_name(path.name.removesuffix(_PART))
    return whole if whole != path and whole.is_file() else None


def remove_leftovers(final: Path) -> None:
    """Delete temporaries of `final` and of its part left by a killed process; the caller holds
    its lock."""
    for whole in (final, part_of(final)):
        name, suffix = re.escape(whole.name), re.escape(whole.suffix)
        ours = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.tmp{suffix}")
        for entry in final.parent.iterdir():
            if ours.fullmatch(entry.name):
                entry.unlink(missing_ok=True)


def one_line(error: BaseException) -> str:
    """The text of an exception without line breaks."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _flush_folder(folder: Path) -> None:
    """Make the new name survive a power failure; some file systems cannot."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
