"""Gram matrices of differences of checkpoints, in one pass over the files.

Several workers take units (see `layout`) in turn: each reads its run of bytes from every
checkpoint, forms theta_0 and the differences in float64 and multiplies. Their results are added
in the order of the units, so that sums do not depend on the number of workers. While one worker
waits for the disk, another computes.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

import numpy as np
from threadpoolctl import threadpool_limits

from dmft.errors import InputError, Interrupted
from dmft.trajectory.columns import columns_of
from dmft.trajectory.layout import Unit
from dmft.trajectory.readers.descriptors import kept_open
from dmft.trajectory.series import Series

_COMPILED = 2**28  # bytes to read, above which loading the compiled loops pays
_SUBBLOCK = 4096  # columns of float64 at a time, as long as
_CACHED = 2**18  # numbers are no more, which stay in the processor's cache,
_NARROWEST = 512  # and of many checkpoints so many


@dataclass(frozen=True)
class Progress:
    """State of a pass: bytes read and to read, and seconds left by the present rate."""

    done: int
    total: int
    seconds_left: float | None


def workers_for(memory: int, threads: int | None, largest: int) -> int:
    """How many workers fit the memory: one more than the threads, so that reading never stops.

    Parameters
    ----------
    memory : budget in bytes.
    threads : cores to use, all by default.
    largest : bytes of the largest unit with its differences.

    Raises
    ------
    InputError : not even one fits.
    """
    fit = memory // largest
    if fit < 1:
        raise InputError(
            f"given {memory / 1e9:.3g} GB, must be at least {largest / 1e9:.3g} GB here", "memory"
        )
    cores = threads or len(os.sched_getaffinity(0))
    return min(cores + 1 if cores > 1 else 1, fit)


def unit_bytes(series: Series, unit: Unit) -> int:
    """Memory of one unit: what is read, and a sub-block of differences."""
    count, length = len(series.rows), unit.stop - unit.start
    itemsize = max(row[unit.tensor].itemsize for row in series.rows)
    copies = 1 + 1 / len(unit.shares) if len(unit.shares) > 1 else 1  # of the columns of a share
    return int(count * (length * itemsize * copies + 2 * 8 * min(length, _subblock(count))))


def _subblock(count: int) -> int:
    return min(_SUBBLOCK, max(_NARROWEST, _CACHED // count))


def accumulate(
    series: Series,
    units: Sequence[Unit],
    fresh: Callable[[int], np.ndarray],
    *,
    workers: int,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (piece, rows of its Gram matrix) for every piece, as soon as it is complete.

    Parameters
    ----------
    series : the checkpoints.
    units : the work, in order.
    fresh : the rows that are wanted of a piece, increasing indices of the basis; the result has
        shape (fresh, T).
    workers : number of units in flight.
    progress : called after each unit.
    stop : polled after each unit; true asks to stop.

    Raises
    ------
    InputError : NaN or infinity in a checkpoint, a file that ends early.
    Interrupted : `stop` asked to.
    """
    sizes = [sum(row[unit.tensor].itemsize for row in series.rows) for unit in units]
    lengths = [size * (unit.stop - unit.start) for size, unit in zip(sizes, units, strict=True)]
    largest = max((unit.stop - unit.start for unit in units), default=0)
    scratch: SimpleQueue[_Scratch] = SimpleQueue()
    for _ in range(workers):
        scratch.put(_Scratch(len(series.rows), largest, sum(lengths) > _COMPILED))

    def work(unit: Unit) -> list[np.ndarray]:
        room = scratch.get()
        try:
            return room.grams(series, unit, [fresh(share.piece) for share in unit.shares], files)
        finally:
            scratch.put(room)

    sums: dict[int, np.ndarray] = {}
    began, done = monotonic(), 0
    paths = (tensor.path for row in series.rows for tensor in row.values())
    with (
        threadpool_limits(1, user_api="blas"),
        kept_open(paths) as files,
        ThreadPoolExecutor(workers) as pool,
    ):
        flying: deque[Future[list[np.ndarray]]] = deque()
        waiting = iter(units)
        try:
            for unit, length in zip(units, lengths, strict=True):
                while len(flying) < workers + 1 and (later := next(waiting, None)) is not None:
                    flying.append(pool.submit(work, later))
                for share, gram in zip(unit.shares, flying.popleft().result(), strict=True):
                    sums[share.piece] = sums[share.piece] + gram if share.piece in sums else gram
                for piece in unit.complete:
                    yield piece, sums.pop(piece)
                done += length
                if progress is not None:
                    elapsed = monotonic() - began
                    progress(Progress(done, sum(lengths), elapsed * (sum(lengths) / done - 1.0)))
                if stop is not None and stop():
                    raise Interrupted("asked to stop")
        finally:
            for future in flying:
                future.cancel()


class _Scratch:
    """Buffers of one worker: the bytes read, and a sub-block of differences."""

    def __init__(self, count: int, largest: int, compiled: bool) -> None:
        self._raw = np.empty((count, 0), np.uint8)
        self._largest = largest
        self._compiled = compiled
        self._width = _subblock(count)
        self._basis = np.empty(count * self._width)

    def grams(
        self, series: Series, unit: Unit, fresh: list[np.ndarray], files: Mapping[Path, int]
    ) -> list[np.ndarray]:
        """Rows of the Gram matrix of each share of the unit."""
        tensors = [row[unit.tensor] for row in series.rows]
        length = unit.stop - unit.start
        raw = self._room(max(tensor.itemsize for tensor in tensors))
        rows = [
            tensor.read(unit.start, unit.stop, into, files.get(tensor.path))
            for tensor, into in zip(tensors, raw, strict=True)
        ]
        columns = columns_of(tensors, rows, raw, self._compiled)
        grams = []
        for share, wanted in zip(unit.shares, fresh, strict=True):
            gram = np.zeros((len(wanted), len(tensors)))
            chosen = columns
            if len(unit.shares) > 1:
                chosen = columns.every(unit.period, share.first, share.width, length)
            size = length // unit.period * share.width
            for start in range(0, size, self._width):
                width = min(self._width, size - start)
                # In C order whatever its width: see `compiled`.
                basis = self._basis[: len(tensors) * width].reshape(len(tensors), width)
                chosen.differences(start, basis)
                some = basis if len(wanted) == len(tensors) else basis[wanted]
                gram += some @ basis.T
            if not np.isfinite(gram).all():
                _refuse(series, unit, gram, wanted)
            grams.append(gram)
        return grams

    def _room(self, itemsize: int) -> np.ndarray:
        if self._raw.shape[1] != self._largest * itemsize:
            self._raw = np.empty((len(self._raw), self._largest * itemsize), np.uint8)
        return self._raw


def _refuse(series: Series, unit: Unit, gram: np.ndarray, fresh: np.ndarray) -> None:
    """Name the first checkpoint whose difference from the one before is not finite."""
    bad = ~np.isfinite(gram[np.arange(len(fresh)), fresh])
    first = fresh[np.argmax(bad)] if bad.any() else fresh[0]
    raise InputError(
        f"tensor '{unit.tensor}' holds NaN or infinity", series.checkpoints[first].name
    )
