"""A stable, causal square root of the noise covariance C_w + sigma^2.

C_w + sigma^2 = Y Y^T with one row y_i = [sqrt(probability) sqrt(s) (w - w*)(t_i), sigma] per node.
Factoring the rows themselves, Y = L Q with orthonormal rows Q, is stable where a Cholesky
factorisation of the covariance, of numerical rank 20-60, breaks down. The residual noise is
rho(t_i) = sum_k L_ik xi_k with independent standard normals xi_k, one per direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIRECTION_TOLERANCE = 1e-7  # relative to the noise, below which directions are rounding errors


@dataclass(frozen=True)
class NewRows:
    """Rows of L for the nodes of one panel, and the directions they add.

    known : coefficients on earlier directions, shape (stages, rank).
    fresh : coefficients on new directions, shape (stages, new).
    directions : the new rows of Q as columns, paths only, shape (paths, new).
    directions_sigma : their component on the label noise, shape (new,).
    """

    known: np.ndarray
    fresh: np.ndarray
    directions: np.ndarray
    directions_sigma: np.ndarray


class NoiseBasis:
    """The directions Q found so far, as columns over the paths and the label noise.

    A new direction is dropped when it is weaker than `residual_tolerance`, relative to the
    residual. A dropped direction enters at the start of the next panel as a jump, so the tolerance
    has to stay below that of the time error.
    """

    def __init__(
        self, root_probability: np.ndarray, noise_std: float, residual_tolerance: float
    ) -> None:
        self._residual_tolerance = residual_tolerance
        self._root_probability = root_probability[:, None]
        self._noise_std = noise_std
        self.paths = np.empty((len(root_probability), 0))
        self.sigma = np.empty(0)

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.sigma)

    def rows(
        self,
        errors: np.ndarray,
        residual: float,
        like: np.ndarray | None = None,
        grow: bool = True,
    ) -> NewRows:
        """Decompose the rows of new nodes; `errors` is sqrt(s)(w - w*), shape (paths, stages).

        New directions are the principal ones of what earlier directions leave, strongest first;
        `residual`, the root of train_mse just before, sets how small ones count. A rotation among
        new directions is another draw of the same noise, which would move the paths from sweep to
        sweep: given `like` (stages, any), the `fresh` of the last sweep, there are at least as many
        directions as it has columns, rotated so that the new `fresh` is as close to it as can be
        (orthogonal Procrustes). With `grow` false there are exactly as many.
        """
        scaled = self._root_probability * errors
        label = np.full(errors.shape[1], self._noise_std)
        size = float(scaled[:, -1] @ scaled[:, -1]) + self._noise_std**2
        known = np.zeros((errors.shape[1], self.rank))
        for _ in range(2):
            part = self.paths.T @ scaled + np.outer(self.sigma, label)
            scaled = scaled - self.paths @ part
            label = label - self.sigma @ part
            known += part.T
        values, vectors = np.linalg.eigh(scaled.T @ scaled + np.outer(label, label))
        root = np.sqrt(np.maximum(values[::-1], 0.0))
        vectors = vectors[:, ::-1]
        least = max(self._residual_tolerance * residual, DIRECTION_TOLERANCE * size**0.5)
        new = int(np.sum(root > least)) if grow else 0
        if like is None:
            rotation = np.diag(np.where(vectors[-1, :new] < 0, -1.0, 1.0))
        else:
            new = max(new, like.shape[1])
            padded = np.pad(like, ((0, 0), (0, new - like.shape[1])))
            left, _, right = np.linalg.svd((vectors[:, :new] * root[:new]).T @ padded)
            rotation = left @ right
        root, vectors = root[:new], vectors[:, :new]
        inverse = np.divide(1.0, root, out=np.zeros(new), where=root > 0)
        unit = (vectors * inverse) @ rotation
        return NewRows(known, (vectors * root) @ rotation, scaled @ unit, label @ unit)

    def extend(self, rows: NewRows) -> None:
        """Keep the new directions of `rows`."""
        self.paths = np.column_stack([self.paths, rows.directions])
        self.sigma = np.append(self.sigma, rows.directions_sigma)
