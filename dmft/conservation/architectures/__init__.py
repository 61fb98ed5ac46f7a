"""Architectures as small settings objects; `parse_architecture` reads their tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dmft.conservation.architectures.attention import Attention
from dmft.conservation.architectures.base import Architecture
from dmft.conservation.architectures.convolution import Convolution
from dmft.conservation.architectures.custom import Polynomial
from dmft.conservation.architectures.diagonal import Diagonal, Symmetric
from dmft.conservation.architectures.glu import GLU
from dmft.conservation.architectures.mlp import MLP
from dmft.conservation.architectures.moe import MixtureOfExperts
from dmft.conservation.architectures.norms import NormLayer
from dmft.conservation.architectures.transformer import Transformer
from dmft.errors import InputError
from dmft.validation import echo, nearest_key

__all__ = [
    "GLU", "KINDS", "MLP", "Architecture", "Attention", "Convolution", "Diagonal",
    "MixtureOfExperts", "NormLayer", "Polynomial", "Symmetric", "Transformer",
    "parse_architecture",
]  # fmt: skip

# Names for users: the class, and the settings that the name implies.
KINDS: dict[str, tuple[type[Architecture], dict[str, Any]]] = {
    "mlp": (MLP, {}),
    **{
        name: (MLP, {"activation": name})
        for name in (
            "linear", "relu", "leaky-relu", "power", "gelu", "silu", "tanh", "sigmoid", "softplus"
        )
    },
    "glu": (GLU, {}),
    "swiglu": (GLU, {"gate": "silu"}),
    "geglu": (GLU, {"gate": "gelu"}),
    "reglu": (GLU, {"gate": "relu"}),
    "bilinear": (GLU, {"gate": "linear"}),
    "convolution": (Convolution, {}),
    "attention": (Attention, {}),
    "moe": (MixtureOfExperts, {}),
    "norm": (NormLayer, {}),
    "transformer": (Transformer, {}),
    "gpt2": (
        Transformer,
        {"norm": "layer", "position": "learned", "feed_forward": "gelu", "bias": True},
    ),
    "llama": (
        Transformer,
        {"norm": "rms", "position": "rotary", "feed_forward": "swiglu", "bias": False},
    ),
    "diagonal": (Diagonal, {}),
    "symmetric": (Symmetric, {}),
    "polynomial": (Polynomial, {}),
}  # fmt: skip


def parse_architecture(table: Mapping[str, Any]) -> Architecture:
    """An architecture from a table with the key `kind`, for example of a TOML file.

    Raises
    ------
    InputError : unknown kind or key, or a value outside its range.

    Examples
    --------
    >>> parse_architecture({"kind": "relu", "widths": [2, 3, 1], "bias": True}).dimension
    12
    """
    given = dict(table)
    kind = given.pop("kind", None)
    if kind is None:
        raise InputError("required, but not given", "kind")
    if not isinstance(kind, str):
        raise InputError(f"given {echo(kind)}, must be a name", "kind")
    if kind not in KINDS:
        raise InputError(nearest_key(kind, list(KINDS)).replace("key", f"kind '{kind}'"), "kind")
    model, implied = KINDS[kind]
    for key, value in implied.items():
        if given.setdefault(key, value) != value:
            raise InputError(f"given {echo(given[key])}, kind '{kind}' implies {value!r}", key)
    return model(**given)
