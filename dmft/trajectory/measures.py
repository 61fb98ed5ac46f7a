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

import numpy as np

from dmft.errors import InputError
from dmft.trajectory import algebra, scalars
from dmft.trajectory.blocks import Factors, changed, is_finite
from dmft.trajectory.jackknife import jackknife
from dmft.trajectory.scalars import Weighting


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
        points = self.points(origin)
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
        return float(scalars.similarity(self, weighting, origin)(self.gram))

    def window_similarity(self, width: int) -> np.ndarray:
        """omega of every `width` neighbouring points of the map, shape (points - width + 1,).

        Raises
        ------
        InputError : a width below 1 or above the number of points.
        """
        values = self._cosines(self.gram, None, self.points())
        if not 1 <= width <= len(values):
            raise InputError(f"given {width}, must be from 1 to {len(values)}", "window")
        starts = range(len(values) - width + 1)
        return np.array([values[i : i + width, i : i + width].mean() for i in starts])

    @cached_property
    def scalars(self) -> dict[str, tuple[float | None, float | None]]:
        """Value and standard error of every name in `SCALARS`; None where undefined."""
        return scalars.values_of(self)

    @cached_property
    def curves(self) -> dict[str, np.ndarray]:
        """Norms (T,), path lengths (T,) and angles in degrees, of every checkpoint or update.

        `update_norm` (T - 1) and `origin_angle` (T - 1) belong to step t + 1, `start_angle` and
        `update_angle` (both T - 2) to step t + 1, t >= 1, and to the turn at step t + 1.
        """
        updates = algebra.norms(self.gram)[1:]
        return {
            "norm": _length(algebra.squared_norms(self.gram)),
            "distance": _length(algebra.squared_norms(self.gram, 0)),
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

    def points(self, origin: int | None = None) -> np.ndarray:
        """Indices of the checkpoints that have a direction, seen from zero or from `origin`.

        Raises
        ------
        InputError : an origin that is no checkpoint, or no vector that has a direction.
        """
        count = len(self.step)
        if origin is not None and not -count <= origin < count:
            raise InputError(
                f"given {origin}, must be a checkpoint from 0 to {count - 1}", "origin"
            )
        # No kernel: with many checkpoints a similarity would take as long as a map.
        squares = algebra.squared_norms(self.gram, origin)
        points = algebra.directed(squares, algebra.rounding_of_squares(self.gram, origin))
        if not len(points):
            raise InputError("nothing moves away from the origin of the map", self.name)
        return points

    @staticmethod
    def _cosines(gram: np.ndarray, origin: int | None, points: np.ndarray) -> np.ndarray:
        full = algebra.kernel(gram) if origin is None else algebra.relative_kernel(gram, origin)
        # Norms by the sums that chose the points, which rounding cannot make negative there.
        squares = algebra.squared_norms(gram, origin)[..., points]
        return algebra.cosines(full[..., points[:, None], points], squares)


def _length(squares: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(squares, 0.0))
