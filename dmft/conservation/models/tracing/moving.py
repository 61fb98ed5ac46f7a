"""Operations that only move entries: they act on the arrays of unknowns as on the tensor."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from dmft.conservation.models.tracing import scales
from dmft.conservation.models.tracing.recording import Node, Value
from dmft.conservation.models.tracing.rules import RULES, Walk, fix, rule, wrapped
from dmft.conservation.models.tracing.scales import Scale, Term

__all__ = ["RULES", "permutation", "pieces", "sliced", "split_axis"]
_ONE = Fraction(1)


def _take(walk: Walk, scale: Scale, axis: int, places: np.ndarray, *, mark: bool = True) -> Scale:
    """Entries at places along an axis; what is left out is told apart."""
    shape = tuple(len(places) if a == axis else n for a, n in enumerate(scale.shape))
    every = len(places) == scale.shape[axis] and bool((places == np.arange(len(places))).all())
    if every:
        return scale
    terms = []
    for term in scale.terms:
        if axis not in term.axes:
            terms.append(term)
            continue
        ids = term.ids.take(places, axis=term.axes.index(axis))
        if mark:
            walk.unknowns.mark(ids)
        terms.append(Term(term.weight, term.axes, ids))
    return Scale(shape, tuple(terms))


def _drop(scale: Scale, axis: int) -> Scale:
    shape = tuple(n for a, n in enumerate(scale.shape) if a != axis)
    return scale.relabel(shape, lambda a: a - (a > axis) if a != axis else None)


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "squeeze",
      "unsqueeze")  # fmt: skip
def _reshape(walk: Walk, node: Node) -> Scale:
    return scales.reshape(walk.unknowns, walk.of(node.arguments[0]), node.outputs[0].shape)


@rule("t", "transpose", "permute", "numpy_T", "movedim")
def _permute(walk: Walk, node: Node) -> Scale | None:
    order = permutation(node)
    if order is None:
        return None
    place = {a: n for n, a in enumerate(order)}
    return walk.of(node.arguments[0]).relabel(node.outputs[0].shape, place.get)


def permutation(node: Node) -> list[int] | None:
    """Where each axis of the output comes from."""
    rank = len(node.arguments[0].shape)
    order = list(range(rank))
    if node.op == "t":
        return order[::-1]
    if node.op == "permute":
        return wrapped(node.arguments[1], rank)
    if node.op == "transpose":
        a, b = (x % rank for x in node.arguments[1:3])
        order[a], order[b] = order[b], order[a]
        return order
    return None


@rule("expand", "broadcast_to", "expand_as")
def _expand(walk: Walk, node: Node) -> Scale:
    return walk.of(node.arguments[0]).broadcast(node.outputs[0].shape)


@rule("repeat", "tile")
def _repeat(walk: Walk, node: Node) -> Scale:
    scale, times = walk.of(node.arguments[0]), node.arguments[1]
    shift = len(times) - len(scale.shape)
    scale = scale.broadcast((1,) * shift + scale.shape)
    for a, count in enumerate(times):
        if count != 1:
            places = np.tile(np.arange(scale.shape[a]), count)
            scale = _take(walk, scale, a, places, mark=False)
    return scale


@rule("repeat_interleave")
def _interleave(walk: Walk, node: Node) -> Scale | None:
    x, times = node.arguments[:2]
    axis = node.arguments[2] if len(node.arguments) > 2 else None
    if not isinstance(times, int) or axis is None:
        return None
    axis %= len(x.shape)
    places = np.repeat(np.arange(x.shape[axis]), times)
    return _take(walk, walk.of(x), axis, places, mark=False)


def sliced(node: Node) -> tuple[int, np.ndarray] | None:
    """The axis and the places that a slice takes."""
    x = node.arguments[0]
    rank = len(x.shape)
    if node.op == "slice":
        _, axis, start, stop, step = [*node.arguments, None, None, None][:5]
        axis = (axis or 0) % rank
        return axis, np.arange(x.shape[axis])[slice(start, stop, step)]
    axis = node.arguments[1] % rank
    if node.op == "select":
        return axis, np.arange(x.shape[axis])[[node.arguments[2]]]
    if node.op == "narrow":
        start, length = node.arguments[2:4]
        return axis, np.arange(start, start + length)
    index = node.arguments[2]
    if isinstance(index, Value) and index.numbers is not None and index.kind == "constant":
        return axis, np.atleast_1d(index.numbers)
    return None


@rule("slice", "select", "narrow", "index_select")
def _slice(walk: Walk, node: Node) -> Scale | None:
    where = sliced(node)
    if where is None:
        return None
    scale = _take(walk, walk.of(node.arguments[0]), *where)
    return _drop(scale, where[0]) if node.op == "select" else scale


@rule("split", "split_with_sizes", "chunk", "unbind", "unsafe_split", "unsafe_chunk", "split_copy",
      "unsafe_split_with_sizes", "split_with_sizes_copy", "unbind_copy")  # fmt: skip
def _split(walk: Walk, node: Node) -> list[Scale]:
    scale = walk.of(node.arguments[0])
    found = []
    for places, out in zip(pieces(node), node.outputs, strict=True):
        piece = _take(walk, scale, split_axis(node), places)
        found.append(_drop(piece, split_axis(node)) if len(out.shape) < len(scale.shape)
                     else piece)  # fmt: skip
    return found


def split_axis(node: Node) -> int:
    """The axis along which a tensor is split."""
    place = 1 if node.op.startswith("unbind") else 2
    axis = node.arguments[place] if len(node.arguments) > place else 0
    return int(axis or 0) % len(node.arguments[0].shape)


def pieces(node: Node) -> list[np.ndarray]:
    """The places of each part."""
    axis, rank = split_axis(node), len(node.arguments[0].shape)
    found, start = [], 0
    for out in node.outputs:
        size = out.shape[axis] if len(out.shape) == rank else 1
        found.append(np.arange(start, start + size))
        start += size
    return found


@rule("flip")
def _flip(walk: Walk, node: Node) -> Scale:
    scale = walk.of(node.arguments[0])
    for axis in wrapped(node.arguments[1], len(scale.shape)):
        _mark_axis(walk, scale, axis)
        scale = _take(walk, scale, axis, np.arange(scale.shape[axis])[::-1], mark=False)
    return scale


@rule("roll")
def _roll(walk: Walk, node: Node) -> Scale:
    scale = walk.of(node.arguments[0])
    shifts = node.arguments[1]
    axes = node.arguments[2] if len(node.arguments) > 2 else []
    if not axes:
        fix(walk, node.inputs)
        return Scale(node.outputs[0].shape)
    axes = wrapped(axes, len(scale.shape))
    shifts = shifts if isinstance(shifts, list) else [shifts]
    for axis, shift in zip(axes, shifts, strict=True):
        _mark_axis(walk, scale, axis)
        places = np.roll(np.arange(scale.shape[axis]), shift)
        scale = _take(walk, scale, axis, places, mark=False)
    return scale


def _mark_axis(walk: Walk, scale: Scale, axis: int) -> None:
    scales.separate(walk.unknowns, scale, [axis])


@rule("cat", "stack", "concat")
def _join(walk: Walk, node: Node) -> Scale:
    parts = [x for x in node.arguments[0] if x.shape != (0,)]
    axis = (node.arguments[1] if len(node.arguments) > 1 else 0) or 0
    shape = node.outputs[0].shape
    axis %= len(shape)
    each = [walk.of(x) for x in parts]
    if node.op == "stack":
        each = [
            s.relabel((*s.shape[:axis], 1, *s.shape[axis:]), lambda a: a + (a >= axis))
            for s in each
        ]
    return joined(walk, each, axis, shape)


def joined(walk: Walk, each: list[Scale], axis: int, shape: tuple[int, ...]) -> Scale:
    """Side by side along an axis: the same arrays joined if they match, else new unknowns."""
    if not any(scale.terms for scale in each):
        return Scale(shape)
    first = each[0]
    same = all(len(s.terms) == len(first.terms) and all(
        t.axes == u.axes and t.weight == u.weight and (axis in t.axes or t.ids is u.ids)
        for t, u in zip(s.terms, first.terms, strict=True)) for s in each)  # fmt: skip
    if same:
        terms = []
        for n, term in enumerate(first.terms):
            ids = term.ids
            if axis in term.axes:
                place = term.axes.index(axis)
                ids = np.concatenate([s.terms[n].ids for s in each], axis=place)
            terms.append(Term(term.weight, term.axes, ids))
        return Scale(shape, tuple(terms))
    axes = sorted({a for s in each for a in s.axes()} | {axis})
    ids = walk.unknowns.new([shape[a] for a in axes])
    start = 0
    for scale in each:
        stop = start + scale.shape[axis]
        part = ids.take(np.arange(start, stop), axis=axes.index(axis))
        whole = Scale(scale.shape, (Term(_ONE, tuple(axes), part),))
        scales.require_equal(walk.unknowns, whole, scale)
        start = stop
    return Scale(shape, (Term(_ONE, tuple(axes), ids),))


@rule("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d",
      "replication_pad2d")  # fmt: skip
def _pad(walk: Walk, node: Node) -> Scale | None:
    x, widths = node.arguments[:2]
    scale = walk.of(x)
    padded = {len(x.shape) - 1 - n // 2 for n, width in enumerate(widths) if width}
    zero = node.op == "constant_pad_nd" and node.arguments[2] in (0, None)
    if not zero and node.op == "constant_pad_nd":
        return None
    if padded & scale.axes():
        if not zero:
            return None
        return _padded_channels(walk, scale, widths)
    return Scale(node.outputs[0].shape, scale.terms)


def _padded_channels(walk: Walk, scale: Scale, widths: list[int]) -> Scale | None:
    """Zeros take any scale."""
    for n in range(0, len(widths), 2):
        axis = len(scale.shape) - 1 - n // 2
        terms, shape = [], list(scale.shape)
        low, high = widths[n], widths[n + 1]
        if low < 0 or high < 0:
            return None
        shape[axis] += low + high
        for term in scale.terms:
            if axis in term.axes and low + high:
                place = term.axes.index(axis)
                sizes = list(term.ids.shape)
                ends = [walk.unknowns.new([*sizes[:place], w, *sizes[place + 1 :]])
                        for w in (low, high)]  # fmt: skip
                ids = np.concatenate([ends[0], term.ids, ends[1]], axis=place)
                walk.unknowns.mark(term.ids)
                term = Term(term.weight, term.axes, ids)
            terms.append(term)
        scale = Scale(tuple(shape), tuple(terms))
    return scale


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
    taken = _take(walk, scale, axis, numbers.reshape(-1), mark=index.kind == "constant")
    sizes = (*x.shape[:axis], *numbers.shape, *x.shape[axis + 1 :])
    return scales.reshape(walk.unknowns, taken, sizes)


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
    if x.moves:
        scales.require_equal(walk.unknowns, first, other)
        return first
    # Into a constant: zeros, if it was just made so.
    if x.name == "zeros":
        return other
    scales.require_none(walk.unknowns, other)
    return Scale(out)


def _axis_only(x: Value, out: tuple[int, ...], axis: list[int]) -> bool:
    return all(n == m for a, (n, m) in enumerate(zip(x.shape, out, strict=True)) if a not in axis)


@rule("unfold", "im2col", "as_strided", "diagonal", "tril", "triu")
def _unfold(walk: Walk, node: Node) -> Scale | None:
    x = node.arguments[0]
    scale = walk.of(x)
    if node.op in ("tril", "triu") and not scale.axes() & {len(x.shape) - 1, len(x.shape) - 2}:
        return scale
    if node.op == "unfold":
        axis = node.arguments[1] % len(x.shape)
        if axis not in scale.axes():
            return Scale(node.outputs[0].shape, scale.terms)
    return None
