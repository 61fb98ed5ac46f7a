"""The scales of all parameters that a forward pass does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from dmft.conservation.models.tracing import layers, moving, picking, scales
from dmft.conservation.models.tracing.recording import Node, Trace, Value
from dmft.conservation.models.tracing.rules import FIXING, RULES, fix, zeros
from dmft.conservation.models.tracing.scales import Scale, Term
from dmft.conservation.models.tracing.unknowns import Solution, Unknowns

# All register theirs in one table.
_RULES = {**RULES, **layers.RULES, **moving.RULES, **picking.RULES}
_ONE = Fraction(1)


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
        self._spent: set[str] = set()
        convolved = {
            node.arguments[1].index for node in self.trace.nodes
            if node.op == "convolution"
        }  # fmt: skip
        for name, value in self.trace.parameters.items():
            scale = self._free(name, value, value.index in convolved)
            self.parameters[name] = self._scales[value.index] = scale
        for node in self.trace.nodes:
            self._visit(node)
        for _, value in self.trace.outputs:
            scales.require_none(self.unknowns, self.of(value))
        self._fix_what_is_twice()
        return self.unknowns.solve()

    def of(self, value: Any) -> Scale:
        """The scale of a value; of a number or a constant, none."""
        if not isinstance(value, Value):
            return Scale(())
        return self._scales.get(value.index) or Scale(value.shape)

    def _free(self, name: str, value: Value, convolved: bool) -> Scale:
        """A free scale for each row and each column."""
        shape = value.shape
        long = [a for a, n in enumerate(shape) if n > 1]
        if not long:
            choices: list[tuple[int, ...]] = [()]
        elif convolved:
            choices = [(0,), (1,)] if shape[1] > 1 else [(0,)]
        elif len(shape) == 3 and len(long) == 3:  # one matrix for each expert
            choices = [(0, 1), (0, 2)]
        else:
            choices = [(a,) for a in long]
        terms = []
        for axes in choices:
            ids = self.unknowns.new([shape[a] for a in axes])
            terms.append(Term(_ONE, axes, ids))
            if len(choices) > 1:
                self._twice[int(ids.flat[0])] = name
        return Scale(shape, tuple(terms))

    def _visit(self, node: Node) -> None:
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
            if scale.shape != value.shape:
                scales.require_none(self.unknowns, scale)
                scale = Scale(value.shape)
            self._scales[value.index] = scale

    def contract(self, scale: Scale, axes: Sequence[int]) -> Scale:
        """The scale of a sum; the freedom that a parameter has twice is used up at once."""
        for n, term in enumerate(scale.terms):
            own = [self._twice.get(int(term.ids.flat[0]))] if term.ids.size else []
            if not own or own[0] is None or own[0] in self._spent or abs(term.weight) != 1:
                continue
            if not set(term.axes) & set(axes):
                continue
            group = next(g for g in scales.groups(scale) if set(g.axes) & set(term.axes))
            if self._is_function_of(term, group, axes):
                self._spent.add(own[0])
                ordered = (term, *scale.terms[:n], *scale.terms[n + 1 :])
                return scales.contract(self.unknowns, Scale(scale.shape, ordered), axes, free=True)
        return scales.contract(self.unknowns, scale, axes)

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
        for name, scale in self.parameters.items():
            choices = scale.terms
            if len(choices) < 2:
                continue
            keep = len(choices) - 1 - (name in self._spent)
            for term in choices[:keep]:
                if len(term.axes) == 1:
                    self.unknowns.require([(_ONE, term.ids[:1])])
                else:
                    self.unknowns.require([(_ONE, term.ids[:, 0])])
