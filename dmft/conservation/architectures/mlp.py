"""Multilayer perceptrons: linear, rectified, homogeneous, with any other activation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from dmft.conservation.architectures.base import Architecture, Widths
from dmft.conservation.catalogue import (
    angular_momentum,
    balancedness,
    logit_shift,
    neuron_balance,
    neuron_sum,
)
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.law import Law
    from dmft.conservation.tensor import Tensor

Activation = Literal[
    "linear", "relu", "leaky-relu", "power", "gelu", "silu", "tanh", "sigmoid", "softplus"
]


class MLP(Architecture):
    """Multilayer perceptron W_L sigma(... sigma(W_1 x + b_1) ...) + b_L.

    widths : of the input, the hidden layers and the output.
    activation : sigma; 'power' is max(z, 0)^exponent.
    bias : biases b_i of the hidden layers.
    output_bias : bias b_L of the last layer.
    exponent : for 'power', which is homogeneous of that degree.
    """

    kind: Literal["mlp"] = "mlp"
    widths: Widths
    activation: Activation = "relu"
    bias: bool = False
    output_bias: bool = False
    exponent: int = Field(2, ge=1, le=6)

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
            return z**self.exponent * draws.pattern(z)
        return draws.activation(self.activation, z)

    def gradient_laws(self) -> tuple[Law, ...]:
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
                inner, outer, bias, self.exponent if self.activation == "power" else 1
            )
        return None

    def momentum_laws(self) -> tuple[Law, ...]:
        if self.activation != "linear":
            return ()
        return tuple(
            angular_momentum(f"W{i}", f"W{i + 1}", f"b{i}" if self.bias else None)
            for i in range(1, self.depth)
        )

    def multiplicative_laws(self) -> tuple[Law, ...]:
        if self.activation not in ("linear", "relu", "leaky-relu"):
            return ()
        return tuple(
            neuron_sum(f"W{i}", f"W{i + 1}", f"b{i}" if self.bias else None)
            for i in range(1, self.depth)
        )
