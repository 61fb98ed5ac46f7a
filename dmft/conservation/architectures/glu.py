"""Gated linear units: SwiGLU, GEGLU, ReGLU, bilinear."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator

from dmft.conservation.architectures.base import Architecture, Size, split_list
from dmft.conservation.catalogue import logit_shift, neuron_balance

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.law import Law
    from dmft.conservation.tensor import Tensor

Gate = Literal["silu", "gelu", "sigmoid", "tanh", "relu", "linear"]


class GLU(Architecture):
    """Gated linear unit A (sigma(B x) * C x).

    widths : of the input, the hidden layer and the output.
    gate : sigma; 'silu' is SwiGLU, 'gelu' GEGLU, 'relu' ReGLU, 'linear' the bilinear layer.
    """

    kind: Literal["glu"] = "glu"
    widths: Annotated[tuple[Size, Size, Size], BeforeValidator(split_list)]
    gate: Gate = "silu"

    def parameters(self) -> dict[str, tuple[int, ...]]:
        return glu_shapes("", *self.widths)

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        return glu(theta, "", draws.inputs(self.widths[0], 1), self.gate, draws).reshape(-1)

    def gradient_laws(self) -> tuple[Law, ...]:
        shift = logit_shift("A") if self.loss == "cross-entropy" else []
        return (*glu_laws("", self.gate), *shift)


def glu_shapes(prefix: str, inputs: int, hidden: int, outputs: int) -> dict[str, tuple[int, ...]]:
    """Parameters of one unit."""
    return {
        f"{prefix}A": (outputs, hidden),
        f"{prefix}B": (hidden, inputs),
        f"{prefix}C": (hidden, inputs),
    }


def glu(theta: Mapping[str, Tensor], prefix: str, x: Tensor, gate: str, draws: Draws) -> Tensor:
    """The unit on columns x (inputs, positions)."""
    hidden = draws.activation(gate, theta[f"{prefix}B"] @ x) * (theta[f"{prefix}C"] @ x)
    return theta[f"{prefix}A"] @ hidden


def glu_laws(prefix: str, gate: str) -> tuple[Law, ...]:
    """|C_i|^2 - |A_i|^2 always; for a homogeneous gate also |B_i|^2 - |A_i|^2."""
    value = neuron_balance(f"{prefix}C", f"{prefix}A")
    if gate in ("relu", "linear"):
        return (value, neuron_balance(f"{prefix}B", f"{prefix}A"))
    return (value,)
