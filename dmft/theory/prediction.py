"""What a problem comes to at long times, and how fast: the door of the theory.

| regime | when | limit |
| --- | --- | --- |
| interpolation | no weight decay, delta < 1 | argmin psi(w) on Xw = y, psi the mirror potential |
| least-squares | no weight decay, delta > 1 | argmin of the squared loss |
| critical | no weight decay, delta = 1 | none: errors decay or grow like powers of time |
| ridge | weight decay, linear network | argmin 1/2 squared loss + lambda/2 sum w^2 |
| lasso | weight decay, depth 2 | argmin 1/2 squared loss + lambda sum abs(w) |
| bridge | weight decay, depth L >= 3 | local minima with the penalty (lambda/2) (L abs(w))^(2/L) |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR
from dmft.problem.population import check_sizes
from dmft.problem.problem import require_squared
from dmft.theory.averages import SmoothPenalty, Speeds
from dmft.theory.channels import Channels, channels_of
from dmft.theory.fixed_point import fixed_point_of, size_of
from dmft.theory.mirror import mirror_of
from dmft.theory.penalties import AbsolutePenalty, QuadraticPenalty
from dmft.theory.rates import lower_edge

_LARGEST_LOG = 650.0  # of the powers of the start, which have to be floating-point numbers
_UNRESOLVED = "the rate is too small to be resolved: nearly all weights are either done or at rest"
_EDGE = 1.5  # power of time from a density that vanishes like a square root


@dataclass(frozen=True)
class Prediction:
    """The end of training.

    Units: rates are in inverse time of the flow, risks in squared weights; powers, shares are
    dimensionless.

    Attributes
    ----------
    regime : see the module.
    excess_risk, train_mse : limits of the two curves.
    relaxation_rate : lambda_min, the lower edge of the spectrum that governs the residual near
        the limit (plus the decay itself in ridge regression); 0 where the decay is algebraic.
    train_rate, train_power : train_mse approaches its limit like t^(-power) e^(-rate t); the
        power is None where it is not known.
    risk_rate, risk_power : the same for excess_risk; a negative power is a growth.
    noise_level, threshold : tau and theta of the fixed point; None where there is none.
    nonzero : share of the weights that are not zero.
    note : what to know about the numbers; empty if there is nothing.
    """

    regime: str
    excess_risk: float
    train_mse: float
    relaxation_rate: float
    train_rate: float
    train_power: float | None
    risk_rate: float
    risk_power: float | None
    noise_level: float | None
    threshold: float | None
    nonzero: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All of it as a plain table."""
        return asdict(self)


def predict(problem: Problem, near: Prediction | None = None) -> Prediction:
    """Limits of the curves of a problem and the rates at which they are approached.

    Times are in units of the flow. Deterministic, to about 1e-9; relative 1e-5 when init_u or
    init_v is a continuous law, 5e-3 when both are. `near`, the prediction of a similar problem,
    only saves time.

    Raises
    ------
    InputError : a start with |u| = |v|, from which weights cannot change their sign.
    NotConverged : the fixed point equations could not be solved.

    Examples
    --------
    >>> from dmft import Problem
    >>> found = predict(Problem(sampling_ratio=0.5, noise_std=0.1))
    >>> print(found.regime, round(found.excess_risk, 6), round(found.relaxation_rate, 6))
    interpolation 0.102693 0.030089
    """
    require_gradient_flow(problem.dynamics)
    require_squared(problem)
    channels = checked_channels(problem)
    if problem.noise_std == 0.0 and size_of(problem, channels) == 0.0:
        return _nothing(problem, channels)
    if problem.dynamics.weight_decay > 0:
        return _decayed(problem, channels)
    if problem.sampling_ratio == 1.0:
        return _critical(problem)
    if problem.sampling_ratio > 1.0:
        return _least_squares(problem, channels)
    return _interpolation(problem, channels, near)


