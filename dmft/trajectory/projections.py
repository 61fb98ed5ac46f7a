"""Trajectories of checkpoints by random projections, for the whole and for every group."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.trajectory.attention import Part
from dmft.trajectory.blocks import Factors
from dmft.trajectory.cache import Cache
from dmft.trajectory.engine import Progress
from dmft.trajectory.gram import members
from dmft.trajectory.measures import Trajectory
from dmft.trajectory.passes import SAVE_SECONDS
from dmft.trajectory.sameness import are_equal, beginnings, is_still
from dmft.trajectory.series import Series
from dmft.trajectory.sketch import LEAST, WIDTH, Target, project

_AT_ONCE = 256  # rows between two looks at the clock
_SIGNS = 2  # version of the random signs: rows of another one are not mixed with these


@dataclass(frozen=True, eq=False)
class Projections:
    """What `gram.Grams` is, by random projections: the whole, and the groups of one grouping.

    Units: products of targets are in squared parameters.

    Attributes
    ----------
    step, checkpoints, parts, skipped, tied, computed, notes : as there.
    by : the grouping that is kept, or None.
    targets, factors : of the whole, then of each group; projected rows (T, width).
    """

    step: np.ndarray
    checkpoints: tuple[str, ...]
    parts: tuple[Part, ...]
    by: str | None
    targets: tuple[Target, ...]
    factors: tuple[np.ndarray, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    computed: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def trajectory(self) -> Trajectory:
        """The trajectory of all parts."""
        return self._trajectory(0, "")

    def groups(self, grouping: str) -> dict[str, Trajectory]:
        """A trajectory of every group.

        Raises
        ------
        InputError : another grouping than was asked for before the pass.
        """
        if grouping != self.by:
            raise InputError(f"given '{grouping}', projections are kept by {self.by}", "by")
        return {
            target.name: self._trajectory(number, target.name)
            for number, target in enumerate(self.targets) if number
        }  # fmt: skip

    def _trajectory(self, number: int, name: str) -> Trajectory:
        blocks, total = Factors(self.factors[number]), self.targets[number].parameters
        return Trajectory(self.step, blocks, np.full(len(blocks), total / len(blocks)), total, name)


def projected(
    series: Series,
    parts: list[Part],
    by: str | None,
    cache: Cache,
    memory: int,
    *,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Projections:
    """Project all checkpoints that the cache does not know.

    Raises
    ------
    InputError : too little memory for the groups; as `sketch.project`.
    Interrupted : `stop` asked to; the cache holds what was done.
    """
    still, tied = _not_counted(series)
    kept = [part for part in parts if part.tensor not in still and part.tensor not in tied]
    targets = _targets(kept, by, len(series.checkpoints), memory)
    keys = _keys(series)
    rows = [cache.projections(_title(target)) for target in targets]
    missing = [t for t, key in enumerate(keys) if any(key not in known for known in rows)]
    cores = threads or len(os.sched_getaffinity(0))
    saved, computed = monotonic(), 0
    try:
        for start in range(0, len(missing), _AT_ONCE):
            chosen = missing[start : start + _AT_ONCE]
            found = project(
                series, targets, chosen, workers=cores, stop=stop,
                progress=_shifted(progress, start, len(missing)),
            )  # fmt: skip
            for target, known, values in zip(targets, rows, found, strict=True):
                known.update(zip((keys[t] for t in chosen), values, strict=True))
                cache.keep_projections(_title(target), {key: known[key] for key in keys
                                                        if key in known})  # fmt: skip
            computed += sum(_bytes(series, targets, t) for t in chosen)
            if monotonic() - saved > SAVE_SECONDS:
                cache.save()
                saved = monotonic()
    finally:
        cache.save()
    return Projections(
        series.step, tuple(checkpoint.name for checkpoint in series.checkpoints), tuple(kept), by,
        tuple(targets), tuple(np.array([known[key] for key in keys]) for known in rows),
        series.skipped | dict.fromkeys(still, "never moves"), series.tied + tied, computed,
        series.notes,
    )  # fmt: skip


def _targets(parts: list[Part], by: str | None, count: int, memory: int) -> list[Target]:
    groups = {} if by is None else members(parts, by)
    room = memory // 2 - 2 * 8 * count**2
    width = WIDTH
    while 8 * count * width * (1 if not groups else 2) > room and width > LEAST:
        width //= 2
    each = width // 2 ** max(len(groups) - 1, 0).bit_length() if groups else width
    most = max(LEAST, each)
    need = 8 * count * (width + most * len(groups))
    if need > room:
        least = 2 * (need + 2 * 8 * count**2)
        raise InputError(
            f"given {memory / 1e9:.3g} GB, {len(groups) + 1} projections of {count} checkpoints "
            f"need {least / 1e9:.3g} GB: raise it, or measure fewer groups",
            "memory",
        )
    whole = Target("", _runs(parts), width)
    chosen = [
        Target(name, _runs([p for p, there in zip(parts, inside, strict=True) if there]), most)
        for name, inside in groups.items()
    ]
    return [whole, *chosen]


def _runs(parts: Sequence[Part]) -> tuple[tuple[str, int, int], ...]:
    """Elements of the parts, runs that touch joined."""
    pieces = sorted(
        (part.tensor, part.start + k * part.period, part.start + k * part.period + part.width)
        for part in parts for k in range(part.count)
    )  # fmt: skip
    runs: list[tuple[str, int, int]] = []
    for tensor, start, stop in pieces:
        if runs and runs[-1][0] == tensor and runs[-1][2] == start:
            runs[-1] = (tensor, runs[-1][1], stop)
        else:
            runs.append((tensor, start, stop))
    return tuple(runs)


def _not_counted(series: Series) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tensors that never move, unless none does, and those that repeat another one."""
    names = list(series.rows[0])
    first, last = (beginnings(series.rows[t]) for t in (0, -1))
    still = [name for name in names if first[name] == last[name] and is_still(series, name)]
    still = [] if len(still) == len(names) else still
    tied: list[str] = []
    seen: dict[Hashable, list[str]] = {}
    for name in names:
        if name in still:
            continue
        others = seen.setdefault(last[name], [])
        if any(are_equal(series, other, name) for other in others):
            tied.append(name)
        else:
            others.append(name)
    return tuple(still), tuple(tied)


def _keys(series: Series) -> list[str]:
    """What a row depends on: the checkpoint and the one before."""
    names = [checkpoint.identity for checkpoint in series.checkpoints]
    return [f"{before} > {name}" for before, name in zip(["", *names], names, strict=False)]


def _title(target: Target) -> str:
    return f"{target.name} {target.width} {hash_of((_SIGNS, target.runs))}"


def hash_of(runs: object) -> str:
    """A short name of the elements of a target."""
    from hashlib import blake2b

    return blake2b(repr(runs).encode(), digest_size=12).hexdigest()


def _bytes(series: Series, targets: Sequence[Target], row: int) -> int:
    return sum(
        series.rows[row][name].itemsize * (stop - start)
        for target in targets for name, start, stop in target.runs
    )  # fmt: skip


def _shifted(
    progress: Callable[[Progress], None] | None, start: int, count: int
) -> Callable[[Progress], None] | None:
    """Progress of some of the rows as that of all of them."""
    if progress is None:
        return None

    def show(state: Progress) -> None:
        size = state.total / max(min(_AT_ONCE, count - start), 1)
        progress(Progress(int(start * size) + state.done, int(count * size), None))

    return show
