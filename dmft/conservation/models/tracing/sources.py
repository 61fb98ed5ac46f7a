"""Shifts that move from one parameter to another, such as from words to positions.

Where two tensors are added, each may come from a parameter that shifts it alike everywhere: what
one gains the other may lose.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dmft.conservation.models.tracing import moving
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.shifts import Shift


@dataclass(frozen=True)
class Source:
    """A parameter whose shift c shifts a tensor by c along its axis `axis`, on all places.

    own : the axis of the parameter along which c lies.
    region : axis, start and stop of the tensor where it does, elsewhere it does not; None: all.
    """

    name: str
    own: int
    axis: int
    sign: int = 1
    region: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class Exchange:
    """Two sources that can be exchanged; each with its parameter's axis and a range of rows."""

    first: tuple[str, int, tuple[int, int, int] | None, int]
    second: tuple[str, int, tuple[int, int, int] | None, int]


def exchanges(trace: Trace, shifts: Readers) -> list[Exchange]:
    """All pairs; of several sources of one sum, each with the first."""
    uses: dict[int, int] = {}
    for node in trace.nodes:
        for index in {v.index for v in node.inputs}:
            uses[index] = uses.get(index, 0) + 1
    for _, value in trace.outputs:
        uses[value.index] = uses.get(value.index, 0) + 1
    sources: dict[int, list[Source]] = {}
    for name, value in trace.parameters.items():
        if value.shape and uses.get(value.index, 0) == 1:
            sources[value.index] = [
                Source(name, a, a) for a in range(len(value.shape)) if value.shape[a] > 1
            ]  # fmt: skip
    found: list[Exchange] = []
    for node in trace.nodes:
        once = [
            sources.get(v.index, []) if uses.get(v.index) == 1 or v.kind == "parameter" else []
            for v in node.inputs
        ]
        try:
            out = _through(node, once, found, trace, shifts)
        except (IndexError, ValueError, TypeError, KeyError):
            out = []
        if out and uses.get(node.outputs[0].index) == 1:
            sources[node.outputs[0].index] = out
    return list(dict.fromkeys(found))


@dataclass
class Readers:
    """By parameter, the shifts that its other readers do not see; None if there are none."""

    others: dict[str, list[Shift] | None]


def _through(
    node: Node, given: list[list[Source]], found: list[Exchange], trace: Trace, readers: Readers
) -> list[Source]:
    op, out = node.op, node.outputs[0].shape
    if op in ("clone", "alias", "_to_copy", "contiguous"):
        return given[0]
    if op in ("view", "_unsafe_view", "unsqueeze", "squeeze", "expand"):
        return [s for one in given[0] if (s := _moved(one, node)) is not None]
    if op in ("t", "transpose", "permute"):
        order = moving.permutation(node)
        if order is None:
            return []
        place = {a: n for n, a in enumerate(order)}
        return [replace(s, axis=place[s.axis]) for s in given[0] if s.region is None]
    if op == "embedding":
        return _embedded(node, readers)
    if op == "convolution" and isinstance(node.arguments[2], Value):
        name = node.arguments[2].name
        return (
            [Source(name, 0, 1)] if name in readers.others and readers.others[name] is None else []
        )
    if op == "addmm":
        bias = node.arguments[0]
        return (
            [Source(bias.name, 0, len(out) - 1)]
            if bias.name in readers.others and readers.others[bias.name] is None
            else []
        )
    if op == "native_layer_norm" and isinstance(node.arguments[3], Value):
        name = node.arguments[3].name
        return (
            [Source(name, 0, len(out) - 1)]
            if name in readers.others and readers.others[name] is None
            else []
        )
    if op == "cat":
        return _side_by_side(node, given)
    if op in ("add", "sub") and len(given) == 2:
        return _added(node, given, found, trace)
    return []


def _embedded(node: Node, readers: Readers) -> list[Source]:
    weight, index = node.arguments[:2]
    if len(node.arguments) > 2 and (node.arguments[2] or -1) >= 0:
        return []
    if weight.kind != "parameter" or weight.name not in readers.others:
        return []
    seen = readers.others[weight.name]
    if seen is not None and not any(s.axes <= {0} and s.places is None for s in seen):
        return []
    return [Source(weight.name, 1, len(index.shape))]


def _moved(one: Source, node: Node) -> Source | None:
    """Through a change of shape that keeps its axis as it is."""
    before, after = node.inputs[0].shape, node.outputs[0].shape
    if node.op == "expand":
        lost = len(after) - len(before)
        region = one.region and (one.region[0] + lost, *one.region[1:])
        return replace(one, axis=one.axis + lost, region=region)
    if one.region is not None:
        return None
    size = before[one.axis]
    ahead = int(np.prod(before[: one.axis]))
    for a, n in enumerate(after):
        if n == size and int(np.prod(after[:a])) == ahead:
            return replace(one, axis=a)
    return None


def _side_by_side(node: Node, given: list[list[Source]]) -> list[Source]:
    axis = (node.arguments[1] if len(node.arguments) > 1 else 0) or 0
    axis %= len(node.outputs[0].shape)
    found, start = [], 0
    moving_parts = iter(given)
    for part in node.arguments[0]:
        stop = start + part.shape[axis]
        for one in next(moving_parts):
            if one.axis != axis and one.region is None:
                found.append(replace(one, region=(axis, start, stop)))  # noqa: PERF401
        start = stop
    return found


def _added(
    node: Node, given: list[list[Source]], found: list[Exchange], trace: Trace
) -> list[Source]:
    """Pairs of the two sides; either goes on as a source of the sum."""
    out = node.outputs[0].shape
    if len(node.arguments) > 2 and node.arguments[2] not in (1, None):
        return []
    sides = []
    for value, own in zip(node.inputs, given, strict=True):
        lost = len(out) - len(value.shape)
        sides.append([
            replace(s, axis=s.axis + lost,
                    region=s.region and (s.region[0] + lost, *s.region[1:]))
            for s in own if value.shape[s.axis] == out[s.axis + lost]
        ])  # fmt: skip
    sign = -1 if node.op == "sub" else 1
    sides[1] = [replace(s, sign=s.sign * sign) for s in sides[1]]
    for a in sides[0]:
        for b in sides[1]:
            if a.axis != b.axis or (a.axis != len(out) - 1 and a.region != b.region):
                continue
            one, two = _ranges(a, b, out, trace), _ranges(b, a, out, trace)
            if one is not None and two is not None:
                found.append(Exchange((a.name, a.own, one[0], a.sign),
                                      (b.name, b.own, two[0], -b.sign)))  # fmt: skip
    whole: dict[int, Source] = {}  # of sources that can be exchanged, one goes on
    for s in (*sides[0], *sides[1]):
        if s.region is None:
            whole.setdefault(s.axis, s)
    return list(whole.values())


def _ranges(
    one: Source, other: Source, out: tuple[int, ...], trace: Trace
) -> tuple[tuple[int, int, int] | None] | None:
    """Which rows of the parameter of one shift where the other does."""
    if one.region == other.region or other.region is None:
        return (None,)
    if one.region is not None:
        return None
    shape = trace.parameters[one.name].shape
    axis, start, stop = other.region
    own = axis - (len(out) - len(shape))
    if own < 0 or len(shape) < 2 or shape[own] != out[axis] or own == one.own:
        return None
    return ((own, start, stop),)
