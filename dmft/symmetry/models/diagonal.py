"""Diagonal linear networks of any depth and width: w_i = sum_k prod_l u_lki, loss r^2 / 2."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.symmetry.models.base import Model


class DiagonalNetwork(Model):
    """y = x . w with w_i = sum over `width` units of the product of `depth` factors.

    Every unit and coordinate has depth - 1 charges u_l^2 - u_{l+1}^2, of which a step with the
    gradient g of w makes [(1 - eta lambda)^2 - eta^2 g^2 prod_{j != l, l+1} u_j^2] times itself.
    At depth 2 and width 1 the trace of the Hessian is sum_i H_ii sqrt(C_i^2 + 4 w_i^2).

    dimension : coordinates d.
    depth : factors of a product.
    width : products that are added up.
    init_scale : standard deviation of the entries of a random start.
    """

    kind: Literal["diagonal"] = "diagonal"
    dimension: int = Field(10, ge=1, le=100_000)
    depth: int = Field(2, ge=2, le=10)
    width: int = Field(1, ge=1, le=1000)
    init_scale: float = Field(0.5, gt=0)

    @property
    def widths(self) -> tuple[int, int]:
        return self.dimension, 1

    @property
    def parameters(self) -> int:
        return self.depth * self.width * self.dimension

    def start(self, rng: np.random.Generator) -> np.ndarray:
        return self.init_scale * rng.standard_normal(self.parameters)

    def factors(self, theta: np.ndarray) -> np.ndarray:
        """u, shape (..., depth, width, dimension)."""
        return theta.reshape(*theta.shape[:-1], self.depth, self.width, self.dimension)

    def weights(self, theta: np.ndarray) -> np.ndarray:
        """w, shape (..., dimension)."""
        return np.asarray(self.factors(theta).prod(axis=-3).sum(axis=-2))

    def losses(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self._residuals(theta, x, y) ** 2 / 2.0

    def per_sample(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        force = self._residuals(theta, x, y)[..., None] * x
        others = self._other_factors(theta)
        rows = force[..., :, None, None, :] * others[..., None, :, :, :]
        return rows.reshape(*rows.shape[:-3], self.parameters)

    def gradient(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        residuals = self._residuals(theta, x, y)
        force = (residuals[..., None, :] @ x)[..., 0, :] / x.shape[-2]
        rows = force[..., None, None, :] * self._other_factors(theta)
        return rows.reshape(*rows.shape[:-3], self.parameters)

    def sharpness(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        second = (x**2).mean(axis=-2)
        return np.asarray((second * (self._other_factors(theta) ** 2).sum(axis=(-3, -2))).sum(-1))

    def symmetries(self) -> tuple[ExponentialSymmetry, ...]:
        """Rescalings of neighbouring factors; all commute."""
        place = np.arange(self.parameters).reshape(self.depth, self.width, self.dimension)
        found = []
        for layer in range(self.depth - 1):
            for unit in range(self.width):
                for i in range(self.dimension):
                    name = f"u{layer + 1}^2 - u{layer + 2}^2 [{unit}, {i}]"
                    pair = place[layer : layer + 2, unit, i]
                    found.append(ExponentialSymmetry.on_axes(self.parameters, pair, [1, -1], name))
        return tuple(found)

    def _residuals(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray((x @ self.weights(theta)[..., None] - y)[..., 0])

    def _other_factors(self, theta: np.ndarray) -> np.ndarray:
        """Products of all factors but one, without division, shape of `factors`."""
        u = self.factors(theta)
        if self.depth == 2:
            return u[..., ::-1, :, :]
        ones = np.ones_like(u[..., :1, :, :])
        before = np.concatenate([ones, u[..., :-1, :, :]], axis=-3).cumprod(axis=-3)
        after = np.concatenate([ones, u[..., :0:-1, :, :]], axis=-3).cumprod(axis=-3)
        return np.asarray(before * after[..., ::-1, :, :])
