"""Exact null spaces of small integer equations, sparse ones of any size."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from heapq import heappop, heappush
from itertools import permutations
from math import lcm

import numpy as np

_LARGEST_DENSE = 1000
_MANY_VECTORS = 24
_PRIME = 2_147_483_629  # products of two residues fit 64 bits

Equations = Sequence[tuple[Sequence[int], Sequence[int]]]  # places, weights


def sparse_null_space(
    equations: Equations, size: int, largest: int
) -> tuple[list[dict[int, int]], int]:
    """Integer vectors {place: value} that span the solutions, and the unknowns given up.

    An unknown that is in one equation only is what the equation says: both are taken out, again
    and again. What is left is eliminated densely for up to `largest` unknowns; beyond, it is taken
    for zero, and counted as given up unless zero is proven to be the only solution.
    """
    left, peeled = _peel(equations, size)
    core = sorted({place for n in left for place in equations[n][0]})
    number = {place: n for n, place in enumerate(core)}
    inner = [([number[p] for p in equations[n][0]], equations[n][1]) for n in left]
    values: list[dict[int, Fraction]] = [{} for _ in range(size)]  # by unknown: direction, value
    count = given_up = 0
    if len(core) <= largest:
        for solution in null_space(inner, len(core)):
            for place, number_there in zip(core, solution, strict=True):
                if number_there:
                    values[place][count] = Fraction(number_there)
            count += 1
    elif len(core) > _LARGEST_DENSE or not only_zero(inner, len(core)):
        given_up = len(core)
    bound = {*core, *(place for _, place in peeled)}
    for place in range(size):
        if place not in bound:
            values[place][count] = Fraction(1)
            count += 1
    for n, pivot in reversed(peeled):
        places, weights = equations[n]
        own = sum(w for p, w in zip(places, weights, strict=True) if p == pivot)
        for p, w in zip(places, weights, strict=True):
            for direction, value in values[p].items() if p != pivot else ():
                total = values[pivot].get(direction, Fraction(0)) - Fraction(w, own) * value
                values[pivot][direction] = total
    vectors: list[dict[int, Fraction]] = [{} for _ in range(count)]
    for place, row in enumerate(values):
        for direction, entry in row.items():
            if entry:
                vectors[direction][place] = entry
    return [_whole(vector) for vector in vectors], given_up


def _peel(equations: Equations, size: int) -> tuple[list[int], list[tuple[int, int]]]:
    """Equations that are left, and those taken out with their unknown, in this order.

    The first unknowns are taken out first, so that the last ones stay free.
    """
    readers: list[set[int]] = [set() for _ in range(size)]
    for n, (places, _) in enumerate(equations):
        for place in places:
            readers[place].add(n)
    private = [place for place in range(size) if len(readers[place]) == 1]  # a heap: it is sorted
    left = set(range(len(equations)))
    peeled = []
    while private:
        pivot = heappop(private)
        if len(readers[pivot]) != 1:  # its equation is gone
            continue
        (n,) = readers[pivot]
        places, weights = equations[n]
        if not sum(w for p, w in zip(places, weights, strict=True) if p == pivot):
            continue
        peeled.append((n, pivot))
        left.remove(n)
        for place in set(places):
            readers[place].discard(n)
            if len(readers[place]) == 1:
                heappush(private, place)
    return sorted(left), peeled


def sparser(vectors: list[dict[int, int]], weight: Sequence[int]) -> list[dict[int, int]]:
    """The same span, with differences and sums in place of vectors that have more entries.

    weight : of each place.
    """
    found = list(vectors)
    if len(found) > _MANY_VECTORS:
        return found
    again = True
    while again:
        again = False
        for i, j in permutations(range(len(found)), 2):
            for sign in (1, -1):
                total = {
                    p: found[i].get(p, 0) + sign * found[j].get(p, 0)
                    for p in {**found[i], **found[j]}
                }  # fmt: skip
                total = {p: value for p, value in total.items() if value}
                if _size(total, weight) < _size(found[i], weight):
                    found[i], again = total, True
    return found


def _size(vector: dict[int, int], weight: Sequence[int]) -> int:
    return sum(1 + weight[place] for place in vector)


def _whole(vector: dict[int, Fraction]) -> dict[int, int]:
    scale = lcm(*(value.denominator for value in vector.values()))
    return {place: int(value * scale) for place, value in vector.items()}


def only_zero(equations: Sequence[tuple[Sequence[int], Sequence[int]]], size: int) -> bool:
    """Whether zero is proven to be the only solution: full rank modulo a prime is full rank."""
    rows = np.zeros((len(equations), size), np.int64)
    for row, (places, weights) in zip(rows, equations, strict=True):
        np.add.at(row, list(places), list(weights))
    rows %= _PRIME
    for column in range(size):
        lead = np.flatnonzero(rows[column:, column])
        if not lead.size:
            return False
        other = column + int(lead[0])
        rows[[column, other]] = rows[[other, column]]
        rows[column] = rows[column] * pow(int(rows[column, column]), -1, _PRIME) % _PRIME
        below = column + 1 + np.flatnonzero(rows[column + 1 :, column])
        rows[below] = (rows[below] - rows[below, column, None] * rows[column] % _PRIME) % _PRIME
    return True


def null_space(
    equations: Sequence[tuple[Sequence[int], Sequence[int]]], size: int
) -> list[list[int]]:
    """Integer vectors that span what solves (places, weights), by exact elimination."""
    pivots: dict[int, list[Fraction]] = {}
    for places, weights in equations:
        row = [Fraction(0)] * size
        for place, weight in zip(places, weights, strict=True):
            row[place] += weight
        for pivot, other in pivots.items():
            if row[pivot]:
                factor = row[pivot]
                row = [a - factor * b for a, b in zip(row, other, strict=True)]
        lead = next((s for s, value in enumerate(row) if value), None)
        if lead is None:
            continue
        row = [value / row[lead] for value in row]
        for pivot, other in pivots.items():
            if other[lead]:
                factor = other[lead]
                pivots[pivot] = [a - factor * b for a, b in zip(other, row, strict=True)]
        pivots[lead] = row
    basis = []
    for free in (s for s in range(size) if s not in pivots):
        vector = [Fraction(int(s == free)) for s in range(size)]
        for pivot, row in pivots.items():
            vector[pivot] = -row[free]
        scale = lcm(*(value.denominator for value in vector))
        basis.append([int(value * scale) for value in vector])
    return basis
