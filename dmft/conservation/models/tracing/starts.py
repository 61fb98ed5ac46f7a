"""Which axes of a parameter get free scales: those that its first product takes together.

A matrix has one scale for each row and one for each column. A tensor with more axes is a matrix, or
a stack of matrices, in the product that reads it first, and gets those of that matrix; a kernel has
columns of its own in every group of channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from dmft.conservation.models.tracing import moving, scales
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.unknowns import Unknowns

Axes = tuple[int, ...]
_KEPT = frozenset(("clone", "alias", "_to_copy", "contiguous", "lift_fresh"))
_RESHAPED = frozenset(("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "_reshape_alias"))
_PICKED = frozenset(("index", "index_select", "select", "unbind", "split", "split_with_sizes",
                     "_grouped_mm", "slice", "gather"))  # fmt: skip


@dataclass(frozen=True)
class Start:
    """Axes that share one array of free scales.

    groups : along the first axis, runs of equal length in which the scales repeat; 0: none do.
    """

    axes: Axes
    groups: int = 0


def starts(trace: Trace) -> dict[str, list[Start]]:
    """For every parameter, the arrays of free scales that it gets."""
    found: dict[int, list[Start]] = {}
    together: dict[int, tuple[int, list[Axes]]] = {}  # value: parameter, its axes on each axis
    for value in trace.parameters.values():
        together[value.index] = (value.index, [(a,) for a in range(len(value.shape))])
    for node in trace.nodes:
        if node.op == "convolution" and node.arguments[1].kind == "parameter":
            found.setdefault(node.arguments[1].index, _kernel(node))
            continue
        for value in node.inputs:
            if value.index not in together:
                continue
            origin, axes = together[value.index]
            after = moved(node, axes)
            if after is not None:
                together[node.outputs[0].index] = (origin, after)
            elif len(axes) > 1 and origin not in found:
                product = _product(node, value, axes)
                if product is not None:
                    found[origin] = product
    return {
        name: found.get(v.index) or _each(v) if prod(v.shape) else []  # one without entries
        for name, v in trace.parameters.items()
    }  # fmt: skip


def _each(value: Value) -> list[Start]:
    long = [a for a, n in enumerate(value.shape) if n > 1]
    return [Start((a,)) for a in long] or [Start(())]


def _kernel(node: Node) -> list[Start]:
    """Rows, and columns in each group; of a transposed convolution the rows are inputs."""
    shape, groups = node.arguments[1].shape, node.arguments[8]
    rows = [Start((0,))] if shape[0] > 1 else []
    if shape[1] == 1:
        return rows or [Start(())]
    return [*rows, Start((0, 1), groups) if groups > 1 else Start((1,))]


def moved(node: Node, axes: list[Axes]) -> list[Axes] | None:
    """What the axes of the output are made of, if all that happens is that they move."""
    if node.op in _KEPT:
        return axes
    if node.op in ("t", "transpose", "permute"):
        order = moving.permutation(node)
        return None if order is None else [axes[a] for a in order]
    if node.op == "expand":
        lost = len(node.outputs[0].shape) - len(axes)
        return [()] * lost + axes
    if node.op in _RESHAPED:
        before, after = node.arguments[0].shape, node.outputs[0].shape
        found: list[Axes] = [()] * len(after)
        for own, new in scales.segments(before, after):
            wide = [a for a in new if after[a] != 1]
            merged = tuple(p for a in own if before[a] != 1 for p in axes[a])
            if len(wide) > 1:
                return None
            for a in wide:
                found[a] = merged
        return found
    return None


def _product(node: Node, value: Value, axes: list[Axes]) -> list[Start] | None:
    if node.op in ("mm", "addmm"):
        return _wide(axes)
    if node.op in ("bmm", "baddbmm"):
        return _wide([axes[0] + axes[1], axes[0] + axes[2]])
    if node.op in _PICKED and len(axes) == 3 and node.arguments[0] is value:
        return [Start((0, 1)), Start((0, 2))]
    return None


def _wide(sets: list[Axes]) -> list[Start] | None:
    ordered = [tuple(sorted(s)) for s in sets if s]
    return [Start(s) for s in dict.fromkeys(ordered)] or None


def array(unknowns: Unknowns, shape: Axes, start: Start) -> np.ndarray:
    """Fresh unknowns for a start."""
    if not start.groups:
        return unknowns.new([shape[a] for a in start.axes])
    each = unknowns.new([start.groups, shape[1]])
    return np.repeat(each, shape[0] // start.groups, axis=0)


def orbits(ids: np.ndarray, start: Start, others: list[Start]) -> np.ndarray:
    """The array as (orbits, members): all members of one orbit can be scaled at once for nothing.

    Others of the same parameter take it back. They share some axes, or runs along the first.
    """
    groups = max((s.groups for s in (start, *others)), default=0)
    if groups:
        rows = ids.shape[0] // groups
        return ids[::rows] if start.groups else ids.reshape(groups, rows)
    common = [n for n, a in enumerate(start.axes) if any(a in s.axes for s in others)]
    rest = [n for n in range(len(start.axes)) if n not in common]
    count = int(np.prod([ids.shape[n] for n in common]))
    return ids.transpose(common + rest).reshape(count, -1)


def fix_repeated(
    unknowns: Unknowns, tables: dict[str, list[np.ndarray]], left: dict[str, int]
) -> None:  # fmt: skip
    """What one array of a parameter gains another may lose for nothing: of some, fix the first.

    Best of those whose members are all alike, so that the others can still be mixed.

    tables : of every parameter its arrays, as (orbits, members). left : how many are to be fixed.
    """
    if not any(left.values()):
        return
    same = unknowns.classes()
    for name, keep in left.items():
        own = tables[name]
        alike = [bool((same[t] == same[t[:, :1]]).all()) for t in own]
        for n in sorted(range(len(own)), key=lambda n: not alike[n])[:keep]:
            unknowns.require([(Fraction(1), own[n][:, 0])])
