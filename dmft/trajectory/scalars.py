"""Numbers of a trajectory, each a function of its Gram matrix: meaning, unit and error bar."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from dmft.errors import InputError
from dmft.trajectory import algebra

if TYPE_CHECKING:
    from dmft.trajectory.measures import Trajectory

Weighting = Literal["checkpoints", "time", "log-time", "length"]
WEIGHTINGS = ("checkpoints", "time", "log-time", "length")
# Of (stacks of) Gram matrices (..., T, T), results (...).
Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Scalar:
    """One number of a trajectory: its meaning, its unit, and the function of the Gram matrix."""

    long_name: str
    units: str
    of: Callable[[Trajectory], Function]


def values_of(path: Trajectory) -> dict[str, tuple[float | None, float | None]]:
    """Value and standard error of every name in `SCALARS`; None where undefined."""
    functions: dict[str, Function] = {}
    for name, measure in SCALARS.items():
        with suppress(InputError):  # nothing has a direction
            functions[name] = measure.of(path)

    def all_of(gram: np.ndarray) -> np.ndarray:
        return np.stack([function(gram) for function in functions.values()], axis=-1)

    with np.errstate(divide="ignore", invalid="ignore"):
        values, errors = all_of(path.gram), path.error_of(all_of)  # one pass over the blocks
    found = dict(zip(functions, zip(values, _or_unknown(errors, values), strict=True), strict=True))
    return {name: _defined(*found.get(name, (np.nan, np.nan))) for name in SCALARS}


def similarity(path: Trajectory, weighting: Weighting, origin: int | None = None) -> Function:
    """Mean directional similarity as a function of the Gram matrix, see `Trajectory.similarity`.

    Raises
    ------
    InputError : an unknown weighting, or no vector that has a direction.
    """
    points = path.points(origin)
    if weighting not in WEIGHTINGS:
        raise InputError(f"given '{weighting}', allowed: {', '.join(WEIGHTINGS)}", "weighting")

    def function(gram: np.ndarray) -> np.ndarray:
        weights = _weights(path.step[points], gram, weighting, points)
        return algebra.mean_cosine(gram, weights, points, origin)

    return function


def _or_unknown(errors: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """The errors, NaN for each value if there are none."""
    return np.full(len(values), np.nan) if errors is None else errors


def _defined(value: float, error: float) -> tuple[float | None, float | None]:
    """Plain numbers, None for what is undefined."""
    if not np.isfinite(value):
        return None, None
    return float(value), float(error) if np.isfinite(error) else None


def _weights(
    step: np.ndarray, gram: np.ndarray, weighting: Weighting, points: np.ndarray
) -> np.ndarray:
    """Trapezoidal weights of the points along the chosen coordinate, shape (..., point)."""
    if weighting == "checkpoints":
        return np.ones(len(points))
    if weighting == "time":
        return _trapezoid(step)
    if weighting == "log-time":
        weights = np.zeros(len(points))
        weights[step > 0] = _trapezoid(np.log(step[step > 0]))
        return weights
    updates = algebra.norms(gram)
    updates[..., 0] = 0.0
    return _trapezoid(np.cumsum(updates, axis=-1)[..., points])


def _trapezoid(x: np.ndarray) -> np.ndarray:
    cells = np.diff(x, axis=-1)
    zero = np.zeros_like(x[..., :1])
    left, right = np.concatenate([zero, cells], axis=-1), np.concatenate([cells, zero], axis=-1)
    return 0.5 * (left + right)


def _omega(weighting: Weighting, origin: int | None = None) -> Callable[[Trajectory], Function]:
    return lambda path: similarity(path, weighting, origin)


def _off_diagonal(path: Trajectory) -> Function:
    points = path.points()
    count = len(points)

    def function(gram: np.ndarray) -> np.ndarray:
        total = count**2 * algebra.mean_cosine(gram, np.ones(count), points)
        return (total - count) / np.float64(count * (count - 1))

    return function


def _plain(function: Function) -> Callable[[Trajectory], Function]:
    return lambda _path: function


def _length(gram: np.ndarray) -> np.ndarray:
    return np.asarray(algebra.norms(gram)[..., 1:].sum(axis=-1))


def _displacement(gram: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(gram[..., 1:, 1:].sum(axis=(-1, -2)), 0.0))


def _turning(gram: np.ndarray) -> np.ndarray:
    return np.asarray(algebra.update_angles(gram).sum(axis=-1))


def _mean_turn(gram: np.ndarray) -> np.ndarray:
    return _turning(gram) / np.float64(gram.shape[-1] - 2)


def _participation(gram: np.ndarray) -> np.ndarray:
    # By trace and Frobenius norm, which need no eigenvalues.
    centred = algebra.centred(gram)
    total = np.trace(centred, axis1=-2, axis2=-1) ** 2
    squares = np.sum(centred**2, axis=(-2, -1))
    return np.divide(total, squares, out=np.zeros_like(total), where=squares > 0.0)


SCALARS = {
    "mean_directional_similarity": Scalar("mean of the trajectory map", "1", _omega("checkpoints")),
    "off_diagonal_similarity": Scalar("the same without the diagonal", "1", _off_diagonal),
    "time_similarity": Scalar("the same, integrated over time", "1", _omega("time")),
    "length_similarity": Scalar("the same, integrated over path length", "1", _omega("length")),
    "relative_similarity": Scalar(
        "mean of the map relative to the start", "1", _omega("checkpoints", 0)
    ),
    "length": Scalar("path length, sum of |Delta_t|", "1", _plain(_length)),
    "displacement": Scalar("distance of the end from the start", "1", _plain(_displacement)),
    "straightness": Scalar(
        "displacement over length", "1", _plain(lambda gram: _displacement(gram) / _length(gram))
    ),
    "total_turning": Scalar("sum of the update angles", "degrees", _plain(_turning)),
    "mean_update_angle": Scalar("mean angle between updates", "degrees", _plain(_mean_turn)),
    "participation_ratio": Scalar(
        "participation ratio of the centred kernel", "1", _plain(_participation)
    ),
}
