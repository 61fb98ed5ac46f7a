"""When things happen: learning times of large and small starts, and the delay of grokking.

**Lazy and search times.** A weight reaches size w once the accumulated force has reached
p = psi'(w). The force begins as g = -X^T y, of mean square (s = 1 for the formula, the code has s)

    E[g^2] = delta (E[w*^2] + sigma^2) + delta^2 E[w*^2],

so the learning time is T = psi'(w_0) / sqrt(E[g^2]) with w_0 the size of the teacher. Two limits:

    alpha -> infinity, *lazy*:  T = w_0 / (2 alpha^2 sqrt(E g^2)),       the kernel regime,
    alpha -> 0, *search*:       T = log(2 w_0 / alpha^2) / (2 sqrt(E g^2)), log-slow escape from 0.

In units of T the curves of all large starts fall on those of the linear model; those of small
starts on the curves of p' = -X^T (Xw - y), p in the subdifferential of |w|_1, up to corrections of
order 1 / log(1/alpha). After the search a coordinate grows by e in a time 1 / (2 |g|), without
the logarithm: the *descent*.

**Drift and grokking.** Weight decay divides a and b by e^(lambda t). Written for a e^(lambda t) and
b e^(lambda t) the weights are those of a network without decay and with start

    alpha(t) = alpha e^(-lambda t),

driven by another force, whose integral stays in the row space of X. While Xw = y holds (lambda
small against lambda_min), w is therefore the minimiser of psi at the *current* alpha(t): training
walks through all interpolators from the l2 towards the l1 end. excess_risk(t) = R(alpha(t)), with
R the limit without weight decay, up to the end at the LASSO. If r is half-way, R(alpha_r) = r, the
test error falls at t = log(alpha / alpha_r) / lambda, while the training error has fallen at the
lazy time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import GradientFlow, require_gradient_flow
from dmft.problem.networks import DEEP, DEPTH_TWO
from dmft.problem.problem import require_squared
from dmft.theory.channels import channels_of
from dmft.theory.least_norm import basis_pursuit, minimum_l2
from dmft.theory.prediction import Prediction, checked_channels, predict


def initial_force(problem: Problem) -> float:
    """Root mean square of the force g at w = 0."""
    law = channels_of(problem)
    delta = problem.sampling_ratio
    label = law.second_moment + problem.noise_std**2
    mean_square = law.mean**2 + law.variance  # s w*^2
    own = delta * label * law.feature + delta**2 * law.feature * mean_square
    return float(law.probability @ own) ** 0.5


def learning_time(problem: Problem) -> float:
    """T, the time in which weights of the teacher's size are learnt: lazy or search.

    Parameters
    ----------
    problem : T is in units of the flow.

    Raises
    ------
    InputError : random starts, or |init_u| = |init_v|, or a teacher that is zero.
    """
    require_gradient_flow(problem.dynamics)
    require_squared(problem)
    law = checked_channels(problem)
    if np.ptp(law.a0) > 0 or np.ptp(law.b0) > 0:
        raise InputError(
            "given random starts, the learning time needs constant ones", "problem.network"
        )
    size = float(law.probability @ ((law.mean**2 + law.variance) / law.feature)) ** 0.5
    if size == 0.0:
        raise InputError(
            "given a teacher that is zero, there is nothing to learn", "problem.teacher"
        )
    return _dual(problem, size, float(law.a0[0]), float(law.b0[0])) / initial_force(problem)


def _dual(problem: Problem, size: float, a0: float, b0: float) -> float:
    """Mean of |psi'(w)| at w = size and w = -size."""
    network = problem.network
    if network.linear:
        return size
    if network.code == DEPTH_TWO:
        product, shift = a0 * b0, np.log(a0 / b0)
        ends = [np.arcsinh(sign * size / product) - shift for sign in (1.0, -1.0)]
        return float(abs(ends[0] - ends[1]) / 4)
    assert network.code == DEEP
    return _deep_dual(size, a0, b0, network.depth)


def _deep_dual(size: float, a0: float, b0: float, depth: int) -> float:
    from scipy.optimize import brentq

    from dmft.theory.mirror import Mirror

    mirror = Mirror(DEEP, depth, np.array([[a0]]), np.array([[b0]]))

    def gap(y: float, weight: float) -> float:
        return float(mirror.at(np.array([[y]])).weight[0, 0]) - weight

    ends = []
    for weight in (size, -size):
        far = float(mirror.parameter_of(np.array([[weight]]))[0, 0])
        y = brentq(gap, min(0.0, far) - 1.0, max(0.0, far) + 1.0, args=(weight,), xtol=1e-13)
        ends.append(float(mirror.at(np.array([[y]])).dual[0, 0]))
    return abs(ends[0] - ends[1]) / 2


