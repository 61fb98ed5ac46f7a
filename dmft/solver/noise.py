"""A stable, causal square root of the noise covariance C_w + sigma^2.

C_w + sigma^2 = Y Y^T with one row y_i = [sqrt(probability) sqrt(s) (w - w*)(t_i), sigma] per node.
Factoring the rows themselves, Y = L Q with directions Q, is stable where a Cholesky factorisation
of the covariance, of numerical rank 20-60, breaks down. The residual noise is
rho(t_i) = sum_k L_ik xi_k with independent standard normals xi_k, one per direction.

Every node adds one direction: what its row has that neither earlier panels nor later nodes of its
panel have. This makes the directions unique, so that direction k means the same in every sweep and
in every replicate. A node that adds too little has a direction of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DIRECTION_TOLERANCE = 1e-7  # relative to the noise, below which directions are rounding errors


@dataclass(frozen=True)
class NewRows:
    """Rows of L for new nodes, and the directions they add.

    known : coefficients on earlier directions, shape (new, rank).
    fresh : coefficients on new directions, upper triangular, shape (new, new).
    directions : the new rows of Q as columns, shape (paths + 1, new); the last entry of each
        is its component on the label noise.
    """

    known: np.ndarray
    fresh: np.ndarray
    directions: np.ndarray

    @property
    def active(self) -> np.ndarray:
        """Nodes that have a direction of their own, shape (new,)."""
        return np.diag(self.fresh) != 0.0

    def fresh_change(self, projection: np.ndarray) -> np.ndarray:
        """First-order change of `fresh` when the new rows of Y change by dY.

        projection : dY on the new directions, shape (new, new). The directions turn so that
        `fresh` stays triangular: the change is projection + fresh Omega, Omega antisymmetric.
        """
        from dmft.solver.newton_kernels import fresh_change

        return np.asarray(fresh_change(self.fresh, projection))


class NoiseBasis:
    """The directions Q found so far, as columns over the paths and, last, the label noise."""

    def __init__(self, root_probability: np.ndarray, noise_std: float) -> None:
        self._root_probability = root_probability[:, None]
        self._noise_std = noise_std
        self.directions = np.empty((len(root_probability) + 1, 0))

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self.directions.shape[1]

    @property
    def paths(self) -> np.ndarray:
        """The part of the directions on the paths, shape (paths, rank)."""
        return self.directions[:-1]

    def rows(
        self,
        errors: np.ndarray,
        least: float = 0.0,
        active: np.ndarray | None = None,
        passes: int = 2,
    ) -> NewRows:
        """Decompose the rows of new nodes.

        errors : sqrt(s)(w - w*), shape (paths, new).
        least : relative to the noise, what a node must add to get a direction.
        active : nodes that get one whatever they add, shape (new,); all by default.
        passes : of orthogonalisation; two make directions orthogonal that are kept.
        """
        from dmft.solver.small_kernels import split_rows

        new = errors.shape[1]
        label = np.full((1, new), self._noise_std)
        rest = np.vstack([self._root_probability * errors, label])
        scale = np.linalg.norm(rest[:, -1])
        given = np.full(new, active is None) if active is None else active
        known = np.zeros((new, self.rank))
        for _ in range(passes):
            part = self.directions.T @ rest
            rest -= self.directions @ part
            known += part.T
        needed = DIRECTION_TOLERANCE, max(least, DIRECTION_TOLERANCE)
        return NewRows(known, *split_rows(rest, given, needed, scale))

    def extend(self, directions: np.ndarray) -> None:
        """Keep new directions, (paths + 1, new), as `rows` found them."""
        self.directions = np.column_stack([self.directions, directions])
