"""Data sets of the ensembles, against exact moments and against other ways to draw."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from dmft import Problem
from dmft.bench.sampling import draw, even_coordinates
from dmft.settings import SimulationSettings
from dmft.simulation.data import draw_data
from dmft.simulation.sampling import random_coordinates

# Normal with density 0.1 and variance 10: E w^4 = 0.1 * 3 * 100, E w^6 = 0.1 * 15 * 1000.
MOMENTS = {2: 1.0, 4: 30.0, 6: 1500.0}


def moments(sampler, dimension, power, count=1500):
    rng = np.random.default_rng(dimension + power)
    drawn = [sampler(Problem(), dimension, rng).teacher for _ in range(count)]
    return np.array([np.mean(teacher**power) for teacher in drawn])


@pytest.mark.parametrize("power", MOMENTS)
@pytest.mark.parametrize("dimension", [50, 97])
def test_moments_are_the_populations_on_average(dimension, power):
    """Whatever d is; at midpoints the tails are missing."""
    found = moments(even_coordinates, dimension, power)
    error = found.std() / len(found) ** 0.5
    assert found.mean() == pytest.approx(MOMENTS[power], abs=4.0 * error)
    if power > 2:
        count = round(0.1 * dimension)
        midpoints = 10.0**0.5 * ndtri((np.arange(count) + 0.5) / count)
        assert abs(np.sum(midpoints**power) / dimension - MOMENTS[power]) > 10.0 * error


def test_moments_fluctuate_less_than_those_of_independent_draws():
    even, independent = (
        moments(sampler, 200, 2).std() for sampler in (even_coordinates, random_coordinates)
    )
    assert even < 0.5 * independent


def test_every_interval_of_the_law_is_drawn_from_once():
    teacher = even_coordinates(Problem(), 200, np.random.default_rng(0)).teacher
    values = np.sort(teacher[teacher != 0.0]) / 10.0**0.5
    assert len(values) == 20
    np.testing.assert_array_equal(np.floor(20.0 * ndtr(values)), np.arange(20))


def test_independent_laws_are_paired_at_random():
    """Both are the same in every draw but for their pairing and the places in the intervals."""
    problem = Problem(teacher={"kind": "gaussian"}, features={"kind": "power-law"})
    rng = np.random.default_rng(1)
    drawn = [even_coordinates(problem, 40, rng) for _ in range(400)]
    logs = np.array([np.log(coordinates.variance) for coordinates in drawn])
    products = np.mean([coordinates.teacher for coordinates in drawn] * logs, axis=1)
    assert abs(np.mean(products)) < 4.0 * np.std(products) / 20.0
    # Of a random permutation: the product of the spreads over sqrt(d - 1).
    expected = np.mean([coordinates.teacher.std() for coordinates in drawn]) * logs.std(axis=1)
    assert np.std(products) == pytest.approx(expected.mean() / 39.0**0.5, rel=0.15)


def test_data_set_has_the_scales_of_the_simulations():
    problem = Problem(sampling_ratio=0.7)
    data = draw(problem, 300, np.random.SeedSequence(2))
    other = draw_data(problem, SimulationSettings(dimension=300), np.random.SeedSequence(2))
    assert data.features.shape == other.features.shape == (210, 300)
    np.testing.assert_array_equal(data.coordinates.a0, other.coordinates.a0)
    # The same design of the same stream, coordinates in another order.
    np.testing.assert_allclose(data.features, other.features, rtol=1e-12)
    noise = data.labels - data.features @ data.coordinates.teacher
    assert np.mean(noise**2) == pytest.approx(0.01)
