"""The two ends of the family of interpolators: minimum l1 norm and minimum l2 norm.

Diagonal networks of any depth interpolate between them as their start grows from zero to infinity
(Woodworth et al. 2020): for a small start psi' is close to a constant times the sign of w, for a
large one to a constant times w.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.networks import Linear
from dmft.theory.channels import channels_of
from dmft.theory.fixed_point import fixed_point_of
from dmft.theory.penalties import AbsolutePenalty
from dmft.theory.prediction import Prediction, predict


@dataclass(frozen=True)
class LeastNorm:
    """The minimum l1 norm interpolator, the limit of depth 2 as its start goes to zero.

    Units: risks and noise_level^2 are in squared weights, shares dimensionless.

    Attributes
    ----------
    excess_risk : its limit.
    nonzero : share of nonzero weights, delta unless the teacher is recovered.
    recovered : whether it is the teacher, exactly.
    noise_level, threshold : tau and theta.
    """

    excess_risk: float
    nonzero: float
    recovered: bool
    noise_level: float
    threshold: float


def basis_pursuit(problem: Problem) -> LeastNorm:
    """The minimum l1 norm interpolator of a problem's data, whatever its network.

    Units: risks in squared weights.

    Raises
    ------
    InputError : a sampling ratio of 1 or more, or weight decay.
    """
    _check_interpolates(problem)
    channels = channels_of(problem)
    nonzero = 1.0 - float(channels.probability @ ((channels.mean == 0) & (channels.variance == 0)))
    if problem.noise_std == 0.0 and problem.sampling_ratio > l1_transition(problem):
        return LeastNorm(0.0, nonzero, True, 0.0, 0.0)
    found = fixed_point_of(problem, channels, AbsolutePenalty(channels))
    return LeastNorm(found.excess_risk, found.slope, False, found.tau, found.theta)


def l1_transition(problem: Problem) -> float:
    """The sampling ratio above which the minimum l1 norm recovers the teacher without noise.

    As tau -> 0 the error of a soft threshold kappa tau / sqrt(s) is tau^2 M(kappa), where a
    nonzero coefficient contributes 1 + kappa^2 / s and a zero one the risk of pure noise; the
    transition is at min M (Donoho, Maleki and Montanari 2009).

    Units: dimensionless, samples per coordinate.

    Parameters
    ----------
    problem : its teacher and features; sampling ratio and noise are not used.

    Raises
    ------
    InputError : a loss or labels that the theory does not know.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import ndtr

    channels = channels_of(problem)
    zero = (channels.mean == 0.0) & (channels.variance == 0.0)

    def risk(kappa: float) -> float:
        k = kappa / np.sqrt(channels.feature)
        density = np.exp(-0.5 * k**2) / np.sqrt(2 * np.pi)
        noise = 2 * ((1 + k**2) * ndtr(-k) - k * density)
        return float(channels.probability @ np.where(zero, noise, 1 + k**2))

    widest = 40.0 * float(np.sqrt(channels.feature.max()))
    grid = np.linspace(0.0, widest, 400)
    best = int(np.argmin([risk(k) for k in grid]))
    if best == 0:
        return min(1.0, risk(0.0))
    found = minimize_scalar(
        risk, bounds=(grid[best - 1], grid[min(best + 1, 399)]), method="bounded",
        options={"xatol": 1e-12},
    )  # fmt: skip
    return float(found.fun)


def minimum_l2(problem: Problem) -> Prediction:
    """The minimum l2 norm interpolator, the limit of a large balanced start.

    Units: risks in squared weights.

    Parameters
    ----------
    problem : its network is not used.

    Raises
    ------
    InputError : a sampling ratio of 1 or more, or weight decay.
    """
    _check_interpolates(problem)
    return predict(problem.model_copy(update={"network": Linear()}))


def _check_interpolates(problem: Problem) -> None:
    delta = problem.sampling_ratio
    if delta >= 1.0:
        raise InputError(
            f"given {delta:g}, minimum norm interpolators need less than 1 (above, the limit is "
            "least squares; at 1 all networks share one interpolator, of unbounded error)",
            "problem.sampling_ratio",
        )
    if problem.dynamics.weight_decay:
        raise InputError(
            f"given {problem.dynamics.weight_decay:g}, interpolation needs 0",
            "dynamics.weight_decay",
        )
