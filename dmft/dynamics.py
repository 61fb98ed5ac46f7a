"""How the weights move: continuous-time gradient flow of the ridge-penalised loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dmft.validation import Settings, register_kinds


class GradientFlow(Settings):
    """Gradient flow of 1/2 |Xw - y|^2 + (weight_decay/2) |parameters|^2."""

    kind: Literal["gradient-flow"] = "gradient-flow"
    weight_decay: float = Field(0.0, ge=0)


Dynamics = GradientFlow
register_kinds("gradient-flow")
