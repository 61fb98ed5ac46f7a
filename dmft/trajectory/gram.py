"""Gram matrices of all tensors of a sequence of checkpoints, and the trajectories they make."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.trajectory import algebra
from dmft.trajectory.attention import Part
from dmft.trajectory.blocks import BLOCKS
from dmft.trajectory.groups import Grouping, labels
from dmft.trajectory.measures import Trajectory


@dataclass(frozen=True, eq=False)
class Grams:
    """Gram matrices of the pieces of all tensors over one sequence of checkpoints.

    Units: values are in squared parameters.

    Attributes
    ----------
    step : training step of each checkpoint, shape (T,).
    checkpoints : their names.
    parts : tensors, or the heads they were split into.
    piece_part : number of the part that each piece belongs to, (piece,).
    piece_size : its number of parameters, (piece,).
    values : its Gram matrix of [theta_0, differences], (piece, T, T).
    skipped, tied : names of tensors that are not counted: no parameters or never moving (with the
        reason), or counted already.
    computed : bytes read for it; 0 if the cache had everything.
    notes : what was taken for what, see `series.Series`.
    """

    step: np.ndarray
    checkpoints: tuple[str, ...]
    parts: tuple[Part, ...]
    piece_part: np.ndarray
    piece_size: np.ndarray
    values: np.ndarray
    skipped: dict[str, str] = field(default_factory=dict)
    tied: tuple[str, ...] = ()
    computed: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

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
        return {
            name: self.trajectory(chosen, name)
            for name, chosen in members(self.parts, grouping).items()
        }


def members(parts: Sequence[Part], grouping: str) -> dict[str, list[bool]]:
    """Which parts belong to each group.

    Raises
    ------
    InputError : as `groups.labels`; projections or heads where none were split.
    """
    found = labels(parts, grouping)
    names = dict.fromkeys(name for name in found if name is not None)
    if not names:
        raise InputError(
            "no attention heads were found, give their number (heads=..., --heads)", "by"
        )
    return {name: [label == name for label in found] for name in names}


def of_arrays(
    theta: np.ndarray | Mapping[str, np.ndarray], step: Sequence[float] | np.ndarray | None = None
) -> Trajectory:
    """The trajectory of checkpoints in memory.

    Units: those of theta; steps as given.

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
    blocks = np.array_split(joined, max(1, min(BLOCKS, joined.shape[1])), axis=1)
    return Trajectory(
        np.arange(count) if step is None else np.asarray(step, dtype=np.float64),
        np.array([algebra.from_vectors(block) for block in blocks]),
        np.array([block.shape[1] for block in blocks]),
        joined.shape[1],
    )


def _balanced(sizes: np.ndarray) -> list[list[int]]:
    """Indices in up to 16 blocks of about equal total size, the largest first to the smallest."""
    heap = [(0, block) for block in range(min(BLOCKS, len(sizes)))]
    blocks: list[list[int]] = [[] for _ in heap]
    for index in np.argsort(-sizes, kind="stable"):
        total, block = heapq.heappop(heap)
        blocks[block].append(int(index))
        heapq.heappush(heap, (total + int(sizes[index]), block))
    return blocks
