"""Laws on the parameters of a PyTorch model, as sums over views of its tensors.

No matrix of a quadratic form is ever built. A law is a sum of terms, each of which reads one
parameter through a view (reshape, transpose, slice) and reduces it:

    squares   sum of squares of the entries of each row
    gram      X X^T of the rows X, on and above the diagonal
    sum       sum of the entries of each row

A quadratic law h has g^T A g = h(g): the same function, evaluated at the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

Parameters = Mapping[str, Any]
View = Callable[[Any], Any]
Form = Literal["squares", "gram", "sum"]


def whole(tensor: Any) -> Any:
    """The view of a tensor as it is."""
    return tensor


@dataclass(frozen=True)
class Slot:
    """A part of a parameter, in the shape that a law needs.

    name : of the parameter, as in `model.named_parameters()`.
    view : maps the parameter, or its gradient, to that part; shares memory with it.
    part : what it is, if not the whole parameter.
    """

    name: str
    view: View = whole
    part: str = ""

    def of(self, parameters: Parameters) -> Any:
        """The part itself."""
        return self.view(parameters[self.name])

    def then(self, view: View) -> Slot:
        """Look at the part through another view."""
        first = self.view
        return Slot(self.name, lambda tensor: view(first(tensor)), self.part)

    def __str__(self) -> str:
        return f"{self.name}[{self.part}]" if self.part else self.name


@dataclass(frozen=True)
class Term:
    """`weight` times a reduction of a slot.

    The leading axes of the slot count the rows, all others are reduced. For a Gram matrix the axes
    are (family, copy, row, column), summed over copies and columns.
    """

    slot: Slot
    weight: float = 1.0


@dataclass(frozen=True)
class ModelLaw:
    """A family of conserved quantities of a model.

    Attributes
    ----------
    name : unique within the laws of a model.
    formula : plain text, in the names of the parameters.
    form : squares, gram or sum, see the module.
    terms : what is added up.
    rows : number of leading axes that count rows, for squares and sums.
    shape : of the rows, or (families, rows) for Gram matrices.
    count : number of independent quantities.
    certainty : what it rests on.
    """

    name: str
    formula: str
    form: Form
    terms: tuple[Term, ...]
    shape: tuple[int, ...]
    count: int
    certainty: str
    rows: int = field(default=1)

    @property
    def degree(self) -> int:
        """1 for a linear form, 2 for a quadratic one."""
        return 1 if self.form == "sum" else 2

    @property
    def entries(self) -> int:
        """Number of quantities, whether independent or not."""
        if self.form != "gram":
            return math.prod(self.shape)
        families, size = self.shape
        return families * size * (size + 1) // 2

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the parameters it reads."""
        return tuple(dict.fromkeys(term.slot.name for term in self.terms))

    @property
    def weights(self) -> list[float]:
        """Those of the terms."""
        return [term.weight for term in self.terms]

    def parts(self, parameters: Parameters) -> list[Any]:
        """The reductions of the terms, without their weights, in the shape of the law."""
        return [self._reduce(term.slot.of(parameters)) for term in self.terms]

    def evaluate(self, parameters: Parameters) -> Any:
        """The quantities as a vector, from tensors by name; differentiable."""
        total = None
        for term, part in zip(self.terms, self.parts(parameters), strict=True):
            total = part * term.weight if total is None else total + part * term.weight
        return self.flatten(total)

    def flatten(self, values: Any) -> Any:
        """The quantities of a combination of parts, as a vector."""
        if self.form != "gram":
            return values.reshape(-1)
        upper = _upper(self.shape[1], values.device)
        return values.flatten(1).index_select(1, upper).reshape(-1)

    def _reduce(self, x: Any) -> Any:
        if self.form == "gram":
            gram = x @ x.transpose(-1, -2)
            return gram[:, 0] if gram.shape[1] == 1 else gram.sum(1)
        rest = tuple(range(self.rows, x.ndim))
        if self.form == "sum":
            return x.sum(rest) if rest else x
        return (x * x).sum(rest) if rest else x * x

    def to_table(self) -> dict[str, Any]:
        """A plain table, for JSON."""
        return {
            "name": self.name,
            "formula": self.formula,
            "count": self.count,
            "entries": self.entries,
            "degree": self.degree,
            "certainty": self.certainty,
            "parameters": list(self.parameters),
        }


@lru_cache(maxsize=64)
def _upper(size: int, device: Any) -> Any:
    """Where the entries on and above the diagonal of a flattened square matrix are."""
    import torch

    rows, columns = torch.triu_indices(size, size, device=device)
    return rows * size + columns


def gram_count(families: int, rows: int, columns: int) -> int:
    """Independent entries of `families` differences of Gram matrices of all in all `columns`.

    Beyond `columns` rows the matrices lose rank: r N - N(N-1)/2 in place of r(r+1)/2.
    """
    n = min(rows, columns)
    return families * (rows * n - n * (n - 1) // 2)
