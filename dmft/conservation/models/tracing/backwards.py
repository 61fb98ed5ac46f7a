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
from dmft.conservation.models.tracing.shifts import Shift, both, fewest, narrowed

_PASS = frozenset((
    "neg", "clone", "alias", "_to_copy", "contiguous", "to", "positive", "lift_fresh",
))  # fmt: skip


def _same(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    return [(node.arguments[0], out[0])]


def _add(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    shape = node.outputs[0].shape
    return [(x, narrowed(x, out[0], shape)) for x in node.arguments[:2]]


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
        own = [s for s in out[0] if not s.axes & varying]
        found.append((x, narrowed(x, own, shape)))
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
        if shift.places is not None and any(x != n + 1 for x in shift.places[0]):
            continue
        if shift.axes == {n + 1}:  # along the columns: of b, for every row of a
            right.append(Shift(frozenset({n + 1}), shift.why, shift.places))
        if shift.axes == {n} and shift.places is None:
            left.append(Shift(frozenset({n}), shift.why))
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
    x = node.arguments[0]
    return [(x, [Shift(frozenset(range(1, len(x.shape))), "norm")])]


def _batch_norm(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    x = node.arguments[0]
    training, _ = batch_settings(node)
    others = frozenset(a for a in range(len(x.shape)) if a != 1)
    if training:
        return [(x, [Shift(others, "batch norm")])]
    return [(x, [s for s in out[0] if 1 not in s.axes])]


def _convolution(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    _, weight, bias = node.arguments[:3]
    found: list[tuple[Any, list[Shift]]] = []
    if isinstance(bias, Value):
        own = [Shift(frozenset({0}) if 1 in s.axes else frozenset(), s.why)
               for s in out[0] if s.places is None]  # fmt: skip
        found.append((bias, own))
    plain = not node.arguments[6] and node.arguments[8] == 1
    same = [Shift(frozenset({0}), s.why) for s in out[0] if s.axes == {1} and s.places is None]
    found.append((weight, same if plain else []))
    return found


def _embedding(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    weight, index = node.arguments[:2]
    last = len(index.shape)
    if len(node.arguments) > 2 and (node.arguments[2] or -1) >= 0:
        return [(weight, [])]
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
            if s.places is None:
                axes = frozenset(same(a) for a in s.axes)
                found.append(Shift(axes, s.why, ((axis,), mask.tobytes(), mask.shape)))
        plain = [Shift(frozenset(same(a) for a in s.axes), s.why) for s in own if not s.places]
        common = plain if common is None else both(common, plain)
    return [(x, fewest([*(common or []), *found]))]


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
            if not mask.all():
                found.append(Shift(axes, s.why, ((axis,), mask.tobytes(), mask.shape)))
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


def _masked(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    """Masked with minus infinity: gone from the softmax that follows."""
    if node.arguments[2] != -float("inf"):
        return []
    return [(node.arguments[0], [s for s in out[0] if s.why == "softmax"])]


RULES: dict[str, Callable[[Node, list[list[Shift]]], list[tuple[Any, list[Shift]]]]] = {
    **dict.fromkeys(_PASS, _same),
    **dict.fromkeys(("add", "sub"), _add),
    **dict.fromkeys(("mul", "div"), _scaled),
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
    "masked_fill": _masked,
}  # fmt: skip
