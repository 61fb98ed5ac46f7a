"""How a small start searches: which weights leave zero, in which order and when.

While few weights have left zero the residual is y, and no coordinate knows of the others. The
force on a coordinate is its correlation with the data and what it does itself, with p = -G

    p' = h - delta s w,   w = alpha^2 sinh 2p,
    h = sqrt(s) (delta sqrt(s) w* + sqrt(delta (E[s w*^2] + sigma^2)) z),   z ~ N(0, 1).

With c = delta s alpha^2 and q = e^(2p) that is q' = 2 h q - c (q^2 - 1), a Riccati equation with
constant coefficients: q tends to r = (h + D)/c, D = sqrt(h^2 + c^2), as

    (q - r)/(q + 1/r) = K e^(-2 D t),   K = (1 - r)/(1 + 1/r),

hence a weight reaches |w| at the time t(h), which for alpha -> 0 is

    t(h) = log(2 |h| u / (delta s alpha^2 (1 - u))) / (2 |h|),   u = delta s |w| / |h| < 1.

It falls with |h|: weights leave zero in the order of |h|, the largest first, each within a time
1/(2 |h|) while the search takes log(1/alpha^2) of these. What is left out is that weights which
have joined the fit take their share of the residual away from the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow
from dmft.problem.networks import DEPTH_TWO
from dmft.problem.problem import require_squared
from dmft.theory.channels import Channels, gauss_legendre
from dmft.theory.prediction import checked_channels

ACTIVE = 0.1  # |w| of a weight that has left zero, as in solver.active_threshold
SHARES = (1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1)
SEARCHED = 0.1  # of the excess risk, by which it has fallen when the search ends
_LARGEST = 0.02  # alpha^2, relative to the teacher: above it there is no search
_TAIL, _PANELS, _POINTS = 9.0, 300, 6  # of h, in standard deviations


@dataclass(frozen=True)
class Search:
    """The search of a small start; times in units of the flow.

    Attributes
    ----------
    search_time : when the excess risk has fallen by a tenth, were weights to learn alone.
    active_shares, active_times : shares of the weights, and when so many have left zero (above
        0.1 in size); those that do so before the end of the search.
    active_forces : |h| of the weight that leaves last of them.
    """

    search_time: float
    active_shares: list[float]
    active_times: list[float]
    active_forces: list[float]

    def to_dict(self) -> dict[str, object]:
        """All of it as a plain table."""
        return asdict(self)


def search(problem: Problem) -> Search:
    """When a small start leaves zero, and in which order.

    To leading order in the share of weights that have left zero: see docs/long-times.md for how
    far solved curves agree.

    Parameters
    ----------
    problem : with a start that is small beside its teacher; times are in units of the flow.

    Raises
    ------
    InputError : no small start of a depth-2 network without weight decay, or nothing to learn.

    Examples
    --------
    >>> from dmft import Problem
    >>> found = search(Problem(network={"init_scale": 1e-6}))
    >>> print(round(found.search_time, 3), [round(time, 3) for time in found.active_times])
    3.476 [2.282, 2.534, 2.913, 3.46]
    """
    from scipy.optimize import brentq

    law = _checked(problem)
    force = _Force(problem, law)
    start = force.risk(0.0)
    scale = np.log(2.0 / law.a0[0] ** 2) / 2.0 / force.width.max()

    def left(time: float) -> float:
        return force.risk(time) - (1.0 - SEARCHED) * start

    last = scale
    while left(last) > 0.0:
        last *= 2.0
        if last > 1e9 * scale:
            raise InputError(
                "given a noise in which weights that learn alone never lower the excess risk by "
                f"{SEARCHED:.0%}",
                "problem.noise_std",
            )
    ends = float(brentq(left, 0.0, last, xtol=1e-9 * last))
    shares, times, forces = [], [], []
    for share in SHARES:
        time, size = force.active(share)
        if time <= ends:
            shares.append(share)
            times.append(time)
            forces.append(size)
    return Search(ends, shares, times, forces)


def isolated_risk(problem: Problem, time: ArrayLike) -> np.ndarray:
    """excess_risk at `time` if no weight knew of the others; shape of `time`.

    Raises
    ------
    InputError : as in `search`.
    """
    return _at(time, _Force(problem, _checked(problem)).risk)


def isolated_share(problem: Problem, time: ArrayLike) -> np.ndarray:
    """Share of the weights above `ACTIVE` at `time` if none knew of the others; its shape.

    Raises
    ------
    InputError : as in `search`.
    """
    return _at(time, _Force(problem, _checked(problem)).share)


def _at(time: ArrayLike, curve: Callable[[float], float]) -> np.ndarray:
    """A curve at times of any shape."""
    times = np.asarray(time, dtype=float)
    return np.array([curve(float(t)) for t in times.ravel()]).reshape(times.shape)


def _checked(problem: Problem) -> Channels:
    require_gradient_flow(problem.dynamics)
    require_squared(problem)
    law = checked_channels(problem)
    network = problem.network
    if network.linear or network.code != DEPTH_TWO or network.init_u is not None:
        raise InputError(
            "the search of small starts needs a diagonal network of depth 2 with an init_scale",
            "problem.network",
        )
    if problem.dynamics.weight_decay:
        raise InputError("the search of small starts needs weight decay 0", "dynamics.weight_decay")
    size = float(law.probability @ ((law.mean**2 + law.variance) / law.feature)) ** 0.5
    if size == 0.0:
        raise InputError(
            "given a teacher that is zero, there is nothing to learn", "problem.teacher"
        )
    most = (_LARGEST * size) ** 0.5
    if network.init_scale > most:
        raise InputError(
            f"given {network.init_scale:g}, above {most:.3g} a start of this teacher is not small",
            "problem.network.init_scale",
        )
    return law


class _Force:
    """The law of h: a normal law in every channel, on a grid of each, (channels, points).

    width : standard deviations of h, (channels,).
    """

    def __init__(self, problem: Problem, law: Channels) -> None:
        delta = problem.sampling_ratio
        label = law.second_moment + problem.noise_std**2
        self._law = law
        self.width = np.sqrt(law.feature * (delta**2 * law.variance + delta * label))
        z, measure = gauss_legendre(np.linspace(-_TAIL, _TAIL, _PANELS + 1), _POINTS)
        measure = measure * np.exp(-0.5 * z**2)
        self._measure = law.probability[:, None] * (measure / measure.sum())
        root = np.sqrt(law.feature)[:, None]
        self._h = delta * root * law.mean[:, None] + self.width[:, None] * z
        # E and Var of sqrt(s) w* given h.
        follows = delta * np.sqrt(law.feature) * law.variance / self.width**2
        self._teacher = law.mean[:, None] + (follows * self.width)[:, None] * z
        self._rest = float(law.probability @ (law.variance - (follows * self.width) ** 2))
        self._own = delta * law.feature[:, None] * law.a0[:, None] ** 2  # c
        self._root, self._scale = root, law.a0[:, None] ** 2
        self._reach = self._times()

    def risk(self, time: float) -> float:
        """E[s (w - w*)^2]."""
        error = self._root * self._weight(time) - self._teacher
        return float(np.sum(self._measure * error**2)) + self._rest

    def share(self, time: float) -> float:
        """P(|w| > ACTIVE)."""
        return float(np.sum(self._measure[self._reach < time]))

    def active(self, share: float) -> tuple[float, float]:
        """When so many have left zero, and |h| of the last of them; infinite if never."""
        order = np.argsort(self._reach.ravel())
        total = np.cumsum(self._measure.ravel()[order])
        place = int(np.searchsorted(total, share))
        if place == len(total):
            return np.inf, 0.0
        last = order[place]
        return float(self._reach.ravel()[last]), float(abs(self._h.ravel()[last]))

    def _weight(self, time: float) -> np.ndarray:
        size, own = np.abs(self._h), self._own
        rate = np.hypot(size, own)
        limit = (size + rate) / own  # r
        gone = (limit - 1.0) / (1.0 + 1.0 / limit) * np.exp(-2.0 * rate * time)  # -K e^(-2 D t)
        q = (limit - gone / limit) / (1.0 + gone)
        return np.asarray(np.sign(self._h) * 0.5 * self._scale * (q - 1.0 / q))

    def _times(self) -> np.ndarray:
        """When each weight reaches ACTIVE; infinite if never."""
        size, own = np.abs(self._h), self._own
        rate = np.hypot(size, own)
        limit = (size + rate) / own
        y = ACTIVE / self._scale
        q = y + np.hypot(y, 1.0)
        reached = q < limit
        left = np.where(reached, (limit - q) / (q + 1.0 / limit), 1.0)
        first = (limit - 1.0) / (1.0 + 1.0 / limit)
        with np.errstate(divide="ignore"):
            time = np.log(first / left) / (2.0 * rate)
        return np.where(reached, time, np.inf)
