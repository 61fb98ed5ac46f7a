"""What a trajectory theta_0, ..., theta_{T-1} in parameter space looks like.

Definitions follow Singh, He, Hofmann and Schoelkopf, "Hallmarks of Optimization Trajectories in
Neural Networks", arXiv:2403.07379. With Delta_t = theta_t - theta_{t-1}:

    trajectory map          M_ts = cos(theta_t, theta_s)
    relative map            the same of theta_t - theta_tau
    directional similarity  omega = mean of all entries of M, the diagonal included
    update angle            between Delta_t and Delta_{t+1}
    apex angle              between theta_t and theta_{t+1}, seen from zero or from theta_0
    length, straightness    sum |Delta_t|, and |theta_{T-1} - theta_0| over it
    total turning           sum of the update angles

omega depends on where checkpoints were taken. The weighted variants replace the mean by a double
integral over time, log time or path length; the last does not change when time is relabelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dmft.errors import InputError
from dmft.trajectory import algebra
from dmft.trajectory.blocks import Factors, changed, is_finite
from dmft.trajectory.jackknife import jackknife

Weighting = Literal["checkpoints", "time", "log-time", "length"]
WEIGHTINGS = ("checkpoints", "time", "log-time", "length")


@dataclass(frozen=True)
class Map:
    """Cosines between vectors of a trajectory.

    points : indices of the checkpoints that the rows stand for. Those of zero norm have no
        direction and are left out.
    values, stderr : shape (point, point); the standard error is None without blocks to compare.

    Units: cosines, dimensionless.
    """

    points: np.ndarray
    values: np.ndarray
    stderr: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A trajectory, known by the Gram matrix of its start and its differences.

    Units: lengths are in those of the parameters, cosines dimensionless, angles in
    degrees.

    Parameters
    ----------
    step : training step or time of each checkpoint, shape (T,), increasing.
    blocks : Gram matrices (see `algebra`) that add up to the whole, shape (block, T, T): of
        groups of parameters, or of replicates; or `Factors` of them. Error bars are a jackknife
        over them.
    sizes : number of parameters (or replicates) in each block, shape (block,).
    parameters : number of parameters; of a mean field, 0.
    name : what it is the trajectory of.

    Raises
    ------
    InputError : shapes that do not fit, steps that do not increase, values that are not finite.
    """

    step: np.ndarray
    blocks: np.ndarray | Factors
    sizes: np.ndarray
    parameters: int
    name: str = ""

    def __post_init__(self) -> None:
        count = len(self.step)
        if count < 2:
            raise InputError(f"given {count} checkpoint(s), must be at least 2", self.name)
        if self.blocks.shape != (len(self.sizes), count, count):
            raise InputError(
                f"given blocks of shape {self.blocks.shape}, must be "
                f"({len(self.sizes)}, {count}, {count})",
                self.name,
            )
        if not is_finite(self.blocks):
            raise InputError("holds NaN or infinity, refused", self.name)
        if not (np.diff(self.step) > 0).all():
            raise InputError("given steps that do not increase, must increase", self.name)

    @cached_property
    def gram(self) -> np.ndarray:
        """Gram matrix of [theta_0, Delta_1, ...], shape (T, T)."""
        total: np.ndarray = self.blocks.sum(axis=0)
        return total

    @cached_property
    def kernel(self) -> np.ndarray:
        """K_ts = theta_t . theta_s, shape (T, T)."""
        return algebra.kernel(self.gram)

    def map(self, origin: int | None = None) -> Map:
        """Trajectory map, or the map relative to checkpoint number `origin`.

        Raises
        ------
        InputError : an origin that is no checkpoint, or no vector that has a direction.
        """
        points = self._points(origin)
        return Map(
            points,
            self._cosines(self.gram, origin, points),
            self.error_of(lambda gram: self._cosines(gram, origin, points)),
        )

    def similarity(self, weighting: Weighting = "checkpoints", origin: int | None = None) -> float:
        """Mean directional similarity omega, of the map relative to `origin` if there is one.

        Parameters
        ----------
        weighting : "checkpoints" for the plain mean, "time", "log-time" or "length" for the
            double integral over that coordinate by the trapezoidal rule.
        origin : as in `map`.

        Raises
        ------
        InputError : an unknown weighting, or no vector that has a direction.
        """
        return float(self._similarity(self.gram, weighting, origin, self._points(origin)))

    def window_similarity(self, width: int) -> np.ndarray:
        """omega of every `width` neighbouring points of the map, shape (points - width + 1,).

        Raises
        ------
        InputError : a width below 1 or above the number of points.
        """
        values = self.map().values
        if not 1 <= width <= len(values):
            raise InputError(f"given {width}, must be from 1 to {len(values)}", "window")
        starts = range(len(values) - width + 1)
        return np.array([values[i : i + width, i : i + width].mean() for i in starts])

    @cached_property
    def scalars(self) -> dict[str, tuple[float | None, float | None]]:
        """Value and standard error of every name in `SCALARS`; None where undefined."""
        return {name: self._scalar(measure) for name, measure in SCALARS.items()}

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Norms (T,), path lengths (T,) and angles in degrees, of every checkpoint or update.

        `update_norm` (T - 1) and `origin_angle` (T - 1) belong to step t + 1, `start_angle` and
        `update_angle` (both T - 2) to step t + 1, t >= 1, and to the turn at step t + 1.
        """
        updates = algebra.norms(self.gram)[1:]
        return {
            "norm": algebra.norms(self.kernel),
            "distance": algebra.norms(algebra.kernel(algebra.without_start(self.gram))),
            "path_length": np.concatenate([[0.0], np.cumsum(updates)]),
            "update_norm": updates,
            "update_angle": algebra.update_angles(self.gram),
            "start_angle": algebra.apex_angles(self.gram, at_origin=False)[1:],
            "origin_angle": algebra.apex_angles(self.gram, at_origin=True),
        }

    @cached_property
    def spectra(self) -> dict[str, np.ndarray]:
        """Eigenvalues, largest first, of the kernel (uncentred) and of the centred one."""
        return {
            "uncentred": algebra.spectrum(self.kernel),
            "centred": algebra.spectrum(algebra.centred(self.gram)),
        }

    def principal_path(self, components: int = 2) -> np.ndarray:
        """The path in its leading principal components, shape (T, components)."""
        values, vectors = np.linalg.eigh(algebra.centred(self.gram))
        leading = slice(None, -components - 1, -1)
        path = vectors[:, leading] * np.sqrt(np.maximum(values[leading], 0.0))
        return path * np.where(path[-1] < path[0], -1.0, 1.0)  # the sign is free: end > start

    def selected(self, points: np.ndarray) -> Trajectory:
        """The trajectory of some of the checkpoints only, given by increasing indices."""
        sums = np.tril(np.ones(self.gram.shape))[points]
        change = np.concatenate([sums[:1], np.diff(sums, axis=0)])
        blocks = changed(self.blocks, change)
        return Trajectory(self.step[points], blocks, self.sizes, self.parameters, self.name)

    def error_of(self, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray | None:
        """Jackknife standard error of a function of (stacks of) the Gram matrix."""
        return jackknife(function, self.blocks, self.sizes)

    def _points(self, origin: int | None) -> np.ndarray:
        count = len(self.step)
        if origin is not None and not -count <= origin < count:
            raise InputError(
                f"given {origin}, must be a checkpoint from 0 to {count - 1}", "origin"
            )
        points = algebra.directed(_kernel(self.gram, origin))
        if not len(points):
            raise InputError("nothing moves away from the origin of the map", self.name)
        return points

    @staticmethod
    def _cosines(gram: np.ndarray, origin: int | None, points: np.ndarray) -> np.ndarray:
        return algebra.cosines(_kernel(gram, origin)[..., points[:, None], points])

    def _similarity(
        self, gram: np.ndarray, weighting: str, origin: int | None, points: np.ndarray
    ) -> np.ndarray:
        cosine = self._cosines(gram, origin, points)
        weights = self._weights(gram, weighting, points)
        total = np.einsum("...t,...ts,...s", weights, cosine, weights)
        return np.asarray(total / weights.sum(axis=-1) ** 2)

    def _weights(self, gram: np.ndarray, weighting: str, points: np.ndarray) -> np.ndarray:
        """Trapezoidal weights of the points along the chosen coordinate, shape (..., point)."""
        if weighting == "checkpoints":
            return np.ones(len(points))
        if weighting == "time":
            return _trapezoid(self.step[points])
        if weighting == "log-time":
            later = self.step[points] > 0
            weights = np.zeros(len(points))
            weights[later] = _trapezoid(np.log(self.step[points][later]))
            return weights
        if weighting == "length":
            updates = algebra.norms(gram)
            updates[..., 0] = 0.0
            return _trapezoid(np.cumsum(updates, axis=-1)[..., points])
        raise InputError(f"given '{weighting}', allowed: {', '.join(WEIGHTINGS)}", "weighting")

    def _scalar(self, measure: Scalar) -> tuple[float | None, float | None]:
        try:
            function = measure.of(self)
        except InputError:  # nothing has a direction
            return None, None
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(function(self.gram))
            error = self.error_of(function)
        if not np.isfinite(value):
            return None, None
        return value, float(error) if error is not None and np.isfinite(error) else None


@dataclass(frozen=True)
class Scalar:
    """One number of a trajectory: its meaning, its unit, and the function of the Gram matrix."""

    long_name: str
    units: str
    of: Callable[[Trajectory], Callable[[np.ndarray], np.ndarray]]


def _kernel(gram: np.ndarray, origin: int | None) -> np.ndarray:
    return algebra.kernel(gram) if origin is None else algebra.relative_kernel(gram, origin)


def _trapezoid(x: np.ndarray) -> np.ndarray:
    cells = np.diff(x, axis=-1)
    zero = np.zeros_like(x[..., :1])
    left, right = np.concatenate([zero, cells], axis=-1), np.concatenate([cells, zero], axis=-1)
    return 0.5 * (left + right)


def _omega(weighting: str, origin: int | None = None) -> Any:
    def of(path: Trajectory) -> Callable[[np.ndarray], np.ndarray]:
        points = path._points(origin)
        return lambda gram: path._similarity(gram, weighting, origin, points)

    return of


def _off_diagonal(path: Trajectory) -> Callable[[np.ndarray], np.ndarray]:
    points = path._points(None)
    count = len(points)

    def function(gram: np.ndarray) -> np.ndarray:
        total = path._cosines(gram, None, points).sum(axis=(-1, -2))
        return (total - count) / np.float64(count * (count - 1))

    return function


def _plain(function: Callable[[np.ndarray], np.ndarray]) -> Any:
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
