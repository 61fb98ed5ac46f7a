"""The count in float64, by singular values: for comparison, and where exactness is not needed.

A rank in floating point is a choice of threshold. It is returned with the singular values on
both sides of it; only a wide gap between them means anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.conservation.architectures.base import Architecture
from dmft.conservation.fields import Fields
from dmft.conservation.rings import Reals

_CLEAR_GAP = 1e3
_CANCELLED = 1e-10  # brackets of unit fields that are smaller are rounding errors
_NOISE = 1e-9  # a full rank needs its smallest singular value above this


@dataclass(frozen=True)
class NumericalRank:
    """A rank in float64: `above` and `below` are the relative singular values around the cut."""

    rank: int
    above: float
    below: float

    @property
    def clear(self) -> bool:
        """Whether the gap leaves no doubt about the cut."""
        return self.above > _CLEAR_GAP * self.below and self.above > _NOISE


@dataclass(frozen=True)
class FloatCount:
    """A count that rests on singular values.

    ranks : one for each level of brackets. laws : D minus the last rank.
    closed : whether the last level added nothing.
    """

    architecture: Architecture
    parameters: int
    ranks: tuple[NumericalRank, ...]
    laws: int
    closed: bool

    @property
    def trace_dimensions(self) -> tuple[int, ...]:
        return tuple(rank.rank for rank in self.ranks)

    def to_table(self) -> dict[str, Any]:
        """A plain table, for JSON."""
        return {
            "architecture": self.architecture.describe(),
            "parameters": self.parameters,
            "trace_dimensions": list(self.trace_dimensions),
            "laws": self.laws,
            "certificate": {
                "exact": False,
                "closed": self.closed,
                "arithmetic": "float64",
                "gaps": [[rank.above, rank.below] for rank in self.ranks],
                "clear": all(rank.clear for rank in self.ranks),
            },
        }


def numerical_rank(rows: np.ndarray) -> NumericalRank:
    """Rank of rows scaled to unit norm, cut at the widest gap of the singular values.

    There must be more rows than columns.
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows[norms[:, 0] > 0] / norms[norms[:, 0] > 0]
    if not len(rows):
        return NumericalRank(0, 1.0, 0.0)
    values = np.linalg.svd(rows, compute_uv=False)
    values = values / values[0]
    if len(values) == rows.shape[1] and values[-1] > _NOISE:
        return NumericalRank(len(values), float(values[-1]), 0.0)
    tiny = np.maximum(values, np.finfo(float).tiny)
    cut = int((tiny[:-1] / tiny[1:]).argmax()) + 1
    return NumericalRank(cut, float(values[cut - 1]), float(values[cut]))


def count_float(architecture: Architecture, *, seed: int = 0, max_level: int = 4) -> FloatCount:
    """Count laws by singular values at one random point in float64.

    Activations are the real ones: only the patterns and selections that the random data produce
    are seen, and what they miss looks like a law.

    Parameters
    ----------
    architecture : see `dmft.conservation.parse_architecture`.
    seed : of the point and the data.
    max_level : brackets of at most so many generators.

    Raises
    ------
    NotConverged : no random data on which its conditions can be met were found.

    Examples
    --------
    >>> from dmft.conservation import count_float, parse_architecture
    >>> result = count_float(parse_architecture({"kind": "linear", "widths": [2, 5, 2]}))
    >>> result.trace_dimensions, result.laws, result.ranks[-1].clear
    ((4, 6), 14, True)
    """
    fields = Fields(architecture, Reals(), seed)
    rows = np.zeros((0, fields.dimension))
    ranks: list[NumericalRank] = []
    closed = False
    for level in range(1, max_level + 1):
        batch = 2 * fields.dimension + 16
        generators = [fields.generators(batch) for _ in range(level)]
        new = fields.bracket(generators, fields.point)[0]
        for draws in generators:
            norms = np.linalg.norm(fields.generator(draws, fields.point)[0], axis=1)
            new = new / np.maximum(norms, np.finfo(float).tiny)[:, None]  # units may be dead
        rows = np.concatenate([rows, new[np.linalg.norm(new, axis=1) > _CANCELLED]])
        rank = numerical_rank(rows)
        if ranks and rank.rank == ranks[-1].rank:
            closed = True
            break
        ranks.append(rank)
        if rank.rank == fields.dimension:
            closed = True
            break
    laws = fields.dimension - ranks[-1].rank
    return FloatCount(architecture, architecture.dimension, tuple(ranks), laws, closed)
