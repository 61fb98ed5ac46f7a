"""Linear equations between many unknown scales, most of them `x = y`, `x = -y` or `x = 0`.

Equations come in batches: sum_j c_j x[ids_j[n]] = 0 for all n. Equalities are merged by connected
components, zeros are spread, and the few equations with three terms or more are eliminated exactly
within the small blocks they link.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from math import lcm

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dmft.conservation.models.tracing.elimination import sparse_null_space, sparser
from dmft.conservation.models.tracing.peeling import (
    Entries,
    alike,
    distinct_rows,
    enough,
    peel,
    put_back,
)  # fmt: skip

LARGEST_BLOCK = 64
LARGE = 500  # unknowns linked by equations beyond which they are taken apart by arrays first

Part = tuple[Fraction, np.ndarray]  # coefficient, ids


class Unknowns:
    """Free scales, the equations between them, and what tells them apart.

    Two unknowns can be mixed by a matrix if no operation treats them differently: `mark` notes
    that one has, `separate` that each is on its own.
    """

    def __init__(self) -> None:
        self.size = 0
        self._equations: list[list[Part]] = []
        self._marks: list[tuple[np.ndarray, np.ndarray]] = []
        self._single: list[np.ndarray] = []
        self._rng = np.random.default_rng(0)

    def new(self, shape: Sequence[int]) -> np.ndarray:
        """Fresh unknowns."""
        count = int(np.prod(shape, dtype=np.int64))
        ids = np.arange(self.size, self.size + count).reshape(tuple(shape))
        self.size += count
        return ids

    def require(self, parts: Sequence[Part]) -> None:
        """Let a sum be zero for all entries of arrays of one shape."""
        arrays = [(c, np.asarray(ids)) for c, ids in parts if c]
        if not arrays:
            return
        for places in enough(arrays):
            self._equations.append([(c, ids[places].reshape(-1)) for c, ids in arrays])

    def separate(self, ids: np.ndarray) -> None:
        """Each of these is treated in a way of its own."""
        self._single.append(ids)

    def mark(self, ids: np.ndarray, places: np.ndarray | None = None) -> None:
        """These are treated alike if they have the same places, else not."""
        if places is None:
            ids = np.unique(ids)
            codes = np.full(len(ids), self._code(1)[0])
        else:
            table = self._code(int(places.max()) + 1)
            ids, codes = ids.reshape(-1), table[places.reshape(-1)]
        self._marks.append((ids, codes))

    def _code(self, count: int) -> np.ndarray:
        return self._rng.integers(1, 2**62, size=count, dtype=np.uint64)

    def classes(self) -> np.ndarray:
        """A number for each unknown, the same for those that are known to be equal; zero: 0."""
        known = _Reduced(self.size, self._equations)
        return np.where(known.zero[known.root], 0, (known.root + 1) * known.sign)

    def solve(self, seen: Sequence[np.ndarray] = ()) -> Solution:
        """All solutions, as combinations of independent directions.

        seen : the unknowns that matter; directions with few of them are preferred.
        """
        equations = _Reduced(self.size, self._equations)
        for ids in seen:
            np.add.at(equations.weight, equations.root[ids], 1)
        labels = np.zeros(self.size, np.uint64)
        for ids, codes in self._marks:
            np.add.at(labels, ids, codes)
        single = np.zeros(self.size, bool)
        for ids in self._single:
            single[ids] = True
        return equations.finish(labels, single)


class Solution:
    """Directions of the null space, sparse: entry n says x[ids[n]] = values[n] in direction[n].

    labels, single : by direction, what tells it apart from others.
    given_up : unknowns in blocks that are too large to solve, taken for zero.
    """

    def __init__(
        self, size: int, entries: tuple[np.ndarray, np.ndarray, np.ndarray], count: int,
        labels: np.ndarray, single: np.ndarray, given_up: int = 0,
    ) -> None:  # fmt: skip
        order = np.argsort(entries[0], kind="stable")
        self.ids, self.directions, self.values = (each[order] for each in entries)
        self._starts = np.searchsorted(self.ids, np.arange(size + 1))
        self.count = count
        self.given_up = given_up
        self.labels = np.zeros(count, np.uint64)
        # Members that move the other way are told apart from those that do not.
        turned = np.where(self.values < 0, np.uint64(3), np.uint64(1))
        np.add.at(self.labels, self.directions, labels[self.ids] * turned)
        self.single = np.zeros(count, bool)
        np.logical_or.at(self.single, self.directions, single[self.ids])

    def entries(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(position in ids, direction, value) of all that is not zero."""
        flat = ids.reshape(-1)
        counts = self._starts[flat + 1] - self._starts[flat]
        positions = np.repeat(np.arange(len(flat)), counts)
        first = np.repeat(self._starts[flat], counts)
        offset = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = first + offset
        return positions, self.directions[places], self.values[places]


