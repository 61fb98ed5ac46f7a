"""From checkpoint files to the Gram matrices of all their tensors, or to projections of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from dmft.errors import InputError
from dmft.store.locking import locked
from dmft.trajectory.attention import Part, parts_of
from dmft.trajectory.cache import Cache
from dmft.trajectory.engine import Progress
from dmft.trajectory.gram import Grams
from dmft.trajectory.layout import pieces_of
from dmft.trajectory.passes import ExactPass
from dmft.trajectory.projections import Projections, projected
from dmft.trajectory.runs.config import heads_beside
from dmft.trajectory.series import Series, open_series

MEMORY = 1_000_000_000
MANY = 1000  # checkpoints, above which projections are the default


def of_checkpoints(
    paths: str | Path | Sequence[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    heads: int | None = None,
    kv_heads: int | None = None,
    by: str | None = None,
    steps: str | None = None,
    key: str | None = None,
    sketch: bool | None = None,
    cache: str | Path | None = None,
    memory: int = MEMORY,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Grams | Projections:
    """Gram matrices of the checkpoints in a folder or a list of files, in one pass over them.

    Units: those of the parameters; steps as the names say them.

    Parameters
    ----------
    paths, steps, key : as in `series.open_series`.
    include, exclude : shell patterns of tensor names; by default all floating-point tensors but
        optimiser states, averaged copies, running statistics, buffers and what never moves.
    heads, kv_heads : number of attention heads (of keys and values if it is another), to split
        queries, keys and values; see `attention`.
    by : grouping that will be asked for. For "projection" and "head" the heads are taken from a
        config.json beside the checkpoints if they are not given; projections need to know it.
    sketch : random projections instead of exact matrices, see `sketch`; above 1000 checkpoints
        by default.
    cache : HDF5 file that keeps the matrices: a second call reads no checkpoint, one with more
        checkpoints computes only the new rows, one after a kill continues.
    memory : budget in bytes of what is read at once and of the matrices.
    threads : cores to use, all by default.
    progress, stop : see `engine.accumulate`.

    Raises
    ------
    InputError : as `open_series`; patterns that match nothing; heads where there are none; NaN or
        infinity; too little memory.
    Interrupted : `stop` asked to; the cache holds what was done.
    """
    where = Path(paths) if isinstance(paths, str | Path) else [Path(path) for path in paths]
    series = open_series(where, steps=steps, key=key, include=include, exclude=exclude)
    if heads is None and kv_heads is not None:
        raise InputError(f"given {kv_heads} without heads", "kv_heads")
    if heads is None and by in ("projection", "head"):
        heads, kv_heads = heads_of(series)
    elif heads is not None and not any(
        part.projection for part in parts_in(series, heads, kv_heads)
    ):
        raise InputError(f"given {heads}, but no tensor holds queries, keys or values", "heads")
    path = None if cache is None else Path(cache)
    with nullcontext() if path is None else locked(path):
        if sketch or (sketch is None and len(series.checkpoints) > MANY):
            return projected(
                series, parts_in(series, heads, kv_heads), by, Cache(path), memory,
                threads=threads, progress=progress, stop=stop,
            )  # fmt: skip
        parts = _all_parts(series, heads, kv_heads)
        return _exact(series, parts, Cache(path), memory, threads, progress, stop)


def heads_of(series: Series) -> tuple[int | None, int | None]:
    """Heads of queries and of keys by the config.json beside the first checkpoint, if any."""
    return heads_beside(series.checkpoints[0].files)


def parts_in(series: Series, heads: int | None, kv_heads: int | None) -> list[Part]:
    """All tensors that are chosen, or the heads they are split into."""
    return [part for part in _all_parts(series, heads, kv_heads) if part.tensor in series.rows[0]]


def _all_parts(series: Series, heads: int | None, kv_heads: int | None) -> list[Part]:
    parts: list[Part] = []
    for name, shape in series.shapes.items():
        known = heads if name in series.rows[0] else None
        parts += parts_of(name, shape, known, kv_heads, series.shapes)
    return parts


def _exact(
    series: Series,
    parts: list[Part],
    cache: Cache,
    memory: int,
    threads: int | None,
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> Grams:
    count = len(series.checkpoints)
    # Cut alike whatever is chosen, so that the cache serves every choice.
    pieces = pieces_of(parts, sum(part.size for part in parts), count)
    wanted = [i for i, piece in enumerate(pieces) if parts[piece.part].tensor in series.rows[0]]
    matrices = 8 * count**2 * len(wanted)
    if 2 * matrices > memory:
        raise InputError(
            f"given {memory / 1e9:.3g} GB, {len(wanted)} Gram matrices of {count} checkpoints need "
            f"{2 * matrices / 1e9:.3g} GB: include fewer tensors, raise it, or take projections "
            "(sketch=True, --sketch)",
            "memory",
        )
    run = ExactPass(series, parts, pieces, wanted, cache)
    run.complete(memory - matrices, threads, progress, stop)
    return Grams(
        step=series.step,
        checkpoints=tuple(checkpoint.name for checkpoint in series.checkpoints),
        parts=tuple(parts[number] for number in run.part_numbers()),
        piece_part=run.piece_part(),
        piece_size=np.array([pieces[i].size for i in run.wanted]),
        values=np.array([run.grams[i] for i in run.wanted]),
        skipped=series.skipped | dict.fromkeys(run.still, "never moves"),
        tied=series.tied + run.tied,
        computed=run.computed,
        notes=series.notes,
    )