def checked_channels(problem: Problem) -> Channels:
    """The population, refusing starts that confine weights to one sign.

    Raises
    ------
    InputError : as said, or numbers whose products overflow.
    """
    check_sizes(problem)
    channels = channels_of(problem)
    if problem.network.linear:
        return channels
    power = max(2, 2 * problem.network.depth - 2)
    starts = np.concatenate([channels.a0, channels.b0])
    if np.any(starts == 0.0):
        raise InputError(
            "given a start with |init_u| = |init_v|, from which no weight can change its sign: "
            "training ends at a sign-constrained fit that this theory does not cover",
            "problem.network",
        )
    extreme = float(starts[np.argmax(np.abs(np.log(starts)))])
    if abs(np.log(extreme)) * power > _LARGEST_LOG:
        raise InputError(
            f"given a start of {extreme:.3g} at depth {problem.network.depth}, must be between "
            f"{np.exp(-_LARGEST_LOG / power):.2g} and {np.exp(_LARGEST_LOG / power):.2g}",
            "problem.network",
        )
    return channels


def penalty_of(problem: Problem, channels: Channels) -> SmoothPenalty | QuadraticPenalty:
    """The mirror potential that the flow without weight decay minimises."""
    if problem.network.linear:
        return QuadraticPenalty(channels)
    return SmoothPenalty(channels, mirror_of(problem, channels))


def _decayed(problem: Problem, channels: Channels) -> Prediction:
    """The end under weight decay, whose penalty is another one in every network."""
    code = problem.network.code
    if code == LINEAR:
        return _ridge(problem, channels)
    if code == DEPTH_TWO:
        return _lasso(problem, channels)
    if code == DEEP:
        return _bridge(problem, channels)
    raise ValueError(f"unknown network {code}")


def _bridge(problem: Problem, channels: Channels) -> Prediction:
    """The fixed point with every coordinate in the lower of its two minima.

    The spread between the two selections, of the order of the ambiguity, stands in the note.
    """
    from dmft.theory.bridge import solve_bridge

    found, nonzero, other = solve_bridge(problem, channels)
    return Prediction(
        regime="bridge",
        excess_risk=found.excess_risk,
        train_mse=found.train_mse,
        relaxation_rate=np.nan,
        train_rate=np.nan,
        train_power=None,
        risk_rate=np.nan,
        risk_power=None,
        noise_level=found.tau,
        threshold=found.theta,
        nonzero=nonzero,
        note=(
            "an approximation: depth >= 3 with weight decay has many local minima, and the one "
            "that is reached depends on the start; keeping every coordinate off zero that can "
            f"be gives excess_risk {other.excess_risk:.5g}, train_mse {other.train_mse:.5g}"
        ),
    )


def _interpolation(problem: Problem, channels: Channels, near: Prediction | None) -> Prediction:
    penalty = penalty_of(problem, channels)
    guess = None
    if near is not None and near.noise_level and near.threshold:
        guess = (near.noise_level, near.threshold)
    found = fixed_point_of(problem, channels, penalty, guess)
    rate = lower_edge(penalty.speeds(found.tau, found.theta), problem.sampling_ratio)
    # The excess risk moves in proportion to the residual, unless the error is orthogonal to
    # every remaining motion, as in a linear network without noise.
    linear = problem.network.linear and problem.noise_std == 0.0
    return Prediction(
        regime="interpolation",
        excess_risk=found.excess_risk,
        train_mse=0.0,
        relaxation_rate=rate,
        train_rate=2 * rate,
        train_power=_EDGE,
        risk_rate=2 * rate if linear else rate,
        risk_power=_EDGE,
        noise_level=found.tau,
        threshold=found.theta,
        nonzero=1.0,
        note=_UNRESOLVED if np.isnan(rate) else "",
    )


