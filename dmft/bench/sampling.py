"""Data sets of the ensembles' networks: as even as can be, and true to the population on average.

Of a quantity of count draws each lies at a random point of one of `count` equally likely intervals
of its law, as in `dmft.simulate`, whose networks also start with exact moments. That costs a little
bias: 4.2/d, relative, in the default problem, and 3.3/d without. (Midpoints of the intervals lack
the tails in every draw alike: 8.3/d.) A start that fluctuates is no harm here, where the error is
taken over all times.
"""

from __future__ import annotations

import numpy as np

from dmft.problem import Problem
from dmft.problem.population import Coordinates, Stratum, strata
from dmft.simulation.data import DataSet, sample_count
from dmft.simulation.sampling import interval_points, joined


def draw(problem: Problem, dimension: int, sequence: np.random.SeedSequence) -> DataSet:
    """One data set with Gaussian features and noise of exact variance.

    Coordinates are in the order of the strata, which features of one law make no use of.
    """
    for_coordinates, for_design, for_noise = map(np.random.default_rng, sequence.spawn(3))
    coordinates = even_coordinates(problem, dimension, for_coordinates)
    features = for_design.standard_normal((sample_count(problem, dimension), dimension))
    features *= np.sqrt(coordinates.variance / dimension)
    labels = problem.labels.draw(
        features @ coordinates.teacher, problem.noise_std, for_noise, exact_noise=True
    )
    return DataSet(features, labels, coordinates)


def even_coordinates(problem: Problem, dimension: int, rng: np.random.Generator) -> Coordinates:
    """Every stratum's share of d, rounded at random, and of it one draw from every interval."""
    mixture = strata(problem)
    edges = np.cumsum([stratum.probability for stratum in mixture])
    # One random offset for all edges: every count is its share or next to it, right on average.
    ends = np.floor(dimension * edges / edges[-1] + rng.random()).astype(int)
    counts = np.diff(ends, prepend=0)
    return joined(mixture, [_points(*pair, rng) for pair in zip(mixture, counts, strict=True)])


def _points(stratum: Stratum, count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniforms (count, random_dimensions)."""
    points = np.empty((count, stratum.random_dimensions))
    for column in points.T:
        column[:] = interval_points(count, rng)
    return points
