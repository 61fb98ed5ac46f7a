"""One process per output file.

The lock is `flock` on OUT.h5.lock beside the output: the kernel releases it whatever way the
process dies, so a lock file that a killed process left behind does not block the next one.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dmft.errors import InputError
from dmft.store.output import one_line, remove_leftovers

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the right to write `path`; the lock file is removed at the end.

    Raises
    ------
    InputError : another process holds it, or the lock file cannot be created.
    """
    final = path.resolve()
    name = _lock_name(final)
    descriptor = _acquire(name, path)
    try:
        remove_leftovers(final)
        yield
    finally:
        # Removed while still held, so that it is never somebody else's lock that goes.
        with suppress(OSError):  # of a folder that has become read-only: it blocks nobody
            name.unlink(missing_ok=True)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process is writing `path` now."""
    try:
        descriptor = os.open(_lock_name(path.resolve()), os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _acquire(name: Path, path: Path) -> int:
    while True:
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise InputError(f"cannot be written ({one_line(error)})", str(path)) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError("another process is writing this file now", str(path)) from None
        except OSError as error:
            # Some network file systems have no locks; better to work without than not at all.
            if error.errno not in _UNSUPPORTED:
                os.close(descriptor)
                raise
        if _still_there(descriptor, name):
            return descriptor
        os.close(descriptor)  # its holder removed it between our open and our lock: try again


def _still_there(descriptor: int, name: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), name.stat())
    except FileNotFoundError:
        return False


def _lock_name(final: Path) -> Path:
    return final.with_name(final.name + ".lock")
