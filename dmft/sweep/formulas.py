"""Settings that follow from axes: arithmetic that is read, never run as code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dmft.errors import InputError
from dmft.validation import echo, nearest_key

_LONGEST = 500  # characters
_OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.Div: operator.truediv, ast.Pow: operator.pow,
}  # fmt: skip
_SIGNS: dict[type, Callable[[float], float]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}


@dataclass(frozen=True)
class Formula:
    """Arithmetic of numbers, names of axes, + - * / **, and the functions of `FUNCTIONS`."""

    FUNCTIONS: ClassVar[dict[str, Callable[..., float]]] = {
        "exp": math.exp, "log": math.log, "log10": math.log10, "sqrt": math.sqrt, "abs": abs,
        "min": min, "max": max, "round": round, "floor": math.floor, "ceil": math.ceil,
    }  # fmt: skip

    text: str
    tree: ast.expr
    where: str

    @classmethod
    def read(cls, text: Any, where: str) -> Formula:
        """Parse a formula.

        Raises
        ------
        InputError : anything else than arithmetic.
        """
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
            raise InputError(
                f"given {echo(text)}, must be text of at most {_LONGEST} characters", where
            )
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise InputError(f"given {echo(text)}, which is no formula", where) from None
        formula = cls(text, tree, where)
        for node in formula._nodes(tree):
            formula._check(node)
        return formula

    @property
    def names(self) -> set[str]:
        """Axes that it depends on."""
        return {node.id for node in self._nodes(self.tree) if isinstance(node, ast.Name)}

    def check_names(self, allowed: list[str]) -> None:
        """Refuse names that are no axes.

        Raises
        ------
        InputError : it names the nearest axis.
        """
        for name in sorted(self.names - set(allowed)):
            message = nearest_key(name, allowed).replace("unknown key", f"'{name}' is no axis")
            raise InputError(message, self.where)

    def value(self, axes: Mapping[str, Any]) -> float:
        """The number at a point, from the values of the axes by name.

        Raises
        ------
        InputError : it is none there.
        """
        try:
            found = self._value(self.tree, axes)
        except (ArithmeticError, ValueError, TypeError) as error:
            raise self._undefined(axes, str(error)) from None
        if isinstance(found, complex) or not math.isfinite(found):
            raise self._undefined(axes, "no finite number")
        return float(found)

    def _undefined(self, axes: Mapping[str, Any], why: str) -> InputError:
        point = ", ".join(f"{name}={echo(axes[name])}" for name in sorted(self.names))
        return InputError(
            f"given {echo(self.text)}, which is undefined at {point} ({why})", self.where
        )

    def _nodes(self, node: ast.expr) -> Iterator[ast.AST]:
        """All nodes, names of functions left out."""
        yield node
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) and not (
                isinstance(node, ast.Call) and child is node.func
            ):
                yield from self._nodes(child)

    def _check(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            known = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        elif isinstance(node, ast.BinOp):
            known = type(node.op) in _OPERATORS
        elif isinstance(node, ast.UnaryOp):
            known = type(node.op) in _SIGNS
        elif isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            starred = any(isinstance(argument, ast.Starred) for argument in node.args)
            known = name in self.FUNCTIONS and bool(node.args) and not (node.keywords or starred)
        else:
            known = isinstance(node, ast.Name)
        if not known:
            raise InputError(
                f"given {echo(self.text)}, allowed: numbers, names of axes, + - * / **, and "
                f"{', '.join(self.FUNCTIONS)}",
                self.where,
            )

    def _value(self, node: ast.expr, axes: Mapping[str, Any]) -> float:
        if isinstance(node, ast.Constant):
            return float(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.Name):
            value = axes[node.id]
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{node.id} is no number")
            return float(value)
        if isinstance(node, ast.UnaryOp):
            return _SIGNS[type(node.op)](self._value(node.operand, axes))
        if isinstance(node, ast.BinOp):
            left, right = self._value(node.left, axes), self._value(node.right, axes)
            return _OPERATORS[type(node.op)](left, right)
        assert isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        arguments = [self._value(argument, axes) for argument in node.args]
        return float(self.FUNCTIONS[node.func.id](*arguments))
