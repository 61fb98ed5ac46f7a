"""The closed form against finite matrices, a second quadrature, expansions and limits."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from dmft import Problem
from dmft.errors import InputError
from dmft.theory.linear import (
    correlation_error,
    correlation_residual,
    learning_curves,
    marchenko_pastur,
    overlap,
    second_moment,
)


def linear_problem(sampling_ratio=0.5, weight_decay=0.0, **more):
    settings = {"noise_std": 0.5, "teacher": {"kind": "gaussian", "mean": 0.5, "std": 1.0}, **more}
    return Problem(
        sampling_ratio=sampling_ratio,
        network={"kind": "linear"},
        dynamics={"weight_decay": weight_decay},
        **settings,
    )


def finite_run(problem, dimension, times, rng):
    """Observables of one finite-dimensional gradient flow, from its definition."""
    samples = round(problem.sampling_ratio * dimension)
    design = rng.standard_normal((samples, dimension)) / dimension**0.5
    teacher = 0.5 + rng.standard_normal(dimension)
    label = design @ teacher + problem.noise_std * rng.standard_normal(samples)
    values, vectors = np.linalg.eigh(design.T @ design)
    values = np.maximum(values, 1e-12) + problem.dynamics.weight_decay
    shares = (1 - np.exp(-np.outer(times, values))) / values
    weights = (shares * (vectors.T @ design.T @ label)) @ vectors.T
    error, residual = weights - teacher, weights @ design.T - label
    return np.array(
        [
            error @ error.T / dimension,
            residual @ residual.T / samples,
            weights @ weights.T / dimension,
        ]
    )


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
@pytest.mark.parametrize("sampling_ratio", [0.5, 1.0, 2.0])
def test_kernels_match_finite_dimension(sampling_ratio, weight_decay):
    problem = linear_problem(sampling_ratio, weight_decay)
    times = np.array([0.0, 0.3, 1.0, 4.0, 20.0])
    rng = np.random.default_rng(1)
    runs = np.array([finite_run(problem, 240, times, rng) for _ in range(30)])
    exact = [f(problem, times) for f in (correlation_error, correlation_residual, overlap)]
    error = runs.std(0, ddof=1) / len(runs) ** 0.5
    # Finite-dimensional bias is of relative order 1/dimension.
    assert np.all(np.abs(runs.mean(0) - exact) <= 4 * error + 0.005 * np.abs(exact))
    assert np.all(error < 0.06 * np.max(np.abs(exact), axis=(1, 2), keepdims=True))


def test_matches_adaptive_quadrature_at_delta_one():
    """In y = sqrt(x) the law at delta = 1 is the quarter circle sqrt(4 - y^2) / pi on (0, 2)."""
    problem = linear_problem(1.0)
    for time in (1e-4, 1e-1, 1e2, 1e6):
        scale = min(1.0, time**-0.5)
        points = [scale * s for s in (0.25, 0.5, 1, 2, 4, 8, 16, 64, 256) if scale * s < 2]

        def average(f, points=points):
            edges = [0.0, *points, 2.0]
            parts = pairwise(edges)
            return sum(
                quad(lambda y: f(y**2) * np.sqrt(4 - y**2) / np.pi, a, b, epsabs=0, epsrel=1e-12)[0]
                for a, b in parts
            )

        curves = learning_curves(problem, time)
        risk = average(
            lambda x, t=time: (
                1.25 * np.exp(-2 * x * t) + (0.25 * np.expm1(-x * t) ** 2 / x if x > 0 else 0.0)
            )
        )
        train = average(lambda x, t=time: (1.25 * x + 0.25) * np.exp(-2 * x * t))
        assert curves.excess_risk == pytest.approx(risk, rel=1e-10)
        assert curves.train_mse == pytest.approx(train, rel=1e-10)


@pytest.mark.parametrize("sampling_ratio", [0.05, 0.5, 0.999999, 1.0, 1.001, 30.0])
def test_quadrature_integrates_known_moments(sampling_ratio):
    law = marchenko_pastur(sampling_ratio)
    x, delta = law.eigenvalue, sampling_ratio
    for weights, moments in (
        (law.coordinates, (1, delta, delta + delta**2, delta + 3 * delta**2 + delta**3)),
        (law.samples, (1, 1, 1 + delta, 1 + 3 * delta + delta**2)),
    ):
        computed = [weights @ x**k for k in range(4)]
        np.testing.assert_allclose(computed, moments, rtol=1e-12)


@pytest.mark.parametrize("sampling_ratio", [0.5, 1.0, 2.0])
def test_short_time_expansion(sampling_ratio):
    problem, delta, time = linear_problem(sampling_ratio), sampling_ratio, 1e-4
    curves = learning_curves(problem, time)
    risk = 1.25 * (1 - 2 * delta * time + 2 * (delta + delta**2) * time**2)
    risk += 0.25 * delta * time**2
    second = 1 + delta
    third = 1 + 3 * delta + delta**2
    train = 1.25 * (1 - 2 * second * time + 2 * third * time**2)
    train += 0.25 * (1 - 2 * time + 2 * second * time**2)
    assert curves.excess_risk == pytest.approx(risk, rel=2e-10)
    assert curves.train_mse == pytest.approx(train, rel=2e-10)


def test_long_time_limits():
    over = learning_curves(linear_problem(2.5), 1e6)
    assert over.excess_risk == pytest.approx(0.25 / 1.5, rel=1e-11)
    assert over.train_mse == pytest.approx(0.25 * (1 - 1 / 2.5), rel=1e-11)
    under = learning_curves(linear_problem(0.4), 1e6)
    assert under.excess_risk == pytest.approx(1.25 * 0.6 + 0.25 * 0.4 / 0.6, rel=1e-11)
    assert under.train_mse == 0.0


def test_critical_ratio_grows_and_decays_like_powers():
    """At delta = 1 the density is 1/(pi sqrt x), which gives the risk sigma^2 I sqrt(t)/pi with
    I = int (1-e^-u)^2 u^-1.5 du = 2 sqrt(pi) (2 - sqrt 2)."""
    time = np.array([1e8, 1e10])
    curves = learning_curves(linear_problem(1.0), time)
    risk = 0.25 * 2 * (2 - 2**0.5) * np.sqrt(time / np.pi)
    train = 0.25 / np.sqrt(2 * np.pi * time)
    np.testing.assert_allclose(curves.excess_risk / risk, 1, atol=20 / np.sqrt(time[0]))
    np.testing.assert_allclose(curves.train_mse / train, 1, atol=20 / np.sqrt(time[0]))


@pytest.mark.parametrize("weight_decay", [1e-6, 1e-2, 3.0])
@pytest.mark.parametrize("sampling_ratio", [0.5, 1.0, 2.0])
def test_ridge_limit(sampling_ratio, weight_decay):
    """The Stieltjes transform m = int dmu/(x+lambda) solves lam m^2 + (lam+delta-1) m = 1."""
    delta, lam = sampling_ratio, weight_decay
    linear = lam + delta - 1
    discriminant = np.sqrt(linear**2 + 4 * lam)
    m = 2 / (linear + discriminant) if linear > 0 else (discriminant - linear) / (2 * lam)
    derivative = -(m**2 + m) / (2 * lam * m + linear)
    expected = -1.25 * lam**2 * derivative + 0.25 * (m + lam * derivative)
    curves = learning_curves(linear_problem(delta, lam), 1e10)
    assert curves.excess_risk == pytest.approx(expected, rel=1e-8)


def test_kernels_contain_the_curves():
    problem, times = linear_problem(0.7, 0.1), np.logspace(-4, 6, 50)
    curves = learning_curves(problem, times.reshape(5, 10))
    assert curves.excess_risk.shape == curves.train_mse.shape == (5, 10)
    kernel, residual = correlation_error(problem, times), correlation_residual(problem, times)
    np.testing.assert_allclose(np.diag(kernel), curves.excess_risk.ravel(), rtol=1e-12)
    np.testing.assert_allclose(np.diag(residual), curves.train_mse.ravel(), rtol=1e-12)
    assert np.linalg.eigvalsh(kernel).min() > -1e-12


def test_second_moments():
    assert second_moment(Problem(teacher={"density": 0.2}).teacher) == 1.0
    assert second_moment(Problem(teacher={"kind": "rademacher", "scale": 2.0}).teacher) == 4.0
    mixture = {"kind": "discrete", "values": [0.0, 2.0], "weights": [3, 1]}
    assert second_moment(Problem(teacher=mixture).teacher) == 1.0
    array = {"kind": "empirical", "values": [1.0, 3.0]}
    assert second_moment(Problem(teacher=array).teacher) == 5.0


def test_refuses_what_it_does_not_describe():
    with pytest.raises(InputError, match="needs 'linear'"):
        learning_curves(Problem(), 1.0)
    features = {"kind": "discrete", "values": [0.5, 1.5]}
    with pytest.raises(InputError, match="isotropic"):
        correlation_error(linear_problem(features=features), [1.0])
    pairs = {"kind": "empirical", "values": [1.0, 2.0], "feature_variances": [0.5, 1.5]}
    with pytest.raises(InputError, match="isotropic"):
        overlap(linear_problem(teacher=pairs), [1.0])
    for time in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="time"):
            learning_curves(linear_problem(), [0.0, time])
