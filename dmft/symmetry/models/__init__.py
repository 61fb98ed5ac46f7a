"""Small models with exponential symmetries, each with gradients in closed form."""

from typing import Annotated

from pydantic import Field

from dmft.symmetry.models.base import Model
from dmft.symmetry.models.data import SyntheticData
from dmft.symmetry.models.diagonal import DiagonalNetwork
from dmft.symmetry.models.scale_invariant import ScaleInvariant
from dmft.symmetry.models.two_layer import TwoLayer, TwoLayerLinear, TwoLayerTanh
from dmft.validation import register_kinds

AnyModel = Annotated[
    DiagonalNetwork | ScaleInvariant | TwoLayerLinear | TwoLayerTanh, Field(discriminator="kind")
]
register_kinds("diagonal", "scale-invariant", "two-layer-linear", "two-layer-tanh")

__all__ = [
    "AnyModel", "DiagonalNetwork", "Model", "ScaleInvariant", "SyntheticData", "TwoLayer",
    "TwoLayerLinear", "TwoLayerTanh",
]  # fmt: skip
