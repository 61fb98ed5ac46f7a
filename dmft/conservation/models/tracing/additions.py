"""Constants that may be added to several parameters at once without being seen.

Where two tensors are added, what one gains the other may lose: words and positions, two biases of a
recurrent cell, the columns behind a softmax (which sum to one) and the bias after them. A constant
is followed forwards while operations only move or add it. Any other operation must not see it: it
may be what `unseen` allows there, such as the same for all that a norm or a softmax compares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import prod
from typing import Any

from dmft.conservation.models.tracing import moving, picking, scales
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.rules import wrapped
from dmft.conservation.models.tracing.scales import Scale, Term
from dmft.conservation.models.tracing.starts import fix_repeated, moved
from dmft.conservation.models.tracing.unknowns import Solution, Unknowns
from dmft.conservation.models.tracing.unseen import Seen

_ONE = Fraction(1)
_MANY = 300_000  # entries beyond which those of a table that is added are not told apart
_NICE = 64
_LEFT_OUT = ("glu", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d",
             "replication_pad2d")  # fmt: skip
_MOVING = {name: rule for name, rule in moving.RULES.items()
           if rule.__module__ == moving.__name__ and name not in _LEFT_OUT}  # fmt: skip
_PICKING = {name: picking.RULES[name] for name in ("index", "_unsafe_index", "gather")}
_SAME = frozenset(("clone", "alias", "_to_copy", "contiguous", "positive", "lift_fresh"))


class Additions:
    """Follows constants through a trace; a `Scale` holds what is added, not what multiplies.

    seen : what `unseen` has found for every operation and for the outputs.
    apart : never let two parameters make up for each other.
    """

    ignore_eps = False

    def __init__(self, trace: Trace, seen: Seen, *, apart: bool = False) -> None:
        self.trace = trace
        self.seen = seen
        self.apart = apart
        self.unknowns = Unknowns()
        self.parameters: dict[str, Scale] = {}
        self._added: dict[int, dict[str, Scale]] = {}  # value, label
        self._label = ""
        self._ones: dict[int, tuple[int, list[tuple[int, ...]]]] = {}  # sums to one: axis, axes

    def run(self) -> Solution:
        """Follow all operations and solve."""
        tables = self._tables()
        for name, value in self.trace.parameters.items():
            scale = self._free(value, value.index in tables)
            self.parameters[name] = scale
            self._added[value.index] = {name if self.apart else "": scale}
        for place, node in enumerate(self.trace.nodes):
            self._visit(place, node)
        for _, value in self.trace.outputs:
            for scale in self._added.get(value.index, {}).values():
                self._absorb(scale, self.seen.outputs.get(value.index, []))
        arrays = {n: [t.ids.reshape(1, -1) for t in s.terms] for n, s in self.parameters.items()}
        fix_repeated(self.unknowns, arrays, {n: max(len(own) - 1, 0) for n, own in arrays.items()})
        return self.unknowns.solve()

    def of(self, value: Any) -> Scale:
        """What is added to a value."""
        if not isinstance(value, Value):
            return Scale(())
        return self._added.get(value.index, {}).get(self._label) or Scale(value.shape)

    def contract(self, scale: Scale, axes: Sequence[int]) -> Scale:
        """Of something that must be the same along axes; they become 1."""
        return scales.contract(self.unknowns, scale, axes)

    def loose(self, value: Any) -> bool:
        """Zeros are not added to."""
        return False

    def _tables(self) -> set[int]:
        """Parameters that are added or joined as they are."""
        found = set()
        for node in self.trace.nodes:
            if node.op in ("add", "cat"):
                found |= {v.index for v in node.inputs if v.kind == "parameter"}
        return found

    def _free(self, value: Value, table: bool) -> Scale:
        """A constant for each place on an axis, in small tables for each entry."""
        if not prod(value.shape):
            return Scale(value.shape)
        long = tuple(a for a, n in enumerate(value.shape) if n > 1)
        each = table and prod(value.shape) <= _MANY
        choices = [long] if each or not long else [(a,) for a in long]
        terms = []
        for axes in choices:
            ids = self.unknowns.new([value.shape[a] for a in axes])
            self.unknowns.separate(ids)
            terms.append(Term(_ONE, axes, ids))
        return Scale(value.shape, tuple(terms))

    def _visit(self, place: int, node: Node) -> None:
        self._note_ones(node)
        labels = dict.fromkeys(
            label for value in node.inputs for label in self._added.get(value.index, {})
        )  # fmt: skip
        for self._label in labels:
            passed, out = self._pass(node)
            for value in {v.index: v for v in node.inputs}.values():
                if value.index not in passed:
                    allowed = [s for v, s in self.seen.nodes[place] if v.index == value.index]
                    self._absorb(self.of(value), allowed[0] if allowed else [])
            for value, scale in zip(node.outputs, out, strict=False):
                if scale.terms:
                    self._added.setdefault(value.index, {})[self._label] = scale

    def _pass(self, node: Node) -> tuple[set[int], list[Scale]]:
        """Inputs whose constants go on, and what is then added to the outputs."""
        rule = RULES.get(node.op)
        try:
            found = rule(self, node) if rule else None
        except (IndexError, ValueError, TypeError, KeyError, StopIteration):
            found = None
        if found is None:
            return set(), []
        values, out = found
        fits = all(s.shape == v.shape for s, v in zip(out, node.outputs, strict=False))
        return ({v.index for v in values if isinstance(v, Value)}, out) if fits else (set(), [])

    def _absorb(self, scale: Scale, allowed: list[Any]) -> None:
        """Require that it is not seen: the same along the axes of a shift that is not."""
        whole = [s for s in allowed if s.places is None]
        if not whole:
            scales.require_none(self.unknowns, scale)
        elif scale.terms:
            best = min(whole, key=lambda s: len(s.axes))
            if best.axes:
                self.contract(scale, sorted(best.axes))

    def _note_ones(self, node: Node) -> None:
        if node.op in ("_softmax", "softmax", "_safe_softmax"):
            rank = len(node.outputs[0].shape)
            axes: list[tuple[int, ...]] = [(a,) for a in range(rank)]
            self._ones[node.outputs[0].index] = (node.arguments[1] % rank, axes)
            return
        first = next((v for v in node.inputs if v.index in self._ones), None)
        if first is not None:
            axis, before = self._ones[first.index]
            after = moved(node, before)
            if after is not None and (axis,) in after:
                self._ones[node.outputs[0].index] = (axis, after)

    def sums_to_one(self, value: Value, axis: int) -> bool:
        """Whether all sums along an axis are one."""
        known = self._ones.get(value.index)
        return known is not None and known[1][axis] == (known[0],)


Passed = tuple[Sequence[Any], list[Scale]]


def _add(walk: Additions, node: Node) -> Passed | None:
    a, b = node.arguments[:2]
    if len(node.arguments) > 2 and node.arguments[2] not in (1, None):
        return None
    signs = {"add": (1, 1), "sub": (1, -1), "rsub": (-1, 1)}[node.op]
    shape = node.outputs[0].shape
    first, second = (walk.of(x).broadcast(shape).times(s) for x, s in zip((a, b), signs,
                                                                          strict=True))  # fmt: skip
    return (a, b), [first.plus(second)]


def _moves(walk: Additions, node: Node) -> Passed | None:
    rule = _MOVING.get(node.op) or _PICKING[node.op]
    found = rule(walk, node)
    if found is None:
        return None
    return node.inputs, [found] if isinstance(found, Scale) else found


def _same(walk: Additions, node: Node) -> Passed:
    return node.arguments[:1], [walk.of(node.arguments[0])]


def _negative(walk: Additions, node: Node) -> Passed:
    return node.arguments[:1], [walk.of(node.arguments[0]).times(-1)]


def _multiple(walk: Additions, node: Node) -> Passed | None:
    """Times a number, if it is a simple one."""
    x, y = node.arguments[:2]
    number, value = (x, y) if isinstance(y, Value) else (y, x)
    if isinstance(number, Value) or not isinstance(number, (int, float)):
        return None
    if node.op == "div" and (number is x or len(node.arguments) > 2):
        return None
    factor = Fraction(number) if node.op == "mul" else 1 / Fraction(number)
    if max(abs(factor.numerator), factor.denominator) > _NICE:
        return None
    return [value], [walk.of(value).times(factor)]


def _mean(walk: Additions, node: Node) -> Passed | None:
    x = node.arguments[0]
    if len(node.arguments) < 2 or not isinstance(node.arguments[1], (int, list)):
        return None
    over = wrapped(node.arguments[1], len(x.shape))
    scale = walk.contract(walk.of(x), over)
    if node.op == "sum":
        scale = scale.times(prod(x.shape[a] for a in over))
    if len(node.outputs[0].shape) != len(x.shape):
        left = [a for a in range(len(x.shape)) if a not in over]
        places = {a: n for n, a in enumerate(left)}
        scale = scale.relabel(node.outputs[0].shape, places.get)
    return [x], [scale]


def _product(walk: Additions, node: Node) -> Passed:
    """A bias passes; so does what is multiplied by rows that sum to one."""
    skip = node.op in ("addmm", "baddbmm")
    a, b = node.arguments[skip : skip + 2]
    shape = node.outputs[0].shape
    passed: list[Any] = []
    total = Scale(shape)
    if skip and len(node.arguments) > 3 and node.arguments[3:5] == [1, 1]:
        passed.append(node.arguments[0])
        total = walk.of(node.arguments[0]).broadcast(shape)
    rank = len(shape)
    if isinstance(a, Value) and walk.sums_to_one(a, rank - 1) and not walk.of(a).terms:
        passed.append(b)
        total = total.plus(walk.contract(walk.of(b), [rank - 2]).broadcast(shape))
    return passed, [total]


def _bias(place: int) -> Callable[[Additions, Node], Passed | None]:
    def rule(walk: Additions, node: Node) -> Passed | None:
        bias, shape = node.arguments[place], node.outputs[0].shape
        if not isinstance(bias, Value):
            return None
        lead = len(shape) - 1 if node.op == "native_layer_norm" else 1
        if node.op == "native_layer_norm":
            lead = len(shape) - len(bias.shape)
        return [bias], [walk.of(bias).relabel(shape, lambda a: a + lead)]

    return rule


def _embedding(walk: Additions, node: Node) -> Passed | None:
    weight, index, padding = node.arguments[:3]
    if padding is not None and padding >= 0:
        return None
    rank = len(index.shape)
    rows = walk.contract(walk.of(weight), [0])
    return [weight], [
        rows.relabel(node.outputs[0].shape, lambda a: a - 1 + rank if a else None)
    ]  # fmt: skip


RULES: dict[str, Callable[[Additions, Node], Passed | None]] = {
    **dict.fromkeys((*_MOVING, *_PICKING), _moves),
    **dict.fromkeys(_SAME, _same),
    **dict.fromkeys(("add", "sub", "rsub"), _add),
    **dict.fromkeys(("mul", "div"), _multiple),
    **dict.fromkeys(("mean", "sum"), _mean),
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), _product),
    **dict.fromkeys(("native_batch_norm", "_native_batch_norm_legit", "native_group_norm",
                     "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "convolution"),
                    _bias(2)),
    "native_layer_norm": _bias(3), "neg": _negative, "embedding": _embedding,
}  # fmt: skip
