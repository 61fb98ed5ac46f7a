"""Finite networks under gradient descent and SGD: single steps, batches, implicit bias."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import root

from dmft import InputError, Problem
from dmft.problem.dynamics import SGD
from dmft.simulation import simulate
from dmft.simulation.data import DataSet
from dmft.simulation.descent import _batch, _force, descend
from dmft.simulation.flow import IntegrationError
from tests.helpers import data_set

BATCHES = {"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.25}


def run(problem: Problem, data: DataSet, steps: int, seed: int = 1):
    return descend(problem, data, np.arange(steps + 1.0), np.random.default_rng(seed))


@pytest.mark.parametrize("depth", [2, 3])
def test_a_step_is_that_of_the_parameters(depth):
    """Against the gradient of the loss in a and b by central differences."""
    dynamics = {"kind": "gradient-descent", "step_size": 0.03, "weight_decay": 0.2}
    problem = Problem(network={"depth": depth, "init_scale": 0.5}, dynamics=dynamics)
    data = data_set(problem, 30)
    steps = run(problem, data, 3)

    def loss(a: np.ndarray, b: np.ndarray) -> float:
        # w = (a^L - b^L)/L moves along a^(L-1) and -b^(L-1).
        residual = data.features @ ((a**depth - b**depth) / depth) - data.labels
        return 0.5 * residual @ residual + 0.1 * (a @ a + b @ b)

    a, b, h = steps.a[2], steps.b[2], 1e-6
    for index in (0, 7):
        unit = np.eye(30)[index] * h
        of_a = (loss(a + unit, b) - loss(a - unit, b)) / (2 * h)
        of_b = (loss(a, b + unit) - loss(a, b - unit)) / (2 * h)
        assert steps.a[3][index] == pytest.approx(a[index] - 0.03 * of_a, abs=1e-9)
        assert steps.b[3][index] == pytest.approx(b[index] - 0.03 * of_b, abs=1e-9)


def test_the_linear_model_moves_its_weights():
    problem = Problem(network={"kind": "linear"}, dynamics={"kind": "gradient-descent"})
    data = data_set(problem, 20)
    w = run(problem, data, 2).weights
    first = 0.1 * data.features.T @ data.labels
    np.testing.assert_allclose(w[1], first)
    np.testing.assert_allclose(
        w[2], first - 0.1 * data.features.T @ (data.features @ first - data.labels)
    )


@pytest.mark.parametrize("sampling", ["independent", "without-replacement", "with-replacement"])
def test_batches_have_the_moments_of_the_theory(sampling):
    """E[m] = q, and the variance of (m/q) r that `noise_variance` promises."""
    dynamics = SGD(batch_fraction=0.25, sampling=sampling)
    rng, n, draws = np.random.default_rng(5), 40, 20_000
    counts = np.zeros((draws, n))
    for row in counts:
        chosen, fraction = _batch(dynamics, n, rng)
        np.add.at(row, chosen, 1.0)
        assert fraction == 0.25
    assert counts.mean() / 0.25 == pytest.approx(
        1.0, abs=4 * counts.std() / 0.25 / counts.size**0.5
    )
    variance = counts.var(axis=0).mean() / 0.25**2
    # Draws with replacement are binomial: q (1 - 1/n) in place of q.
    exact = dynamics.noise_variance(1.0) * (1 - 1 / n if sampling == "with-replacement" else 1.0)
    assert variance == pytest.approx(exact, rel=0.02)


def test_label_noise_is_fresh_and_of_the_right_size():
    dynamics = SGD(batch_fraction=0.25, label_noise_std=2.0)
    problem = Problem(dynamics=dynamics)
    data = data_set(problem, 40)
    fitted = DataSet(data.features, data.features @ data.coordinates.teacher, data.coordinates)
    rng = np.random.default_rng(6)
    gradients = [
        _force(dynamics, problem.loss, fitted, data.coordinates.teacher, rng) for _ in range(4000)
    ]
    expected = dynamics.noise_variance(0.0) * np.sum(data.features**2, axis=0)
    np.testing.assert_allclose(np.var(gradients, axis=0).sum(), expected.sum(), rtol=0.03)
    assert np.abs(np.mean(gradients, axis=0)).max() < 0.5


def test_whole_batches_are_gradient_descent():
    still = Problem(dynamics={"kind": "gradient-descent"})
    data = data_set(still, 30)
    expected = run(still, data, 5).weights
    for sampling in ("independent", "without-replacement"):
        dynamics = {"kind": "sgd", "batch_fraction": 1.0, "sampling": sampling}
        np.testing.assert_array_equal(run(Problem(dynamics=dynamics), data, 5).weights, expected)


def test_charges_obey_their_identity():
    """ab <- ab ((1 - eta lambda)^2 - (eta g)^2) for any batch, to rounding."""
    problem = Problem(dynamics={**BATCHES, "weight_decay": 0.1})
    steps = run(problem, data_set(problem, 50), 20)
    keep = 1 - 0.1 * 0.1
    eta_g = keep - steps.a[1:] / steps.a[:-1]
    product = steps.a * steps.b
    np.testing.assert_allclose(product[1:], product[:-1] * (keep**2 - eta_g**2), rtol=1e-12)


def test_an_ensemble_records_charges():
    problem = Problem(dynamics=BATCHES)
    result = simulate(problem, dimension=60, seeds=3, times=[1, 5, 20])
    np.testing.assert_array_equal(result.time, [0, 1, 5, 20])
    assert result.mean_charge[0] == pytest.approx(0.18)
    assert result.effective_alpha[0] == pytest.approx(0.3)
    assert np.all(np.diff(result.mean_charge) < 0)
    np.testing.assert_allclose(result.seed_mean_charge.mean(axis=0), result.mean_charge)
    assert result.mean_charge_stderr[-1] > 0
    again = simulate(problem, dimension=60, seeds=2, times=[1, 5, 20])
    np.testing.assert_array_equal(again.seed_train_mse, result.seed_train_mse[:2])
    assert simulate(Problem(), dimension=30, seeds=1, times=[1]).mean_charge is None


def test_what_cannot_be_run_is_refused():
    problem = Problem(dynamics=BATCHES)
    with pytest.raises(InputError, match=r"times: given 1.5, must be whole numbers of steps"):
        simulate(problem, dimension=20, seeds=1, times=[1.5, 2])
    with pytest.raises(InputError, match=r"solver.t_max: given 0.5, must be a whole number"):
        simulate(problem, dimension=20, seeds=1, t_max=0.5)
    large = Problem(dynamics={"kind": "gradient-descent", "step_size": 5.0})
    with pytest.raises(IntegrationError, match=r"diverged at step .*step_size = 5 is above"):
        simulate(large, dimension=50, seeds=1, t_max=100)


# ---------------------------------------------------------------------- known results


@pytest.mark.parametrize(
    "dynamics",
    [
        {"kind": "gradient-descent", "step_size": 0.3},
        {"kind": "sgd", "step_size": 0.05, "batch_fraction": 0.2},
    ],
    ids=["gradient descent", "batches"],
)
def test_implicit_bias_of_finite_steps(dynamics):
    """Even et al. 2023: where training ends minimises a Bregman divergence with its own alpha.

    With x = eta g of every step, alpha_+-^2 = alpha^2 exp(-sum q_+-), q_+-(x) = -+2x - ln (1-+x)^2,
    alpha_inf^2 = alpha_+ alpha_- = alpha^2 exp(-gain) and the centre (alpha_+^2 - alpha_-^2)/2.
    """
    problem = Problem(teacher={"kind": "rademacher"}, dynamics=dynamics, sampling_ratio=0.4)
    data = data_set(problem, 50, seed=4)
    steps = run(problem, data, 6000)
    assert np.abs(data.features @ steps.weights[-1] - data.labels).max() < 1e-12
    x = 1 - steps.a[1:] / steps.a[:-1]
    np.testing.assert_allclose(x, steps.b[1:] / steps.b[:-1] - 1, atol=1e-9)
    plus = -np.sum(-2 * x - np.log((1 - x) ** 2), axis=0)
    minus = -np.sum(2 * x - np.log((1 + x) ** 2), axis=0)
    gain = np.sum(-0.5 * np.log((1 - x**2) ** 2), axis=0)
    alpha_squared = 0.09 * np.exp(-gain)
    np.testing.assert_allclose(0.09 * np.exp((plus + minus) / 2), alpha_squared, rtol=1e-9)
    assert np.mean(alpha_squared) < 0.09 * 0.999
    centre = 0.09 * (np.exp(plus) - np.exp(minus)) / 2

    def mirror(w: np.ndarray) -> np.ndarray:
        return 0.5 * np.arcsinh(w / alpha_squared)

    # Stationarity: the gradient of the divergence is a combination of samples.
    gradient = mirror(steps.weights[-1]) - mirror(centre)
    rows = np.linalg.qr(data.features.T)[0]
    residual = gradient - rows @ (rows.T @ gradient)
    assert np.abs(residual).max() < 1e-11 * np.abs(gradient).max()

    # The minimiser found without training.
    def constraint(dual: np.ndarray) -> np.ndarray:
        w = alpha_squared * np.sinh(2 * (data.features.T @ dual + mirror(centre)))
        return data.features @ w - data.labels

    found = root(constraint, np.linalg.lstsq(data.features.T, gradient)[0] * 0.9, tol=1e-12)
    w = alpha_squared * np.sinh(2 * (data.features.T @ found.x + mirror(centre)))
    np.testing.assert_allclose(steps.weights[-1], w, atol=1e-8)


@pytest.mark.parametrize(
    ("n", "d", "eta"),
    [pytest.param(40, 100, 0.004, marks=pytest.mark.slow), (200, 400, 0.001)],
)
def test_implicit_bias_of_small_batches(n, d, eta):
    """Pesme et al. 2021: log(alpha/alpha_inf) is proportional to the integral of the loss.

    In their normalisation 2 gamma H_ii int L; here eta^2/2 sum_k N_k (X^T X)_jj with batches of one
    sample, N = n train_mse. Averaged over j, and over the order in which samples come.
    """
    dynamics = {
        "kind": "sgd", "step_size": eta, "batch_fraction": 1 / n, "sampling": "with-replacement",
    }  # fmt: skip
    problem = Problem(sampling_ratio=n / d, dynamics=dynamics)
    data = data_set(problem, d, seed=2)
    times = np.arange(0, 15_001.0 if n == 40 else 20_001.0, 20)
    ratios = []
    for seed in range(5 if n == 40 else 3):
        steps = descend(problem, data, times, np.random.default_rng(seed))
        square = np.mean((steps.weights @ data.features.T - data.labels) ** 2, axis=1)
        assert square[-1] < 0.01 * square[0]
        loss = 20 * np.sum((square[1:] + square[:-1]) / 2)
        predicted = 0.5 * eta**2 * n * loss * np.mean(np.sum(data.features**2, axis=0))
        assert 0.01 < predicted < 0.1
        product = np.abs(steps.a * steps.b)
        ratios.append(-0.5 * np.mean(np.log(product[-1] / product[0])) / predicted)
    error = np.std(ratios, ddof=1) / len(ratios) ** 0.5
    assert error < (0.06 if n == 40 else 0.03)
    assert abs(np.mean(ratios) - 1) < 3 * error + 0.01


@pytest.mark.slow
def test_label_noise_leads_to_the_sparsest_interpolator():
    """From a lazy start (u = 1, v = 0), label noise ends at the least weighted l1 norm.

    The weights are (X^T X)_jj: the noise damps the charge of coordinate j at that rate, and what
    is left of the trace of the Hessian is sum_j (X^T X)_jj |w_j|.
    """
    from scipy.optimize import linprog

    dynamics = {
        "kind": "sgd", "step_size": 0.01, "batch_fraction": 0.25, "label_noise_std": 0.5,
    }  # fmt: skip
    problem = Problem(
        sampling_ratio=0.4,
        noise_std=0.0,
        network={"init_u": 1.0, "init_v": 0.0},
        teacher={"kind": "bernoulli-gauss", "density": 0.1},
        dynamics=dynamics,
    )
    data = data_set(problem, 50, seed=1)
    times = np.array([0, 300, 1_000_000.0])
    steps = descend(problem, data, times, np.random.default_rng(7))
    weight = np.sum(data.features**2, axis=0)
    cost = np.concatenate([weight, weight])
    best = linprog(cost, A_eq=np.hstack([data.features, -data.features]), b_eq=data.labels).fun
    norm = np.abs(steps.weights) @ weight
    assert np.abs(steps.a * steps.b)[-1].max() < 1e-3
    assert norm[1] > 1.4 * best  # the lazy interpolator
    assert norm[-1] == pytest.approx(best, rel=0.03)
    # The rest is the motion about the interpolators, which ends with the noise.
    a, b = steps.a[-1].copy(), steps.b[-1].copy()
    for _ in range(60_000):
        force = data.features.T @ (data.features @ (a**2 - b**2) / 2 - data.labels)
        a, b = a * (1 - 0.01 * force), b * (1 + 0.01 * force)
    assert np.abs((a**2 - b**2) / 2) @ weight == pytest.approx(best, rel=6e-4)
