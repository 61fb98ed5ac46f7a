"""The sample of paths: stratified coordinates, low-discrepancy noise, orthogonal innovations.

Every stratum of the population has its own scrambled Sobol points: first the coordinates of the
population, then the noise. Three refinements cut the sampling error by an order of magnitude over
plain Monte Carlo at late times:
- coordinates sit at the midpoints of equal quantiles and are scaled to their exact moments;
- noise directions are rotated so that the first Sobol dimensions drive what moves the weights
  most (the rotation comes from a pilot solve);
- new noise is made orthogonal, inside each stratum, to what the paths already know.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dmft.laws import Component
from dmft.population import Coordinates, Stratum, strata
from dmft.problem import Problem

SOBOL_DIMENSIONS = 64
_EXACT = 1e-8  # relative size of what orthogonalisation leaves that still counts as new
_OPEN = 2.0**-32  # Sobol points have 30 binary digits and may be 0
# How much of a stratum's size its basis may take: the noise needs room to be random.
NOISE_SHARE = 0.5
WEIGHTS_SHARE = 0.25


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
    ) -> None:
        """Draw `count` paths; `rotation` is orthogonal, at most SOBOL_DIMENSIONS square."""
        mixture = strata(problem)
        sizes = [len(part) for part in np.array_split(np.empty(count), len(mixture))]
        edges = np.concatenate([[0], np.cumsum(sizes)])
        self.count = count
        self.strata = [slice(a, b) for a, b in pairwise(edges)]
        self._generators = [np.random.default_rng(child) for child in seed.spawn(len(mixture))]
        self.probability = np.concatenate(
            [np.full(n, s.probability / n) for n, s in zip(sizes, mixture, strict=True)]
        )
        draws = [
            _draw(stratum, size, generator)
            for stratum, size, generator in zip(mixture, sizes, self._generators, strict=True)
        ]
        self.coordinates = _join([coordinates for coordinates, _ in draws])
        self._noise = np.concatenate([noise for _, noise in draws])
        if rotation is not None:
            size = len(rotation)
            self._noise[:, :size] = self._noise[:, :size] @ rotation
        self._used = 0
        self._known = [np.empty((n, 0)) for n in sizes]

    def learn(
        self, columns: np.ndarray, tolerance: float = _EXACT, share: float = NOISE_SHARE
    ) -> None:
        """Add functions of the paths, shape (count, columns), to what new noise must not see.

        Columns of which less than `tolerance` is new are left out, and so is everything beyond
        `share` of a stratum's size.
        """
        for index, chosen in enumerate(self.strata):
            basis = self._known[index]
            limit = int(share * len(basis))
            for column in columns[chosen].T:
                size = np.linalg.norm(column)
                rest = _remove(basis, column)
                new = np.linalg.norm(rest)
                if new > tolerance * size and new > 0 and basis.shape[1] < limit:
                    basis = np.column_stack([basis, rest / new])
            self._known[index] = basis

    def innovations(self, directions: int) -> np.ndarray:
        """Fresh noise of shape (count, directions), standard normal up to its refinements.

        Within each stratum it is orthogonal to everything learned, with unit covariance.
        Asking again gives the same noise until `use` consumes it.
        """
        while self._used + directions > self._noise.shape[1]:
            more = [
                generator.standard_normal((chosen.stop - chosen.start, SOBOL_DIMENSIONS))
                for generator, chosen in zip(self._generators, self.strata, strict=True)
            ]
            self._noise = np.hstack([self._noise, np.concatenate(more)])
        noise = self._noise[:, self._used : self._used + directions].copy()
        for basis, chosen in zip(self._known, self.strata, strict=True):
            fresh = _remove(basis, noise[chosen])
            covariance = fresh.T @ fresh / len(fresh)
            noise[chosen] = np.linalg.solve(np.linalg.cholesky(covariance), fresh.T).T
        return noise

    def use(self, noise: np.ndarray) -> None:
        """Consume the first columns of the last innovations and learn them."""
        self._used += noise.shape[1]
        self.learn(noise)


def _remove(basis: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Project out an orthonormal basis, twice for stability."""
    rest = columns - basis @ (basis.T @ columns)
    return rest - basis @ (basis.T @ rest)


def _draw(
    stratum: Stratum, count: int, generator: np.random.Generator
) -> tuple[Coordinates, np.ndarray]:
    """Coordinates and SOBOL_DIMENSIONS columns of normal noise for one stratum."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    dimensions = stratum.random_dimensions
    engine = qmc.Sobol(dimensions + SOBOL_DIMENSIONS, rng=generator)
    # random_base2 insists on powers of two; any count keeps the points distinct.
    uniforms = engine.random_base2(max(0, int(count - 1).bit_length()))[:count]
    ranks = uniforms[:, :dimensions].argsort(axis=0).argsort(axis=0)
    coordinates = stratum.draw((ranks + 0.5) / count)
    exact = Coordinates(
        _match_moments(coordinates.teacher, stratum.components[0]),
        _match_moments(coordinates.variance, stratum.components[1]),
        coordinates.a0,
        coordinates.b0,
    )
    inside = np.clip(uniforms[:, dimensions:], _OPEN, 1.0 - _OPEN)
    return exact, ndtri(inside)


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
