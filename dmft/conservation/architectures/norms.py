"""Normalisation layers between two matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, model_validator

from dmft.conservation.architectures.base import Architecture, Size, split_list
from dmft.conservation.catalogue import gain_balance, logit_shift, output_sum, total_square
from dmft.conservation.law import Law
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.tensor import Tensor

Norm = Literal["layer", "rms"]


class NormLayer(Architecture):
    """Normalisation between two matrices, W (g * norm(U x) + b).

    widths : of the input, of what is normalised, and of the output.
    norm : 'layer' subtracts the mean and has a bias b, 'rms' does not.
    eps : a constant is added under the root.
    """

    kind: Literal["norm"] = "norm"
    widths: Annotated[tuple[Size, Size, Size], BeforeValidator(split_list)] = (3, 4, 3)
    norm: Norm = "layer"
    eps: bool = False

    @model_validator(mode="after")
    def _has_a_variance(self) -> NormLayer:
        if self.norm == "layer" and self.widths[1] < 2:
            raise InputError("given 1, must be at least 2 for the norm 'layer'", "widths.1")
        return self

    def parameters(self) -> dict[str, tuple[int, ...]]:
        inputs, width, outputs = self.widths
        shapes: dict[str, tuple[int, ...]] = {"U": (width, inputs)}
        shapes |= norm_shapes("", width, self.norm)
        return {**shapes, "W": (outputs, width)}

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        x = (theta["U"] @ draws.inputs(self.widths[0], 1)).reshape(-1)
        normalised = normalise(theta, "", x, self.norm, self.eps, draws)
        return (theta["W"] @ normalised.reshape(-1, 1)).reshape(-1)

    def gradient_laws(self) -> tuple[Law, ...]:
        laws = [gain_balance(list(norm_shapes("", 1, self.norm)), ["W"])]
        if self.norm == "layer":
            laws.append(output_sum("U"))
        if not self.eps:
            laws.append(total_square(["U"], "norm U"))
        if self.loss == "cross-entropy":
            laws += logit_shift("W")
        return tuple(laws)


def norm_shapes(prefix: str, width: int, norm: str) -> dict[str, tuple[int, ...]]:
    """Gain g and, for LayerNorm, bias b."""
    names = ("g", "b") if norm == "layer" else ("g",)
    return {f"{prefix}{name}": (width,) for name in names}


def normalise(
    theta: Mapping[str, Tensor], prefix: str, x: Tensor, norm: str, eps: bool, draws: Draws
) -> Tensor:
    """LayerNorm or RMSNorm over the last axis, with gain and bias."""
    width = x.shape[-1]
    if norm == "layer":
        x = x - x.sum(-1, keepdims=True) / width
    square = (x * x).sum(-1, keepdims=True) / width
    if eps:
        square = square + draws.constant("eps", [1e-5])
    x = x * draws.inverse_root(square) * theta[f"{prefix}g"]
    return x + theta[f"{prefix}b"] if norm == "layer" else x
