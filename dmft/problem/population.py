"""The joint law of one coordinate (w*, s, a0, b0): the population the mean field averages over.

It is a mixture of strata; within a stratum every quantity is a quantile function of its own
uniform, so the solver can sample it by low-discrepancy points, a simulation by one point of each
of many intervals and a theory by quadrature.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.laws import Component, as_single
from dmft.problem.networks import DEEP
from dmft.problem.teachers import Empirical, rank_of

_LARGEST = 1e30  # of weights, labels and features: products of some of them must be numbers
_MOST_STRATA = 8


@dataclass(frozen=True)
class Coordinates:
    """Draws of the coordinates: teacher values, feature variances and initial a, b.

    All arrays have the same length; w = (a^2 - b^2)/2 at depth 2, (a^L - b^L)/L at depth L.
    """

    teacher: np.ndarray
    variance: np.ndarray
    a0: np.ndarray
    b0: np.ndarray


@dataclass(frozen=True)
class Stratum:
    """A component of the population.

    probability : its weight.
    components : laws of w*, s, u(0), v(0) inside it, in this order.
    """

    probability: float
    components: tuple[Component, ...]
    pairs: Empirical | None = None

    @property
    def random_dimensions(self) -> int:
        """How many uniforms one draw takes."""
        return sum(not component.atom for component in self.components)

    def draw(self, uniforms: np.ndarray) -> Coordinates:
        """Map uniforms of shape (count, random_dimensions) to coordinates."""
        columns = iter(uniforms.T)
        count = len(uniforms)
        unused = np.full(count, 0.5)
        values = []
        used: list[np.ndarray] = []
        for component in self.components:
            used.append(unused if component.atom else next(columns))
            values.append(component.quantile(used[-1]))
        teacher, variance, u0, v0 = values
        if self.pairs is not None:
            variances = self.pairs.sorted_pairs()[1]
            variance = variances[rank_of(used[0], len(variances))]
        return Coordinates(teacher, variance, (u0 + v0) / 2**0.5, (u0 - v0) / 2**0.5)


def strata(problem: Problem) -> tuple[Stratum, ...]:
    """The population of a problem as a mixture.

    Raises
    ------
    InputError : a start that the network cannot use (deep networks need a0, b0 > 0); numbers whose
        products overflow.
    """
    mixture = _mixture(problem)
    _check_starts(problem, mixture)
    _check_sizes(problem, mixture, starts=True)
    return mixture


def check_sizes(problem: Problem) -> None:
    """Refuse labels and features whose products overflow; `strata` refuses starts, too.

    Raises
    ------
    InputError : it names what they belong to.
    """
    _check_sizes(problem, _mixture(problem), starts=False)


def _mixture(problem: Problem) -> tuple[Stratum, ...]:
    teacher = problem.teacher.components()
    variance = problem.features.components()
    starts = problem.network.initial_components()
    laws = [_few(law) for law in (teacher, variance, *starts)]
    if np.prod([len(law) for law in laws]) > _MOST_STRATA:
        laws = [_few(teacher), *((as_single(law),) for law in (variance, *starts))]
    pairs = problem.teacher if isinstance(problem.teacher, Empirical) else None
    if pairs is not None and pairs.feature_variances is None:
        pairs = None
    return tuple(
        Stratum(float(np.prod([c.probability for c in combination])), combination, pairs)
        for combination in product(*laws)
    )


def _few(components: tuple[Component, ...]) -> tuple[Component, ...]:
    return components if len(components) <= _MOST_STRATA else (as_single(components),)


def _check_sizes(problem: Problem, mixture: tuple[Stratum, ...], *, starts: bool) -> None:
    depth, where = problem.network.depth, {"problem.noise_std": problem.noise_std}
    for stratum in mixture:
        uniforms = np.repeat([[0.01], [0.5], [0.99]], stratum.random_dimensions, axis=1)
        drawn = stratum.draw(uniforms.reshape(3, stratum.random_dimensions))
        sizes = {
            "problem.teacher": drawn.teacher,
            "problem.features": np.sqrt(drawn.variance),
            "problem.network": np.maximum(np.abs(drawn.a0), np.abs(drawn.b0)) * starts,
        }
        for name, values in sizes.items():
            where[name] = max(where.get(name, 0.0), float(np.max(np.abs(values))))
    for name, size in where.items():
        power = depth if name == "problem.network" else 1
        most = _LARGEST ** (1.0 / power)
        if not size <= most:
            raise InputError(f"given numbers of size {size:.3g}, must be at most {most:.3g}", name)


def _check_starts(problem: Problem, mixture: tuple[Stratum, ...]) -> None:
    if problem.network.code != DEEP:
        return
    grid = np.linspace(1e-6, 1 - 1e-6, 101)
    for stratum in mixture:
        points = np.tile(grid[:, None], (1, stratum.random_dimensions))
        mirrored = points.copy()
        mirrored[:, -1:] = 1 - points[:, -1:]
        for draws in (stratum.draw(points), stratum.draw(mirrored)):
            least = min(draws.a0.min(), draws.b0.min())
            if least <= 0:
                raise InputError(
                    f"given a start with a0 or b0 = {least:.3g}, a network of depth "
                    f"{problem.network.depth} needs |init_v| < init_u, so that a0, b0 > 0",
                    "problem.network",
                )
