"""Which activations are homogeneous; what is not in the tables is not recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Degree of homogeneity f(a z) = a^degree f(z), a > 0, by name of the class; 0 if there is none.
_DEGREES = {
    "Identity": 1, "LinearActivation": 1, "ReLU": 1, "LeakyReLU": 1, "ReLUSquaredActivation": 2,
    "GELU": 0, "GELUActivation": 0, "NewGELUActivation": 0, "GELUTanh": 0, "FastGELUActivation": 0,
    "QuickGELUActivation": 0, "AccurateGELUActivation": 0, "ClippedGELUActivation": 0,
    "SiLU": 0, "SiLUActivation": 0, "Tanh": 0, "Sigmoid": 0, "Softplus": 0, "ELU": 0, "SELU": 0,
    "CELU": 0, "Mish": 0, "MishActivation": 0, "Hardswish": 0, "Hardtanh": 0, "Hardsigmoid": 0,
    "ReLU6": 0, "Softsign": 0, "LogSigmoid": 0, "LaplaceActivation": 0,
}  # fmt: skip
_LINEAR = ("Identity", "LinearActivation")
_KNOWN_PLACES = ("torch.nn.modules.", "transformers.activations")


def degree(activation: torch.nn.Module) -> int | None:
    """Degree of homogeneity, 0 for none, None if the activation is not known."""
    kind = type(activation)
    return _DEGREES.get(kind.__name__) if kind.__module__.startswith(_KNOWN_PLACES) else None


def is_linear(activation: torch.nn.Module) -> bool:
    """Whether it is the identity."""
    return degree(activation) == 1 and type(activation).__name__ in _LINEAR
