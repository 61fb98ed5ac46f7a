"""Exact learning curves of the linear model, the lazy limit of every network.

The flow w' = -X^T (X w - y) - lambda w from w(0) = 0, with weight decay lambda, is solved by

    w(t) = q_t(H) X^T y,   q_t(x) = (1 - e^{-(x + lambda) t}) / (x + lambda),   H = X^T X.

Write e_t(x) = 1 - x q_t(x) = e^{-(x + lambda) t} + lambda q_t(x) for the share of the teacher that
is still missing along an eigenvector of eigenvalue x. Inserting y = X w* + eps gives

    w - w*  = -e_t(H) w* + q_t(H) X^T eps,      X w - y = -X e_t(H) w* - e_t(X X^T) eps.

Averages over the isotropic data are integrals over the Marchenko-Pastur law of H (mu, which
has mass 1 - delta at 0 if delta < 1) or of X X^T (nu, with mass 1 - 1/delta at 0 if delta > 1);
of the teacher only the second moment E[w*^2] enters:

    C_w(t, s) = E[w*^2] int e_t e_s dmu     +  sigma^2 int x q_t q_s dmu
    C_r(t, s) = E[w*^2] int x e_t e_s dnu   +  sigma^2 int e_t e_s dnu
    E[w w]    = E[w*^2] int x^2 q_t q_s dmu +  sigma^2 int x q_t q_s dmu

with the normalisation of the mean-field equations: entries of X of variance 1/d, n = delta d,
train_mse = |Xw - y|^2 / n = C_r(t, t), excess_risk = |w - w*|^2 / d = C_w(t, t).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow
from dmft.problem.features import Isotropic
from dmft.problem.teachers import BernoulliGauss, Discrete, Empirical, Gaussian, Rademacher, Teacher

# Halvings of the angle towards the lower spectral edge, and Gauss nodes between two of them.
# The finest eigenvalue resolved is about 1e-23, so every time below 1e20 is covered.
_HALVINGS = 40
_NODES = 20


@dataclass(frozen=True)
class LinearCurves:
    """Learning curves of the linear model; both arrays have the shape of the given times.

    Attributes
    ----------
    train_mse : |Xw - y|^2 / n.
    excess_risk : |w - w*|^2 / d.
    """

    train_mse: np.ndarray
    excess_risk: np.ndarray


@dataclass(frozen=True)
class Spectrum:
    """Quadrature of the Marchenko-Pastur law; all arrays have shape (node,), the first is x = 0.

    Attributes
    ----------
    eigenvalue : nodes x.
    coordinates : weights of mu, the law of the d eigenvalues of X^T X; they sum to 1.
    samples : weights of nu, the law of the n eigenvalues of X X^T; they sum to 1.
    """

    eigenvalue: np.ndarray
    coordinates: np.ndarray
    samples: np.ndarray


def learning_curves(problem: Problem, time: ArrayLike) -> LinearCurves:
    """Training error and excess risk at the given times (any shape, units of the flow).

    Raises
    ------
    InputError : the network is not linear, the features are not isotropic, the dynamics is not
        gradient flow, or a time is negative or not finite.

    Examples
    --------
    >>> from dmft import Problem
    >>> problem = Problem(sampling_ratio=2.0, noise_std=0.5, network={"kind": "linear"})
    >>> float(learning_curves(problem, 1e3).excess_risk.round(6))  # sigma^2 / (delta - 1)
    0.25
    """
    times = _checked(problem, time)
    spectrum = marchenko_pastur(problem.sampling_ratio)
    missing, gain = _filters(problem, times, spectrum)
    x, signal, noise = spectrum.eigenvalue, second_moment(problem.teacher), problem.noise_std**2
    return LinearCurves(
        train_mse=missing**2 @ ((signal * x + noise) * spectrum.samples),
        excess_risk=signal * missing**2 @ spectrum.coordinates
        + noise * gain**2 @ (x * spectrum.coordinates),
    )


def correlation_error(problem: Problem, time: ArrayLike) -> np.ndarray:
    """C_w(t, s), covariance of w - w* at two times; `time` is (time,), the result (time, time).

    Raises
    ------
    InputError : as `learning_curves`.
    """
    times = _checked(problem, time)
    spectrum = marchenko_pastur(problem.sampling_ratio)
    missing, gain = _filters(problem, times, spectrum)
    signal = second_moment(problem.teacher) * spectrum.coordinates
    noise = problem.noise_std**2 * spectrum.eigenvalue * spectrum.coordinates
    return (missing * signal) @ missing.T + (gain * noise) @ gain.T


def correlation_residual(problem: Problem, time: ArrayLike) -> np.ndarray:
    """C_r(t, s), covariance of one sample's residual; `time` is (time,), the result (time, time).

    Raises
    ------
    InputError : as `learning_curves`.
    """
    times = _checked(problem, time)
    spectrum = marchenko_pastur(problem.sampling_ratio)
    missing, _ = _filters(problem, times, spectrum)
    power = second_moment(problem.teacher) * spectrum.eigenvalue + problem.noise_std**2
    return (missing * (power * spectrum.samples)) @ missing.T


def overlap(problem: Problem, time: ArrayLike) -> np.ndarray:
    """E[w(t) w(s)], overlap of the weights; `time` is (time,), the result (time, time).

    Raises
    ------
    InputError : as `learning_curves`.
    """
    times = _checked(problem, time)
    spectrum = marchenko_pastur(problem.sampling_ratio)
    _, gain = _filters(problem, times, spectrum)
    x = spectrum.eigenvalue
    power = second_moment(problem.teacher) * x**2 + problem.noise_std**2 * x
    return (gain * (power * spectrum.coordinates)) @ gain.T


def marchenko_pastur(sampling_ratio: float) -> Spectrum:
    """Quadrature of the spectrum of X^T X and X X^T, for integrands that vary on any scale of x.

    The bulk has density sqrt((x_+ - x)(x - x_-)) / (2 pi x) on x_± = (1 ± sqrt delta)^2
    (Marchenko and Pastur 1967). With x = x_- + 4 sqrt(delta) sin^2(angle/2) both edges become
    smooth, mu(dx) = 2 delta sin^2(angle) / (pi x) d angle, also at delta = 1 where the density
    diverges. Gauss-Legendre panels that halve towards angle = 0 then resolve alike the scales
    x ~ 1/t of a long time, x ~ weight decay and x ~ x_- of a sampling ratio close to 1.

    Parameters
    ----------
    sampling_ratio : delta = n/d > 0.
    """
    edges = np.pi * 0.5 ** np.arange(_HALVINGS + 1)
    lower, upper = np.append(edges[1:], 0.0), edges
    points, weights = np.polynomial.legendre.leggauss(_NODES)
    half = (upper - lower)[:, None] / 2
    angle = (lower[:, None] + half * (1 + points)).ravel()
    measure = (half * weights).ravel()

    root = np.sqrt(sampling_ratio)
    lowest = ((1 - sampling_ratio) / (1 + root)) ** 2  # (1 - root)^2 without cancellation
    x = lowest + 4 * root * np.sin(angle / 2) ** 2
    bulk = 2 * sampling_ratio / np.pi * np.sin(angle) ** 2 / x * measure
    return Spectrum(
        eigenvalue=np.append(0.0, x),
        coordinates=np.append(max(0.0, 1 - sampling_ratio), bulk),
        samples=np.append(max(0.0, 1 - 1 / sampling_ratio), bulk / sampling_ratio),
    )


def second_moment(teacher: Teacher) -> float:
    """E[w*^2] of a teacher."""
    match teacher:
        case BernoulliGauss():
            return 1.0
        case Gaussian(mean=mean, std=std):
            return mean**2 + std**2
        case Rademacher(scale=scale):
            return scale**2
        case Discrete(values=values, weights=weights):
            return float(np.average(np.square(values), weights=weights))
        case Empirical(values=values):
            return float(np.mean(np.square(values)))


def _filters(
    problem: Problem, time: np.ndarray, spectrum: Spectrum
) -> tuple[np.ndarray, np.ndarray]:
    """e_t(x) and q_t(x), shape (*time, node), free of cancellation at every x and t."""
    from scipy.special import exprel

    decay = problem.dynamics.weight_decay
    exponent = (spectrum.eigenvalue + decay) * time[..., None]
    gain = time[..., None] * exprel(-exponent)
    return np.exp(-exponent) + decay * gain, gain


def _checked(problem: Problem, time: ArrayLike) -> np.ndarray:
    if not problem.network.linear:
        raise InputError(
            f"given kind '{problem.network.kind}', the closed form needs 'linear'",
            "problem.network",
        )
    paired = isinstance(problem.teacher, Empirical) and problem.teacher.feature_variances
    if paired or not isinstance(problem.features, Isotropic):
        raise InputError(
            "given feature variances, the closed form needs kind 'isotropic'", "problem.features"
        )
    require_gradient_flow(problem.dynamics, "the closed form needs 'gradient-flow'")
    times = np.asarray(time, dtype=float)
    if not np.all(np.isfinite(times) & (times >= 0)):
        raise InputError("given a negative or infinite time, must be at least 0", "time")
    return times