class _Reduced:
    """Eliminates equalities and zeros until nothing changes, then the rest in blocks."""

    def __init__(self, size: int, equations: list[list[Part]]) -> None:
        self.size = size
        self.root = np.arange(size)
        self.sign = np.ones(size, np.int64)
        self.zero = np.zeros(size, bool)
        self.weight = np.zeros(size, np.int64)
        pending = equations
        while True:
            links: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
            zeros: list[np.ndarray] = []
            pending = [rest for each in pending for rest in self._sort(each, links, zeros)]
            if not links and not zeros:
                break
            self._merge(links, zeros)
        self.pending = pending
        self.given_up = 0

    def _sort(
        self, parts: list[Part], links: list[tuple[np.ndarray, np.ndarray, np.ndarray]],
        zeros: list[np.ndarray],
    ) -> list[list[Part]]:  # fmt: skip
        """Split a batch by how many terms are left of each equation."""
        roots = np.stack([self.root[ids] for _, ids in parts])
        signs = np.stack([self.sign[ids] for _, ids in parts])
        scale = lcm(*(c.denominator for c, _ in parts))
        weights = np.array([int(c * scale) for c, _ in parts])[:, None] * signs
        weights[self.zero[roots]] = 0
        for i in range(len(parts)):  # the same unknown twice
            for j in range(i):
                same = (roots[i] == roots[j]) & (weights[j] != 0)
                weights[i] = np.where(same, weights[i] + weights[j], weights[i])
                weights[j] = np.where(same, 0, weights[j])
        left = (weights != 0).sum(0)
        one = left == 1
        if one.any():
            zeros.append(roots[:, one].T[(weights[:, one] != 0).T])
        done = left <= 1
        two = left == 2
        if two.any():
            mask = (weights[:, two] != 0).T
            pair = roots[:, two].T[mask].reshape(-1, 2)
            weight = weights[:, two].T[mask].reshape(-1, 2)
            equal = np.abs(weight[:, 0]) == np.abs(weight[:, 1])
            if equal.any():
                sign = -np.sign(weight[equal, 0] * weight[equal, 1])
                links.append((pair[equal, 0], pair[equal, 1], sign))
            done[np.flatnonzero(two)[equal]] = True
            left_out = alike(pair[~equal], weight[~equal], links)
            done[np.flatnonzero(two)[~equal][left_out]] = True
        if done.all():
            return []
        keep = ~done
        # Coefficients that differ within a batch because of signs: one batch for each pattern.
        kept, weights = roots[:, keep], weights[:, keep]
        if bool((weights == weights[:, :1]).all()):
            patterns, which = weights[:, :1], np.zeros(len(weights[0]), np.int64)
        else:
            patterns, which = np.unique(weights, axis=1, return_inverse=True)
        return [
            [(Fraction(int(w)), kept[i, which == p]) for i, w in enumerate(pattern) if w]
            for p, pattern in enumerate(patterns.T)
        ]

    def _merge(
        self, links: list[tuple[np.ndarray, np.ndarray, np.ndarray]], zeros: list[np.ndarray]
    ) -> None:
        """Components of the graph of signed unknowns: x and -x in one component are zero."""
        n = self.size
        for ids in zeros:
            self.zero[ids] = True
        if links:
            a, b, sign = (np.concatenate(each) for each in zip(*links, strict=True))
            other = np.where(sign > 0, b, b + n)
            opposite = np.where(sign > 0, b + n, b)
            rows, columns = np.concatenate([a, a + n]), np.concatenate([other, opposite])
            graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), (2 * n, 2 * n))
            _, component = connected_components(graph, directed=False)
            first = np.full(component.max() + 1, n)
            np.minimum.at(first, component, np.arange(2 * n) % n)
            new = first[component[:n]]
            self.zero |= component[:n] == component[n:]
            np.logical_or.at(self.zero, new, self.zero.copy())
            same = component[new] == component[:n]
            self.sign = self.sign * np.where(same, 1, -1)[self.root]
            self.root = new[self.root]
        self.zero[:] = self.zero | self.zero[self.root]

    def finish(self, labels: np.ndarray, single: np.ndarray) -> Solution:
        """Directions of what is left."""
        roots = np.flatnonzero((self.root == np.arange(self.size)) & ~self.zero)
        found = _Directions()
        linked = self._blocks(found)
        alone = roots[~np.isin(roots, linked)]
        found.add(alone, np.arange(len(alone)) + found.count, np.ones(len(alone)), len(alone))
        ids, directions, values = found.arrays()
        # Members of the classes of the roots.
        members = np.argsort(self.root, kind="stable")
        bounds = np.searchsorted(self.root[members], np.arange(self.size + 1))
        counts = bounds[ids + 1] - bounds[ids]
        which = np.repeat(np.arange(len(ids)), counts)
        offset = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        each = members[np.repeat(bounds[ids], counts) + offset]
        entries = (each, directions[which], values[which] * self.sign[each])
        return Solution(self.size, entries, found.count, labels, single, self.given_up)

    def _blocks(self, found: _Directions) -> np.ndarray:
        """Eliminate the equations with more terms, block by block."""
        if not self.pending:
            return np.zeros(0, np.int64)
        entries = self._entries()
        first = np.unique(entries.equations, return_index=True)[1]
        start = np.repeat(entries.unknowns[first], np.bincount(entries.equations))
        graph = coo_matrix(
            (np.ones(len(start), np.int8), (start, entries.unknowns)), (self.size, self.size)
        )
        _, component = connected_components(graph, directed=False)
        involved = np.unique(entries.unknowns)
        large = np.bincount(component[involved]) > LARGE
        outer = large[component[entries.unknowns]]
        rounds, core = peel(entries.only(outer), self.size)
        inner = Entries(
            *(
                np.concatenate([getattr(part, name) for part in (entries.only(~outer), core)])
                for name in ("equations", "unknowns", "weights")
            )
        )
        self._eliminate(inner, component, found)
        if rounds:
            free = np.setdiff1d(
                involved, np.concatenate([inner.unknowns, *(pivots for pivots, _ in rounds)])
            )  # fmt: skip
            found.add(free, np.arange(len(free)) + found.count, np.ones(len(free)), len(free))
            found.replace(*put_back(rounds, self.size, found.arrays(), found.count))
        return involved

    def _entries(self) -> Entries:
        """All equations that are left, each once."""
        tables: dict[int, list[np.ndarray]] = {}  # by the number of terms: unknowns, weights
        for parts in self.pending:
            ids = np.stack([ids for _, ids in parts], axis=1)
            order = np.argsort(ids, axis=1)
            factors = np.array([int(c) for c, _ in parts])[order]
            lines = np.concatenate([np.take_along_axis(ids, order, 1), factors], axis=1)
            tables.setdefault(len(parts), []).append(lines)
        equations, unknowns, weights, count = [], [], [], 0
        for terms, each in tables.items():
            lines = distinct_rows(np.concatenate(each))
            equations.append(np.repeat(np.arange(count, count + len(lines)), terms))
            unknowns.append(lines[:, :terms].reshape(-1))
            weights.append(lines[:, terms:].reshape(-1))
            count += len(lines)
        return Entries(*(np.concatenate(each) for each in (equations, unknowns, weights)))

    def _eliminate(self, entries: Entries, component: np.ndarray, found: _Directions) -> None:
        """Small blocks, each form once."""
        blocks: dict[int, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
        ends = np.flatnonzero(np.diff(entries.equations, append=-1)) + 1
        unknowns, weights = entries.unknowns.tolist(), entries.weights.tolist()
        begin = 0
        for end in ends.tolist():
            line = tuple(unknowns[begin:end]), tuple(weights[begin:end])
            blocks.setdefault(int(component[unknowns[begin]]), []).append(line)
            begin = end
        known: dict[tuple, tuple[list[dict[int, int]], int]] = {}
        for equations in blocks.values():
            times = Counter(i for line, _ in equations for i in line)
            # What is in many equations comes last and stays free: others are then on their own.
            own = sorted(times, key=lambda i: (times[i], i))
            place = {i: n for n, i in enumerate(own)}
            form = tuple((tuple(place[i] for i in line), w) for line, w in equations)
            if (len(own), form) not in known:
                found_here, lost = sparse_null_space(form, len(own), LARGEST_BLOCK)
                entries_of = [int(self.weight[i]) for i in own]
                known[len(own), form] = sparser(found_here, entries_of), lost
            vectors, given_up = known[len(own), form]
            self.given_up += given_up
            for vector in vectors:
                found.add(
                    np.array([own[n] for n in vector]), np.full(len(vector), found.count),
                    np.array(list(vector.values()), float), 1,
                )  # fmt: skip


class _Directions:
    def __init__(self) -> None:
        self.count = 0
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, ids: np.ndarray, directions: np.ndarray, values: np.ndarray, new: int) -> None:
        self._parts.append((ids, directions, values))
        self.count += new

    def replace(self, ids: np.ndarray, directions: np.ndarray, values: np.ndarray) -> None:
        self._parts = [(ids, directions, values)]

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids, directions, values = zip(*self._parts, strict=True)
        return np.concatenate(ids), np.concatenate(directions), np.concatenate(values)
