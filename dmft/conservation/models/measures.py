"""What is measured of a law: its size, and quantities of its form that are not conserved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dmft.conservation.models.forms import ModelLaw


def weighted_sum(parts: list[Any], weights: Sequence[float]) -> Any:
    """The value of a law from its parts."""
    total = parts[0] * weights[0]
    for part, weight in zip(parts[1:], weights[1:], strict=True):
        total = total + weight * part
    return total


def size_of(law: ModelLaw, tensors: Mapping[str, Any]) -> Any:
    """Mean size of what is added and subtracted, which rounding errors scale with."""
    parts = law.parts(tensors)
    size = sum(abs(w) * p.abs().mean() for w, p in zip(law.weights, parts, strict=True))
    return size.clamp_min(1e-30)


def inverse(start: Any) -> Any:
    """1 / (n |h(0)|) for the n quantities that do not start at zero, 0 for the others."""
    nonzero = start != 0
    inverse = nonzero / start.abs().where(nonzero, 1.0)
    return inverse / nonzero.sum()  # all zero: not a number


def control(law: ModelLaw, tensors: Mapping[str, Any], parts: list[Any]) -> Any:
    """The same differences between rows that do not belong together; not conserved.

    A law with one term only is replaced by the same over half of the entries; None if there is
    one entry.
    """
    if len(parts) > 1 and parts[0].numel() > 1:
        axes: tuple[int, ...] = (-2, -1) if law.form == "gram" else (-1,)
        if parts[0].shape[-1] == 1:
            axes = (0,)
        shifts = [1] * len(axes)
        rolled = [
            part if weight > 0 else part.roll(shifts, axes)
            for part, weight in zip(parts, law.weights, strict=True)
        ]
        return law.flatten(weighted_sum(rolled, law.weights))
    if law.form == "gram":
        return None
    x = law.terms[0].slot.of(tensors)
    if x.ndim == law.rows or x.shape[-1] < 2:
        return None
    half = x.narrow(-1, 0, x.shape[-1] // 2)
    rest = tuple(range(law.rows, half.ndim))
    return ((half * half) if law.form == "squares" else half).sum(rest).reshape(-1)
