"""How scales pass through operations that pick entries by numbers, or put them there."""

from __future__ import annotations

import numpy as np

from dmft.conservation.models.tracing import scales
from dmft.conservation.models.tracing.moving import take
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.rules import RULES, Walk, rule
from dmft.conservation.models.tracing.scales import Scale

__all__ = ["RULES", "never_chosen"]


@rule("index", "_unsafe_index")
def _index(walk: Walk, node: Node) -> Scale | None:
    """One index along one axis; of data: all places alike."""
    x, indices = node.arguments[:2]
    given = [(a, i) for a, i in enumerate(indices) if i is not None]
    scale = walk.of(x)
    if any(i.moves and a in scale.axes() and i.numbers is None for a, i in given):
        return None
    touched = [a for a, _ in given if a in scale.axes()]
    rank = max(len(i.shape) for _, i in given)
    if any(i.numbers is not None and i.numbers.dtype == bool for _, i in given):
        return None
    positions = [a for a, _ in given]
    adjacent = positions == list(range(positions[0], positions[-1] + 1))
    if touched and not (len(given) == 1 and _certain(given[0][1], x.shape[given[0][0]])):
        scale = walk.contract(scale, touched)
        touched = []
    new_first = positions[0] if adjacent else 0
    others = [a for a in range(len(x.shape)) if a not in positions]
    place: dict[int, int] = {}
    for n, a in enumerate(others):
        place[a] = n if n < new_first else n + rank
    if not touched:
        return scale.relabel(node.outputs[0].shape, place.get)
    axis, index = given[0]
    numbers = index.numbers
    taken = take(walk, scale, axis, numbers.reshape(-1), mark=index.kind == "constant")
    sizes = (*x.shape[:axis], *numbers.shape, *x.shape[axis + 1 :])
    return scales.reshape(walk.unknowns, taken, sizes)


def never_chosen(trace: Trace) -> list[str]:
    """Parts of parameters that data choose, such as experts, but not all in this trace."""
    found: dict[tuple[int, int], set[int]] = {}
    sizes: dict[tuple[int, int], int] = {}
    for node in trace.nodes:
        if node.op not in ("index", "_unsafe_index") or not node.arguments[0].moves:
            continue
        given = [(a, i) for a, i in enumerate(node.arguments[1]) if i is not None]
        axis, index = given[0]
        whole = index.numbers is not None and index.numbers.dtype != bool
        if len(given) == 1 and index.kind == "dependent" and whole:
            place = (node.arguments[0].index, axis)
            sizes[place] = node.arguments[0].shape[axis]
            found.setdefault(place, set()).update(index.numbers.reshape(-1).tolist())
    names = {value.index: name for name, value in trace.parameters.items()}
    return [
        f"{sizes[place] - len(chosen)} of {sizes[place]} parts of {names[place[0]]} that these"
        " inputs never choose (give inputs=.. with more tokens)"
        for place, chosen in found.items() if place[0] in names and len(chosen) < sizes[place]
    ]  # fmt: skip


def _certain(index: Value, size: int) -> bool:
    """Places that are the same for all data, or a selection that visits all of them."""
    if index.numbers is None:
        return False
    if index.kind == "constant":
        return True
    return index.kind in ("dependent", "selection") and len(np.unique(index.numbers)) == size


@rule("gather", "scatter", "scatter_add", "index_add", "index_copy", "index_put", "scatter_reduce")
def _gather(walk: Walk, node: Node) -> Scale | None:
    """Alike along the axis, whatever the places are; what is put in must fit."""
    x = node.arguments[0]
    out = node.outputs[0].shape
    if node.op in ("index_put", "scatter_reduce"):
        return None
    axis = [node.arguments[1] % max(len(x.shape), 1)]
    first = walk.contract(walk.of(x), axis).broadcast(x.shape)
    if node.op == "gather":
        return walk.contract(walk.of(x), axis).broadcast(out) if _axis_only(x, out, axis) else None
    source = node.arguments[3]
    if not isinstance(source, Value):
        return None
    if not _axis_only(source, out, axis):
        return None
    other = walk.contract(walk.of(source), axis).broadcast(out)
    scales.require_equal(walk.unknowns, first, other)
    return first


def _axis_only(x: Value, out: tuple[int, ...], axis: list[int]) -> bool:
    return all(n == m for a, (n, m) in enumerate(zip(x.shape, out, strict=True)) if a not in axis)


@rule("unfold", "im2col", "col2im", "as_strided", "diagonal", "tril", "triu")
def _unfold(walk: Walk, node: Node) -> Scale | None:
    x = node.arguments[0]
    scale = walk.of(x)
    if node.op in ("tril", "triu"):
        scales.separate(walk.unknowns, scale)
        return scale
    if node.op == "unfold":
        axis = node.arguments[1] % len(x.shape)
        alike = walk.contract(scale, [axis])
        return Scale(node.outputs[0].shape, alike.terms)
    if node.op == "col2im":  # sums of what overlaps
        window = x.shape[-2] // node.outputs[0].shape[-3]
        split = (*x.shape[:-2], x.shape[-2] // window, window, x.shape[-1])
        channels = scales.reshape(walk.unknowns, scale, split)
        alike = walk.contract(channels, [len(split) - 2, len(split) - 1])
        return Scale(node.outputs[0].shape, alike.terms)
    if node.op == "im2col":  # channels and places of a window: alike over places
        alike = walk.contract(scale, [len(x.shape) - 2, len(x.shape) - 1])
        out = node.outputs[0].shape
        window = out[-2] // x.shape[-3]
        split = (*x.shape[:-2], window, out[-1])
        return scales.reshape(walk.unknowns, Scale(split, alike.terms), out)
    if node.op == "as_strided":  # any places at all
        alike = walk.contract(scale, list(range(len(x.shape))))
        return Scale(node.outputs[0].shape, alike.terms)
    return None
