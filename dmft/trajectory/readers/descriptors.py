"""Files that stay open for a pass: opening one costs more than reading a small piece of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_lock = threading.Lock()
_held = 0  # by all passes of the process, of which several may run at a time


@contextmanager
def kept_open(paths: Iterable[Path]) -> Iterator[dict[Path, int]]:
    """Descriptors of files; none of too many, nor of what cannot be opened: whoever reads that
    says so."""
    wanted = set(paths)
    found: dict[Path, int] = {}
    with ExitStack() as stack:
        for path in wanted if _taken(stack, len(wanted)) else ():
            try:
                found[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            stack.callback(os.close, found[path])
        yield found


def _taken(stack: ExitStack, count: int) -> bool:
    """Whether so many more may be held; others in the process want half of what there is."""
    global _held
    with _lock:
        if _held + count > os.sysconf("SC_OPEN_MAX") // 2:
            return False
        _held += count
    stack.callback(_give_back, count)
    return True


def _give_back(count: int) -> None:
    global _held
    with _lock:
        _held -= count
