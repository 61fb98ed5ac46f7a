"""Where training ends: the two scalar equations of a penalised least-squares problem.

Let w minimise 1/2 |Xw - y|^2 + lambda sum_j psi_j(w_j), or psi alone on Xw = y (lambda = 0). As
n, d -> infinity each coordinate is the proximal map of psi applied to sqrt(s) w* + tau z, at
strength theta, with

    delta tau^2 = sigma^2 + E[s (w - w*)^2],
    lambda = theta (delta - E[slope]),        slope = d(sqrt(s) w) / d(sqrt(s) w* + tau z),

and then excess_risk = E[s (w - w*)^2], train_mse = delta tau^2 (1 - E[slope] / delta)^2.

The equations are the stationarity conditions of a scalar function, concave in beta and convex in
tau (the auxiliary problem of Gordon's inequality, Thrampoulidis, Abbasi and Hassibi 2018),

    beta (delta tau + sigma^2 / tau) / 2 - beta^2 / 2 - beta tau / 2
        + E min_v [ beta (v - x)^2 / (2 tau) + lambda psi ],          theta = lambda tau / beta,

where lambda = 0 drops the term beta^2 / 2 and has theta = tau / beta. So the solution is unique,
and two nested bracketed searches, for the theta that balances the second equation at given tau
and for the tau of the first along these, find it wherever it exists. A quasi-Newton polish saves
time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dmft.errors import NotConverged
from dmft.problem import Problem
from dmft.theory.averages import Moments, Penalty
from dmft.theory.channels import Channels
from dmft.theory.mirror import start_of

_SMALLEST = 1e-14  # of the noise level tau, relative to the size of the teacher
_COARSE = 1e-2
_FEW = 64  # channels of a first approximation
_FINE = 1e-13
_ACCEPTED = 1e-9
_TOLERATED = 1e-7  # where tau is so small that rounding limits the equations


@dataclass(frozen=True)
class FixedPoint:
    """A solution of the two scalar equations.

    Attributes
    ----------
    tau : standard deviation of the noise that a coordinate sees.
    theta : strength of the proximal map.
    slope : E[d(sqrt(s) w)/dx]; for the l1 penalty the share of nonzero weights.
    excess_risk, train_mse : the limits of the two curves.
    """

    tau: float
    theta: float
    slope: float
    excess_risk: float
    train_mse: float


@dataclass(frozen=True)
class _Equations:
    """The two equations as residuals of order 1."""

    penalty: Penalty
    delta: float
    noise: float
    weight_decay: float

    def energy(self, tau: float, moments: Moments) -> float:
        """log of E[(noise and error)^2] over delta tau^2; falls with tau at balance."""
        return float(np.log(max(self.noise**2 + moments.risk, 1e-300) / (self.delta * tau**2)))

    def balance(self, theta: float, moments: Moments) -> float:
        """delta minus its two uses, relative to it; rises with theta at fixed tau."""
        return (self.delta - moments.slope - self.weight_decay / theta) / self.delta


def solve_fixed_point(
    penalty: Penalty,
    delta: float,
    noise: float,
    weight_decay: float,
    size: float,
    guess: tuple[float, float] | None = None,
) -> FixedPoint:
    """Solve for (tau, theta).

    Parameters
    ----------
    penalty : psi, averaged over the population.
    delta, noise, weight_decay : sampling ratio, sigma, lambda; lambda = 0 needs delta < 1.
    size : root mean square of sqrt(s) w*, the scale of tau.
    guess : (tau, theta) of a neighbouring problem.

    Raises
    ------
    NotConverged : no solution was found; for lambda = 0 and no noise there may be none, with
        tau = 0 (exact recovery by the l1 norm).
    """
    equations = _Equations(penalty, delta, noise, weight_decay)
    floor = max(noise / np.sqrt(delta), _SMALLEST * size)
    if guess is None or (found := _polished(equations, *guess)) is None:
        rough = replace(equations, penalty=penalty.thinned(_FEW))
        found = _polished(equations, *_nested(rough, floor, size, _COARSE))
    if found is None:
        found = _nested(equations, floor, size, _FINE)
    tau, theta = found
    moments = penalty.moments(tau, theta)
    error = max(abs(equations.energy(tau, moments)), abs(equations.balance(theta, moments)))
    if not error < _TOLERATED:
        raise NotConverged(f"the fixed point equations are left with an error of {error:.1g}")
    return FixedPoint(
        tau=tau,
        theta=theta,
        slope=moments.slope,
        excess_risk=moments.risk,
        train_mse=weight_decay**2 * tau**2 / (delta * theta**2),
    )


def _polished(equations: _Equations, tau: float, theta: float) -> tuple[float, float] | None:
    """The root near (tau, theta) in logarithmic variables, or None."""
    from scipy.optimize import root

    def residuals(logs: np.ndarray) -> list[float]:
        tau, theta = np.exp(np.clip(logs, -80.0, 80.0))
        moments = equations.penalty.moments(tau, theta)
        return [equations.energy(tau, moments), equations.balance(theta, moments)]

    with np.errstate(all="ignore"):
        try:
            found = root(residuals, np.log([tau, theta]), tol=_FINE, options={"maxfev": 60})
        except (ValueError, FloatingPointError):
            return None
    if not np.max(np.abs(found.fun)) < _ACCEPTED / 10:
        return None
    tau, theta = np.exp(found.x)
    return float(tau), float(theta)


def _nested(
    equations: _Equations, floor: float, size: float, tolerance: float
) -> tuple[float, float]:
    """theta within tau by two nested searches in logarithms, to a relative `tolerance`."""
    log_theta = float(np.log(equations.penalty.strength(size)))

    def inner(log_tau: float) -> float:
        """log theta that balances at this tau."""
        nonlocal log_theta
        tau = float(np.exp(log_tau))

        def balance(trial: float) -> float:
            theta = float(np.exp(trial))
            return equations.balance(theta, equations.penalty.moments(tau, theta))

        log_theta = _increasing_root(balance, -650.0, 650.0, log_theta, tolerance)
        return log_theta

    def outer(log_tau: float) -> float:
        tau, theta = np.exp(log_tau), np.exp(inner(log_tau))
        return -equations.energy(tau, equations.penalty.moments(tau, theta))

    low = np.log(floor)
    log_tau = _increasing_root(outer, low, low + 80.0, np.log(max(floor, size)), tolerance)
    return float(np.exp(log_tau)), float(np.exp(inner(log_tau)))


def _increasing_root(
    function: Callable[[float], float], low: float, high: float, guess: float, tolerance: float
) -> float:
    """The root in [low, high] of an increasing function; an end if there is none."""
    from scipy.optimize import brentq

    left = right = min(max(guess, low), high)
    step = 0.5
    if function(left) > 0:
        while function(left) > 0:
            if left <= low:
                return low
            right, left, step = left, max(left - step, low), 2 * step
    else:
        while function(right) <= 0:
            if right >= high:
                return high
            left, right, step = right, min(right + step, high), 2 * step
    return float(brentq(function, left, right, xtol=tolerance, rtol=1e-14))


def fixed_point_of(
    problem: Problem, channels: Channels, penalty: Penalty, guess: tuple[float, float] | None = None
) -> FixedPoint:
    """Solve the fixed point equations of a problem for a given penalty."""
    return solve_fixed_point(
        penalty,
        problem.sampling_ratio,
        problem.noise_std,
        problem.dynamics.weight_decay,
        size_of(problem, channels) or problem.noise_std,
        guess,
    )


def size_of(problem: Problem, channels: Channels) -> float:
    """Root mean square of sqrt(s) times teacher and, without weight decay, initial weight."""
    size = channels.second_moment
    if problem.dynamics.weight_decay == 0.0:
        start = start_of(problem.network, channels)
        size += float(channels.probability @ (channels.feature * start**2))
    return size**0.5
