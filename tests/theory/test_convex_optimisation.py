"""Fixed points against convex programs on finite data, in standard errors of an ensemble.

Minimisers of finite problems are found by methods that share nothing with the package: linear
programming, Newton's method on a dual, proximal gradient descent.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

import dmft
from dmft.simulation.coordinates import start_of
from dmft.simulation.flow import integrate
from dmft.theory import basis_pursuit, predict
from tests.helpers import data_set

SIGNIFICANT = 3.0


def bregman_minimiser(features, labels, a0, b0):
    """argmin psi(w) subject to Xw = y, where psi'(w) = p for w = (a0^2 e^(2p) - b0^2 e^(-2p)) / 2.

    The dual vector is p = X^T z; z minimises the convex (a0^2 sum e^(2p) + b0^2 sum e^(-2p)) / 4
    - y z. Its third derivatives are at most twice the second, so Newton steps that move no p by
    more than 1/2 converge without a line search.
    """
    z = np.zeros(len(labels))
    for _ in range(500):
        dual = features.T @ z
        up, down = a0**2 * np.exp(2 * dual) / 2, b0**2 * np.exp(-2 * dual) / 2
        gap = features @ (up - down) - labels
        if np.abs(gap).max() < 1e-10:
            return up - down
        step = np.linalg.solve((features * (2 * (up + down))) @ features.T, gap)
        z -= min(1.0, 0.5 / np.abs(features.T @ step).max()) * step
    raise AssertionError("Newton's method did not converge")


def l1_minimiser(features, labels):
    """argmin |w|_1 subject to Xw = y, by linear programming in the two signs."""
    dimension = features.shape[1]
    found = linprog(
        np.ones(2 * dimension), A_eq=np.hstack([features, -features]), b_eq=labels, method="highs"
    )
    assert found.status == 0
    return found.x[:dimension] - found.x[dimension:]


def lasso_minimiser(features, labels, weight_decay):
    """argmin 1/2 |Xw - y|^2 + weight_decay |w|_1, by accelerated proximal gradient descent."""
    step = 1.0 / np.linalg.norm(features, 2) ** 2
    weights = ahead = np.zeros(features.shape[1])
    momentum = 1.0
    for _ in range(20_000):
        trial = ahead - step * features.T @ (features @ ahead - labels)
        new = np.sign(trial) * np.maximum(np.abs(trial) - step * weight_decay, 0.0)
        change = np.abs(new - weights).max()
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / next_momentum * (new - weights)
        weights, momentum = new, next_momentum
        if change < 1e-9:
            break
    return weights


def ensemble(problem, minimiser, dimension, seeds):
    """Excess risk, training error and share of nonzero weights: means and standard errors."""
    rows = []
    for seed in range(seeds):
        data = data_set(problem, dimension, seed)
        drawn = data.coordinates
        weights = minimiser(data)
        rows.append(
            (
                np.mean(drawn.variance * (weights - drawn.teacher) ** 2),
                np.mean((data.features @ weights - data.labels) ** 2),
                np.mean(np.abs(weights) > 1e-7),
            )
        )
    return np.mean(rows, axis=0), np.std(rows, axis=0, ddof=1) / seeds**0.5


def agree(value, error, expected, dimension):
    """Within three standard errors, beside the bias of order 1/d of a finite problem."""
    assert abs(value - expected) < SIGNIFICANT * np.hypot(error, 3.0 / dimension * expected)
    assert error < 0.12 * expected


@pytest.mark.parametrize("start", [0.05, 0.3, 1.0])
def test_interpolators(start):
    problem = dmft.Problem(network={"init_scale": start})
    mean, error = ensemble(
        problem, lambda data: bregman_minimiser(data.features, data.labels, start, start), 300, 24
    )
    agree(mean[0], error[0], predict(problem).excess_risk, 300)


def test_interpolators_with_feature_variances_and_unbalanced_starts():
    features = {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]}
    problem = dmft.Problem(features=features, network={"init_scale": 0.5})
    mean, error = ensemble(
        problem, lambda data: bregman_minimiser(data.features, data.labels, 0.5, 0.5), 300, 24
    )
    agree(mean[0], error[0], predict(problem).excess_risk, 300)

    problem = dmft.Problem(network={"init_u": 0.6, "init_v": 0.3})
    a0, b0 = 0.9 / 2**0.5, 0.3 / 2**0.5
    mean, error = ensemble(
        problem, lambda data: bregman_minimiser(data.features, data.labels, a0, b0), 300, 24
    )
    agree(mean[0], error[0], predict(problem).excess_risk, 300)


def test_basis_pursuit():
    problem = dmft.Problem()
    mean, error = ensemble(problem, lambda data: l1_minimiser(data.features, data.labels), 200, 24)
    expected = basis_pursuit(problem)
    agree(mean[0], error[0], expected.excess_risk, 200)
    assert mean[2] == pytest.approx(expected.nonzero, abs=1e-9)  # a vertex has n nonzeros


@pytest.mark.parametrize("ratio", [0.25, 0.45])
def test_exact_recovery_by_linear_programming(ratio):
    """The l1 transition of density 0.1 is at 0.33: recovery above, none below."""
    problem = dmft.Problem(sampling_ratio=ratio, noise_std=0.0)
    data = data_set(problem, 300, 1)
    error = np.mean((l1_minimiser(data.features, data.labels) - data.coordinates.teacher) ** 2)
    expected = basis_pursuit(problem)
    assert expected.recovered == (ratio > 0.33)
    assert (error < 1e-12) == expected.recovered


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"sampling_ratio": 2.0, "noise_std": 0.5},
        {"features": {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]}},
    ],
    ids=["few samples", "many samples", "feature variances"],
)
def test_lasso(extra):
    problem = dmft.Problem(dynamics={"weight_decay": 0.1}, **extra)
    mean, error = ensemble(
        problem,
        lambda data: lasso_minimiser(data.features, data.labels, 0.1),
        200,
        24,
    )
    found = predict(problem)
    expected = (found.excess_risk, found.train_mse, found.nonzero)
    for value, deviation, limit in zip(mean, error, expected, strict=True):
        agree(value, deviation, limit, 200)


@pytest.mark.parametrize("start", [1e-3, 0.3, 3.0])
def test_the_flow_ends_at_the_minimiser(start):
    """One data set, no ensemble: gradient flow and convex program give the same weights."""
    problem = dmft.Problem(network={"init_scale": start})
    data = data_set(problem, 60, 5)
    drawn = data.coordinates
    flow = start_of(problem.network, 0.0, drawn.a0, drawn.b0)
    end = 60.0 / predict(problem).relaxation_rate
    weights = integrate(
        data.features, data.labels, flow, np.array([end]),
        teacher=drawn.teacher, variance=drawn.variance, rtol=1e-6,
    ).weights[-1]  # fmt: skip
    best = bregman_minimiser(data.features, data.labels, start, start)
    np.testing.assert_allclose(weights, best, atol=1e-6 * np.abs(best).max())


def test_the_flow_with_weight_decay_ends_at_the_lasso():
    problem = dmft.Problem(network={"init_scale": 1.0}, dynamics={"weight_decay": 0.2})
    data = data_set(problem, 60, 5)
    drawn = data.coordinates
    flow = start_of(problem.network, 0.2, drawn.a0, drawn.b0)
    weights = integrate(
        data.features, data.labels, flow, np.array([3e4]),
        teacher=drawn.teacher, variance=drawn.variance, rtol=1e-5,
    ).weights[-1]  # fmt: skip
    best = lasso_minimiser(data.features, data.labels, 0.2)
    np.testing.assert_allclose(weights, best, atol=1e-4 * np.abs(best).max())
