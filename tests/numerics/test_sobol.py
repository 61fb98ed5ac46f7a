"""The project's Sobol points against SciPy's, and what scrambling must keep and make random."""

import numpy as np
import pytest
from scipy.stats import qmc

from dmft.numerics.sobol import MOST_DIMENSIONS, direction_vectors, points, scrambled_points


def test_bare_points_are_those_of_scipy():
    count = 1000
    ours = points(count, direction_vectors(MOST_DIMENSIONS)) * 2.0**-32
    with pytest.warns(UserWarning, match="power of 2"):
        theirs = qmc.Sobol(MOST_DIMENSIONS, scramble=False, bits=32).random(count)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(3))
def test_scrambled_points_fill_every_interval_of_every_dimension_once(seed):
    count = 256
    found = scrambled_points(count, MOST_DIMENSIONS, np.random.default_rng(seed))
    for column in found.T:
        assert np.array_equal(np.sort((column * count).astype(int)), np.arange(count))


def test_scrambled_points_are_a_net_in_the_first_two_dimensions():
    """Every elementary rectangle of area 1/256 holds one point."""
    found = scrambled_points(256, 2, np.random.default_rng(5))
    for power in range(9):
        cells = (found * [2**power, 2 ** (8 - power)]).astype(int)
        assert len({tuple(cell) for cell in cells}) == 256


def test_a_scrambled_point_is_uniform():
    generator = np.random.default_rng(1)
    draws = np.array([scrambled_points(4, 2, generator)[3] for _ in range(2000)])
    for moment in (1, 2, 3):
        values = draws**moment
        error = values.std(axis=0) / len(draws) ** 0.5
        assert np.all(np.abs(values.mean(axis=0) - 1 / (moment + 1)) < 4 * error)
    assert abs(np.corrcoef(draws.T)[0, 1]) < 4 / len(draws) ** 0.5
