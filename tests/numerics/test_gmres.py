"""The inner linear solver against a direct one."""

import numpy as np
import pytest

from dmft.numerics.gmres import gmres


@pytest.mark.parametrize("size", [1, 5, 40])
def test_solution_of_a_contraction(size):
    generator = np.random.default_rng(size)
    matrix = np.eye(size) - 0.5 * generator.standard_normal((size, size)) / size**0.5
    right = generator.standard_normal(size)
    found = gmres(lambda x: matrix @ x, right, 1e-12, size)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=1e-9, atol=1e-9)


def test_it_stops_at_the_tolerance_and_at_the_budget():
    generator = np.random.default_rng(3)
    matrix = np.eye(60) - 0.7 * generator.standard_normal((60, 60)) / 60**0.5
    right = generator.standard_normal(60)
    calls = []

    def operator(x):
        calls.append(1)
        return matrix @ x

    found = gmres(operator, right, 0.02, 20)
    assert np.linalg.norm(matrix @ found - right) <= 0.02 * np.linalg.norm(right)
    assert len(calls) < 20
    calls.clear()
    best = gmres(operator, right, 1e-12, 5)
    assert len(calls) == 5
    assert np.linalg.norm(matrix @ best - right) < np.linalg.norm(right)


def test_nothing_to_solve():
    assert np.array_equal(gmres(lambda x: x, np.zeros(3), 0.02, 5), np.zeros(3))
