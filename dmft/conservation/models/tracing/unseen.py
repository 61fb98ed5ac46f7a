"""The shifts of every parameter that no output sees: a trace followed backwards."""

from __future__ import annotations

from typing import Any

from dmft.conservation.models.tracing.backwards import RULES
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.shifts import Shift, both, fewest

Uses = dict[str, list[tuple[str, list[Shift]]]]  # by parameter: operation, what it does not see


def unseen(
    trace: Trace, *, cross_entropy: bool, uses: Uses | None = None
) -> dict[str, list[Shift]]:
    """The shifts of every parameter that no output sees; notes every use of a parameter."""
    outputs: dict[int, list[Shift]] = {}
    for label, value in trace.outputs:
        own: list[Shift] = []
        only = len(trace.outputs) == 1 or label == "logits"
        if cross_entropy and value.shape and only:
            own = [Shift(frozenset({len(value.shape) - 1}), "cross-entropy")]
        outputs[value.index] = own
    allowed: dict[int, list[Shift]] = dict(outputs)
    for node in reversed(trace.nodes):
        for value, found in _backward(node, allowed):
            if uses is not None and value.kind == "parameter":
                uses.setdefault(value.name, []).append((node.op, found))
            before = allowed.get(value.index)
            allowed[value.index] = found if before is None else both(before, found)
    everything = [Shift(frozenset(), "unused")]
    return {name: fewest(allowed.get(value.index, everything))
            for name, value in trace.parameters.items()}  # fmt: skip


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
