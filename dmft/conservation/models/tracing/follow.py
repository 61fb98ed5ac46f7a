"""The scales of all parameters that a forward pass does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np

from dmft.conservation.models.tracing import layers, moving, picking, scales
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.rules import FIXING, RULES, SUMS, fix, zeros
from dmft.conservation.models.tracing.scales import Scale, Term
from dmft.conservation.models.tracing.starts import array, fix_repeated, orbits, starts
from dmft.conservation.models.tracing.unknowns import Solution, Unknowns

# All register theirs in one table.
_RULES = {**RULES, **layers.RULES, **moving.RULES, **picking.RULES}
_ONE = Fraction(1)
_MANY_ZEROS = 100_000


def live(trace: Trace) -> list[Node]:
    """Operations that pass gradients to the parameters; those that yield whole numbers do not."""
    wanted = {value.index for _, value in trace.outputs}
    found = []
    for node in reversed(trace.nodes):
        if any(value.index in wanted and not value.whole for value in node.outputs):
            found.append(node)
            wanted.update(value.index for value in node.inputs)
    return found[::-1]


@dataclass
class Follow:
    """Follows the scales through a trace.

    ignore_eps : take every small number that is added for zero, to see what it breaks.
    """

    trace: Trace
    ignore_eps: bool = False
    unknowns: Unknowns = field(default_factory=Unknowns)
    parameters: dict[str, Scale] = field(default_factory=dict)
    unknown_operations: dict[str, int] = field(default_factory=dict)

    def run(self) -> Solution:
        """Follow all operations and solve."""
        self._scales: dict[int, Scale] = {}
        self._twice: dict[int, str] = {}  # first unknown of an array: parameter
        self._loose: set[int] = set()  # values whose scale is any, since they are made of zeros
        self._any = False  # whether an operand of the present operation is such a value
        self._left: dict[str, int] = {}  # parameter: how many arrays more than one are free
        self._starts = starts(self.trace)
        for name, value in self.trace.parameters.items():
            scale = self._free(name, value)
            self.parameters[name] = self._scales[value.index] = scale
        for node in self.trace.nodes:
            self._visit(node)
        for _, value in self.trace.outputs:
            scales.require_none(self.unknowns, self.of(value))
        self._fix_what_is_twice()
        return self.unknowns.solve(
            [term.ids for scale in self.parameters.values() for term in scale.terms]
        )

    def of(self, value: Any) -> Scale:
        """The scale of a value; of a number or a constant none, of zeros any."""
        if not isinstance(value, Value):
            return Scale(())
        if value.zero and value.index not in self._scales and prod(value.shape) <= _MANY_ZEROS:
            ids = self.unknowns.new(value.shape)
            every = tuple(range(len(value.shape)))
            self._scales[value.index] = Scale(value.shape, (Term(_ONE, every, ids),))
            self._loose.add(value.index)
        return self._scales.get(value.index) or Scale(value.shape)

    def loose(self, value: Any) -> bool:
        """Whether the scale of a value comes from that of zeros."""
        return isinstance(value, Value) and (value.zero or value.index in self._loose)

    def _free(self, name: str, value: Value) -> Scale:
        """A free scale for each row and each column."""
        terms = []
        for start in self._starts[name]:
            ids = array(self.unknowns, value.shape, start)
            terms.append(Term(_ONE, start.axes, ids))
            self._twice[int(ids.flat[0])] = name
        self._left[name] = max(len(terms) - 1, 0)
        return Scale(value.shape, tuple(terms))

    def _visit(self, node: Node) -> None:
        loose = [self.loose(value) for value in node.inputs]
        self._any = any(loose)
        if self._any and (node.op not in SUMS or all(loose)):
            self._loose.update(value.index for value in node.outputs)
        apply = _RULES.get(node.op)
        found: Any = None
        if apply is not None:
            try:
                found = apply(self, node)
            except (IndexError, ValueError, TypeError, KeyError, StopIteration):
                found = None  # a form of the operation that the rule does not know
        if found is None:
            fix(self, node.inputs)
            found = zeros(node)
            if node.op not in FIXING:
                self.unknown_operations[node.op] = self.unknown_operations.get(node.op, 0) + 1
        for value, scale in zip(node.outputs, [found] if isinstance(found, Scale) else found,
                                strict=True):  # fmt: skip
            if value.zero:  # takes any scale, whatever it was made like
                continue
            if scale.shape != value.shape:
                scales.require_none(self.unknowns, scale)
                scale = Scale(value.shape)
            self._scales[value.index] = scale

    def contract(self, scale: Scale, axes: Sequence[int]) -> Scale:
        """The scale of a sum; the freedom that a parameter has twice is used up at once."""
        summed = Scale(scale.shape, tuple(t for t in scale.terms if set(t.axes) & set(axes)))
        gone = set()
        for group in scales.groups(summed):
            for term in summed.terms:
                if not set(group.axes) & set(term.axes) or abs(term.weight) != 1:
                    continue
                name = self._twice.get(int(term.ids.flat[0])) if term.ids.size else None
                if (
                    name
                    and self._left[name]
                    and not self._any
                    and self._is_function_of(term, group, axes)
                ):
                    self._left[name] -= 1
                    gone.add(group.axes)
                    break
        return scales.contract(self.unknowns, scale, axes, gone=gone)

    def _is_function_of(self, term: Term, group: scales.Group, axes: Sequence[int]) -> bool:
        """Whether the rows of a group repeat wherever those of a term do."""
        rest = [n for n, a in enumerate(group.axes) if a not in axes]
        if not rest:
            return True
        if not set(term.axes) - set(axes):
            return False
        over = [n for n in range(len(group.axes)) if n not in rest]
        count = int(np.prod([group.parts[0][1].shape[n] for n in rest]))
        tables = [ids.transpose(rest + over).reshape(count, -1) for _, ids in group.parts]
        own = next((t for (_, ids), t in zip(group.parts, tables, strict=True)
                    if int(ids.flat[0]) == int(term.ids.flat[0])), None)  # fmt: skip
        if own is None:
            return False
        _, first, which = np.unique(own[:, 0], return_index=True, return_inverse=True)
        return all(bool((t == t[first[which.reshape(-1)]]).all()) for t in tables)

    def _fix_what_is_twice(self) -> None:
        """Rows times s and columns by s is nothing at all."""
        tables = {
            name: [
                orbits(term.ids, start, [s for s in own if s is not start])
                for term, start in zip(self.parameters[name].terms, own, strict=True)
            ]
            for name, own in self._starts.items()
        }
        fix_repeated(self.unknowns, tables, self._left)
