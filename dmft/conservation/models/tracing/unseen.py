"""The shifts of every parameter that no output sees: a trace followed backwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dmft.conservation.models.tracing.backwards import RULES
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.rules import wrapped
from dmft.conservation.models.tracing.shifts import Shift, both, fewest


@dataclass
class Seen:
    """Shifts that are not seen.

    parameters : of every parameter, by anything. outputs : by value, by the loss.
    nodes : for every operation its inputs and what it, and all after it, do not see of them.
    """

    parameters: dict[str, list[Shift]]
    outputs: dict[int, list[Shift]]
    nodes: list[list[tuple[Value, list[Shift]]]]


def unseen(trace: Trace, *, cross_entropy: bool) -> Seen:
    """The shifts of every parameter that no output sees."""
    outputs: dict[int, list[Shift]] = {}
    for label, value in trace.outputs:
        own: list[Shift] = []
        only = len(trace.outputs) == 1 or label == "logits"
        if cross_entropy and value.shape and only:
            own = [Shift(frozenset({len(value.shape) - 1}), "cross-entropy")]
        outputs[value.index] = own
    allowed: dict[int, list[Shift]] = dict(outputs)
    nodes = []
    centred = _centred(trace)
    for node in reversed(trace.nodes):
        if id(node) in centred:
            mean = [Shift(frozenset(), "unused")]  # it moves with what it is subtracted from
            own = [Shift(centred[id(node)], "norm")]
            nodes.append([(node.arguments[0], own), (node.arguments[1], mean)])
        else:
            nodes.append(_backward(node, allowed))
        for value, shifts in nodes[-1]:
            before = allowed.get(value.index)
            allowed[value.index] = shifts if before is None else both(before, shifts)
    everything = [Shift(frozenset(), "unused")]
    found = {name: fewest(allowed.get(value.index, everything))
             for name, value in trace.parameters.items()}  # fmt: skip
    return Seen(found, outputs, nodes[::-1])


def _centred(trace: Trace) -> dict[int, frozenset[int]]:
    """Differences x - mean(x) by node, with the axes of the mean."""
    means: dict[int, tuple[int, frozenset[int]]] = {}  # value: of what, over which axes
    found = {}
    for node in trace.nodes:
        if node.op == "mean" and len(node.arguments) > 2 and node.arguments[2]:
            x = node.arguments[0]
            axes = frozenset(wrapped(node.arguments[1], len(x.shape)))
            means[node.outputs[0].index] = (x.index, axes)
        elif node.op == "sub" and all(isinstance(x, Value) for x in node.arguments[:2]):
            x, mean = node.arguments[:2]
            of, axes = means.get(mean.index, (-1, frozenset()))
            if of == x.index and node.arguments[2:3] in ([], [1], [None]):
                found[id(node)] = axes
    return found


def _of(value: Value, allowed: dict[int, list[Shift]]) -> list[Shift]:
    return allowed.get(value.index, [Shift(frozenset(), "unused")])


def _backward(
    node: Node, allowed: dict[int, list[Shift]]
) -> list[tuple[Value, list[Shift]]]:  # fmt: skip
    """For each input of an operation, the shifts that its output does not see."""
    out = [_of(value, allowed) for value in node.outputs]
    dead = all(any(not s.axes and s.places is None for s in each) for each in out)
    if dead:
        return [(value, [Shift(frozenset(), "unused")]) for value in node.inputs]
    moves = [value for value in node.inputs if value.moves]
    try:
        known = RULES.get(node.op, _nothing)(node, out)
    except (IndexError, ValueError, TypeError):
        known = []
    pairs = [(v, s) for v, s in known if isinstance(v, Value)]
    counted = [v.index for v, _ in pairs]
    rest = [v for v in moves if counted.count(v.index) == 0]
    twice = [v for v in moves if [m.index for m in moves].count(v.index) > 1]
    pairs = [(v, [] if any(v is t for t in twice) and node.op not in ("add", "sub", "cat", "stack")
              else s) for v, s in pairs]  # fmt: skip
    return pairs + [(value, []) for value in rest]


def _nothing(node: Node, out: list[list[Shift]]) -> list[tuple[Any, list[Shift]]]:
    return []
