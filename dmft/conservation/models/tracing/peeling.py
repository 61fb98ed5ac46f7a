"""Large systems of equations in which most unknowns occur once, taken apart by whole arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy.sparse import csr_matrix

_WHOLE = 300_000  # entries of an array up to which it is taken whole
_FEW = 500  # entries of equations below which a round no longer pays


@dataclass(frozen=True)
class Entries:
    """Equations sum weights x[unknowns] = 0, as entries that name theirs."""

    equations: np.ndarray
    unknowns: np.ndarray
    weights: np.ndarray

    def only(self, mask: np.ndarray) -> Entries:
        """Those of a mask."""
        return Entries(self.equations[mask], self.unknowns[mask], self.weights[mask])


Round = tuple[np.ndarray, Entries]  # unknowns, and the equations that give one each, numbered alike


def enough(arrays: Sequence[tuple[Fraction, np.ndarray]]) -> list[tuple[slice, ...]]:
    """Places at which a sum of arrays must be zero so that it is zero everywhere.

    With f(x, y) = a(x) + b(y), f(x, y) = f(x, 0) + f(0, y) - f(0, 0): for each array those places
    that are first along all axes on which it does not vary. Small ones are taken whole.
    """
    shape = arrays[0][1].shape
    if arrays[0][1].size <= _WHOLE:
        return [(slice(None),) * len(shape)]
    axes = dict.fromkeys(tuple(stride != 0 for stride in ids.strides) for _, ids in arrays)
    return [tuple(slice(None) if varies else slice(1) for varies in own) for own in axes]


def alike(
    pair: np.ndarray, weight: np.ndarray, links: list[tuple[np.ndarray, np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Of 2 a = c and 2 b = c the second says a = b: such equations become links."""
    gone = np.zeros(len(pair), bool)
    for own, other in ((0, 1), (1, 0)):
        places = np.flatnonzero(~gone)
        keys = (weight[places, 1], weight[places, 0], pair[places, other])
        order = places[np.lexsort(keys)]
        table = np.stack([pair[order, other], weight[order, 0], weight[order, 1]])
        first = np.diff(table, axis=1, prepend=-1).any(0) if len(order) else np.zeros(0, bool)
        if not first.all():
            leader = pair[order[first], own][np.cumsum(first) - 1][~first]
            rest = order[~first]
            links.append((pair[rest, own], leader, np.ones(len(rest), np.int64)))
            gone[rest] = True
    return gone


def distinct_rows(table: np.ndarray) -> np.ndarray:
    """Each row once."""
    ordered = table[np.lexsort(table.T[::-1])]
    return ordered[np.diff(ordered, axis=0, prepend=ordered[:1] - 1).any(1)]


def peel(entries: Entries, size: int) -> tuple[list[Round], Entries]:
    """Take out equations that alone have an unknown, with it, as often as there are many.

    Only unknowns with the weight 1 or -1: whole numbers stay whole. What is in few equations is
    taken out first, so that what is in many stays free.
    """
    many = np.bincount(entries.unknowns, minlength=size)
    rounds: list[Round] = []
    while len(entries.equations) > _FEW:
        times = np.bincount(entries.unknowns, minlength=size)
        own = np.flatnonzero((times[entries.unknowns] == 1) & (np.abs(entries.weights) == 1))
        if not len(own):
            break
        own = own[np.lexsort((entries.unknowns[own], many[entries.unknowns[own]]))]
        _, first = np.unique(entries.equations[own], return_index=True)
        own = own[first]  # one of each equation, in the order of the equations
        gone = np.isin(entries.equations, entries.equations[own])
        taken = entries.only(gone)
        numbers = np.searchsorted(entries.equations[own], taken.equations)
        rounds.append((entries.unknowns[own], Entries(numbers, taken.unknowns, taken.weights)))
        entries = entries.only(~gone)
    return rounds, entries


def put_back(
    rounds: list[Round], size: int, known: tuple[np.ndarray, np.ndarray, np.ndarray], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions with the unknowns that were taken out.

    known : (unknown, direction, value) of all others; count : of directions.
    """
    ids, directions, values = known
    total = csr_matrix((values, (ids, directions)), (size, count))
    for pivots, lines in reversed(rounds):
        turn = np.zeros(len(pivots))
        at_pivot = lines.unknowns == pivots[lines.equations]
        turn[lines.equations[at_pivot]] = -lines.weights[at_pivot]
        others = lines.only(~at_pivot)
        weights = others.weights * turn[others.equations]
        rows = csr_matrix((weights, (pivots[others.equations], others.unknowns)), (size, size))
        total = total + rows @ total
    total.eliminate_zeros()
    found = total.tocoo()
    return found.row.astype(np.int64), found.col.astype(np.int64), found.data
