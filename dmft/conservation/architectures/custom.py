"""Gradient flows through polynomials phi(theta) given by the user."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from dmft.conservation.architectures.base import Architecture, split_list
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.tensor import Tensor

_MAX_DEGREE = 32
_NODES = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Name, ast.Constant, ast.Load,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd,
)  # fmt: skip


class Polynomial(Architecture):
    """Polynomials phi(theta) of your own; the data push their values independently.

    phi : polynomials in the parameters, for example "u1*v1, u1*v2"; + - * and ** with integers,
        / by numbers.
    """

    kind: Literal["polynomial"] = "polynomial"
    phi: Annotated[
        tuple[str, ...], BeforeValidator(split_list), Field(min_length=1, max_length=500)
    ]

    _trees: tuple[ast.expr, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _parse(self) -> Polynomial:
        self._trees = tuple(_parse(text) for text in self.phi)
        if not self.parameters():
            raise InputError(f"given {self.phi}, must contain a parameter", "phi")
        return self

    def parameters(self) -> dict[str, tuple[int, ...]]:
        names: dict[str, tuple[int, ...]] = {}
        for text in self.phi:
            found = [node.id for node in ast.walk(_parse(text)) if isinstance(node, ast.Name)]
            names |= dict.fromkeys(found, ())
        return names

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        from dmft.conservation.tensor import concatenate

        zero = draws.constant_array(np.zeros(1))
        return concatenate([zero + _evaluate(tree, theta) for tree in self._trees])


def _parse(text: str) -> ast.expr:
    try:
        tree = ast.parse(text.strip().replace("^", "**"), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"given {text[:60]!r}, must be a polynomial like 'u1*v1 - 2*u2**2'", "phi"
        ) from None
    for node in ast.walk(tree):
        bad = not isinstance(node, _NODES)
        bad |= isinstance(node, ast.Constant) and type(node.value) is not int
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            exponent = node.right.value if isinstance(node.right, ast.Constant) else None
            bad |= type(exponent) is not int or not 1 <= exponent <= _MAX_DEGREE
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            divisor = node.right.value if isinstance(node.right, ast.Constant) else None
            bad |= type(divisor) is not int or divisor == 0
        if bad:
            raise InputError(
                f"given {text[:60]!r}, must be a polynomial: names, integers, + - *, / by an"
                f" integer, ** up to {_MAX_DEGREE}",
                "phi",
            )
    return tree.body


def _evaluate(node: ast.expr, theta: Mapping[str, Tensor]) -> Any:
    if isinstance(node, ast.Name):
        return theta[node.id]
    if isinstance(node, ast.Constant):
        return Fraction(node.value)  # type: ignore[arg-type]
    if isinstance(node, ast.UnaryOp):
        value = _evaluate(node.operand, theta)
        return -value if isinstance(node.op, ast.USub) else value
    assert isinstance(node, ast.BinOp)
    a, b = _evaluate(node.left, theta), _evaluate(node.right, theta)
    if isinstance(node.op, ast.Add):
        return a + b
    if isinstance(node.op, ast.Sub):
        return a - b
    if isinstance(node.op, ast.Mult):
        return a * b
    if isinstance(node.op, ast.Div):
        return a / b
    return a ** int(b)
