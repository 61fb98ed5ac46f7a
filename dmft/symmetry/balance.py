"""Noise equilibrium of the two-layer linear network U W x with the loss |r|^2, r = U W x - y.

All symmetric B with W -> exp(lam B) W, U -> U exp(-lam B) together demand (Ziyin et al.,
arXiv:2402.07193)

    W Gamma_W W^T = U^T Gamma_U U,
    Gamma_W = E[|r|^2 x x^T] - M^T M + (gamma / sigma^2) 1,
    Gamma_U = E[|x|^2 r r^T] - M M^T + (gamma / sigma^2) 1,   M = E[r x^T].

These depend on the product V = U W only. With the singular value decomposition P S Q^T of
Gamma_U^(1/2) V Gamma_W^(1/2),

    W = R^T S^(1/2) Q^T Gamma_W^(-1/2),   U = Gamma_U^(-1/2) P S^(1/2) R

with any rotation R of the hidden units is the equilibrium on the fibre of V. At the optimum of
y = V x + noise this is Gamma_W = Tr(S_e) S_x, Gamma_U = Tr(S_x) S_e.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from dmft.errors import InputError
from dmft.symmetry.models.two_layer import TwoLayerLinear


@dataclass(frozen=True, eq=False)
class NoiseMatrices:
    """Gamma_W, shape (inputs, inputs), and Gamma_U, shape (outputs, outputs)."""

    first: np.ndarray
    second: np.ndarray

    def sides(self, model: TwoLayerLinear, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """W Gamma_W W^T and U^T Gamma_U U, shapes (..., hidden, hidden)."""
        first, second = model.split(theta)
        return (
            first @ self.first @ np.swapaxes(first, -1, -2),
            np.swapaxes(second, -1, -2) @ self.second @ second,
        )

    def imbalance(self, model: TwoLayerLinear, theta: np.ndarray) -> np.ndarray:
        """|W Gamma_W W^T - U^T Gamma_U U| over the mean of their Frobenius norms, shape (...)."""
        left, right = self.sides(model, theta)
        size = (_norm(left) + _norm(right)) / 2.0
        return np.asarray(_norm(left - right) / np.where(size > 0.0, size, 1.0))


def noise_matrices(
    model: TwoLayerLinear,
    theta: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    noise_strength: float = 1.0,
    penalty: float = 0.0,
) -> NoiseMatrices:
    """Gamma_W and Gamma_U at theta, from data x (samples, inputs), y (samples, outputs)."""
    residual = model.residuals(theta, x, y)
    cross = residual.T @ x / len(x)
    ridge = penalty / noise_strength
    first = (x.T * (residual**2).sum(axis=1)) @ x / len(x) - cross.T @ cross
    second = (residual.T * (x**2).sum(axis=1)) @ residual / len(x) - cross @ cross.T
    return NoiseMatrices(
        first + ridge * np.eye(model.inputs), second + ridge * np.eye(model.outputs)
    )


def population_matrices(
    input_covariance: np.ndarray, noise_covariance: np.ndarray, ridge: float = 0.0
) -> NoiseMatrices:
    """Those at the optimum of infinite data y = V x + noise: Tr(S_e) S_x and Tr(S_x) S_e."""
    first = np.trace(noise_covariance) * input_covariance
    second = np.trace(input_covariance) * noise_covariance
    return NoiseMatrices(first + ridge * np.eye(len(first)), second + ridge * np.eye(len(second)))


def balanced_parameters(
    model: TwoLayerLinear, product: np.ndarray, matrices: NoiseMatrices
) -> np.ndarray:
    """The equilibrium (W, U) with the product U W, up to rotations of the hidden units.

    Parameters
    ----------
    product : V, shape (outputs, inputs), of rank at most `hidden`.
    matrices : positive definite.

    Raises
    ------
    InputError : a noise matrix that is not positive definite, or a product of larger rank.
    """
    roots = []
    for name, matrix in (("Gamma_W", matrices.first), ("Gamma_U", matrices.second)):
        values, vectors = np.linalg.eigh(matrix)
        if values[0] <= 1e-12 * values[-1]:
            raise InputError(
                f"given smallest eigenvalue {values[0]:.2g}, must be positive: without noise or"
                " weight decay in every direction the equilibrium lies at infinity",
                name,
            )
        roots.append(((vectors * values**0.5) @ vectors.T, (vectors * values**-0.5) @ vectors.T))
    (first_root, first_inverse), (second_root, second_inverse) = roots
    left, sizes, right = np.linalg.svd(second_root @ product @ first_root)
    sizes = np.append(sizes, np.zeros(max(model.hidden - len(sizes), 0)))
    if (sizes[model.hidden :] > 1e-10 * sizes[0]).any():
        raise InputError(f"given a rank above hidden = {model.hidden}", "product")
    first = np.zeros((model.hidden, model.inputs))
    second = np.zeros((model.outputs, model.hidden))
    kept = min(model.hidden, *product.shape)
    root = np.sqrt(sizes[:kept])
    first[:kept] = root[:, None] * right[:kept] @ first_inverse
    second[:, :kept] = second_inverse @ left[:, :kept] * root
    return model.join(first, second)


def least_squares(x: np.ndarray, y: np.ndarray, rank: int) -> np.ndarray:
    """The product V of at most this rank that minimises the loss, shape (outputs, inputs).

    Reduced-rank regression: the ordinary solution, projected on the leading directions of its
    predictions.
    """
    full = linalg.lstsq(x, y)[0].T
    leading = np.linalg.svd(full @ x.T, full_matrices=False)[0][:, :rank]
    return np.asarray(leading @ leading.T @ full)


def trace_of_hessian(
    model: TwoLayerLinear, theta: np.ndarray, input_covariance: np.ndarray
) -> np.ndarray:
    """2 [outputs Tr(W S_x W^T) + Tr(S_x) |U|^2], the sharpness on infinite data, shape (...)."""
    first, second = model.split(theta)
    spread = np.einsum("...hi,ij,...hj->...", first, input_covariance, first)
    size = np.trace(input_covariance) * (second**2).sum(axis=(-2, -1))
    return np.asarray(2.0 * (model.outputs * spread + size))


def flattest_trace(product: np.ndarray, input_covariance: np.ndarray) -> float:
    """Smallest trace of the Hessian among all (W, U) with this product.

    4 sqrt(outputs Tr S_x) |V S_x^(1/2)|_* with the nuclear norm.
    """
    values, vectors = np.linalg.eigh(input_covariance)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    nuclear = np.linalg.norm(product @ root, "nuc")
    return float(4.0 * np.sqrt(len(product) * np.trace(input_covariance)) * nuclear)


def _norm(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.norm(matrix, axis=(-2, -1)))
