"""A layer whose loss does not see the length of its weights, as behind every normalisation."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.symmetry.models.base import Model


class ScaleInvariant(Model):
    """y = x . theta / |theta|, loss r^2 / 2, symmetry A = 1 with charge |theta|^2.

    Noise pushes the length out, decay pulls it in: |theta|^4 = sigma^2 Tr Sigma_1 / (4 gamma) with
    Sigma_1 the covariance of the gradients at length 1. Without decay |theta| grows like t^(1/4).

    dimension : weights of the layer.
    init_scale : length of a random start.
    """

    kind: Literal["scale-invariant"] = "scale-invariant"
    dimension: int = Field(10, ge=2, le=100_000)
    init_scale: float = Field(1.0, gt=0)

    @property
    def widths(self) -> tuple[int, int]:
        return self.dimension, 1

    @property
    def parameters(self) -> int:
        return self.dimension

    def start(self, rng: np.random.Generator) -> np.ndarray:
        theta = rng.standard_normal(self.dimension)
        return self.init_scale * theta / np.linalg.norm(theta)

    def losses(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return self._residuals(theta, x, y)[0] ** 2 / 2.0

    def per_sample(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        residual, output, normal, length = self._residuals(theta, x, y)
        across = x - output[..., None] * normal[..., None, :]
        return np.asarray(residual[..., None] * across / length[..., None])

    def gradient(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        residual, output, normal, length = self._residuals(theta, x, y)
        along = (residual * output).mean(axis=-1)[..., None] * normal
        pulled = (residual[..., None, :] @ x)[..., 0, :] / x.shape[-2]
        return np.asarray((pulled - along) / length)

    def sharpness(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        residual, output, _, length = self._residuals(theta, x, y)
        # The Laplacian of x . theta / |theta| is -(d - 1) x . theta / |theta|^3.
        across = (x**2).sum(axis=-1) - output**2
        bend = (self.dimension - 1) * residual * output
        return np.asarray((across - bend).mean(axis=-1) / length[..., 0] ** 2)

    def symmetries(self) -> tuple[ExponentialSymmetry, ...]:
        every = np.arange(self.dimension)
        return (
            ExponentialSymmetry.on_axes(
                self.dimension, every, np.ones(self.dimension), "|theta|^2"
            ),
        )

    def _residuals(
        self, theta: np.ndarray, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Residuals and outputs (..., B), direction (..., d), length (..., 1)."""
        length = np.linalg.norm(theta, axis=-1, keepdims=True)
        normal = theta / length
        output = (x @ normal[..., None])[..., 0]
        return output - y[..., 0], output, normal, length
