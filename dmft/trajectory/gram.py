"""From checkpoint files, or arrays, to the Gram matrices of all their tensors."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic

import numpy as np

from dmft.errors import InputError
from dmft.store.locking import locked
from dmft.trajectory import algebra
from dmft.trajectory.attention import Part, parts_of
from dmft.trajectory.cache import Cache
from dmft.trajectory.engine import Progress, accumulate, unit_bytes, workers_for
from dmft.trajectory.groups import GROUPINGS, Grouping
from dmft.trajectory.layout import Piece, pieces_of, units_of
from dmft.trajectory.measures import Trajectory
from dmft.trajectory.series import Series, open_series

_BLOCKS = 16  # of the jackknife
_SAVE_SECONDS = 30.0
MEMORY = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Grams:
    """Gram matrices of the pieces of all tensors over one sequence of checkpoints.

    Attributes
    ----------
    step : training step of each checkpoint, shape (T,).
    checkpoints : their names.
    parts : tensors, or the heads they were split into.
    piece_part : number of the part that each piece belongs to, (piece,).
    piece_size : its number of parameters, (piece,).
    values : its Gram matrix of [theta_0, differences], (piece, T, T).
    skipped, tied : names of tensors that are not counted: no parameters, or counted already.
    computed : bytes read for it; 0 if the cache had everything.
    """

    step: np.ndarray
    checkpoints: tuple[str, ...]
    parts: tuple[Part, ...]
    piece_part: np.ndarray
    piece_size: np.ndarray
    values: np.ndarray
    skipped: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()
    computed: int = 0

    def trajectory(self, chosen: Sequence[bool] | None = None, name: str = "") -> Trajectory:
        """The trajectory of all parts, or of those that are `chosen`, one truth value each.

        Raises
        ------
        InputError : nothing was chosen.
        """
        wanted = np.ones(len(self.parts), bool) if chosen is None else np.asarray(chosen, bool)
        pieces = np.flatnonzero(wanted[self.piece_part])
        if not len(pieces):
            raise InputError("given a choice that no tensor meets", name)
        blocks = _balanced(self.piece_size[pieces])
        sums = np.array([self.values[pieces[block]].sum(axis=0) for block in blocks])
        sizes = np.array([self.piece_size[pieces[block]].sum() for block in blocks])
        return Trajectory(self.step, sums, sizes, int(sizes.sum()), name)

    def groups(self, grouping: Grouping) -> dict[str, Trajectory]:
        """A trajectory of every tensor, module, layer, projection or head.

        Raises
        ------
        InputError : an unknown grouping; projections or heads where none were split.
        """
        if grouping not in GROUPINGS:
            raise InputError(f"given '{grouping}', allowed: {', '.join(GROUPINGS)}", "by")
        label = GROUPINGS[grouping]
        names = dict.fromkeys(name for name in map(label, self.parts) if name is not None)
        if not names:
            raise InputError(
                "no attention heads were found, give their number (heads=..., --heads)", "by"
            )
        paths = {}
        for name in names:
            chosen = [label(part) == name for part in self.parts]
            paths[name] = self.trajectory(chosen, name)
        return paths


def of_arrays(
    theta: np.ndarray | Mapping[str, np.ndarray], step: Sequence[float] | np.ndarray | None = None
) -> Trajectory:
    """The trajectory of checkpoints in memory.

    Parameters
    ----------
    theta : shape (T, ...), or a mapping of names to such arrays.
    step : training step of each checkpoint; 0, 1, ... by default.

    Raises
    ------
    InputError : lengths that differ, fewer than two checkpoints, NaN or infinity.

    Examples
    --------
    >>> import numpy as np
    >>> from dmft import trajectory
    >>> walk = np.cumsum(np.random.default_rng(0).standard_normal((50, 1000)), axis=0)
    >>> round(trajectory.of_arrays(walk).similarity(), 1)
    0.7
    """
    arrays = theta if isinstance(theta, Mapping) else {"array": theta}
    count = len(next(iter(arrays.values()))) if arrays else 0
    flat = []
    for name, array in arrays.items():
        if len(array) != count:
            raise InputError(f"given {len(array)} checkpoints, must be {count}", name)
        flat.append(np.asarray(array, dtype=np.float64).reshape(count, -1))
    joined = np.concatenate(flat, axis=1) if flat else np.empty((0, 0))
    blocks = np.array_split(joined, max(1, min(_BLOCKS, joined.shape[1])), axis=1)
    return Trajectory(
        np.arange(count) if step is None else np.asarray(step, dtype=np.float64),
        np.array([algebra.from_vectors(block) for block in blocks]),
        np.array([block.shape[1] for block in blocks]),
        joined.shape[1],
    )


def of_checkpoints(
    paths: str | Path | Sequence[str | Path],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    heads: int | None = None,
    kv_heads: int | None = None,
    cache: str | Path | None = None,
    memory: int = MEMORY,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Grams:
    """Gram matrices of the checkpoints in a folder or a list of files, in one pass over them.

    Parameters
    ----------
    paths : as in `series.open_series`.
    include, exclude : shell patterns of tensor names; all floating-point tensors but the running
        statistics of batch normalisation by default.
    heads, kv_heads : number of attention heads (of keys and values if it is another), to split
        queries, keys and values; see `attention`.
    cache : HDF5 file that keeps the matrices: a second call reads no checkpoint, one with more
        checkpoints computes only the new rows, one after a kill continues.
    memory : budget in bytes of what is read at once and of the matrices.
    threads : cores to use, all by default.
    progress, stop : see `engine.accumulate`.

    Raises
    ------
    InputError : as `open_series`; patterns that match nothing; NaN or infinity; too little memory.
    Interrupted : `stop` asked to; the cache holds what was done.
    """
    where = Path(paths) if isinstance(paths, str | Path) else [Path(path) for path in paths]
    series = open_series(where)
    parts, pieces = _cut(series, heads, kv_heads)
    wanted = _filtered(parts, pieces, include, exclude)
    count = len(series.checkpoints)
    matrices = 8 * count**2 * len(wanted)
    if 2 * matrices > memory:
        raise InputError(
            f"given {memory / 1e9:.3g} GB, {len(wanted)} Gram matrices of {count} checkpoints need "
            f"{2 * matrices / 1e9:.3g} GB: include fewer tensors, or raise it",
            "memory",
        )
    path = None if cache is None else Path(cache)
    with nullcontext() if path is None else locked(path):
        run = _Run(series, parts, pieces, wanted, Cache(path))
        run.complete(memory - matrices, threads, progress, stop)
        return Grams(
            step=series.step,
            checkpoints=tuple(checkpoint.name for checkpoint in series.checkpoints),
            parts=tuple(parts[number] for number in run.part_numbers()),
            piece_part=run.piece_part(),
            piece_size=np.array([pieces[i].size for i in run.wanted]),
            values=np.array([run.grams[i] for i in run.wanted]),
            skipped=series.skipped,
            tied=series.tied + run.tied(),
            computed=run.computed,
        )


class _Run:
    """One pass: what the cache knows, what is to be computed, what was found."""

    def __init__(
        self,
        series: Series,
        parts: list[Part],
        pieces: list[Piece],
        wanted: list[int],
        cache: Cache,
    ) -> None:
        self.series, self.parts, self.pieces, self.wanted = series, parts, pieces, wanted
        self.cache, self.computed = cache, 0
        self.identities = [checkpoint.identity for checkpoint in series.checkpoints]
        self.grams: dict[int, np.ndarray] = {}
        self._known: dict[int, np.ndarray] = {}
        for i in wanted:
            self.grams[i], self._known[i] = cache.known(self.identities, pieces[i].name)
        self._tied: dict[str, str] = {}

    def complete(
        self,
        memory: int,
        threads: int | None,
        progress: Callable[[Progress], None] | None,
        stop: Callable[[], bool] | None,
    ) -> None:
        """Compute what is missing; whatever happens, the cache keeps what was finished."""
        missing = [i for i in self.wanted if not self._known[i].all()]
        units = list(units_of(self.parts, self.pieces, missing, len(self.identities)))
        largest = max((unit_bytes(self.series, unit) for unit in units), default=0)
        workers = workers_for(memory - self._loaded(missing), threads, largest) if units else 1
        rows = {i: np.flatnonzero(~self._known[i]) for i in missing}
        saved = monotonic()
        try:
            for i, gram in accumulate(
                self.series, units, rows.__getitem__,
                workers=workers, progress=progress, stop=stop,
            ):  # fmt: skip
                self._finish(i, rows[i], gram)
                if monotonic() - saved > _SAVE_SECONDS:
                    self.cache.save()
                    saved = monotonic()
        finally:
            self.cache.save()
        self.computed = sum(self._bytes(unit.tensor, unit.stop - unit.start) for unit in units)
        self._drop_tied()

    def _finish(self, i: int, rows: np.ndarray, gram: np.ndarray) -> None:
        self.grams[i][rows] = gram
        self.grams[i][:, rows] = gram.T
        self.cache.add(self.identities, self.pieces[i].name, self.grams[i])

    def _bytes(self, tensor: str, length: int) -> int:
        return sum(row[tensor].itemsize * length for row in self.series.rows)

    def _loaded(self, missing: list[int]) -> int:
        """Memory of the largest tensor that has to be loaded whole, two at a time."""
        names = {self.parts[self.pieces[i].part].tensor for i in missing}
        whole = [
            sum(row[name].itemsize * row[name].size for row in self.series.rows
                if row[name].whole is not None)
            for name in names
        ]  # fmt: skip
        return 2 * max(whole, default=0)

    def _drop_tied(self) -> None:
        """Tensors that are equal in every checkpoint, to the last bit, and move: tied weights."""
        seen: dict[bytes, str] = {}
        by_tensor: dict[str, list[int]] = {}
        for i in self.wanted:
            by_tensor.setdefault(self.parts[self.pieces[i].part].tensor, []).append(i)
        for tensor, pieces in by_tensor.items():
            stack = np.array([self.grams[i] for i in pieces])
            if not stack[:, 1:, 1:].any():
                continue
            key = repr(self.series.rows[0][tensor].shape).encode() + stack.tobytes()
            if key in seen:
                self._tied[tensor] = seen[key]
            seen.setdefault(key, tensor)
        self.wanted = [
            i for i in self.wanted if self.parts[self.pieces[i].part].tensor not in self._tied
        ]

    def tied(self) -> tuple[str, ...]:
        return tuple(self._tied)

    def part_numbers(self) -> list[int]:
        return sorted({self.pieces[i].part for i in self.wanted})

    def piece_part(self) -> np.ndarray:
        place = {number: i for i, number in enumerate(self.part_numbers())}
        return np.array([place[self.pieces[i].part] for i in self.wanted])


def _cut(series: Series, heads: int | None, kv_heads: int | None) -> tuple[list[Part], list[Piece]]:
    first = series.rows[0]
    parts: list[Part] = []
    for name, tensor in first.items():
        parts += parts_of(name, tensor.shape, heads, kv_heads)
    return parts, pieces_of(parts, sum(part.size for part in parts))


def _filtered(
    parts: list[Part], pieces: list[Piece], include: Sequence[str], exclude: Sequence[str]
) -> list[int]:
    def chosen(name: str) -> bool:
        inside = not include or any(fnmatchcase(name, pattern) for pattern in include)
        return inside and not any(fnmatchcase(name, pattern) for pattern in exclude)

    names = {part.tensor for part in parts}
    kept = {name for name in names if chosen(name)}
    if not kept:
        some = ", ".join(sorted(names)[:4])
        raise InputError(f"given patterns that no tensor matches, there are {some}, ...", "include")
    return [i for i, piece in enumerate(pieces) if parts[piece.part].tensor in kept]


def _balanced(sizes: np.ndarray) -> list[list[int]]:
    """Indices in up to 16 blocks of about equal total size, the largest first to the smallest."""
    heap = [(0, block) for block in range(min(_BLOCKS, len(sizes)))]
    blocks: list[list[int]] = [[] for _ in heap]
    for index in np.argsort(-sizes, kind="stable"):
        total, block = heapq.heappop(heap)
        blocks[block].append(int(index))
        heapq.heappush(heap, (total + int(sizes[index]), block))
    return blocks
