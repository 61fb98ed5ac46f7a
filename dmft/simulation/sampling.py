"""Draws of the coordinates (w*, s, a0, b0) of a finite network from the population.

Stratified draws are even: strata have their shares of d, and of m values of a continuous law each
lies at a random point of one of m equally likely intervals. What a network starts with then has
its exact moments. That removes most of the fluctuation between runs that the mean field does not
have.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.networks import DEEP
from dmft.problem.population import Coordinates, Stratum, strata
from dmft.settings import SimulationSettings

_LEAST = 2.0**-54  # of a uniform; 1 - _LEAST would be rounded to 1
_TEACHER, _VARIANCE, _INIT_U, _INIT_V = range(4)  # components of a stratum


def method_of(problem: Problem, settings: SimulationSettings) -> str:
    """The name of how coordinates are drawn, "" where that is as in all older versions.

    Ensembles of different methods cannot be joined.
    """
    continuous = any(not law.atom for stratum in strata(problem) for law in stratum.components)
    return "random points of intervals" if settings.stratified and continuous else ""


def random_coordinates(problem: Problem, d: int, rng: np.random.Generator) -> Coordinates:
    """d independent draws from the population."""
    mixture = strata(problem)
    probabilities = np.array([stratum.probability for stratum in mixture])
    counts = rng.multinomial(d, probabilities / probabilities.sum())
    uniforms = [
        np.maximum(rng.random((count, stratum.random_dimensions)), _LEAST)
        for stratum, count in zip(mixture, counts, strict=True)
    ]
    return _shuffled(joined(mixture, uniforms), rng)


def stratified_coordinates(problem: Problem, d: int, rng: np.random.Generator) -> Coordinates:
    """d draws with every stratum's share and one from each interval of a law, paired at random.

    Strata get their shares of d by largest remainder. The m values of a continuous law, over all
    strata it appears in, lie at random points of m equally likely intervals; midpoints would lack
    the tails in all runs alike, which doubles the bias of finite networks (docs/accuracy.md).

    Random points fluctuate. So that networks start exactly where the population does,

    - continuous teacher values are shifted and scaled until the mean and the second moment of w*
      are the population's (with zeros among them, or a single one, scaled to the second moment);
    - continuous variances are scaled until the mean of s is;
    - continuous u(0) and v(0) are each scaled until their second moments are, and with them the
      charge. effective_alpha, a geometric mean, then still scatters a little between runs.
      Continuous starts of depth 3 and more, which have no charge and must keep |v| < u, are at
      midpoints instead.

    Empirical teachers paired with variances are left as they are.

    Raises
    ------
    InputError : if every teacher value comes out zero although the population's do not.
    """
    mixture = strata(problem)
    counts = _largest_remainder([stratum.probability for stratum in mixture], d)
    deep = problem.network.code == DEEP
    draws = joined(mixture, _pooled_points(mixture, counts, rng, middle_starts=deep))
    if mixture[0].pairs is not None:
        return _shuffled(draws, rng)
    teacher = _with_two_moments(draws.teacher, mixture, counts, _TEACHER)
    variance = _with_moment(draws.variance, mixture, counts, _VARIANCE, power=1)
    if not teacher.any() and _population_moments(mixture, _TEACHER)[1] > 0.0:
        raise InputError(
            f"given {d}, too small for this teacher: none of its coordinates would be nonzero",
            "dimension",
        )
    starts = draws.a0, draws.b0
    if not deep:
        starts = _with_second_moments(draws.a0, draws.b0, mixture, counts)
    return _shuffled(Coordinates(teacher, variance, *starts), rng)


def interval_points(count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniforms (count,), one at a random point of each of `count` intervals, in random order."""
    points = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    return np.clip(points, _LEAST, 1.0 - 2.0 * _LEAST)


def joined(mixture: tuple[Stratum, ...], uniforms: list[np.ndarray]) -> Coordinates:
    """The draws of all strata at their uniforms (count, random_dimensions), one after the other."""
    parts = [stratum.draw(points) for stratum, points in zip(mixture, uniforms, strict=True)]
    names = ("teacher", "variance", "a0", "b0")
    return Coordinates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _shuffled(draws: Coordinates, rng: np.random.Generator) -> Coordinates:
    order = rng.permutation(len(draws.teacher))
    return Coordinates(
        draws.teacher[order], draws.variance[order], draws.a0[order], draws.b0[order]
    )


def _pooled_points(
    mixture: tuple[Stratum, ...],
    counts: np.ndarray,
    rng: np.random.Generator,
    *,
    middle_starts: bool,
) -> list[np.ndarray]:
    """Uniforms (count, random_dimensions) of every stratum, even over all strata with a component.

    Otherwise small strata would all sit about medians.
    """
    totals: dict[tuple[int, int], int] = {}
    keys = [
        [(place, id(law)) for place, law in enumerate(stratum.components) if not law.atom]
        for stratum in mixture
    ]
    for places, count in zip(keys, counts, strict=True):
        for key in places:
            totals[key] = totals.get(key, 0) + int(count)
    pools = {
        key: _midpoints(count, rng)
        if middle_starts and key[0] in (_INIT_U, _INIT_V)
        else interval_points(count, rng)
        for key, count in totals.items()
    }
    uniforms = []
    for places, count in zip(keys, counts, strict=True):
        points = np.empty((count, len(places)))
        for column, key in enumerate(places):
            points[:, column], pools[key] = pools[key][:count], pools[key][count:]
        uniforms.append(points)
    return uniforms