def current_problem(problem: Problem, time: float) -> Problem:
    """The problem without weight decay whose limit training passes at a late time.

    Its start is init_scale e^(-lambda t).

    Raises
    ------
    InputError : a network without init_scale.
    """
    network = problem.network
    if network.linear or network.init_u is not None:
        raise InputError(
            "the drift of weight decay needs a start given by init_scale", "problem.network"
        )
    decay = problem.dynamics.weight_decay
    start = max(network.init_scale * float(np.exp(-decay * time)), 1e-300)
    return problem.model_copy(
        update={
            "network": network.model_copy(update={"init_scale": start}),
            "dynamics": GradientFlow(),
        }
    )


def drifting_risk(problem: Problem, time: ArrayLike) -> np.ndarray:
    """excess_risk while small weight decay drags an interpolator along; shape of `time`.

    Valid after the training error has vanished, up to relative errors of order
    weight_decay / lambda_min, and until the LASSO is reached.

    Parameters
    ----------
    problem : with weight decay.
    time : in units of the flow.

    Raises
    ------
    InputError : no weight decay, delta >= 1, or a network without init_scale.
    """
    require_gradient_flow(problem.dynamics)
    require_squared(problem)
    times = np.asarray(time, dtype=float)
    _check_drifts(problem)
    found: list[Prediction] = []
    for t in times.ravel():
        found.append(predict(current_problem(problem, float(t)), found[-1] if found else None))
    return np.reshape([each.excess_risk for each in found], times.shape)


def _check_drifts(problem: Problem) -> None:
    if problem.dynamics.weight_decay == 0.0:
        raise InputError("given 0, nothing drifts without weight decay", "dynamics.weight_decay")
    if problem.sampling_ratio >= 1.0:
        raise InputError(
            f"given {problem.sampling_ratio:g}, only interpolators drift: needs less than 1",
            "problem.sampling_ratio",
        )


@dataclass(frozen=True)
class Grokking:
    """Predicted times of learning the training data and of generalising.

    Attributes
    ----------
    learning_time : T of the start.
    half_start : alpha_r, the start at which the limit's excess risk is half-way between the
        minimum l2 and l1 norm (between the start's own limit and the latter, if that is lower).
    risk_time : log(alpha / alpha_r) / lambda, when the excess risk is half-way.
    """

    learning_time: float
    half_start: float
    risk_time: float

    @property
    def delay(self) -> float:
        """From learning the training data to generalising."""
        return self.risk_time - self.learning_time


def grokking(problem: Problem) -> Grokking:
    """When a network of depth 2 under small weight decay generalises.

    Parameters
    ----------
    problem : times of the result are in units of the flow.

    Raises
    ------
    InputError : as `drifting_risk`; a depth other than 2; a start too small for a delay.
    """
    require_gradient_flow(problem.dynamics)
    require_squared(problem)
    from scipy.optimize import brentq

    _check_drifts(problem)
    network = problem.network
    if network.linear or network.depth != 2 or network.init_u is not None:
        raise InputError(
            "grokking needs a network of depth 2 with an init_scale", "problem.network"
        )
    still = current_problem(problem, 0.0)
    low, high = basis_pursuit(still).excess_risk, minimum_l2(still).excess_risk
    near = predict(still)
    level = 0.5 * (low + min(high, near.excess_risk))

    def gap(log_start: float) -> float:
        nonlocal near
        start = network.model_copy(update={"init_scale": float(np.exp(log_start))})
        near = predict(still.model_copy(update={"network": start}), near)
        return near.excess_risk - level

    # Where the risk is half-way, alpha^2 is comparable with the weights: search from there.
    top = np.log(network.init_scale)
    bottom = min(top, 0.5 * np.log(checked_channels(still).second_moment)) - 1.0
    if gap(top) <= 0:
        raise InputError(
            f"given {network.init_scale:g}, too small for a delay: this start generalises at once",
            "problem.network.init_scale",
        )
    while gap(bottom) > 0:
        bottom, top = bottom - 1.0, bottom
    half = float(np.exp(brentq(gap, bottom, top, xtol=1e-6)))
    delay = np.log(network.init_scale / half) / problem.dynamics.weight_decay
    return Grokking(learning_time(still), half, float(delay))
