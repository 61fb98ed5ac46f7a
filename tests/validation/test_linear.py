"""The linear model against the Marchenko-Pastur integral, over four decades of time."""

import numpy as np
import pytest

import dmft
from dmft.theory import linear

TEACHER = {"kind": "rademacher"}


@pytest.fixture(scope="module", params=[0.5, 1.0, 2.0], ids=lambda ratio: f"delta={ratio}")
def solved(request):
    problem = dmft.Problem(
        sampling_ratio=request.param, noise_std=0.3, network={"kind": "linear"}, teacher=TEACHER
    )
    return dmft.solve(problem, t_max=100.0, n_paths=256, replicates=2, rtol=1e-4, seed=2)


def test_excess_risk(solved):
    exact = linear.learning_curves(solved.problem, solved.time)
    assert solved.time[1] < 0.01 and solved.time[-1] == 100.0
    np.testing.assert_allclose(solved.excess_risk, exact.excess_risk, rtol=1e-3)


def test_train_mse(solved):
    exact = linear.learning_curves(solved.problem, solved.time).train_mse
    visible = exact > 1e-6 * exact[0]
    np.testing.assert_allclose(solved.train_mse[visible], exact[visible], rtol=1e-3)
    assert np.all(solved.train_mse[~visible] < 2e-6 * exact[0])


def test_kernels(solved):
    """Kernels at all pairs of times, relative to their diagonals where these are visible."""
    kernels = solved.kernels
    for name in ("correlation_error", "correlation_residual", "overlap"):
        exact = getattr(linear, name)(solved.problem, solved.time)
        visible = np.diag(exact) > 1e-6 * np.diag(exact).max()
        scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))[np.ix_(visible, visible)]
        gap = (getattr(kernels, name) - exact)[np.ix_(visible, visible)]
        assert np.abs(gap / scale).max() < 2e-3, name


def test_static_response(solved):
    """A force h held for ever moves w by -h <1/x>: the sum over a row of the response.

    Up to time t it is -int (1 - e^(-x t))/x d mu, also where eigenvalues vanish.
    """
    law = linear.marchenko_pastur(solved.problem.sampling_ratio)
    x = law.eigenvalue
    for node in (len(solved.time) // 3, len(solved.time) // 2):
        t = solved.time[node]
        moved = np.divide(-np.expm1(-x * t), x, out=np.full_like(x, t), where=x > 0)
        if solved.panel[node] == solved.panel[min(node + 1, len(solved.time) - 1)]:
            node = int(np.flatnonzero(solved.panel == solved.panel[node])[-1])
            t = solved.time[node]
            moved = np.divide(-np.expm1(-x * t), x, out=np.full_like(x, t), where=x > 0)
        total = solved.kernels.response_weights[node].sum()
        assert total == pytest.approx(-moved @ law.coordinates, rel=1e-3)


@pytest.mark.parametrize("ratio, decay, end", [(0.5, 0.1, 3e3), (3.0, 0.06, 1.5e4)])
def test_weight_decay_stays_at_its_limit(ratio, decay, end):
    """Panels of the stationary state are long: lambda h is of order 100 and more."""
    problem = dmft.Problem(
        sampling_ratio=ratio,
        noise_std=0.3,
        network={"kind": "linear"},
        teacher=TEACHER,
        dynamics={"weight_decay": decay},
    )
    solution = dmft.solve(problem, t_max=end, n_paths=64, replicates=2, seed=2)
    exact = linear.learning_curves(problem, solution.time)
    np.testing.assert_allclose(solution.excess_risk, exact.excess_risk, rtol=1e-3)
    np.testing.assert_allclose(solution.train_mse, exact.train_mse, rtol=2e-3)
