"""The free scales of a tensor, and how they pass through an operation.

The logarithm of the scale of an entry is a sum of terms, each of which depends on some axes only:
c x[ids[i_a, i_b, ..]]. A matrix has one free scale for each row and one for each column.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dmft.conservation.models.tracing.unknowns import Part, Unknowns


@dataclass(frozen=True)
class Term:
    """weight * x[ids], ids having the axes `axes` (ascending) of the tensor."""

    weight: Fraction
    axes: tuple[int, ...]
    ids: np.ndarray


@dataclass(frozen=True)
class Scale:
    """The scale of all entries of a tensor; no terms: none."""

    shape: tuple[int, ...]
    terms: tuple[Term, ...] = ()

    def times(self, factor: Fraction | int) -> Scale:
        """Of a power."""
        return Scale(self.shape, tuple(
            Term(t.weight * factor, t.axes, t.ids) for t in self.terms
        ))  # fmt: skip

    def axes(self) -> set[int]:
        """All axes along which the scale may vary."""
        return {a for term in self.terms for a in term.axes}

    def broadcast(self, shape: Sequence[int]) -> Scale:
        """Of the tensor expanded to a shape."""
        shift = len(shape) - len(self.shape)
        terms = []
        for term in self.terms:
            keep, ids = [], term.ids
            for n, a in reversed(list(enumerate(term.axes))):
                if self.shape[a] == 1 and shape[a + shift] != 1:
                    ids = ids.take(0, axis=n)
                else:
                    keep.append(a + shift)
            terms.append(Term(term.weight, tuple(reversed(keep)), ids))
        return Scale(tuple(shape), tuple(terms))

    def plus(self, other: Scale) -> Scale:
        """Of a product, both of one shape."""
        merged: dict[tuple[tuple[int, ...], int], Term] = {}
        for term in (*self.terms, *other.terms):
            key = (term.axes, id(term.ids))
            before = merged.get(key)
            weight = term.weight + (before.weight if before else 0)
            merged[key] = Term(weight, term.axes, term.ids)
        return Scale(self.shape, tuple(t for t in merged.values() if t.weight))

    def relabel(self, shape: Sequence[int], axis: Callable[[int], int | None]) -> Scale:
        """Axes moved, or dropped by None (their first place is taken)."""
        terms = []
        for term in self.terms:
            ids, kept = term.ids, []
            for n, a in reversed(list(enumerate(term.axes))):
                if axis(a) is None:
                    ids = ids.take(0, axis=n)
            kept = [new for a in term.axes if (new := axis(a)) is not None]
            order = np.argsort(kept, kind="stable")
            axes = tuple(kept[i] for i in order)
            terms.append(Term(term.weight, axes, ids.transpose(order) if kept else ids))
        return Scale(tuple(shape), tuple(terms))


@dataclass
class Group:
    """Terms on the same axes, broadcast to arrays of one shape."""

    axes: tuple[int, ...]
    parts: list[Part]


def groups(scale: Scale) -> list[Group]:
    """Terms by axes; those that share axes come together."""
    clusters: list[set[int]] = []
    for term in scale.terms:
        own = set(term.axes)
        linked = [c for c in clusters if c & own]
        clusters = [c for c in clusters if not c & own]
        if own:
            clusters.append(own.union(*linked))
    found = [Group(tuple(sorted(cluster)), []) for cluster in clusters]
    scalars = Group((), [])
    for term in scale.terms:
        group = next((g for g in found if set(term.axes) & set(g.axes)), scalars)
        sizes = tuple(scale.shape[a] for a in group.axes)
        places = tuple(
            scale.shape[a] if a in term.axes else 1 for a in group.axes
        )  # fmt: skip
        ids = np.broadcast_to(term.ids.reshape(places), sizes)
        group.parts.append((term.weight, ids))
    return found + ([scalars] if scalars.parts else [])


def require_none(unknowns: Unknowns, scale: Scale) -> None:
    """No entry is scaled."""
    found = groups(scale)
    if len(found) == 1:
        unknowns.require(found[0].parts)
        return
    shares = []
    for group in found:
        share = unknowns.new(())
        sizes = tuple(scale.shape[a] for a in group.axes)
        unknowns.require([*group.parts, (Fraction(-1), np.broadcast_to(share, sizes))])
        shares.append((Fraction(1), share))
    unknowns.require(shares)


def require_equal(unknowns: Unknowns, first: Scale, second: Scale) -> None:
    """Both are scaled alike; one shape."""
    require_none(unknowns, first.plus(second.times(-1)))


def contract(
    unknowns: Unknowns, scale: Scale, axes: Sequence[int], *,
    gone: Collection[tuple[int, ...]] = (), told_apart: bool = True,
) -> Scale:  # fmt: skip
    """The scale of a sum over axes, whose terms must be scaled alike; the axes become 1.

    gone : axes of groups whose common scale may be put to zero, since a parameter has it twice.
    told_apart : what is not summed over tells unknowns apart.
    """
    shape = tuple(1 if a in axes else n for a, n in enumerate(scale.shape))
    terms = [term for term in scale.terms if not set(term.axes) & set(axes)]
    summed = tuple(term for term in scale.terms if set(term.axes) & set(axes))
    for group in groups(Scale(scale.shape, summed)):
        rest = tuple(a for a in group.axes if a not in axes)
        sizes = tuple(scale.shape[a] for a in group.axes)
        if rest and told_apart and len(group.parts) > 1:
            places = coordinates(group.axes, rest, sizes)
            for _, ids in group.parts:
                unknowns.mark(ids, places)
        if group.axes in gone:
            unknowns.require(group.parts)
            continue
        common = unknowns.new(tuple(scale.shape[a] for a in rest))
        spread = common.reshape(tuple(1 if a in axes else scale.shape[a] for a in group.axes))
        unknowns.require([*group.parts, (Fraction(-1), np.broadcast_to(spread, sizes))])
        terms.append(Term(Fraction(1), rest, common))
    return Scale(shape, tuple(terms))


def coordinates(axes: tuple[int, ...], rest: tuple[int, ...], sizes: Sequence[int]) -> np.ndarray:
    """A number for each combination of places on the axes `rest`."""
    total = np.zeros(tuple(sizes), np.int64)
    for n, a in enumerate(axes):
        if a in rest:
            shape = [1] * len(axes)
            shape[n] = sizes[n]
            total = total * sizes[n] + np.arange(sizes[n]).reshape(shape)
    return total


def separate(unknowns: Unknowns, scale: Scale, axes: Sequence[int] | None = None) -> None:
    """What acts on entries in different ways tells them apart, along the given axes or all."""
    for term in scale.terms:
        if axes is None or set(axes) & set(term.axes):
            unknowns.separate(term.ids)


def reshape(unknowns: Unknowns, scale: Scale, shape: Sequence[int]) -> Scale:
    """Of the same entries in another shape."""
    shape = tuple(shape)
    if not scale.terms:
        return Scale(shape)
    pieces = segments(scale.shape, shape)
    home = {a: n for n, (before, _) in enumerate(pieces) for a in before}
    terms = []
    for term in scale.terms:
        touched = sorted({home[a] for a in term.axes if scale.shape[a] != 1})
        axes = [a for n in touched for a in pieces[n][0]]
        places = [scale.shape[a] if a in term.axes else 1 for a in axes]
        full = np.broadcast_to(term.ids.reshape(places), [scale.shape[a] for a in axes])
        new = [a for n in touched for a in pieces[n][1]]
        ids = full.reshape([shape[a] for a in new])
        for n in range(len(new) - 1, -1, -1):  # axes along which nothing changes
            first = ids.take([0], axis=n)
            if ids.shape[n] == 1 or bool((ids == first).all()):
                ids = first.take(0, axis=n)
                del new[n]
        terms.append(Term(term.weight, tuple(new), ids))
    return Scale(shape, tuple(terms))


def segments(
    before: Sequence[int], after: Sequence[int]
) -> list[tuple[list[int], list[int]]]:  # fmt: skip
    """Runs of axes on both sides that hold the same number of entries, as short as possible."""
    found = []
    i = j = 0
    while i < len(before) or j < len(after):
        own, new, a, b = [], [], 1, 1
        if i < len(before):
            own, a, i = [i], before[i], i + 1
        if j < len(after):
            new, b, j = [j], after[j], j + 1
        while a != b:
            if (a < b and i < len(before)) or j >= len(after):
                a *= before[i]
                own.append(i)
                i += 1
            else:
                b *= after[j]
                new.append(j)
                j += 1
        found.append((own, new))
    return found
