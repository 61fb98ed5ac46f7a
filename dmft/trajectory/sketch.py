"""Random projections of a trajectory: any number of checkpoints, in memory T x width.

Every parameter has a random sign and is added to one of k numbers (Charikar, Chen and
Farach-Colton, "Finding frequent items in data streams", 2002; as an embedding, Clarkson and
Woodruff, arXiv:1207.6365). Products of the vectors b_t of the Gram matrix are kept on average, with

    Var[(S b_t) . (S b_s)] <= (|b_t|^2 |b_s|^2 + (b_t . b_s)^2) / k,

and up to k parameters exactly: then nothing is added to anything else. The rows of S b depend on
one checkpoint and the one before, so that a growing folder costs its new checkpoints only. The
columns fall into 16 blocks of other parameters, whose jackknife contains the projection's error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic

import numpy as np
from threadpoolctl import threadpool_limits

from dmft.errors import InputError, Interrupted
from dmft.trajectory.columns import columns_of
from dmft.trajectory.engine import Progress
from dmft.trajectory.hashes import hashed, signs, start_of
from dmft.trajectory.readers.descriptors import kept_open
from dmft.trajectory.readers.tensor import as_float
from dmft.trajectory.series import Series

WIDTH = 8192  # of all parameters together
LEAST = 256  # of a group
_COMPILED = 2**27  # bytes to read, above which loading the compiled loops pays
_SOME = 2**24  # bytes, above which they pay where they are loaded
_WINDOW = 32  # checkpoints that one worker holds
_READ = 2**17  # elements of each that are read at once
_SUBBLOCK = 4096  # columns at a time,
_CACHED = 2**17  # or of few checkpoints as many as make so many numbers


@dataclass(frozen=True)
class Target:
    """What is projected: runs of elements (tensor, start, stop), and the width of the result."""

    name: str
    runs: tuple[tuple[str, int, int], ...]
    width: int

    @cached_property
    def parameters(self) -> int:
        """Number of elements."""
        return sum(stop - start for _, start, stop in self.runs)


def project(
    series: Series,
    targets: Sequence[Target],
    rows: Sequence[int],
    *,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[np.ndarray]:
    """Projected rows of [theta_0, differences] of each target, shapes (rows, width).

    Parameters
    ----------
    rows : increasing numbers of the rows that are wanted.

    Raises
    ------
    InputError : NaN or infinity in a checkpoint, a file that ends early.
    Interrupted : `stop` asked to.
    """
    found = [np.zeros((len(rows), target.width)) for target in targets]
    windows = list(_windows(rows))
    total = sum(
        series.rows[t][name].itemsize * (end - start)
        for target in targets for name, start, end in target.runs for t in rows
    )  # fmt: skip
    began, done = monotonic(), 0
    compiled = total > _COMPILED or (total > _SOME and "dmft.trajectory.compiled" in sys.modules)

    def work(window: tuple[int, int]) -> int:
        first, last = window
        names = range(max(rows[first] - 1, 0), rows[last - 1] + 1)
        paths = (tensor.path for t in names for tensor in series.rows[t].values())
        with kept_open(paths) as files:
            return sum(
                _add(series, target, rows[first:last], out[first:last], files, compiled)
                for target, out in zip(targets, found, strict=True)
            )

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        flying = [pool.submit(work, window) for window in windows]
        try:
            for future in flying:
                done += future.result()
                if progress is not None:
                    left = (monotonic() - began) * (total / max(done, 1) - 1.0)
                    progress(Progress(done, max(total, 1), max(left, 0.0)))
                if stop is not None and stop():
                    raise Interrupted("asked to stop")
        finally:
            for future in flying:
                future.cancel()
    return found


def _windows(rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of consecutive rows, as first and last place in `rows`."""
    first = 0
    for place in range(1, len(rows) + 1):
        full = place - first == _WINDOW
        if place == len(rows) or rows[place] != rows[place - 1] + 1 or full:
            yield first, place
            first = place


def _add(
    series: Series,
    target: Target,
    rows: Sequence[int],
    out: np.ndarray,
    files: Mapping[Path, int],
    compiled: bool,
) -> int:
    """Add the projections of some consecutive rows; returns the bytes read for them."""
    names = range(max(rows[0] - 1, 0), rows[-1] + 1)
    position, read = 0, 0
    raw = np.empty((len(names), 0), np.uint8)
    size = max(_SUBBLOCK, _CACHED // len(names))
    room = np.empty(len(names) * size)
    longest = min(_READ, max((last - first for _, first, last in target.runs), default=0))
    for tensor, first, last in target.runs:
        tensors = [series.rows[t][tensor] for t in names]
        itemsize = max(t.itemsize for t in tensors)
        if raw.shape[1] != longest * itemsize:
            raw = np.empty((len(names), longest * itemsize), np.uint8)
        for start in range(first, last, _READ):
            stop = min(start + _READ, last)
            flat = [
                t.read(start, stop, into, files.get(t.path))
                for t, into in zip(tensors, raw, strict=True)
            ]
            read += sum(values.nbytes for values in flat[len(flat) - len(rows) :])
            columns = columns_of(tensors, flat, raw, compiled)
            for begin in range(0, stop - start, size):
                width = min(size, stop - start - begin)
                basis = room[: len(names) * width].reshape(len(names), width)
                columns.differences(begin, basis)
                fold(basis[len(names) - len(rows) :], position, target, out, compiled)
                position += width
        if not np.isfinite(out).all():
            raise _refusal(series, tensor, names)
    return read


def _refusal(series: Series, name: str, numbers: Sequence[int]) -> InputError:
    """Names the first of these checkpoints whose tensor is not finite."""
    for t in numbers:
        tensor = series.rows[t][name]
        for start in range(0, tensor.size, _READ):
            stop = min(start + _READ, tensor.size)
            values = tensor.read(start, stop, np.empty((stop - start) * tensor.itemsize, np.uint8))
            if not np.isfinite(as_float(values, tensor.dtype)).all():
                where = series.checkpoints[t].name
                return InputError(f"tensor '{name}' holds NaN or infinity", where)
    return InputError("holds numbers whose sums overflow", f"tensor '{name}'")


def fold(
    basis: np.ndarray, position: int, target: Target, out: np.ndarray, compiled: bool = False
) -> None:
    """Add columns of vectors (row, element), from this element of the target on, to `out`.

    Signs and the place where a run of `width` elements begins are hashes of the number of the
    element and of the run, so that they do not depend on how the elements are cut.
    """
    width, length = target.width, basis.shape[1]
    if target.parameters <= width:
        out[:, position : position + length] += basis
        return
    bits, places = start_of(2 * width), start_of(2 * width + 1)
    if compiled:
        from dmft.trajectory.compiled_fold import fold_signed

        fold_signed(basis, position, bits, places, out)
        return
    sign = signs(position, length, bits)
    first, last = position // width, (position + length - 1) // width
    shifts = hashed(np.arange(first, last + 1), places) % np.uint64(width)
    done = 0
    for run, shift in enumerate(shifts.tolist(), first):
        offset = position + done - run * width
        count = min(width - offset, length - done)
        signed = basis[:, done : done + count] * sign[done : done + count]
        begin = (offset + shift) % width
        straight = min(count, width - begin)
        out[:, begin : begin + straight] += signed[:, :straight]
        out[:, : count - straight] += signed[:, straight:]
        done += count
