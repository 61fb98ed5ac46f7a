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

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import monotonic

import numpy as np
from threadpoolctl import threadpool_limits

from dmft.errors import InputError, Interrupted
from dmft.trajectory.engine import Progress
from dmft.trajectory.readers.tensor import as_float
from dmft.trajectory.series import Series

WIDTH = 8192  # of all parameters together
LEAST = 256  # of a group
_WINDOW = 32  # checkpoints that one worker holds
_READ = 2**19  # elements of each that are read at once
_SUBBLOCK = 8192  # columns at a time


@dataclass(frozen=True)
class Target:
    """What is projected: runs of elements (tensor, start, stop), and the width of the result."""

    name: str
    runs: tuple[tuple[str, int, int], ...]
    width: int

    @property
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

    def work(window: tuple[int, int]) -> int:
        first, last = window
        return sum(
            _add(series, target, rows[first:last], out[first:last])
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


def _add(series: Series, target: Target, rows: Sequence[int], out: np.ndarray) -> int:
    """Add the projections of some consecutive rows; returns the bytes read for them."""
    before = max(rows[0] - 1, 0)
    names = range(before, rows[-1] + 1)
    position, read = 0, 0
    for tensor, first, last in target.runs:
        tensors = [series.rows[t][tensor] for t in names]
        for start in range(first, last, _READ):
            stop = min(start + _READ, last)
            flat = [
                t.read(start, stop, np.empty((stop - start) * t.itemsize, np.uint8))
                for t in tensors
            ]
            read += sum(values.nbytes for values in flat[len(flat) - len(rows) :])
            for begin in range(0, stop - start, _SUBBLOCK):
                part = slice(begin, min(begin + _SUBBLOCK, stop - start))
                theta = np.array(
                    [as_float(f[part], t.dtype) for f, t in zip(flat, tensors, strict=True)],
                    dtype=np.float64,
                )
                basis = np.diff(theta, axis=0) if rows[0] else np.diff(theta, axis=0, prepend=0.0)
                if not np.isfinite(basis).all():
                    bad = int(np.flatnonzero(~np.isfinite(theta).all(axis=1))[0])
                    where = series.checkpoints[before + bad].name
                    raise InputError(f"tensor '{tensor}' holds NaN or infinity", where)
                fold(basis, position, target, out)
                position += basis.shape[1]
    return read


def fold(basis: np.ndarray, position: int, target: Target, out: np.ndarray) -> None:
    """Add columns of vectors (row, element), from this element of the target on, to `out`.

    Signs and the place where a run of `width` elements begins are drawn from the number of the
    run, so that they do not depend on how the elements are cut.
    """
    width, length = target.width, basis.shape[1]
    if target.parameters <= width:
        out[:, position : position + length] += basis
        return
    done = 0
    while done < length:
        run, offset = divmod(position + done, width)
        count = min(width - offset, length - done)
        rng = np.random.Generator(np.random.PCG64([run, width]))
        shift = int(rng.integers(width))
        signs = 1.0 - 2.0 * rng.integers(0, 2, width, dtype=np.int8)[offset : offset + count]
        signed = basis[:, done : done + count] * signs
        begin = (offset + shift) % width
        straight = min(count, width - begin)
        out[:, begin : begin + straight] += signed[:, :straight]
        out[:, : count - straight] += signed[:, straight:]
        done += count
