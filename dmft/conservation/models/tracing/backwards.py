"""What each operation does not see of its inputs, given what is not seen of its outputs.

A rule takes a node and the unseen shifts of its outputs, and returns pairs of an input and its
unseen shifts. Of an input without a pair every shift counts as seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dmft.conservation.models.tracing import moving, scales
from dmft.conservation.models.tracing.layers import batch_settings
from dmft.conservation.models.tracing.recording import Node, Value
from dmft.conservation.models.tracing.rules import wrapped
from dmft.conservation.models.tracing.shifts import Places, Shift, both, fewest, narrowed

_PASS = frozenset((
    "neg", "clone", "alias", "_to_copy", "contiguous", "to", "positive", "lift_fresh",
))  # fmt: skip


def _same(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    return [(node.arguments[0], out[0])]


def _add(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    shape = node.outputs[0].shape
    return [(x, narrowed(x, out[0], shape)) for x in node.arguments[:2]]


def _overwritten(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    before, x = node.arguments[:2]
    return [(x, narrowed(x, out[0], node.outputs[0].shape)),
            (before, [Shift(frozenset(), "unused")])]  # fmt: skip


def _scaled(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    """Times something that does not vary along the axes of the shift."""
    shape, found = node.outputs[0].shape, []
    for x, other in (node.arguments[:2], node.arguments[1::-1]):
        if node.op == "div" and x is node.arguments[1]:
            continue
        varying: set[int] = set()
        if isinstance(other, Value):
            lost = len(shape) - len(other.shape)
            varying = {a + lost for a, n in enumerate(other.shape) if n != 1}
        own = narrowed(x, [s for s in out[0] if not s.axes & varying], shape)
        if isinstance(other, Value) and other.gaps is not None and isinstance(x, Value) and (
            x.shape == other.shape
        ):  # fmt: skip
            every = tuple(range(len(x.shape)))
            own = [*own, Shift(frozenset(), "unused", (every, other.gaps.tobytes(), x.shape))]
        found.append((x, own))
    return found


def _view(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x, after = node.arguments[0], node.outputs[0].shape
    found = []
    pieces = scales.segments(after, x.shape)
    for shift in out[0]:
        axes: set[int] = set()
        fits = True
        masks = []
        for before, new in pieces:
            own = [a for a in before if after[a] != 1]
            inside = [a for a in own if a in shift.axes]
            masked = shift.places is not None and set(own) & set(shift.places[0])
            if inside == own:
                axes |= {a for a in new if x.shape[a] != 1} if own else set()
                if masked and len(before) > 1:
                    fits = False
            elif inside:
                real = [a for a in new if x.shape[a] != 1]
                if [after[a] for a in own] == [x.shape[a] for a in real]:
                    axes |= {r for o, r in zip(own, real, strict=True) if o in shift.axes}
                elif masked:
                    fits = False
                else:  # merged: what is constant along all of the axes is so along some
                    axes |= set(real)
            if masked:
                masks.append((own, [a for a in new if x.shape[a] != 1]))
        if not fits:
            continue
        places = shift.places
        if places is not None:
            if len(masks) != 1:
                continue
            own, new = masks[0]
            mask = np.frombuffer(places[1], bool).reshape(places[2])
            full = np.broadcast_to(
                mask.reshape([after[a] if a in places[0] else 1 for a in own]),
                [after[a] for a in own],
            )
            sizes = tuple(x.shape[a] for a in new)
            places = (tuple(new), np.ascontiguousarray(full).reshape(sizes).tobytes(), sizes)
        found.append(Shift(frozenset(axes), shift.why, places))
    return [(x, found)]


def _permute(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    order = moving.permutation(node)
    if order is None:
        return []
    found = []
    for s in out[0]:
        places = s.places
        if places is not None:
            if len(places[0]) > 1:
                continue
            places = ((order[places[0][0]],), *places[1:])
        found.append(Shift(frozenset(order[a] for a in s.axes), s.why, places))
    return [(node.arguments[0], found)]


def _matrix(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    skip = 1 if node.op in ("addmm", "baddbmm") else 0
    a, b = node.arguments[skip : skip + 2]
    n = len(a.shape) - 2
    left, right = [], []
    for shift in out[0]:
        where = shift.places and set(shift.places[0])
        # Along the columns: of b, for every row of a. Along the rows: of a.
        if shift.axes <= {n + 1} and (not where or where == {n + 1}) and (shift.axes or where):
            right.append(shift)
        if shift.axes <= {n} and (not where or where == {n}) and (shift.axes or where):
            left.append(shift)
    found: list[tuple[Any, list[Shift]]] = [(a, left), (b, right)]
    if skip:
        found.append((node.arguments[0], narrowed(node.arguments[0], out[0],
                                                   node.outputs[0].shape)))  # fmt: skip
    return found


def _softmax(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x = node.arguments[0]
    return [(x, [Shift(frozenset({node.arguments[1] % len(x.shape)}), "softmax")])]


def _layer_norm(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x, shape, _, bias = node.arguments[:4]
    axes = frozenset(range(len(x.shape) - len(shape), len(x.shape)))
    found: list[tuple[Any, list[Shift]]] = [(x, [Shift(axes, "norm")])]
    if isinstance(bias, Value):
        found.append((bias, narrowed(bias, out[0], x.shape)))
    return found


def _group_norm(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x, _, bias, _, channels, _, groups = node.arguments[:7]
    places = range(2, len(x.shape))
    if groups == channels:
        own = [Shift(frozenset(places), "norm")]
    elif groups == 1:
        own = [Shift(frozenset((1, *places)), "norm")]
    else:
        which = np.arange(channels) // (channels // groups)
        own = [
            Shift(frozenset((1, *places)), "norm", ((1,), (which == g).tobytes(), (channels,)))
            for g in range(groups)
        ]
    return [(x, own), (bias, _by_channel(out[0]))]


def _batch_norm(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x, _, bias = node.arguments[:3]
    training, _ = batch_settings(node)
    others = frozenset(a for a in range(len(x.shape)) if a != 1)
    own = [Shift(others, "batch norm")] if training else [s for s in out[0] if 1 not in s.axes]
    return [(x, own), (bias, _by_channel(out[0]))]


def _by_channel(out: list[Shift]) -> list[Shift]:
    """Of a bias that is added to channels, which come second."""
    return [
        Shift(frozenset({0}) if 1 in s.axes else frozenset(), s.why,
              s.places and ((0,), *s.places[1:]))
        for s in out if s.places is None or s.places[0] == (1,)
    ]  # fmt: skip


def _convolution(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    _, weight, bias = node.arguments[:3]
    found: list[tuple[Any, list[Shift]]] = []
    if isinstance(bias, Value):
        found.append((bias, _by_channel(out[0])))
    plain = not node.arguments[6] and node.arguments[8] == 1
    same = [Shift(frozenset({0}), s.why) for s in out[0] if s.axes == {1} and s.places is None]
    found.append((weight, same if plain else []))
    return found


def _embedding(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    weight, index = node.arguments[:2]
    last = len(index.shape)
    padding = node.arguments[2] if len(node.arguments) > 2 else None
    if padding is not None and padding >= 0:
        row = np.arange(weight.shape[0]) == padding
        return [(weight, [Shift(frozenset(), "padding", ((0,), row.tobytes(), row.shape))])]
    return [(weight, [Shift(frozenset({1}), s.why) for s in out[0]
                      if s.axes == {last} and s.places is None])]  # fmt: skip


def _split(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x, axis = node.arguments[0], moving.split_axis(node)
    if len(node.outputs[0].shape) < len(x.shape):  # noqa: SIM108
        same = lambda a: a + (a >= axis)  # noqa: E731
    else:
        same = lambda a: a  # noqa: E731
    found = []
    common: list[Shift] | None = None
    for places, own in zip(moving.pieces(node), out, strict=True):
        mask = np.zeros(x.shape[axis], bool)
        mask[places] = True
        for s in own:
            axes = frozenset(same(a) for a in s.axes)
            inner = _inside(s, axis, mask, len(node.outputs[0].shape) == len(x.shape))
            if inner is not None:
                found.append(Shift(axes, s.why, inner))
        plain = [Shift(frozenset(same(a) for a in s.axes), s.why) for s in own if not s.places]
        common = plain if common is None else both(common, plain)
    return [(x, fewest([*(common or []), *found]))]


def _inside(shift: Shift, axis: int, part: np.ndarray, kept: bool) -> Places | None:
    """Places of a shift of a part of an axis, among those of the whole."""
    if shift.places is None:
        return (axis,), part.tobytes(), part.shape
    if not kept or shift.places[0] != (axis,):
        return None
    mask = np.zeros(part.shape, bool)
    mask[np.flatnonzero(part)[np.frombuffer(shift.places[1], bool)]] = True
    return (axis,), mask.tobytes(), mask.shape


def _slice(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    """What is left out is not seen here, whatever it is."""
    x, where = node.arguments[0], moving.sliced(node)
    if where is None:
        return []
    axis, taken = where
    drop = node.op == "select"
    mask = np.zeros(x.shape[axis], bool)
    mask[taken] = True
    found = []
    for s in out[0]:
        axes = frozenset(a + (drop and a >= axis) for a in s.axes)
        if s.places is None:
            found.append(Shift(axes, s.why))
        ordered = bool((np.diff(taken) > 0).all())
        inner = _inside(s, axis, mask, not drop and ordered)
        if inner is not None and not mask.all():
            found.append(Shift(axes, s.why, inner))
    if not mask.all():
        found.append(Shift(frozenset(), "unused", ((axis,), (~mask).tobytes(), mask.shape)))
    return [(x, found)]


def _join(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    axis = (node.arguments[1] if len(node.arguments) > 1 else 0) or 0
    rank = len(node.outputs[0].shape)
    axis %= rank
    own = [s for s in out[0] if axis not in s.axes and s.places is None]
    if node.op == "stack":
        own = [Shift(frozenset(a - (a > axis) for a in s.axes), s.why) for s in own]
    return [(x, own) for x in node.arguments[0]]


def _expand(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x = node.arguments[0]
    return [(x, narrowed(x, out[0], node.outputs[0].shape))]


def _reduce(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    """Means and sums over other axes than those of the shift."""
    x = node.arguments[0]
    rank = len(x.shape)
    if len(node.arguments) < 2 or not isinstance(node.arguments[1], (list, int)):
        return []
    over = wrapped(node.arguments[1], rank)
    keep = len(node.outputs[0].shape) == rank
    left = [a for a in range(rank) if keep or a not in over]
    return [(x, [Shift(frozenset(left[a] for a in s.axes), s.why) for s in out[0]
                 if not s.places and s.axes])]  # fmt: skip


def _spread(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    """Variances do not see what all terms have in common; a mean beside them does."""
    x = node.arguments[0]
    if len(out) > 1 and not any(not s.axes and s.places is None for s in out[1]):
        return []
    axes = node.arguments[1] if isinstance(node.arguments[1], (list, int)) else None
    axes = None if isinstance(axes, bool) else axes
    return [(x, [Shift(frozenset(wrapped(axes, len(x.shape))), "norm")])]


def _triangle(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    """What is cut off is not seen."""
    x, diagonal = node.arguments[:2]
    rows, columns = x.shape[-2:]
    kept = (np.triu if node.op == "triu" else np.tril)(np.ones((rows, columns), bool), diagonal)
    rank = len(x.shape)
    return [(x, [Shift(frozenset(), "unused", ((rank - 2, rank - 1), (~kept).tobytes(),
                                               (rows, columns)))])]  # fmt: skip


def _masked(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    """Masked with minus infinity: gone from the softmax that follows."""
    if node.arguments[2] != -float("inf"):
        return []
    return [(node.arguments[0], [s for s in out[0] if s.why == "softmax"])]


RULES: dict[str, Callable[[Node, list[list[Shift]]], list[tuple[Any, list[Shift]]]]] = {
    **dict.fromkeys(_PASS, _same),
    **dict.fromkeys(("add", "sub"), _add),
    **dict.fromkeys(("mul", "div"), _scaled), "copy": _overwritten,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "_reshape_alias"),
                    _view),
    **dict.fromkeys(("t", "transpose", "permute"), _permute),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _matrix),
    **dict.fromkeys(("_softmax", "_log_softmax", "softmax", "log_softmax", "_safe_softmax"),
                    _softmax),
    "native_layer_norm": _layer_norm, "native_group_norm": _group_norm,
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit",
                     "_native_batch_norm_legit_no_training", "cudnn_batch_norm"), _batch_norm),
    "convolution": _convolution, "embedding": _embedding,
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "unbind", "unsafe_split"), _split),
    **dict.fromkeys(("slice", "select", "narrow"), _slice),
    **dict.fromkeys(("cat", "stack"), _join),
    **dict.fromkeys(("expand",), _expand),
    **dict.fromkeys(("mean", "sum"), _reduce),
    "masked_fill": _masked, **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _spread),
    "triu": _triangle, "tril": _triangle,
}  # fmt: skip
