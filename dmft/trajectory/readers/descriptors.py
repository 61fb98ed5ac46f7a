"""Files that stay open for a pass: opening one costs more than reading a small piece of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def kept_open(paths: Iterable[Path]) -> Iterator[dict[Path, int]]:
    """Descriptors of files; none of too many, nor of what cannot be opened: whoever reads that
    says so."""
    wanted = set(paths)
    found: dict[Path, int] = {}
    with ExitStack() as stack:
        few = len(wanted) <= os.sysconf("SC_OPEN_MAX") // 2  # others in the process want some
        for path in wanted if few else ():
            try:
                found[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue
            stack.callback(os.close, found[path])
        yield found
