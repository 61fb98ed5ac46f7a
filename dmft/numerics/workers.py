"""Work on fixed chunks of paths in threads, with results that do not depend on their number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")
_CHUNK = 512


class Workers:
    """Maps a function over chunks of paths; results come back in the order of the chunks.

    Chunks are the same whatever the number of threads, every chunk uses single-threaded linear
    algebra, and sums over chunks are taken in order: the same bits come out of one thread and two.
    """

    def __init__(
        self, count: int, pool: ThreadPoolExecutor | None, cuts: Sequence[int] = ()
    ) -> None:
        """cuts : paths at which a chunk has to begin."""
        edges = sorted({*range(0, count, _CHUNK), *cuts} | {count})
        self.chunks = [slice(start, end) for start, end in pairwise(edges)]
        self._pool = pool

    def employ(self, pool: ThreadPoolExecutor | None) -> None:
        """Let these threads work, or the caller's alone: the results are the same."""
        self._pool = pool

    def map(self, function: Callable[[slice], Result]) -> list[Result]:
        """function(chunk) for every chunk."""
        if self._pool is None:
            return [function(chunk) for chunk in self.chunks]
        return list(self._pool.map(function, self.chunks))

    def sums(self, function: Callable[[slice], tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        """The sum over chunks of each array that `function` returns."""
        first, *others = self.map(function)
        for sums in others:
            first = tuple(total + part for total, part in zip(first, sums, strict=True))
        return first


@contextmanager
def thread_pool(threads: int | None) -> Iterator[ThreadPoolExecutor | None]:
    """A pool of `threads` (default: the processor's), with single-threaded BLAS inside."""
    from threadpoolctl import threadpool_limits

    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = threads or available
    with threadpool_limits(limits=1, user_api="blas"):
        if count == 1:
            yield None
            return
        with ThreadPoolExecutor(count) as pool:
            yield pool
