"""Names of tensors put together: by tensor, module, layer, projection and head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from dmft.errors import InputError
from dmft.trajectory.attention import Part, attention_module

Grouping = Literal["tensor", "module", "layer", "projection", "head"]
GROUPINGS = ("tensor", "module", "layer", "projection", "head")


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


def labels(parts: Sequence[Part], grouping: str) -> list[str | None]:
    """The group that each part belongs to; None leaves it out.

    Raises
    ------
    InputError : an unknown grouping.
    """
    if grouping not in GROUPINGS:
        raise InputError(f"given '{grouping}', allowed: {', '.join(GROUPINGS)}", "by")
    if grouping in ("projection", "head"):
        return _of_attention(parts, heads=grouping == "head")
    if grouping == "tensor":
        return [part.tensor for part in parts]
    of = module_of if grouping == "module" else layer_of
    return [of(part.tensor) for part in parts]


def _of_attention(parts: Sequence[Part], *, heads: bool) -> list[str | None]:
    """Projections of a layer; where it has several attentions (self, cross), of each of them."""
    modules: dict[str, set[str]] = {}
    for part in parts:
        if part.projection is not None:
            modules.setdefault(layer_of(part.tensor), set()).add(attention_module(part))
    found: list[str | None] = []
    for part in parts:
        if part.projection is None:
            found.append(None)
            continue
        layer = layer_of(part.tensor)
        several = len(modules[layer]) > 1
        label = f"{attention_module(part) if several else layer} {part.projection}"
        found.append(f"{label} head {part.head}" if heads else label)
    return found
