"""How fine a tolerance a sample of paths supports.

After a small start a weight is nearly a step in the force that it has felt: while the first ones
escape from zero, a few extreme paths carry the average response of all. What they have done so far
differs from sample to sample. A finer tolerance gives directions of the noise (noise.py) to such
changes, all later ones follow these, and the march gets worse, not better.

With S = -s dw/dG the response of a path, the relative variance of its sampled mean is V/n,
V = E[S^2] / E[S]^2 - 1: 5 at most on the default problem, 40 with `init_scale = 0.1`, 600 with
0.01. A tolerance below `_SHARE` V/n is not followed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dmft.problem import Problem
from dmft.problem.networks import LINEAR
from dmft.problem.population import strata
from dmft.solver.networks import depth_of

# Speed of the weights at the start, s |dw/dG|, 2 alpha^2 at depth 2, below which it is small.
_SMALL = 1e-2
# V of the escape of a small start times the root of that speed: at least so much, measured, and ten
# times with sparse teachers.
_FORESEEN = 0.4
# How much of the time error of the weights counts during an escape. Each path has an error of its
# own, in the time when it leaves zero, and these average out: the more, the smaller the start, as
# the time that each takes, relative to that of all, falls like 1/log(1/alpha). Measured.
# The estimate is three times the error of the paths, and ten times or more what it does to curves.
_ESCAPE_SHARE, _TINY, _GROWTH = 0.15, math.log(1e3), 1.4
# The same of deeper networks, whose weights leave zero abruptly, measured at depth 3.
_ABRUPT_FORESEEN, _ABRUPT_ALLOWANCE = 10.0, 3.5
# Measured (docs/accuracy.md): where scatter and bias begin to grow with a finer tolerance, and the
# tolerance that every sample supports.
_SHARE, ALWAYS_SUPPORTED = 0.1, 1e-2
_EVEN = 1.0  # V below it: half of all paths or more take part
# Relative bias of excess_risk in the end, with 1024 paths from alpha = 0.001. Measured, as is that
# of starts like it of deeper networks.
_BIAS, _ABRUPT_BIAS, _BIASED_PATHS, _BIAS_POWER = 0.0025, 0.01, 1024, 1.5


@dataclass(frozen=True)
class Support:
    """What paths support a tolerance, and how the network starts.

    paths : how many. first_speed : the largest s |dw/dG| at t = 0; without bound where w = G.
    deep : whether the network has three layers or more and no weight decay. The force that has to
        accumulate until a weight leaves zero then is a power of the start, not a logarithm.
    """

    paths: int
    first_speed: float = math.inf
    deep: bool = False

    @property
    def small(self) -> bool:
        """Whether weights will leave zero one by one; at rest none will."""
        return 0.0 < self.first_speed < _SMALL

    @property
    def abrupt(self) -> bool:
        """Whether they do so within a small part of the time before: few paths at a time."""
        return self.small and self.deep

    @property
    def foreseen(self) -> float:
        """V that the paths will reach at least.

        The first panels, whose V is small yet, would follow a finer tolerance with directions that
        turn those of the escape.
        """
        of_start = _ABRUPT_FORESEEN if self.deep else _FORESEEN
        return of_start / math.sqrt(self.first_speed) if self.small else 0.0

    @property
    def allowance(self) -> float:
        """By how much more than `_ESCAPE_SHARE` says paths of a tiny start may err."""
        if self.abrupt:
            return _ABRUPT_ALLOWANCE
        return max(1.0, self._search / _TINY) ** _GROWTH

    @property
    def bias(self) -> float:
        """What few paths add to a curve once their weights have left zero, relative to it."""
        largest = _ABRUPT_BIAS if self.abrupt else _BIAS
        fewer = (_BIASED_PATHS / self.paths) ** _BIAS_POWER
        return largest * (self._search / _TINY) ** 2 * fewer

    @property
    def _search(self) -> float:
        """log(1/alpha) of a small start, else zero."""
        return 0.5 * math.log(2.0 / self.first_speed) if self.small else 0.0

    @property
    def escape_share(self) -> float:
        """How much of the time error of the weights counts during an escape."""
        return _ESCAPE_SHARE / self.allowance


def concentration(probability: np.ndarray, response: np.ndarray) -> float:
    """Largest V over the nodes of `response`, shape (paths, nodes); zero if nothing responds."""
    mean = probability @ np.abs(response)
    seen = mean > 0.0
    relative = response[:, seen] / mean[seen]  # tiny responses have no square
    return max(0.0, float(np.max(probability @ relative**2, initial=1.0)) - 1.0)


def supported_rtol(largest: float, paths: float) -> float:
    """The finest tolerance that `paths` support once V has been `largest`; zero if any."""
    return min(ALWAYS_SUPPORTED, _SHARE * max(0.0, largest - _EVEN) / paths)


def first_speed(problem: Problem) -> float:
    """The largest s |dw/dG| at t = 0 of a few coordinates; without bound where w = G."""
    if problem.network.code == LINEAR:
        return math.inf
    power, largest = 2 * depth_of(problem.network) - 2, 0.0
    for stratum in strata(problem):
        start = stratum.draw(np.repeat([[0.01], [0.5], [0.99]], stratum.random_dimensions, axis=1))
        speed = start.variance * (np.abs(start.a0) ** power + np.abs(start.b0) ** power)
        largest = max(largest, float(np.max(speed)))
    return largest
