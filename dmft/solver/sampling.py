"""The sample of paths: stratified coordinates, low-discrepancy noise, orthogonal innovations.

Every stratum of the population has its own scrambled Sobol points: first the coordinates of the
population, then the noise. Four refinements cut the sampling error by more than an order of
magnitude over plain Monte Carlo at late times:
- coordinates are drawn one from each of equal quantiles and scaled to their exact moments;
- where noise alone tells paths apart, the first dimensions are drawn wider, and paths weighted;
  after small starts and where both sides are sampled, the teacher and the first of its noise, too;
- noise directions are rotated so that the first Sobol dimensions drive the noise at the times
  that matter (the rotation comes from a pilot solve);
- new noise is made orthogonal, inside each stratum, to all earlier noise and to the coordinates.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dmft.numerics.normal import normal_cumulative, normal_quantile
from dmft.numerics.sobol import scrambled_points
from dmft.problem import Problem
from dmft.problem.laws import Component
from dmft.problem.population import Coordinates, Stratum, strata
from dmft.solver.binned_innovations import BinnedInnovations
from dmft.solver.innovations import Innovations

SOBOL_DIMENSIONS = 64
# Importance sampling of coordinates that only noise tells apart: few of them ever move.
_WIDE_DIMENSIONS, _WIDTH = 2, 1.4
_LEAST = 1e-16  # distance of a uniform from 0 and 1


class PathSet:
    """Paths of the coordinates that one replicate averages over, with the noise that drives them.

    Attributes
    ----------
    count : number of paths.
    coordinates : w*, s, a0, b0 of each path.
    probability : weight of each path, summing to 1, shape (count,).
    strata : the slice of paths of each stratum.
    """

    def __init__(
        self,
        problem: Problem,
        count: int,
        seed: np.random.SeedSequence,
        rotation: np.ndarray | None = None,
        width: float | None = None,
        wide_teacher: tuple[float, float] | None = None,
        binned: bool = False,
    ) -> None:
        """Draw `count` paths.

        rotation : orthogonal, its rows the noise directions by weight.
        width : of the first two where noise alone tells paths apart, 1.4 by importance sampling.
        wide_teacher : importance sampling of nonzero teachers, of which those with the largest
            forces are first to leave a small start: widths of the teacher and the first noise.
        binned : noise orthogonal in bins of paths, where nothing is learnt once it was drawn.
        """
        mixture = strata(problem)
        sizes = [len(part) for part in np.array_split(np.empty(count), len(mixture))]
        edges = np.concatenate([[0], np.cumsum(sizes)])
        self.count = count
        self.strata = [slice(a, b) for a, b in pairwise(edges)]
        generators = [np.random.default_rng(child) for child in seed.spawn(len(mixture))]
        draws = [
            _draw(stratum, size, generator, _WIDTH if width is None else width, wide_teacher)
            for stratum, size, generator in zip(mixture, sizes, generators, strict=True)
        ]
        self.coordinates = _join([coordinates for coordinates, _, _ in draws])
        normals = np.concatenate([normals for _, normals, _ in draws])
        shares = np.concatenate([shares for _, _, shares in draws])
        self.probability = shares * np.repeat([s.probability for s in mixture], sizes)
        of_noise = (normals, shares, self.strata, generators, rotation)
        self._innovations: Innovations | BinnedInnovations
        if binned:
            self._innovations = BinnedInnovations(*of_noise, self.coordinates.teacher)
        else:
            self._innovations = Innovations(*of_noise)

    def learn(self, function: np.ndarray) -> None:
        """Add a function of the coordinates, shape (count,), to what noise must not see."""
        self._innovations.learn(function)

    def part(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The first paths of every stratum, about `count` in all: their indices and probabilities.

        The first points of a Sobol sequence are low-discrepancy points themselves.
        """
        chosen, probability = [], []
        for stratum in self.strata:
            size = stratum.stop - stratum.start
            end = stratum.start + min(size, -(-size * count // self.count))
            shares = self.probability[stratum.start : end]
            chosen.append(np.arange(stratum.start, end))
            probability.append(shares * (self.probability[stratum].sum() / shares.sum()))
        return np.concatenate(chosen), np.concatenate(probability)

    def innovations(self, directions: int) -> np.ndarray:
        """Fresh noise of shape (count, directions), standard normal up to its refinements.

        Asking again gives the same noise until `use` consumes it.
        """
        return self._innovations.next(directions)

    def use(self, directions: int) -> None:
        """Consume the first of the last innovations."""
        self._innovations.use(directions)


def _draw(
    stratum: Stratum,
    count: int,
    generator: np.random.Generator,
    width: float,
    wide_teacher: tuple[float, float] | None,
) -> tuple[Coordinates, np.ndarray, np.ndarray]:
    """Coordinates, SOBOL_DIMENSIONS columns of normal noise and shares of one stratum's paths."""
    dimensions = stratum.random_dimensions
    uniforms = scrambled_points(count, dimensions + SOBOL_DIMENSIONS, generator)
    # One draw from each of `count` equal quantiles: their midpoints would be biased alike in all.
    ranks = uniforms[:, :dimensions].argsort(axis=0).argsort(axis=0)
    stratified = (ranks + generator.random(ranks.shape)) / count
    normals = normal_quantile(uniforms[:, dimensions:])
    shares = None
    if width > 1.0 and dimensions == 0:
        shares = _widened(normals[:, :_WIDE_DIMENSIONS], width)
    elif wide_teacher is not None and not stratum.components[0].atom:
        teacher = normal_quantile(stratified[:, :1])
        shares = _widened(teacher, wide_teacher[0]) * _widened(normals[:, :1], wide_teacher[1])
        stratified[:, :1] = np.clip(normal_cumulative(teacher), _LEAST, 1.0 - _LEAST)
    if shares is not None:
        shares /= shares.sum()
    coordinates = stratum.draw(stratified)
    exact = Coordinates(
        _match_moments(coordinates.teacher, stratum.components[0], shares),
        _match_moments(coordinates.variance, stratum.components[1], shares),
        coordinates.a0,
        coordinates.b0,
    )
    return exact, normals, np.full(count, 1.0 / count) if shares is None else shares


def _widened(normals: np.ndarray, width: float) -> np.ndarray:
    """Scale normals (paths, dimensions) in place; the weights that make up for it, (paths,)."""
    normals *= width
    return np.asarray(np.exp(-0.5 * (1.0 - width**-2) * np.sum(normals**2, axis=1)))


def _match_moments(
    values: np.ndarray, component: Component, shares: np.ndarray | None
) -> np.ndarray:
    """Shift and scale a sample to the exact mean and standard deviation of its law."""
    if component.mean is None or component.std is None:
        return values
    mean = np.average(values, weights=shares)
    spread = np.sqrt(np.average((values - mean) ** 2, weights=shares))
    if spread == 0.0:
        return values
    return component.mean + (values - mean) * (component.std / spread)


def _join(parts: list[Coordinates]) -> Coordinates:
    return Coordinates(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("teacher", "variance", "a0", "b0")
        )
    )
