"""Properties every solution must have, whatever its curves: theory/dmft.md, section 5."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.numerics.collocation import STAGES
from dmft.solver.march import March
from dmft.solver.pilot import StepControl, adaptive_panels
from dmft.solver.sampling import PathSet
from dmft.theory.linear import learning_curves

SETTINGS = {
    "default": {},
    "depth 3": {"network": {"depth": 3, "init_scale": 0.6}},
    "weight decay": {"sampling_ratio": 1.5, "dynamics": {"weight_decay": 0.2}},
    "features": {"features": {"kind": "power-law", "exponent": 1.0, "cutoff": 0.1}},
    "random start": {
        "teacher": {"kind": "gaussian"},
        "network": {"init_u": {"kind": "gaussian", "std": 0.5}, "init_v": 0.3},
    },
}


@pytest.fixture(scope="module", params=SETTINGS)
def solved(request):
    """One replicate: identities between kernels hold for each, not for their means."""
    problem = dmft.Problem(**SETTINGS[request.param])
    return dmft.solve(problem, t_max=8.0, n_paths=512, replicates=1, seed=4)


def test_responses_are_causal(solved):
    later = solved.panel[:, None] < solved.panel[None, :]
    assert later.any()
    for name in ("response_weights", "response_residual"):
        response = getattr(solved.kernels, name)
        assert np.abs(response[later]).max() <= 1e-12 * np.abs(response).max(), name


def test_residual_response_is_the_inverse(solved):
    kernels = solved.kernels
    unit = np.eye(len(solved.time))
    product = kernels.response_residual @ (unit - kernels.response_weights)
    np.testing.assert_allclose(product, unit, atol=1e-9 * np.abs(kernels.response_residual).max())


def test_correlations_are_covariances(solved):
    for name in ("correlation_error", "correlation_residual", "overlap"):
        kernel = getattr(solved.kernels, name)
        np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-12 * np.abs(kernel).max())
        assert np.linalg.eigvalsh(kernel).min() > -1e-12 * np.trace(kernel), name
    np.testing.assert_allclose(np.diag(solved.kernels.correlation_error), solved.excess_risk)
    np.testing.assert_allclose(np.diag(solved.kernels.correlation_residual), solved.train_mse)


def test_residual_follows_from_the_weights(solved):
    """C_r = R_r (C_w + sigma^2) R_r^T, up to the noise directions that are left out."""
    kernels, variance = solved.kernels, solved.problem.noise_std**2
    response = kernels.response_residual
    expected = response @ (kernels.correlation_error + variance) @ response.T
    scale = np.sqrt(np.outer(solved.train_mse, solved.train_mse))
    assert np.abs((kernels.correlation_residual - expected) / scale).max() < 1e-3


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_loss_falls(settings):
    """Gradient flow lowers delta train_mse / 2 + lambda E[u^2 + v^2] / 2.

    At depth 2, with a = (u+v)/sqrt2 and b = (u-v)/sqrt2, u^2 + v^2 = a^2 + b^2, (a^2 - b^2)/2 = w
    and ab = a0 b0 e^(-2 lambda t), so (u^2 + v^2)/2 = (w^2 + (ab)^2)^(1/2).
    """
    problem = dmft.Problem(**settings)
    march = March(problem, PathSet(problem, 512, np.random.SeedSequence(4)), None, 32, 1e-3)
    for _ in adaptive_panels(march, StepControl(problem, march, 1e-3), 8.0):
        pass
    decay = problem.dynamics.weight_decay
    coordinates = march.coordinates
    product = (coordinates.a0 * coordinates.b0)[:, None] * np.exp(-2.0 * decay * march.times)
    penalty = march.probability @ np.sqrt(march.all_weights() ** 2 + product**2)
    loss = 0.5 * problem.sampling_ratio * march.train_mse + decay * penalty
    ends = loss[::STAGES]
    assert np.all(np.diff(ends) < 0.005 * ends[:-1])
    assert ends[-1] < 0.5 * ends[0]


LAWS = [
    ({"kind": "bernoulli-gauss", "density": 0.05}, 1.0),
    ({"kind": "gaussian", "mean": 0.5, "std": 2.0}, 4.25),
    ({"kind": "rademacher", "scale": 1.5}, 2.25),
    ({"kind": "discrete", "values": [0.0, 1.0, -2.0], "weights": [2.0, 1.0, 1.0]}, 1.25),
    ({"kind": "empirical", "values": [1.0, -3.0, 0.5, 2.0]}, 14.25 / 4),
]


@pytest.mark.parametrize("teacher, moment", LAWS, ids=lambda law: str(law)[:20])
def test_start(teacher, moment):
    """train_mse(0) = E[w*^2] + sigma^2 and excess_risk(0) = E[w*^2] from w(0) = 0."""
    problem = dmft.Problem(teacher=teacher, noise_std=0.7)
    solution = dmft.solve(problem, t_max=0.01, n_paths=256, replicates=1)
    assert solution.excess_risk[0] == pytest.approx(moment, rel=1e-9)
    assert solution.train_mse[0] == pytest.approx(moment + 0.49, rel=1e-9)
    np.testing.assert_array_equal(solution.kernels.overlap[0], 0.0)


def test_start_off_zero():
    """w(0) = u v; the error is that of the start and of the teacher together."""
    problem = dmft.Problem(
        teacher={"kind": "rademacher"}, network={"init_u": 1.2, "init_v": -0.5}, noise_std=0.2
    )
    solution = dmft.solve(problem, t_max=0.01, n_paths=128, replicates=1)
    assert solution.kernels.overlap[0, 0] == pytest.approx(0.36)
    assert solution.excess_risk[0] == pytest.approx(1.0 + 0.36)
    assert solution.train_mse[0] == pytest.approx(1.0 + 0.36 + 0.04)


def test_pairs_start_together():
    """Paired variances weigh the coefficients they belong to, not others."""
    values, variances = (3.0, 1.0, -1.0, 0.0), (0.1, 2.0, 1.0, 5.0)
    teacher = {"kind": "empirical", "values": values, "feature_variances": variances}
    problem = dmft.Problem(teacher=teacher, noise_std=0.0)
    solution = dmft.solve(problem, t_max=0.01, n_paths=256, replicates=1)
    expected = np.mean(np.array(variances) * np.square(values))
    assert solution.excess_risk[0] == pytest.approx(expected, rel=1e-9)


def test_noise_free_least_squares_recovers_the_teacher():
    problem = dmft.Problem(sampling_ratio=2.0, noise_std=0.0, network={"init_scale": 0.7})
    solution = dmft.solve(problem, t_max=200.0, n_paths=256, replicates=2, seed=5)
    assert solution.status == "done"
    assert np.all(solution.excess_risk[-1] < 1e-8)
    assert np.all(solution.train_mse[-1] < 1e-8)


def test_least_squares_limit():
    """delta > 1: excess_risk = sigma^2/(delta - 1), train_mse = sigma^2 (1 - 1/delta)."""
    problem = dmft.Problem(sampling_ratio=2.0, noise_std=0.5, network={"init_scale": 0.7})
    solution = dmft.solve(problem, t_max=200.0, n_paths=256, replicates=2, seed=5)
    assert solution.excess_risk[-1] == pytest.approx(0.25, rel=2e-3)
    assert solution.train_mse[-1] == pytest.approx(0.125, rel=2e-3)


def compared(first, second, mean_field, stretch=1.0, scale=1.0, times=(0.1, 0.5, 2.0, 8.0)):
    """Largest |z| and largest relative error of two solutions said to be equivalent.

    second(t) scale = first(t stretch), at times of the first.
    """
    times, largest, error = np.array(times), 0.0, 0.0
    for name in ("train_mse", "excess_risk"):
        ours, ours_error = mean_field(first, name, times)
        theirs, theirs_error = mean_field(second, name, times / stretch)
        combined = np.hypot(ours_error, scale * theirs_error) + 1e-3 * ours  # rtol of the time
        largest = max(largest, np.abs((ours - scale * theirs) / combined).max())
        error = max(error, (combined / ours).max())
    return largest, error


def solve_small(seed, t_max=8.0, **settings):
    return dmft.solve(dmft.Problem(**settings), t_max=t_max, n_paths=1024, replicates=4, seed=seed)


def test_sign_of_the_teacher(mean_field):
    """With u = +-v alike the flow is odd in the teacher."""
    weights = [0.8, 0.1, 0.1]
    pair = [
        solve_small(
            seed,
            teacher={
                "kind": "discrete",
                "values": [0.0, sign * 3.0, sign * 1.0],
                "weights": weights,
            },
        )
        for seed, sign in ((1, 1.0), (2, -1.0))
    ]
    largest, error = compared(*pair, mean_field)
    assert largest < 5.0 and error < 0.05


def test_units_of_the_weights(mean_field):
    """w*, sigma, a^depth times c: w times c, time times c^(2/depth - 2)."""
    c, depth = 3.0, 3
    first = solve_small(
        1, teacher={"kind": "gaussian"}, noise_std=0.2,
        network={"depth": depth, "init_scale": 0.6},
    )  # fmt: skip
    stretch = c ** (2.0 - 2.0 / depth)
    second = solve_small(
        2, t_max=8.0 / stretch, teacher={"kind": "gaussian", "std": c}, noise_std=0.2 * c,
        network={"depth": depth, "init_scale": 0.6 * c ** (1 / depth)},
    )  # fmt: skip
    largest, error = compared(first, second, mean_field, stretch, c**-2.0)
    assert largest < 5.0 and error < 0.1


def test_units_of_the_features(mean_field):
    """Feature variance k is the teacher times sqrt k, a times k^(1/4) and time times sqrt k."""
    k = 4.0
    first = solve_small(
        1, teacher={"kind": "gaussian", "std": k**0.5}, network={"init_scale": 0.3 * k**0.25}
    )
    second = solve_small(
        2, t_max=8.0 / k**0.5, teacher={"kind": "gaussian"},
        features={"kind": "discrete", "values": [k]},
    )  # fmt: skip
    largest, error = compared(first, second, mean_field, stretch=k**0.5)
    assert largest < 5.0 and error < 0.05


def test_lazy_limit():
    """A large start is the linear model in the time 2 alpha^2 t."""
    alpha = 30.0
    problem = dmft.Problem(network={"init_scale": alpha})
    solution = dmft.solve(problem, t_max=10.0 / alpha**2, n_paths=256, replicates=1, rtol=1e-4)
    lazy = dmft.Problem(network={"kind": "linear"})
    exact = learning_curves(lazy, 2.0 * alpha**2 * solution.time)
    np.testing.assert_allclose(solution.excess_risk, exact.excess_risk, rtol=2e-3)
    np.testing.assert_allclose(solution.train_mse, exact.train_mse, rtol=1e-2)