def _midpoints(count: int, rng: np.random.Generator) -> np.ndarray:
    return (rng.permutation(count) + 0.5) / max(count, 1)


def _largest_remainder(probabilities: list[float], total: int) -> np.ndarray:
    shares = total * np.asarray(probabilities) / sum(probabilities)
    counts = np.floor(shares + 1e-9).astype(np.int64)
    remainders = shares - counts
    counts[np.argsort(-remainders, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _continuous(mixture: tuple[Stratum, ...], counts: np.ndarray, component: int) -> np.ndarray:
    """Which of the draws are no atoms, (d,)."""
    return np.repeat([not stratum.components[component].atom for stratum in mixture], counts)


def _with_two_moments(
    values: np.ndarray, mixture: tuple[Stratum, ...], counts: np.ndarray, component: int
) -> np.ndarray:
    """Shift and scale the values that are no atoms to the population's mean and second moment.

    If zeros are among them, which must stay zero, or they do not differ, they are only scaled.
    """
    continuous = _continuous(mixture, counts, component)
    drawn, fixed = values[continuous], values[~continuous]
    spread = float(np.std(drawn)) if len(drawn) else 0.0
    if spread == 0.0 or not drawn.all():
        return _with_moment(values, mixture, counts, component, power=2)
    # About a centre of their own, moments of values far from zero do not cancel.
    centre = float(np.mean(drawn))
    first, second = _population_moments(mixture, component, centre)
    shift = (len(values) * first - np.sum(fixed - centre)) / len(drawn)
    needed = (len(values) * second - np.sum((fixed - centre) ** 2)) / len(drawn) - shift**2
    if needed <= 0.0:
        return _with_moment(values, mixture, counts, component, power=2)
    moved = values.copy()
    moved[continuous] = centre + shift + (drawn - centre) * (needed**0.5 / spread)
    return moved


def _with_moment(
    values: np.ndarray,
    mixture: tuple[Stratum, ...],
    counts: np.ndarray,
    component: int,
    *,
    power: int,
) -> np.ndarray:
    """Scale the values that are no atoms so that the mean of values^power is the population's."""
    continuous = _continuous(mixture, counts, component)
    needed = len(values) * _population_moments(mixture, component)[power - 1]
    needed -= np.sum(values[~continuous] ** power)
    present = np.sum(values[continuous] ** power)
    if present <= 0.0 or needed <= 0.0:
        return values
    return np.where(continuous, values * (needed / present) ** (1.0 / power), values)


def _with_second_moments(
    a0: np.ndarray, b0: np.ndarray, mixture: tuple[Stratum, ...], counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """a0 and b0 with the second moments of u(0) and v(0) scaled to the population's."""
    if not any(_continuous(mixture, counts, place).any() for place in (_INIT_U, _INIT_V)):
        return a0, b0  # to the bit
    u = _with_moment((a0 + b0) / 2**0.5, mixture, counts, _INIT_U, power=2)
    v = _with_moment((a0 - b0) / 2**0.5, mixture, counts, _INIT_V, power=2)
    return (u + v) / 2**0.5, (u - v) / 2**0.5


def _population_moments(
    mixture: tuple[Stratum, ...], component: int, centre: float = 0.0
) -> tuple[float, float]:
    """E[value - centre] and E[(value - centre)^2].

    Where a law does not tell its moments, by the trapezoidal rule in x, value = quantile(Phi(x)):
    spectrally accurate for smooth quantiles and to about 1e-5 for those with jumps.
    """
    moments = np.zeros(2)
    for stratum in mixture:
        law = stratum.components[component]
        if law.atom:
            value = float(law.quantile(np.array([0.5]))[0]) - centre
            found = [value, value**2]
        elif law.mean is not None and law.std is not None:
            found = [law.mean - centre, law.std**2 + (law.mean - centre) ** 2]
        else:
            uniforms, density = _normal_grid()
            values = law.quantile(uniforms) - centre
            found = [float(density @ values), float(density @ values**2)]
        moments += stratum.probability * np.array(found)
    return float(moments[0]), float(moments[1])


def _normal_grid() -> tuple[np.ndarray, np.ndarray]:
    """Phi(x) and the weight of x on an even grid, both (100001,)."""
    x = np.linspace(-8.0, 8.0, 100_001)
    density = np.exp(-0.5 * x**2)
    return np.minimum(ndtr(x), 1.0 - 2.0**-53), density / density.sum()
