"""Interpolation between nodes: exact on cubics, of fourth order, close to the linear curves."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.numerics.collocation import radau
from dmft.problem import Problem
from dmft.results.interpolation import (
    curve_at,
    curve_error_at,
    interpolation_matrix,
    kernel_at,
    kernel_error_at,
)
from dmft.theory.linear import (
    correlation_error,
    correlation_residual,
    learning_curves,
    overlap,
)


def nodes(edges):
    """Nodes and panel numbers of Radau panels between the edges, t = 0 in front."""
    edges = np.asarray(edges, dtype=float)
    inside = edges[:-1, None] + np.diff(edges)[:, None] * radau().nodes
    inside[:, -1] = edges[1:]
    panel = np.repeat(np.arange(len(edges) - 1), 3)
    return np.append(0.0, inside), np.append(-1, panel)


UNEVEN = nodes([0, 0.1, 0.5, 0.7, 3])
AT = np.array([0, 0.01, 0.1, 0.100001, 0.5, 1.3, 2.9, 3])


def cubic(t):
    return 2 - t + 0.5 * t**2 - 0.3 * t**3


def test_cubics_are_exact_and_each_panel_uses_its_own_start_and_nodes():
    time, panel = UNEVEN
    matrix = interpolation_matrix(time, panel, AT)
    assert matrix.shape == (len(AT), len(time))
    np.testing.assert_allclose(matrix @ cubic(time), cubic(AT), rtol=1e-12)
    assert np.abs(matrix @ time**4 - AT**4).max() > 1e-3  # a quartic is not
    used = [set(np.flatnonzero(row)) for row in matrix]
    assert used[0] == {0} and used[1] == {0, 1, 2, 3} and used[2] == {3} and used[4] == {6}
    assert used[3] == {3, 4, 5, 6} and used[6] == {9, 10, 11, 12} and used[7] == {12}


def test_order_of_the_times_does_not_matter():
    time, panel = UNEVEN
    order = np.random.default_rng(0).permutation(len(AT))
    matrix = interpolation_matrix(time, panel, AT)
    np.testing.assert_array_equal(interpolation_matrix(time, panel, AT[order]), matrix[order])


def test_fourth_order():
    at = np.linspace(0, 2, 4001)
    errors = []
    for panels in (4, 8, 16, 32):
        time, panel = nodes(np.linspace(0, 2, panels + 1))
        errors.append(np.abs(curve_at(time, panel, np.sin(3 * time), at) - np.sin(3 * at)).max())
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert orders[-1] == pytest.approx(4, abs=0.15)
    assert errors[-1] < 2e-6


def test_kernel_is_the_tensor_product():
    time, panel = UNEVEN

    def exact(t):
        return np.outer(cubic(t), t**2) + np.outer(t**2, cubic(t)) - np.outer(t, t)

    np.testing.assert_allclose(kernel_at(time, panel, exact(time), AT), exact(AT), atol=1e-11)


def test_several_curves_at_once():
    time, panel = UNEVEN
    curves = np.array([cubic(time), np.exp(-time)])
    for positive in (False, True):
        found = curve_at(time, panel, np.abs(curves), AT, positive=positive)
        single = [curve_at(time, panel, np.abs(c), AT, positive=positive) for c in curves]
        np.testing.assert_allclose(found, single, rtol=1e-14)


def test_positive_curves_fall_by_decades_within_a_panel():
    time, panel = nodes([0, 1, 30])
    at = np.linspace(0, 30, 50)
    found = curve_at(time, panel, np.exp(-time), at, positive=True)
    np.testing.assert_allclose(found, np.exp(-at), rtol=1e-10)


def test_curves_that_grow_by_decades_within_a_panel_do_not_ring():
    """Of either sign; a curve that changes its sign goes through its values."""
    time, panel = nodes([0, 1, 30])
    at = np.linspace(1, 30, 50)
    for sign in (1.0, -1.0):
        found = curve_at(time, panel, sign * np.exp(time - 30), at)
        np.testing.assert_allclose(found, sign * np.exp(at - 30), rtol=1e-10)
    kernel = np.exp(np.add.outer(time, time) - 60)
    kernel[0] = kernel[:, 0] = 0.0  # as of weights that start at zero
    found = kernel_at(time, panel, kernel, at)
    np.testing.assert_allclose(found, np.exp(np.add.outer(at, at) - 60), rtol=1e-9)
    line = time - 2.0
    np.testing.assert_allclose(curve_at(time, panel, line, at), at - 2.0, atol=1e-12)


def test_positive_curves_may_reach_zero():
    time, panel = nodes([0, 1, 2, 3])
    curve = np.where(time < 1.5, np.exp(-time), 0.0)
    at = np.linspace(0, 3, 40)
    found = curve_at(time, panel, curve, at, positive=True)
    assert np.isfinite(found).all() and (found >= 0).all()
    np.testing.assert_allclose(found[at < 1], np.exp(-at[at < 1]), rtol=1e-12)
    assert (found[at > 2] == 0).all()


def test_closed_form_of_the_linear_model():
    problem = Problem(sampling_ratio=0.5, noise_std=0.3, network={"kind": "linear"})
    time, panel = nodes(np.append(0, np.geomspace(0.05, 100, 25)))
    at = np.append(0, np.geomspace(0.01, 100, 80))
    exact, known = learning_curves(problem, at), learning_curves(problem, time)
    for name in ("train_mse", "excess_risk"):
        found = curve_at(time, panel, getattr(known, name), at, positive=True)
        np.testing.assert_allclose(found, getattr(exact, name), rtol=2e-4)


@pytest.mark.parametrize("kernel", [correlation_error, correlation_residual, overlap])
def test_kernels_of_the_linear_model_keep_their_relative_accuracy(kernel):
    problem = Problem(sampling_ratio=0.5, noise_std=0.3, network={"kind": "linear"})
    time, panel = nodes(np.append(0, np.geomspace(0.05, 100, 25)))
    at = np.append(0, np.geomspace(0.01, 100, 41))
    exact = kernel(problem, at)
    scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    assert scale[-1, -1] < 1e-3 * scale[0, 0] or kernel is not correlation_residual
    error = np.abs(kernel_at(time, panel, kernel(problem, time), at) - exact)
    assert (error <= 1e-4 * scale).all()


def test_errors_are_linear_and_stay_positive():
    time, _ = UNEVEN
    error = np.random.default_rng(1).random(len(time))
    np.testing.assert_allclose(curve_error_at(time, error, AT), np.interp(AT, time, error))
    square = np.outer(error, error)
    found = kernel_error_at(time, square, AT)
    np.testing.assert_allclose(found, np.outer(*[np.interp(AT, time, error)] * 2))


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ([1.0, 3.001], "given 3.001, must be from 0 to 3"),
        (-1e-9, "given -1e-09"),
        ([np.nan], "given nan"),
        (np.inf, "given inf"),
        ("late", "must be numbers"),
        ([[1.0]], "must be a list"),
    ],
)
def test_times_outside(at, words):
    time, panel = UNEVEN
    calls = [
        lambda: interpolation_matrix(time, panel, at),
        lambda: curve_at(time, panel, time, at),
        lambda: kernel_at(time, panel, np.eye(13), at),
        lambda: curve_error_at(time, time, at),
        lambda: kernel_error_at(time, np.eye(13), at),
    ]
    for call in calls:
        with pytest.raises(InputError, match=words) as error:
            call()
        assert "\n" not in str(error.value)


def test_rounding_beyond_the_end_is_forgiven():
    time, panel = UNEVEN
    assert curve_at(time, panel, cubic(time), 3 * (1 + 1e-15))[0] == pytest.approx(cubic(3.0))
