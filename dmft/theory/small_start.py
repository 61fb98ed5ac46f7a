"""The law of lambda_min as the start goes to zero: slow like 1 / log^2, not like a power.

At a = b = alpha -> 0 (depth 2, lambda = 0, delta < 1, no exact recovery) the limit of training
approaches the minimum l1 norm, x = sqrt(s) w* + tau z with a soft threshold x_1. With
S = 2 sqrt(w^2 + alpha^4), s = 1, the proximal map reads

    x = S/2 + (theta/2) log(S / alpha^2)          (|x| above and around the threshold).

Let F(S) be the density of |x| at x_1 + S/2, and f = F(0). E[S/(S + theta)] = delta, expanded for
small theta, fixes theta by (theta/2) log(S_0 / alpha^2) = x_1 with
log S_0 = -int_0^inf log(S) F'(S) dS / f, and at c = mu theta

    E[S/(S + c)] - delta = (theta/2) (1 - mu) f log(S_0 / (mu theta)),

so that lambda_min = theta^2 (f/2) max_mu mu (1 - mu) log(S_0 / (mu theta)). As theta is about
x_1 / log(1/alpha), that is of order loglog(1/alpha) / log^2(1/alpha). With more samples than
coordinates, delta > 1, lambda_min = 2 (delta - 1) alpha^2 instead: coordinates that end at zero
move at speed 2 alpha^2.
"""

from __future__ import annotations

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow
from dmft.problem.networks import DEPTH_TWO
from dmft.problem.problem import require_squared
from dmft.theory.channels import Channels, gauss_legendre
from dmft.theory.least_norm import basis_pursuit
from dmft.theory.prediction import checked_channels


def small_start_rate(problem: Problem) -> float:
    """lambda_min to leading order as the start of a depth-2 network goes to zero.

    Parameters
    ----------
    problem : the rate is per unit of the flow.

    Raises
    ------
    InputError : another network, delta = 1, feature variances, weight decay, random starts, or
        exact recovery (delta above the l1 transition, no noise), where lambda_min falls like a
        power of alpha.
    """
    require_gradient_flow(problem.dynamics)
    require_squared(problem)
    channels = checked_channels(problem)
    product = channels.a0 * channels.b0
    if problem.network.code != DEPTH_TWO:
        raise InputError(
            "the law of small starts needs a diagonal network of depth 2", "problem.network"
        )
    if problem.dynamics.weight_decay:
        raise InputError("the law of small starts needs weight decay 0", "dynamics.weight_decay")
    if np.ptp(channels.feature) > 0 or np.ptp(product) > 0:
        raise InputError("the law of small starts needs equal features and starts", "problem")
    delta, scale = problem.sampling_ratio, float(product[0])
    if delta == 1.0:
        raise InputError("given 1, where lambda_min is 0 at every start", "problem.sampling_ratio")
    if delta > 1.0:
        return 2.0 * (delta - 1.0) * scale * float(channels.feature[0])
    ends = basis_pursuit(problem)
    if ends.recovered:
        raise InputError(
            "given no noise above the l1 transition, where the teacher is recovered and "
            "lambda_min falls like a power of the start: use predict",
            "problem.noise_std",
        )
    log_s0, f = _logarithmic_mean(channels, ends.noise_level, ends.threshold)
    theta = 2.0 * ends.threshold / (log_s0 - np.log(scale))
    mu = np.linspace(1e-3, 1.0, 4000)
    return float(theta**2 * f / 2 * np.max(mu * (1 - mu) * (log_s0 - np.log(mu * theta))))


def _logarithmic_mean(channels: Channels, tau: float, threshold: float) -> tuple[float, float]:
    """log S_0 and the density f at the threshold; s = 1."""
    width = np.sqrt(channels.variance + tau**2)[:, None]
    log_s, measure = gauss_legendre(np.linspace(-40.0, np.log(40.0 * width.max()), 200), 8)
    s = np.exp(log_s)
    total = slope = 0.0
    for sign in (-1.0, 1.0):
        z = (threshold + np.append(0.0, s / 2) - sign * channels.mean[:, None]) / width
        density = channels.probability @ (np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * width))
        falling = channels.probability @ (z * np.exp(-0.5 * z**2) / (np.sqrt(2 * np.pi) * width**2))
        total += density[0]
        slope = slope + falling[1:] / 2  # -F'(S)
    return float(np.sum(measure * s * log_s * slope) / total), float(total)