def _nothing(problem: Problem, channels: Channels) -> Prediction:
    """No teacher, no noise and w(0) = 0, or decay towards it."""
    decay = problem.dynamics.weight_decay
    rate = lower_edge(penalty_of(problem, channels).speeds(0.0, 0.0), problem.sampling_ratio)
    return Prediction(
        regime="ridge" if decay else "interpolation",
        excess_risk=0.0,
        train_mse=0.0,
        relaxation_rate=0.0 if decay else rate,
        train_rate=0.0 if decay else 2 * rate,
        train_power=None if decay else _EDGE,
        risk_rate=0.0 if decay else 2 * rate,
        risk_power=None if decay else _EDGE,
        noise_level=0.0,
        threshold=None,
        nonzero=0.0,
        note="no teacher and no noise: the weights stay at zero, or decay to it",
    )


def _least_squares(problem: Problem, channels: Channels) -> Prediction:
    delta, noise = problem.sampling_ratio, problem.noise_std
    tau = noise / np.sqrt(delta - 1.0)
    speeds = penalty_of(problem, channels).speeds(tau, 0.0)
    rate = lower_edge(speeds, delta)
    return Prediction(
        regime="least-squares",
        excess_risk=tau**2,
        train_mse=noise**2 * (1.0 - 1.0 / delta),
        relaxation_rate=rate,
        train_rate=2 * rate,
        train_power=_EDGE,
        risk_rate=rate if noise else 2 * rate,
        risk_power=_EDGE,
        noise_level=tau,
        threshold=0.0,
        nonzero=1.0,
        note=_slow_starts(problem) if rate < 1e-12 else "",
    )


def _slow_starts(problem: Problem) -> str:
    if not problem.network.linear and problem.network.init_u is not None:
        return "starts with |u| close to |v| have speeds close to zero and slow the end down"
    return ""


def _critical(problem: Problem) -> Prediction:
    noisy = problem.noise_std > 0
    linear = problem.network.linear
    note = "sampling ratio 1: the spectrum reaches zero and nothing decays exponentially; "
    if noisy:
        note += "the excess risk grows without bound" + (" like sqrt(t)" if linear else "")
        train, risk = (0.5, -0.5) if linear else (None, None)
    else:
        note += "without noise the teacher is found in the end"
        train, risk = 1.5, 0.5
    return Prediction(
        regime="critical",
        excess_risk=np.inf if noisy else 0.0,
        train_mse=0.0,
        relaxation_rate=0.0,
        train_rate=0.0,
        train_power=train,
        risk_rate=0.0,
        risk_power=risk,
        noise_level=np.inf if noisy else 0.0,
        threshold=0.0,
        nonzero=1.0,
        note=note,
    )


def _ridge(problem: Problem, channels: Channels) -> Prediction:
    delta, decay = problem.sampling_ratio, problem.dynamics.weight_decay
    penalty = QuadraticPenalty(channels)
    found = fixed_point_of(problem, channels, penalty)
    rate = decay + lower_edge(Speeds(channels.feature, channels.probability, True), delta)
    return Prediction(
        regime="ridge",
        excess_risk=found.excess_risk,
        train_mse=found.train_mse,
        relaxation_rate=rate,
        train_rate=rate,
        train_power=_EDGE,
        risk_rate=rate,
        risk_power=_EDGE,
        noise_level=found.tau,
        threshold=found.theta,
        nonzero=1.0,
    )


def _lasso(problem: Problem, channels: Channels) -> Prediction:
    found = fixed_point_of(problem, channels, AbsolutePenalty(channels))
    return Prediction(
        regime="lasso",
        excess_risk=found.excess_risk,
        train_mse=found.train_mse,
        relaxation_rate=0.0,
        train_rate=0.0,
        train_power=2.0,
        risk_rate=0.0,
        risk_power=2.0,
        noise_level=found.tau,
        threshold=found.theta,
        nonzero=found.slope,
        note="weights close to the threshold relax arbitrarily slowly: errors decay like t^-2",
    )
