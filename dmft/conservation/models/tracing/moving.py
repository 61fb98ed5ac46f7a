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


def take(walk: Walk, scale: Scale, axis: int, places: np.ndarray, *, mark: bool = True) -> Scale:
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


@rule("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle")
def _shuffle(walk: Walk, node: Node) -> Scale:
    """Channels to places or back, or among themselves."""
    x, factor, out = node.arguments[0], node.arguments[1], node.outputs[0].shape
    lead = x.shape[:-3] if "pixel" in node.op else x.shape[:1]
    n = len(lead)
    if node.op == "pixel_shuffle":
        split = (*lead, out[n], factor, factor, *x.shape[n + 1 :])
        order = [n, n + 3, n + 1, n + 4, n + 2]
    elif node.op == "pixel_unshuffle":
        split = (*lead, x.shape[n], out[n + 1], factor, out[n + 2], factor)
        order = [n, n + 2, n + 4, n + 1, n + 3]
    else:
        split = (*lead, factor, x.shape[1] // factor, *x.shape[2:])
        order = [n + 1, n, *range(n + 2, len(split))]
    order = [*range(n), *order]
    scale = scales.reshape(walk.unknowns, walk.of(x), split)
    place = {a: m for m, a in enumerate(order)}
    moved = scale.relabel(tuple(split[a] for a in order), place.get)
    return scales.reshape(walk.unknowns, moved, out)


@rule("glu")
def _glu(walk: Walk, node: Node) -> Scale:
    """The first half times the sigmoid of the second."""
    x = node.arguments[0]
    axis = (node.arguments[1] if len(node.arguments) > 1 else -1) % len(x.shape)
    half = x.shape[axis] // 2
    gate = take(walk, walk.of(x), axis, np.arange(half, 2 * half))
    scales.require_none(walk.unknowns, gate)
    first = take(walk, walk.of(x), axis, np.arange(half))
    scales.separate(walk.unknowns, first)
    return first


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
            scale = take(walk, scale, a, places, mark=False)
    return scale


@rule("repeat_interleave")
def _interleave(walk: Walk, node: Node) -> Scale | None:
    x, times = node.arguments[:2]
    axis = node.arguments[2] if len(node.arguments) > 2 else None
    if not isinstance(times, int) or axis is None:
        return None
    axis %= len(x.shape)
    places = np.repeat(np.arange(x.shape[axis]), times)
    return take(walk, walk.of(x), axis, places, mark=False)


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
    scale = take(walk, walk.of(node.arguments[0]), *where)
    return _drop(scale, where[0]) if node.op == "select" else scale


@rule("split", "split_with_sizes", "chunk", "unbind", "unsafe_split", "unsafe_chunk", "split_copy",
      "unsafe_split_with_sizes", "split_with_sizes_copy", "unbind_copy")  # fmt: skip
def _split(walk: Walk, node: Node) -> list[Scale]:
    scale = walk.of(node.arguments[0])
    found = []
    for places, out in zip(pieces(node), node.outputs, strict=True):
        piece = take(walk, scale, split_axis(node), places)
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
        scale = take(walk, scale, axis, np.arange(scale.shape[axis])[::-1], mark=False)
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
        scale = take(walk, scale, axis, places, mark=False)
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
    if (not zero and node.op == "constant_pad_nd") or (not zero and padded & scale.axes()):
        fix(walk, node.inputs)
        return Scale(node.outputs[0].shape)
    if padded & scale.axes():
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
