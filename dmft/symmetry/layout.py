"""Named tensors as one flat theta, and the symmetries that rescale them against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.symmetry.exponential import ExponentialSymmetry


@dataclass(frozen=True)
class Layout:
    """Where tensors lie in theta: one after the other, each in C order.

    shapes : shape of each tensor by name, in their order.
    """

    shapes: Mapping[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        """P, the length of theta."""
        return sum(_size(shape) for shape in self.shapes.values())

    def flatten(self, tensors: Mapping[str, Any], *, samples: bool = False) -> np.ndarray:
        """theta, shape (P,); or (samples, P) of tensors with the samples along their first axis.

        Raises
        ------
        InputError : a tensor is missing or has another shape.
        """
        parts: list[np.ndarray] = []
        for name, shape in self.shapes.items():
            if name not in tensors:
                raise InputError(f"tensor '{name}' is missing")
            array = np.asarray(tensors[name])
            wanted = ", ".join(map(str, (("samples",) if samples else ()) + shape))
            if array.shape[samples:] != shape or array.ndim != len(shape) + samples:
                raise InputError(f"tensor '{name}' has shape {array.shape}, must be ({wanted})")
            if parts and samples and len(array) != len(parts[0]):
                raise InputError(
                    f"tensor '{name}' has {len(array)} samples, must be {len(parts[0])}"
                )
            parts.append(array.reshape(len(array) if samples else 1, -1))
        theta = np.concatenate(parts, axis=1)
        return theta if samples else theta[0]

    def places(self, name: str) -> np.ndarray:
        """Positions in theta of the entries of a tensor, in its shape.

        Raises
        ------
        InputError : no tensor of this name, the nearest one is named.
        """
        from dmft.validation import nearest_key

        start = 0
        for known, shape in self.shapes.items():
            if known == name:
                return np.arange(start, start + _size(shape)).reshape(shape)
            start += _size(shape)
        raise InputError(f"given '{name}', " + nearest_key(name, list(self.shapes)))


def scaling(layout: Layout, tensors: Sequence[str], name: str = "scaling") -> ExponentialSymmetry:
    """A = 1 on these tensors: their common length is not seen by the loss."""
    return rescaling(layout, tensors, (), name)


def rescaling(
    layout: Layout, up: Sequence[str], down: Sequence[str], name: str = "rescaling"
) -> ExponentialSymmetry:
    """A = 1 on the tensors `up` and -1 on those `down`: one layer grows as the next shrinks."""
    grown = [layout.places(tensor).ravel() for tensor in up]
    shrunk = [layout.places(tensor).ravel() for tensor in down]
    return _signed(layout, grown, shrunk, name)


def unit_rescalings(
    layout: Layout, up: Sequence[str], down: Sequence[str], name: str = "unit"
) -> tuple[ExponentialSymmetry, ...]:
    """One rescaling for each hidden unit, as rectifier and linear layers have.

    Unit j is row j (first axis) of the tensors `up`, weights and biases into it, and column j
    (second axis) of those `down`, weights out of it. All of them commute.

    Raises
    ------
    InputError : the tensors do not agree in the number of units.
    """
    grown = [layout.places(tensor) for tensor in up]
    shrunk = [layout.places(tensor) for tensor in down]
    for tensor, places in zip(down, shrunk, strict=True):
        if places.ndim < 2:
            raise InputError(f"tensor '{tensor}' has shape {places.shape}, must have two axes")
    counts = {len(p) for p in grown} | {p.shape[1] for p in shrunk}
    if len(counts) != 1:
        raise InputError(f"the tensors have {sorted(counts)} units, must be one number")
    return tuple(
        _signed(
            layout,
            [places[unit].ravel() for places in grown],
            [places[:, unit].ravel() for places in shrunk],
            f"{name} {unit}",
        )
        for unit in range(counts.pop())
    )


def _signed(
    layout: Layout, grown: list[np.ndarray], shrunk: list[np.ndarray], name: str
) -> ExponentialSymmetry:
    places = np.concatenate([*grown, *shrunk]) if grown or shrunk else np.zeros(0, dtype=int)
    if not len(places):
        raise InputError("given no tensors, must be at least one", name)
    if len(np.unique(places)) != len(places):
        raise InputError("given a tensor twice", name)
    signs = np.ones(len(places))
    signs[sum(map(len, grown)) :] = -1.0
    return ExponentialSymmetry.on_axes(layout.parameters, places, signs, name)


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))
