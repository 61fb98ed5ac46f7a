"""Multilayer perceptrons: linear, rectified, homogeneous, with any other activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from dmft.conservation.architectures.base import Architecture, Widths
from dmft.conservation.law import Law, squares, upper
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.tensor import Tensor

Activation = Literal[
    "linear", "relu", "leaky-relu", "power", "gelu", "silu", "tanh", "sigmoid", "softplus"
]


class MLP(Architecture):
    """W_L sigma(... sigma(W_1 x + b_1) ...) + b_L.

    widths : of the input, the hidden layers and the output.
    activation : sigma; 'power' is max(z, 0)^degree.
    bias : biases b_i of the hidden layers.
    output_bias : bias b_L of the last layer.
    degree : of homogeneity, for 'power'.
    """

    kind: Literal["mlp"] = "mlp"
    widths: Widths
    activation: Activation = "relu"
    bias: bool = False
    output_bias: bool = False
    degree: int = Field(2, ge=1, le=6)

    @model_validator(mode="after")
    def _one_class_has_no_gradient(self) -> MLP:
        if self.loss == "cross-entropy" and self.widths[-1] < 2:
            raise InputError("given 1 output, must be at least 2 with cross-entropy", "widths")
        return self

    @property
    def depth(self) -> int:
        return len(self.widths) - 1

    def parameters(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for i in range(1, self.depth + 1):
            shapes[f"W{i}"] = (self.widths[i], self.widths[i - 1])
            if self.output_bias if i == self.depth else self.bias:
                shapes[f"b{i}"] = (self.widths[i],)
        return shapes

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        x = draws.inputs(self.widths[0], 1)
        for i in range(1, self.depth + 1):
            x = theta[f"W{i}"] @ x
            if f"b{i}" in theta:
                x = x + theta[f"b{i}"].reshape(-1, 1)
            if i < self.depth:
                x = self._activate(x, draws)
        return x.reshape(-1)

    def _activate(self, z: Tensor, draws: Draws) -> Tensor:
        if self.activation == "power":
            return z**self.degree * draws.pattern(z)
        return draws.activation(self.activation, z)

    def laws(self) -> tuple[Law, ...]:
        if self.flow == "multiplicative":
            return self._multiplicative_laws()
        laws = [law for i in range(1, self.depth) if (law := self._hidden_law(i))]
        if self.loss == "cross-entropy":
            laws += logit_shift(f"W{self.depth}", f"b{self.depth}" if self.output_bias else None)
        return tuple(laws)

    def _hidden_law(self, i: int) -> Law | None:
        inner, outer, bias = f"W{i}", f"W{i + 1}", f"b{i}" if self.bias else None
        if self.activation == "linear":
            return balancedness(inner, outer, bias)
        if self.activation in ("relu", "leaky-relu", "power"):
            return neuron_balance(
                inner, outer, bias, self.degree if self.activation == "power" else 1
            )
        return None

    def _multiplicative_laws(self) -> tuple[Law, ...]:
        if self.activation not in ("linear", "relu", "leaky-relu"):
            return ()
        return tuple(
            neuron_sum(f"W{i}", f"W{i + 1}", f"b{i}" if self.bias else None)
            for i in range(1, self.depth)
        )


def balancedness(inner: str, outer: str, bias: str | None = None) -> Law:
    """W_in W_in^T + b b^T - W_out^T W_out, a symmetric matrix, of a linear hidden layer."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        matrix = p[inner] @ p[inner].T - p[outer].T @ p[outer]
        if bias:
            column = p[bias].reshape(-1, 1)
            matrix = matrix + column @ column.T
        return upper(matrix)

    plus = f" + {bias} {bias}^T" if bias else ""
    latex_plus = f" + {tex(bias)} {tex(bias)}^\\top" if bias else ""
    return Law(
        f"balance {inner}-{outer}",
        f"{inner} {inner}^T{plus} - {outer}^T {outer}",
        f"{tex(inner)} {tex(inner)}^\\top{latex_plus} - {tex(outer)}^\\top {tex(outer)}",
        evaluate,
    )


def neuron_balance(inner: str, outer: str, bias: str | None = None, degree: int = 1) -> Law:
    """|W_in[k,:]|^2 + b_k^2 - degree |W_out[:,k]|^2 of every hidden neuron k."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        value = squares(p[inner], -1) - degree * squares(p[outer], -2)
        return value + p[bias] * p[bias] if bias else value

    times = f"{degree} " if degree > 1 else ""
    plus = f" + {bias}[k]^2" if bias else ""
    latex_plus = f" + ({tex(bias)})_k^2" if bias else ""
    return Law(
        f"neurons {inner}-{outer}",
        f"|{inner}[k,:]|^2{plus} - {times}|{outer}[:,k]|^2",
        f"\\|({tex(inner)})_{{k:}}\\|^2{latex_plus} - {times}\\|({tex(outer)})_{{:k}}\\|^2",
        evaluate,
    )


def neuron_sum(inner: str, outer: str, bias: str | None = None) -> Law:
    """sum W_in[k,:] + b_k - sum W_out[:,k], for theta' = -theta * grad."""

    def evaluate(p: Mapping[str, Any]) -> Any:
        value = p[inner].sum(-1) - p[outer].sum(-2)
        return value + p[bias] if bias else value

    plus = f" + {bias}[k]" if bias else ""
    latex_plus = f" + ({tex(bias)})_k" if bias else ""
    return Law(
        f"neuron sums {inner}-{outer}",
        f"sum_j {inner}[k,j]{plus} - sum_j {outer}[j,k]",
        f"\\sum_j ({tex(inner)})_{{kj}}{latex_plus} - \\sum_j ({tex(outer)})_{{jk}}",
        evaluate,
    )


def logit_shift(weight: str, bias: str | None) -> list[Law]:
    """Column sums of the last layer under cross-entropy: a common shift of all logits is free."""
    laws = [
        Law(
            f"column sums {weight}",
            f"sum_i {weight}[i,j]",
            f"\\sum_i ({tex(weight)})_{{ij}}",
            lambda p: p[weight].sum(-2),
        )
    ]
    if bias:
        laws.append(
            Law(f"sum {bias}", f"sum_i {bias}[i]", f"\\sum_i ({tex(bias)})_i",
                lambda p: p[bias].sum(-1))
        )  # fmt: skip
    return laws


def tex(name: str | None) -> str:
    """The name of a parameter in LaTeX: W1 gets its number as a subscript."""
    if name is None:
        return ""
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    head = letters if len(letters) == 1 else "\\mathrm{" + letters.replace("_", "\\_") + "}"
    return f"{head}_{{{digits}}}" if digits else head
