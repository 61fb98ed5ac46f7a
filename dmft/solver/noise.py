"""A stable, causal square root of the noise covariance C_w + sigma^2.

C_w + sigma^2 = Y Y^T with one row y_i = [sqrt(probability) sqrt(s) (w - w*)(t_i), sigma] per node.
Factoring the rows themselves, Y = L Q with orthonormal rows Q, is stable where a Cholesky
factorisation of the covariance, of numerical rank 20-60, breaks down. The residual noise is
rho(t_i) = sum_k L_ik xi_k with independent standard normals xi_k, one per direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A new direction weaker than this, relative to the noise at the same time, is dropped.
DIRECTION_TOLERANCE = 1e-7


@dataclass(frozen=True)
class NewRows:
    """Rows of L for the nodes of one panel, and the directions they add.

    known : coefficients on earlier directions, shape (stages, rank).
    fresh : coefficients on new directions, strongest first, shape (stages, stages); those below
        the tolerance are zero.
    kept : how many new directions are above the tolerance.
    directions : the new rows of Q as columns, paths only, shape (paths, stages).
    directions_sigma : their component on the label noise, shape (stages,).
    """

    known: np.ndarray
    fresh: np.ndarray
    kept: int
    directions: np.ndarray
    directions_sigma: np.ndarray


class NoiseBasis:
    """The directions Q found so far, as columns over the paths and the label noise."""

    def __init__(self, root_probability: np.ndarray, noise_std: float) -> None:
        self._root_probability = root_probability[:, None]
        self._noise_std = noise_std
        self.paths = np.empty((len(root_probability), 0))
        self.sigma = np.empty(0)

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.sigma)

    def rows(
        self, errors: np.ndarray, signs: np.ndarray | None = None, kept: int | None = None
    ) -> NewRows:
        """Decompose the rows of new nodes; `errors` is sqrt(s)(w - w*), shape (paths, stages).

        New directions are the principal ones of what earlier directions leave. Their sign is free;
        `signs` (stages, stages), the last `fresh`, keeps it from one sweep to the next. `kept`
        prescribes how many count; by default the tolerance decides.
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
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        if kept is None:
            kept = int(np.sum(values > DIRECTION_TOLERANCE**2 * size))
        reference = vectors[-1] if signs is None else np.sum(vectors * signs, axis=0)
        vectors = vectors * np.where(reference < 0, -1.0, 1.0)
        root = np.sqrt(values)
        root[kept:] = 0.0
        inverse = np.zeros_like(root)
        inverse[:kept] = 1.0 / root[:kept]
        return NewRows(
            known,
            vectors * root,
            kept,
            scaled @ (vectors * inverse),
            (label @ vectors) * inverse,
        )

    def extend(self, rows: NewRows) -> None:
        """Keep the new directions of `rows`."""
        self.paths = np.column_stack([self.paths, rows.directions[:, : rows.kept]])
        self.sigma = np.append(self.sigma, rows.directions_sigma[: rows.kept])
