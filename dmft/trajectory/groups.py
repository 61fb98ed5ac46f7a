"""Names of tensors put together: by tensor, module, layer, projection and head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from dmft.trajectory.attention import Part

Grouping = Literal["tensor", "module", "layer", "projection", "head"]


def layer_of(name: str) -> str:
    """The name up to its first number: "model.layers.3.mlp.up.weight" -> "model.layers.3".

    Without a number, the module.
    """
    words = name.split(".")
    for i, word in enumerate(words[:-1]):
        if word.isdecimal():
            return ".".join(words[: i + 1])
    return module_of(name)


def module_of(name: str) -> str:
    """The name without its last word: weight and bias together."""
    return name.rpartition(".")[0] or name


def _projection(part: Part) -> str | None:
    return part.projection and f"{layer_of(part.tensor)} {part.projection}"


def _head(part: Part) -> str | None:
    if part.head is None:
        return None
    return f"{layer_of(part.tensor)} {part.projection} head {part.head}"


# What a part belongs to; None leaves it out.
GROUPINGS: dict[str, Callable[[Part], str | None]] = {
    "tensor": lambda part: part.tensor,
    "module": lambda part: module_of(part.tensor),
    "layer": lambda part: layer_of(part.tensor),
    "projection": _projection,
    "head": _head,
}
