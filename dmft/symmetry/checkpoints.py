"""Checkpoints of any training together with per-sample gradients, one file or a series of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmft.errors import InputError
from dmft.symmetry.layout import Layout
from dmft.symmetry.training import Training
from dmft.trajectory.readers.formats import file_tensors, read_file
from dmft.trajectory.readers.state import OPTIMISER
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
    optimizer : "adam" or "momentum" if the checkpoints hold such a state, else None.
    """

    layout: Layout
    _rows: tuple[tuple[float, str, Mapping[str, Tensor], Mapping[str, Tensor]], ...]
    optimizer: str | None = None

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
    def first(self) -> str:
        """Name of the first checkpoint."""
        return self._rows[0][1]

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
    return Points(Layout(shapes), tuple(rows), _optimizer_of(checkpoints))


def check_optimizer(points: Points, training: Training) -> None:
    """Refuse settings that the optimiser's state in the checkpoints contradicts.

    Raises
    ------
    InputError : moments of Adam; momentum buffers where the settings have no momentum.
    """
    where = points.first
    if points.optimizer == "adam":
        raise InputError(
            "holds moments of Adam, whose charges follow no such law, must be a run of SGD", where
        )
    if points.optimizer == "momentum" and not training.momentum:
        raise InputError("holds momentum buffers, but training.momentum is 0, give it", where)


def _optimizer_of(path: Path) -> str | None:
    """By the names in the state of the optimiser, beside the model or in its file."""
    first = open_series(path).checkpoints[-1].files if path.is_dir() else (path,)
    found: set[str] = set()
    for file in first:
        _, left_out = read_file(file)
        keys = [key for key, why in left_out.items() if why == OPTIMISER]
        places: list[tuple[Path, str | None]] = [(file, key) for key in keys]
        places += [(file.parent / name, None) for name in ("optimizer.pt", "optimizer.bin")]
        for place, key in places:
            if place.is_file():
                with suppress(InputError):  # a state of another form says nothing
                    found |= {tensor.name.split(".")[-1] for tensor in _state(place, key)}
    if found & {"exp_avg", "exp_avg_sq"}:
        return "adam"
    return "momentum" if "momentum_buffer" in found else None


def _state(path: Path, key: str | None) -> list[Tensor]:
    """Tensors of the optimiser: an entry of a file, or a file of its own."""
    return read_file(path, key or "state")[0]


def _series(path: Path) -> list[tuple[float, str, Mapping[str, Tensor]]]:
    """Step, name and floating-point tensors of every checkpoint."""
    if path.is_dir():
        series = open_series(path)
        return [
            (checkpoint.step, checkpoint.name, dict(row))
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
