"""How charges move: exactly in one step, on average along the flow of stochastic gradients.

With theta <- (1 - eta lambda) theta - eta g for any (mini-batch) gradient g of a loss with the
symmetry, C <- (1 - eta lambda)^2 C + eta^2 g^T A g exactly. In the limit of small steps,

    d theta = -grad(L + gamma |theta|^2) dt + sqrt(sigma^2 Sigma) dW,
    dC/dt = G(theta) = -4 gamma C + sigma^2 Tr[A Sigma],

without diffusion: sigma^2 = step_size / batch_size is the noise strength, gamma = weight_decay / 2
the penalty, Sigma the covariance of per-sample gradients, t the number of steps times step_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from dmft.errors import InputError
from dmft.symmetry.commuting import joint_basis
from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.symmetry.gradients import Gradients, noise_power, per_sample_array


def next_charge(
    symmetry: ExponentialSymmetry,
    theta: np.ndarray,
    gradient: np.ndarray,
    step_size: float | np.ndarray,
    weight_decay: float = 0.0,
) -> np.ndarray:
    """The charge after one step theta <- (1 - eta lambda) theta - eta g, without taking it.

    Exact at any step size. When every parameter has its own, and diag(eta) commutes with A, what
    moves simply is `scaled_charge`, and it is that which is returned.

    Units: squared parameters.

    Parameters
    ----------
    symmetry : whose charge.
    theta, gradient : parameters and the gradient applied to them, shape (..., P).
    step_size : eta, a number or an array (P,).
    weight_decay : lambda; only with one step size for all parameters.

    Raises
    ------
    InputError : several step sizes together with weight decay.
    """
    if np.ndim(step_size) == 0:
        left = (1.0 - step_size * weight_decay) ** 2 * symmetry.charge(theta)
        return np.asarray(left + step_size**2 * symmetry.charge(gradient))
    if weight_decay:
        raise InputError("given several step sizes, must be one with weight decay", "step_size")
    root = np.sqrt(step_size)
    return np.asarray(symmetry.charge(theta / root) + symmetry.charge(gradient * root))


def scaled_charge(
    symmetry: ExponentialSymmetry, theta: np.ndarray, step_sizes: np.ndarray
) -> np.ndarray:
    """theta^T eta^(-1/2) A eta^(-1/2) theta: the charge when parameters have own step sizes eta.

    Units: squared parameters over a step size.

    Parameters
    ----------
    symmetry : with the generator A.
    theta : parameters, shape (..., P).
    step_sizes : eta, positive, shape (P,).

    Raises
    ------
    ValueError : parameters of another number than the symmetry has.
    """
    return symmetry.charge(theta / np.sqrt(step_sizes))


@dataclass(frozen=True, eq=False)
class Orbit:
    """What the Noether flow of K commuting symmetries is on theta_lam = exp(sum lam_k A_k) theta.

    Along it the gradient of each sample becomes exp(-sum lam_k A_k) g, so that a few numbers per
    eigenvector n_i, taken at lam = 0, say all.

    values : eigenvalue of each A_k, shape (R, K).
    directions : the eigenvectors n_i, shape (P, R).
    theta : parameters at lam = 0, shape (P,).
    squares : (n_i . theta)^2, shape (R,).
    powers : n_i^T Sigma n_i, shape (R,).
    noise_strength, penalty : sigma^2 and gamma.
    names : of the symmetries.

    Units: lambda along the orbit is dimensionless; charges are in squared parameters.
    """

    values: np.ndarray
    directions: Any
    theta: np.ndarray
    squares: np.ndarray
    powers: np.ndarray
    noise_strength: float
    penalty: float
    names: tuple[str, ...]

    def charge(self, lam: Any = 0.0) -> np.ndarray:
        """C_k at lam, shape (..., K) for lam (..., K)."""
        return np.asarray((np.exp(2.0 * self._exponents(lam)) * self.squares) @ self.values)

    def flow(self, lam: Any = 0.0) -> np.ndarray:
        """G_k = dC_k/dt at lam, shape (..., K); decreasing in lam_k."""
        decay, noise = self._parts(lam)
        return np.asarray((noise - decay) @ self.values)

    def potential(self, lam: Any = 0.0) -> np.ndarray:
        """Phi = 2 gamma |theta_lam|^2 + sigma^2 Tr[Sigma_lam] / 2 on the moved directions.

        Convex, with d Phi / d lam_k = -G_k.
        """
        decay, noise = self._parts(lam)
        return np.asarray((decay + noise).sum(axis=-1) / 2.0)

    def point(self, lam: Any) -> np.ndarray:
        """theta_lam, shape (P,)."""
        along = np.asarray(self.theta @ self.directions)
        moved = np.expm1(self._exponents(lam)) * along
        return np.asarray(self.theta + self.directions @ moved)

    def rates(self, lam: Any = 0.0) -> np.ndarray:
        """Rates at which the charges return to an equilibrium at lam, ascending, per unit of t.

        The eigenvalues of -dG/dC; with one symmetry
        sum mu_i^2 (4 gamma (n_i . theta)^2 + sigma^2 n_i^T Sigma n_i) / |A theta|^2.
        """
        from scipy.linalg import eigh

        decay, noise = self._parts(lam)
        weights = np.exp(2.0 * self._exponents(lam)) * self.squares
        force = (self.values.T * (decay + noise)) @ self.values
        inertia = (self.values.T * weights) @ self.values
        if np.linalg.cond(inertia) > 1e12:
            raise InputError("charges depend on each other here, rates are undefined", "rates")
        return np.asarray(eigh(force, inertia, eigvals_only=True))

    def _parts(self, lam: Any) -> tuple[np.ndarray, np.ndarray]:
        """4 gamma (n_i . theta)^2 and sigma^2 n_i^T Sigma n_i at lam, shapes (..., R)."""
        exponents = 2.0 * self._exponents(lam)
        decay = 4.0 * self.penalty * self.squares * np.exp(exponents)
        return decay, self.noise_strength * self.powers * np.exp(-exponents)

    def _exponents(self, lam: Any) -> np.ndarray:
        lam = np.asarray(lam, dtype=float)
        if lam.ndim == 0:
            lam = np.full(self.values.shape[1], lam)
        return np.asarray(lam @ self.values.T)


def orbit_through(
    symmetries: ExponentialSymmetry | Sequence[ExponentialSymmetry],
    theta: np.ndarray,
    gradients: Gradients,
    *,
    noise_strength: float,
    penalty: float = 0.0,
) -> Orbit:
    """The orbit of a point under one symmetry or several commuting ones.

    Units: noise strength in time of the flow per sample, penalty in inverse time.

    Parameters
    ----------
    symmetries : one, or several that commute.
    theta : parameters, shape (P,).
    gradients : per-sample gradients at theta, (samples, P), or a callable that gives them.
    noise_strength : sigma^2 = step_size / batch_size.
    penalty : gamma of the loss L + gamma |theta|^2, half the weight decay.

    Raises
    ------
    InputError : a wrong shape, a negative strength, or symmetries that do not commute.
    """
    members = [symmetries] if isinstance(symmetries, ExponentialSymmetry) else list(symmetries)
    if not members:
        raise InputError("given none, must be at least one", "symmetries")
    for name, value in (("noise_strength", noise_strength), ("penalty", penalty)):
        if not 0.0 <= value < np.inf:
            raise InputError(f"given {value!r}, must be a number of at least 0", name)
    theta = np.asarray(theta, dtype=float)
    rows = per_sample_array(gradients, theta)
    if len(members) == 1:
        (only,) = members
        only.checked(theta)
        values, directions = only.values[:, None], only.directions
    else:
        members[0].checked(theta)
        values, directions = joint_basis(members)
    if sparse.issparse(directions):
        directions = sparse.csc_array(directions)
    return Orbit(
        values,
        directions,
        theta,
        np.asarray(theta @ directions) ** 2,
        noise_power(rows, directions),
        float(noise_strength),
        float(penalty),
        tuple(member.name for member in members),
    )


def noether_flow(
    symmetry: ExponentialSymmetry,
    theta: np.ndarray,
    gradients: Gradients,
    *,
    noise_strength: float,
    penalty: float = 0.0,
) -> float:
    """G(theta) = dC/dt = -4 gamma C + sigma^2 Tr[A Sigma] of one symmetry; see `orbit_through`.

    Units: squared parameters per time of the flow (step size times steps).

    Parameters
    ----------
    symmetry : whose charge C.
    theta : parameters, shape (P,).
    gradients : per-sample gradients at theta, shape (samples, P).
    noise_strength : sigma^2, step size over batch size.
    penalty : gamma, of gamma |theta|^2.

    Raises
    ------
    InputError : gradients of the wrong shape; a noise strength or penalty that is negative.
    """
    orbit = orbit_through(
        symmetry, theta, gradients, noise_strength=noise_strength, penalty=penalty
    )
    return float(orbit.flow()[0])
