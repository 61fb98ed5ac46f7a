"""Networks that are products of numbers or squares of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from dmft.conservation.architectures.base import Architecture, Size, split_list
from dmft.conservation.law import Law

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.tensor import Tensor


class Diagonal(Architecture):
    """Diagonal linear network, w = u_1 * ... * u_L or w = u_1^L - u_2^L, output <w, x>.

    dimension_of_inputs : d, the number of coordinates.
    depth : L.
    form : 'product' or 'difference'.
    """

    kind: Literal["diagonal"] = "diagonal"
    dimension_of_inputs: Size = 2
    depth: int = Field(2, ge=1, le=16)
    form: Literal["product", "difference"] = "product"

    def parameters(self) -> dict[str, tuple[int, ...]]:
        factors = self.depth if self.form == "product" else 2
        return {f"u{i}": (self.dimension_of_inputs,) for i in range(1, factors + 1)}

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        if self.form == "product":
            w = theta["u1"]
            for i in range(2, self.depth + 1):
                w = w * theta[f"u{i}"]
        else:
            w = theta["u1"] ** self.depth - theta["u2"] ** self.depth
        return (w * draws.inputs(self.dimension_of_inputs)).sum(-1).reshape(1)

    def gradient_laws(self) -> tuple[Law, ...]:
        if self.form == "product":
            return tuple(_difference_of_squares(f"u{i}", f"u{i + 1}") for i in range(1, self.depth))
        return (_law_of_difference(self.depth),)


def _difference_of_squares(a: str, b: str) -> Law:
    return Law(
        f"balance {a}-{b}",
        f"{a}[i]^2 - {b}[i]^2",
        f"({a[0]}_{{{a[1:]}}})_i^2 - ({b[0]}_{{{b[1:]}}})_i^2",
        lambda p: p[a] * p[a] - p[b] * p[b],
    )


def _law_of_difference(depth: int) -> Law:
    """For u' = -L u^(L-1) x, v' = L v^(L-1) x."""
    if depth == 1:
        return Law("sum", "u1[i] + u2[i]", "(u_1)_i + (u_2)_i", lambda p: p["u1"] + p["u2"],
                   degree=1)  # fmt: skip
    if depth == 2:
        return Law("product", "u1[i] u2[i]", "(u_1)_i (u_2)_i", lambda p: p["u1"] * p["u2"])

    def evaluate(p: Mapping[str, Any]) -> Any:
        u, v = p["u1"] ** (depth - 2), p["u2"] ** (depth - 2)
        return 1 / u + 1 / v

    n = depth - 2
    return Law(
        "sum of inverse powers",
        f"u1[i]^-{n} + u2[i]^-{n}",
        f"(u_1)_i^{{-{n}}} + (u_2)_i^{{-{n}}}",
        evaluate,
        degree=None,
    )


class Symmetric(Architecture):
    """Symmetric factorisation U U^T x.

    widths : of the input (and output) and of the factor.
    """

    kind: Literal["symmetric"] = "symmetric"
    widths: Annotated[tuple[Size, Size], BeforeValidator(split_list)]

    def parameters(self) -> dict[str, tuple[int, ...]]:
        return {"U": self.widths}

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        x = draws.inputs(self.widths[0], 1)
        return (theta["U"] @ (theta["U"].T @ x)).reshape(-1)

    def gradient_laws(self) -> tuple[Law, ...]:
        n, r = self.widths
        if r <= n:
            return ()
        return (
            Law(
                "row space",
                f"U[:,:{n}]^-1 U[:,{n}:], coordinates of the row space of U",
                f"U_{{:,1..{n}}}^{{-1}} U_{{:,{n + 1}..{r}}}",
                lambda p: _row_space(p["U"], n),
                degree=None,
            ),
        )


def _row_space(matrix: Any, n: int) -> Any:
    """Entries of the reduced echelon form to the right of the first n columns."""
    rows = [matrix[i] for i in range(n)]
    for i in range(n):
        rows[i] = rows[i] * (1 / rows[i][i : i + 1])
        for j in range(n):
            if j != i:
                rows[j] = rows[j] - rows[i] * rows[j][i : i + 1]
    return _join([row[n:] for row in rows])


def _join(vectors: list[Any]) -> Any:
    """Vectors of one length as one, by operators that every kind of array has."""
    import numpy as np

    size = vectors[0].shape[0]
    total = 0
    for i, vector in enumerate(vectors):
        place = np.zeros((size, size * len(vectors)), int)
        place[np.arange(size), i * size + np.arange(size)] = 1
        total = total + (vector.reshape(-1, 1) * _like(place, vector)).sum(0)
    return total


def _like(array: Any, sample: Any) -> Any:
    """A constant in the type of `sample`; PyTorch wants tensors of its own."""
    return sample.new_tensor(array) if hasattr(sample, "new_tensor") else array
