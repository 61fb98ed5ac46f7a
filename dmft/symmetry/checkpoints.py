"""Checkpoints of any training together with per-sample gradients, one file or a series of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmft.errors import InputError
from dmft.symmetry.layout import Layout
from dmft.trajectory.readers.formats import file_tensors
from dmft.trajectory.readers.tensor import FLOATS, Tensor, as_float
from dmft.trajectory.series import open_series


@dataclass(frozen=True, eq=False)
class Point:
    """A checkpoint: its step and name, theta (P,) and per-sample gradients (samples, P)."""

    step: float
    name: str
    theta: np.ndarray
    gradients: np.ndarray


@dataclass(frozen=True)
class Points:
    """Checkpoints with gradients, read one at a time.

    layout : of the tensors that have gradients.
    """

    layout: Layout
    _rows: tuple[tuple[float, str, dict[str, Tensor], dict[str, Tensor]], ...]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Point]:
        for step, name, weights, gradients in self._rows:
            read = {key: _whole(gradients[key]) for key in self.layout.shapes}
            try:
                rows = self.layout.flatten(read, samples=True)
            except InputError as error:
                raise InputError(f"per-sample gradients: {error.message}", name) from None
            theta = self.layout.flatten({key: _whole(weights[key]) for key in self.layout.shapes})
            yield Point(step, name, np.asarray(theta, dtype=float), rows)

    @property
    def step(self) -> np.ndarray:
        """Their steps, shape (T,)."""
        return np.array([row[0] for row in self._rows])


def open_points(checkpoints: Path, gradients: Path) -> Points:
    """Find checkpoints and gradients: two files, or two folders with the same steps.

    A file of gradients holds, for each tensor of the checkpoint that is trained, one of the same
    name with the samples along an additional first axis.

    Raises
    ------
    InputError : one is missing, steps or names differ, or a shape does not fit.
    """
    left, right = _series(checkpoints), _series(gradients)
    if [step for step, _, _ in left] != [step for step, _, _ in right]:
        raise InputError(
            f"holds steps {_few([s for s, _, _ in right])}, the checkpoints have"
            f" {_few([s for s, _, _ in left])}",
            str(gradients),
        )
    rows, shapes = [], {}
    for (step, name, weights), (_, _, found) in zip(left, right, strict=True):
        for key, tensor in found.items():
            if key not in weights:
                raise InputError(f"tensor '{key}' is not in {name}", str(gradients))
            if tensor.shape[1:] != weights[key].shape or not tensor.shape:
                wanted = ", ".join(map(str, ("samples", *weights[key].shape)))
                raise InputError(
                    f"tensor '{key}' has shape {tensor.shape}, must be ({wanted})", str(gradients)
                )
        shapes = {key: tensor.shape for key, tensor in weights.items() if key in found}
        rows.append((step, name, weights, found))
    return Points(Layout(shapes), tuple(rows))


def _series(path: Path) -> list[tuple[float, str, dict[str, Tensor]]]:
    """Step, name and floating-point tensors of every checkpoint."""
    if path.is_dir():
        series = open_series(path)
        return [
            (checkpoint.step, checkpoint.name, row)
            for checkpoint, row in zip(series.checkpoints, series.rows, strict=True)
        ]
    found = {tensor.name: tensor for tensor in file_tensors(path) if tensor.dtype in FLOATS}
    if not found:
        raise InputError("holds no floating-point arrays", str(path))
    return [(0.0, str(path), found)]


def _whole(tensor: Tensor) -> np.ndarray:
    buffer = np.empty(tensor.size * tensor.itemsize, dtype=np.uint8)
    return as_float(tensor.read(0, tensor.size, buffer), tensor.dtype).reshape(tensor.shape)


def _few(steps: list[float]) -> str:
    shown = ", ".join(f"{step:g}" for step in steps[:4])
    return shown + (", ..." if len(steps) > 4 else "")
