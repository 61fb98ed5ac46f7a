"""Two-layer networks y = U phi(W x) with the loss |y' - y|^2, linear or with tanh."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.symmetry.models.base import Model


class TwoLayer(Model):
    """theta = (W, U), W of shape (hidden, inputs) and U of shape (outputs, hidden).

    inputs, outputs, hidden : widths; hidden = 1 is a rank-one factorisation.
    init_scale : the entries of W and U have variances init_scale^2 over their fan-in.
    """

    inputs: int = Field(5, ge=1, le=10_000)
    outputs: int = Field(3, ge=1, le=10_000)
    hidden: int = Field(2, ge=1, le=1000)
    init_scale: float = Field(1.0, gt=0)

    @abstractmethod
    def activation(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """phi(z) and its first two derivatives."""

    @property
    def widths(self) -> tuple[int, int]:
        return self.inputs, self.outputs

    @property
    def parameters(self) -> int:
        return self.hidden * (self.inputs + self.outputs)

    def start(self, rng: np.random.Generator) -> np.ndarray:
        first = rng.standard_normal((self.hidden, self.inputs)) / np.sqrt(self.inputs)
        second = rng.standard_normal((self.outputs, self.hidden)) / np.sqrt(self.hidden)
        return self.init_scale * self.join(first, second)

    def split(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W (..., hidden, inputs) and U (..., outputs, hidden)."""
        cut = self.hidden * self.inputs
        lead = theta.shape[:-1]
        return (
            theta[..., :cut].reshape(*lead, self.hidden, self.inputs),
            theta[..., cut:].reshape(*lead, self.outputs, self.hidden),
        )

    def join(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """theta of W and U."""
        lead = first.shape[:-2]
        return np.concatenate([first.reshape(*lead, -1), second.reshape(*lead, -1)], axis=-1)

    def residuals(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """U phi(W x) - y, shape (..., B, outputs)."""
        return self._forward(theta, x, y)[0]

    def losses(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.asarray((self.residuals(theta, x, y) ** 2).sum(axis=-1))

    def per_sample(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        residual, value, back, _ = self._forward(theta, x, y)
        first = 2.0 * back[..., :, None] * x[..., None, :]
        second = 2.0 * residual[..., :, None] * value[..., None, :]
        return self.join(first, second)

    def gradient(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        residual, value, back, _ = self._forward(theta, x, y)
        scale = 2.0 / x.shape[-2]
        return self.join(
            scale * (np.swapaxes(back, -1, -2) @ x), scale * (np.swapaxes(residual, -1, -2) @ value)
        )

    def sharpness(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        _, value, _, curvature = self._forward(theta, x, y)
        first = ((x**2).sum(axis=-1) * curvature).mean(axis=-1)
        second = self.outputs * (value**2).sum(axis=-1).mean(axis=-1)
        return np.asarray(2.0 * (first + second))

    def symmetries(self) -> tuple[ExponentialSymmetry, ...]:
        """W -> exp(lam B) W, U -> U exp(-lam B) for a basis of symmetric B; charges of
        W W^T - U^T U entry by entry. Those of different B do not commute. Exact if phi is linear.
        """
        found = []
        for j in range(self.hidden):
            for k in range(j, self.hidden):
                block = sparse.coo_array(
                    ([1.0, 1.0], ([j, k], [k, j])), shape=(self.hidden, self.hidden)
                ) / (2.0 if j == k else np.sqrt(2.0))
                generator = sparse.block_diag(
                    [
                        sparse.kron(block, sparse.eye_array(self.inputs)),
                        sparse.kron(sparse.eye_array(self.outputs), -block),
                    ]
                )
                found.append(ExponentialSymmetry.of(generator, f"W W^T - U^T U [{j}, {k}]"))
        return tuple(found)

    def _forward(
        self, theta: np.ndarray, x: np.ndarray, y: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Residual, phi, U^T r phi', and sum over units of half d2 loss / dz^2."""
        first, second = self.split(theta)
        value, slope, bend = self.activation(x @ np.swapaxes(first, -1, -2))
        residual = value @ np.swapaxes(second, -1, -2) - y
        pull = residual @ second
        sizes = (second**2).sum(axis=-2)[..., None, :]
        return residual, value, pull * slope, (sizes * slope**2 + pull * bend).sum(axis=-1)


class TwoLayerLinear(TwoLayer):
    """Two-layer linear network; `dmft.symmetry.balance` has its noise equilibrium."""

    kind: Literal["two-layer-linear"] = "two-layer-linear"

    def activation(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return z, np.ones_like(z), np.zeros_like(z)


class TwoLayerTanh(TwoLayer):
    """Two-layer tanh network: the symmetry holds only where tanh is linear."""

    kind: Literal["two-layer-tanh"] = "two-layer-tanh"

    def activation(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value = np.tanh(z)
        slope = 1.0 - value**2
        return value, slope, -2.0 * value * slope
