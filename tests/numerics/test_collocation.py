"""Radau IIA: algebraic conditions, weights by another quadrature, interpolation."""

import numpy as np
import pytest
from numpy.polynomial import legendre
from scipy.integrate import quad

from dmft.numerics import collocation
from dmft.numerics.collocation import lagrange, radau, stretched


@pytest.mark.parametrize("stages", [1, 3, 5])
def test_collocation_conditions_and_order(stages):
    tableau = radau(stages=stages)
    c, a = tableau.nodes, tableau.integration
    for power in range(1, stages + 1):
        assert np.allclose(a @ c ** (power - 1), c**power / power, atol=1e-13)
    # The last row is a quadrature exact to degree 2p-2, and no further.
    for power in range(1, 2 * stages):
        assert a[-1] @ c ** (power - 1) == pytest.approx(1 / power, abs=1e-13)
    assert abs(a[-1] @ c ** (2 * stages - 1) - 1 / (2 * stages)) > 1e-6


def test_nodes_are_real_where_numpy_has_complex_roots(monkeypatch):
    expected = collocation._radau_nodes(3)
    real_roots = legendre.legroots
    monkeypatch.setattr(legendre, "legroots", lambda c: real_roots(c).astype(complex))
    nodes = collocation._radau_nodes(3)
    assert nodes.dtype == float
    assert np.array_equal(nodes, expected)
    # The closed form of Hairer & Wanner, section IV.5.
    assert np.allclose(nodes, [0.4 - 6**0.5 / 10, 0.4 + 6**0.5 / 10, 1.0], rtol=0, atol=1e-15)


def stability_function(z):
    a = radau().integration
    return 1 + z * a[-1] @ np.linalg.solve(np.eye(3) - z * a, np.ones(3))


def test_method_is_l_stable():
    for z in (-1e6, -10.0, 50j, -0.1 + 30j):
        assert abs(stability_function(z)) < 1
    assert abs(stability_function(-1e6)) < 1e-5
    # Inside the disc it follows the exponential to order five.
    assert abs(stability_function(-0.1) - np.exp(-0.1)) < 1e-9


@pytest.mark.parametrize("growth", [-2.0, 0.3, 8.0])
def test_weighted_integration_against_adaptive_quadrature(growth):
    tableau = radau(growth)
    for i, end in enumerate(tableau.nodes):
        for j in range(3):
            value, _ = quad(
                lambda x, j=j: np.exp(-growth * x) * lagrange(tableau.nodes, np.array([x]))[0, j],
                0, end, epsabs=1e-13,
            )  # fmt: skip
            assert tableau.integration[i, j] == pytest.approx(value, abs=1e-12)


def test_embedded_rule_has_order_three():
    tableau = radau()
    for power in range(4):
        defect = tableau.error_weights @ tableau.nodes**power
        defect += tableau.start_weight if power == 0 else 0.0
        if power < 3:
            assert abs(defect) < 1e-13
        else:
            assert abs(defect) > 1e-3


@pytest.mark.parametrize("ratio", [1.0001, 1.4, 5.0])
def test_panels_in_log_time_integrate_powers_of_the_logarithm(ratio):
    tableau = stretched(ratio)
    times = 1.0 + (ratio - 1.0) * tableau.nodes
    assert tableau.nodes[-1] == 1.0
    for power in range(3):
        found = (ratio - 1.0) * tableau.integration @ np.log(times) ** power
        exact = [quad(lambda x, k=power: np.log(x) ** k, 1.0, end)[0] for end in times]
        assert np.allclose(found, exact, rtol=1e-10, atol=1e-15)


def test_panels_in_log_time_have_order_five_at_their_ends():
    """Of the integral of a power, whose logarithm is a line; in time the error is larger."""
    errors = []
    for ratio in (2.0, 2.0**0.5):
        row = stretched(ratio).integration[-1] * (ratio - 1.0)
        exact = quad(lambda x: x**-1.3, 1.0, ratio, epsabs=1e-14)[0]
        errors.append(abs(row @ (1.0 + (ratio - 1.0) * stretched(ratio).nodes) ** -1.3 - exact))
        plain = radau().integration[-1] * (ratio - 1.0)
        others = abs(plain @ (1.0 + (ratio - 1.0) * radau().nodes) ** -1.3 - exact)
        assert errors[-1] < 0.1 * others
    assert np.log2(errors[0] / errors[1]) > 4.5
