"""The sample of paths: stratified coordinates, low-discrepancy noise, orthogonal innovations.

Every stratum of the population has its own scrambled Sobol points: first the coordinates of the
population, then the noise. Four refinements cut the sampling error by more than an order of
magnitude over plain Monte Carlo at late times:
- coordinates are drawn one from each of equal quantiles and scaled to their exact moments;
- where noise alone tells paths apart, the first dimensions are drawn wider, and paths weighted;
- noise directions are rotated so that the first Sobol dimensions drive the noise at the times
  that matter (the rotation comes from a pilot solve);
- new noise is made orthogonal, inside each stratum, to all earlier noise and to the coordinates.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dmft.numerics.normal import normal_quantile
from dmft.numerics.sobol import scrambled_points
from dmft.problem import Problem
from dmft.problem.laws import Component
from dmft.problem.population import Coordinates, Stratum, strata

SOBOL_DIMENSIONS = 64
_EXACT = 1e-8  # relative size of what orthogonalisation leaves that still counts as new
_LARGEST_SHARE = 0.5  # of a stratum's size that its basis may take
_LARGEST_LEVERAGE = 30.0  # of a path in a basis vector, times the number of paths
# Importance sampling of coordinates that only noise tells apart: few of them ever move.
_WIDE_DIMENSIONS, _WIDTH = 2, 1.4


class Sample:
    """Paths of one replicate.

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
        wide: bool = True,
    ) -> None:
        """Draw `count` paths.

        rotation : orthogonal, its rows the noise directions by weight.
        wide : importance sampling of the first two; not where noise comes in anew all the time.
        """
        mixture = strata(problem)
        sizes = [len(part) for part in np.array_split(np.empty(count), len(mixture))]
        edges = np.concatenate([[0], np.cumsum(sizes)])
        self.count = count
        self.strata = [slice(a, b) for a, b in pairwise(edges)]
        self._generators = [np.random.default_rng(child) for child in seed.spawn(len(mixture))]
        draws = [
            _draw(stratum, size, generator, wide)
            for stratum, size, generator in zip(mixture, sizes, self._generators, strict=True)
        ]
        self.coordinates = _join([coordinates for coordinates, _, _ in draws])
        self._normals = np.concatenate([normals for _, normals, _ in draws])
        shares = np.concatenate([shares for _, _, shares in draws])
        self.probability = shares * np.repeat([s.probability for s in mixture], sizes)
        self._root_share = np.sqrt(shares)  # functions times this are orthogonal as plain vectors
        self._rotation = rotation
        self._known = [self._root_share[chosen, None] for chosen in self.strata]
        self._noise = np.empty((count, 0))
        self._used = 0

    def learn(self, function: np.ndarray) -> None:
        """Add a function of the coordinates, shape (count,), to what noise must not see."""
        for index, chosen in enumerate(self.strata):
            column = (self._root_share * function)[chosen, None]
            self._known[index] = _extended(self._known[index], column)[0]

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
        while self._used + directions > self._noise.shape[1]:
            self._noise = np.hstack([self._noise, self._more_noise()])
        return self._noise[:, self._used : self._used + directions]

    def use(self, directions: int) -> None:
        """Consume the first of the last innovations."""
        self._used += directions

    def _more_noise(self) -> np.ndarray:
        """Noise of further directions, in every stratum of unit covariance, orthogonal to the rest.

        Orthogonalisation goes from the most uniform dimension to the least, so that the first
        stay what they are; then come the directions of the march.
        """
        rotation = self._rotation if self._rotation is not None else np.eye(SOBOL_DIMENSIONS)
        self._rotation = None
        normals, self._normals = self._normals, np.empty((self.count, 0))
        missing = max(0, len(rotation) - normals.shape[1])
        noise = np.empty((self.count, len(rotation)))
        for index, chosen in enumerate(self.strata):
            root = self._root_share[chosen, None]
            more = self._generators[index].standard_normal((len(root), missing))
            columns = root * np.hstack([normals[chosen], more])[:, : len(rotation)]
            self._known[index], clean = _extended(self._known[index], columns)
            noise[chosen] = (clean / root) @ rotation
        return noise


def _extended(basis: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal basis with more columns, and these columns made orthogonal to all before.

    Columns are taken from left to right and come back with unit length. Noise needs room to be
    random, and noise orthogonal to a function that lives on a few paths would vanish on them: the
    basis takes neither such columns nor more than a share of its length; columns beyond that are
    orthogonal to the basis, not to each other.
    """
    count = len(basis)
    clean = np.empty_like(columns)
    for k, column in enumerate(columns.T):
        rest = _remove(basis, column)
        length = np.linalg.norm(rest)
        new = length > _EXACT * np.linalg.norm(column)
        clean[:, k] = rest / length if new else 0.0
        spread = np.max(clean[:, k] ** 2) < _LARGEST_LEVERAGE / count
        if new and spread and basis.shape[1] < _LARGEST_SHARE * count:
            basis = np.column_stack([basis, clean[:, k]])
    return basis, clean


def _remove(basis: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Project out an orthonormal basis, twice for stability."""
    rest = columns - basis @ (basis.T @ columns)
    return rest - basis @ (basis.T @ rest)


def _draw(
    stratum: Stratum, count: int, generator: np.random.Generator, wide: bool
) -> tuple[Coordinates, np.ndarray, np.ndarray]:
    """Coordinates, SOBOL_DIMENSIONS columns of normal noise and shares of one stratum's paths."""
    dimensions = stratum.random_dimensions
    uniforms = scrambled_points(count, dimensions + SOBOL_DIMENSIONS, generator)
    # One draw from each of `count` equal quantiles: their midpoints would be biased alike in all.
    ranks = uniforms[:, :dimensions].argsort(axis=0).argsort(axis=0)
    coordinates = stratum.draw((ranks + generator.random(ranks.shape)) / count)
    exact = Coordinates(
        _match_moments(coordinates.teacher, stratum.components[0]),
        _match_moments(coordinates.variance, stratum.components[1]),
        coordinates.a0,
        coordinates.b0,
    )
    normals = normal_quantile(uniforms[:, dimensions:])
    shares = np.full(count, 1.0 / count)
    if wide and dimensions == 0:
        first = normals[:, :_WIDE_DIMENSIONS]
        first *= _WIDTH
        shares = np.exp(-0.5 * (1.0 - _WIDTH**-2) * np.sum(first**2, axis=1))
        shares /= shares.sum()
    return exact, normals, shares


def _match_moments(values: np.ndarray, component: Component) -> np.ndarray:
    """Shift and scale a sample to the exact mean and standard deviation of its law."""
    if component.mean is None or component.std is None:
        return values
    spread = values.std()
    if spread == 0.0:
        return values
    return component.mean + (values - values.mean()) * (component.std / spread)


def _join(parts: list[Coordinates]) -> Coordinates:
    return Coordinates(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("teacher", "variance", "a0", "b0")
        )
    )
