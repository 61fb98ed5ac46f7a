"""Any loss and labels: marches against the classical algorithm, which samples everything plainly.

On the linear network without weight decay its grid is gradient descent with that step, so that
nothing is extrapolated; other networks are compared as flows, at steps that go to zero.
"""

from typing import Any

import numpy as np
import pytest

import dmft
from dmft.errors import InputError
from dmft.solver.classical import classical_solve
from dmft.solver.classical_rows import mean_row_response

CURVES = ("train_loss", "train_mse", "overlap", "squared_norm")
SIGNS: dict[str, Any] = {"loss": "logistic", "labels": "sign", "noise_std": 0.3}
HUBER: dict[str, Any] = {
    "loss": {"kind": "huber", "width": 0.5},
    "labels": {"kind": "outliers", "fraction": 0.2, "outlier_std": 2.0},
}
VARIANCES = {"kind": "discrete", "values": [0.5, 1.5]}

STEPS: dict[str, dict[str, Any]] = {
    "signs": SIGNS,
    "outliers": {**HUBER, "sampling_ratio": 2.0},
    "counts": {"loss": "poisson", "labels": {"kind": "poisson", "slope": 0.5}},
    "logit, features": {
        "loss": "logistic",
        "labels": {"kind": "logit", "slope": 2.0},
        "features": VARIANCES,
    },
    "random labels": {"loss": "logistic", "labels": "random", "sampling_ratio": 1.0},
}
FLOWS: dict[str, dict[str, Any]] = {
    "signs": {**SIGNS, "sampling_ratio": 1.0},
    "outliers, unbalanced start": {
        **HUBER,
        "sampling_ratio": 1.5,
        "network": {"init_u": 0.6, "init_v": 0.2},
    },
    "logit, depth 3, decay, features": {
        "loss": "logistic",
        "labels": {"kind": "logit", "slope": 2.0},
        "network": {"depth": 3, "init_scale": 0.7},
        "dynamics": {"weight_decay": 0.1},
        "features": VARIANCES,
    },
}


def classical(problem, seeds, nodes, **options):
    """Mean and its variance over seeds of all curves at some nodes, (curve, node) each."""
    found = []
    for seed in seeds:
        solution = classical_solve(problem, seed=seed, tolerance=1e-3, **options)
        assert solution.converged
        found.append([getattr(solution, name)[nodes] for name in CURVES])
    values = np.array(found)
    return values.mean(axis=0), values.var(axis=0, ddof=1) / len(values)


def assert_agree(solution, times, known, variance, allowance):
    for row, name in enumerate(CURVES):
        if name not in solution.curves:
            continue
        ours = solution.curve_at(name, times)
        error = np.hypot(solution.curve_at(f"{name}_stderr", times), np.sqrt(variance[row]))
        assert np.all(np.abs(ours - known[row]) < 4.0 * error + allowance[row]), name
        assert np.median(error + allowance[row]) < 0.08 * max(np.abs(ours).max(), 0.3), name


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_the_linear_network(name):
    problem = dmft.Problem(
        teacher={"kind": "rademacher"}, network={"kind": "linear"}, **STEPS[name]
    )
    step, count, nodes = 0.2, 20, np.array([1, 5, 10, 20])
    known, variance = classical(
        problem, range(6), nodes, t_max=step * count, step=step, n_paths=1024
    )
    descent = problem.replace(dynamics={"kind": "gradient-descent", "step_size": step})
    solution = dmft.solve(descent, t_max=count, n_paths=2048, replicates=4, seed=1, threads=1)
    assert_agree(solution, nodes.astype(float), known, variance, np.zeros_like(known))


@pytest.mark.parametrize(
    "name", [next(iter(FLOWS)), *(pytest.param(n, marks=pytest.mark.slow) for n in list(FLOWS)[1:])]
)
def test_flows(name):
    problem = dmft.Problem(teacher={"kind": "rademacher"}, **FLOWS[name])
    times = np.array([0.5, 1.0, 2.0])
    means, variances = [], []
    for step in (0.1, 0.05):
        nodes = np.rint(times / step).astype(int)
        seeds = range(round(1 / step), round(1 / step) + 6)
        mean, variance = classical(problem, seeds, nodes, t_max=2.0, step=step, n_paths=1024)
        means.append(mean)
        variances.append(variance)
    # The extrapolation to step zero leaves a second-order rest, a fraction of what it took out.
    rest = 0.15 * np.abs(means[1] - means[0])
    known, variance = 2.0 * means[1] - means[0], 4.0 * variances[1] + variances[0]
    solution = dmft.solve(problem, t_max=2.0, n_paths=2048, replicates=4, seed=2, threads=1)
    assert_agree(solution, times, known, variance, rest)


def test_tangents_of_rows_are_derivatives():
    """R_r of two nodes by hand, and of many by kicks."""
    rng = np.random.default_rng(0)
    nodes = 7
    memory = -np.tril(rng.random((nodes, nodes)), -1)
    noise = rng.standard_normal(nodes)

    def slopes(drive):
        slope = np.zeros(nodes)
        for k in range(nodes):
            slope[k] = np.tanh(drive[k] + memory[k] @ slope)
        return slope

    curvature = 1.0 - slopes(noise) ** 2
    found = mean_row_response(curvature[:, None], memory)
    kicks = 1e-6 * np.eye(nodes)
    known = [(slopes(noise + kick) - slopes(noise - kick)) / 2e-6 for kick in kicks]
    np.testing.assert_allclose(found, np.array(known).T, atol=1e-8)


def test_squared_loss_through_sampled_rows(monkeypatch):
    """Rows need not be sampled there, and sampling them changes nothing but the noise."""
    problem = dmft.Problem(teacher={"kind": "rademacher"}, noise_std=0.3)
    options = {"t_max": 2.0, "step": 0.1, "n_paths": 1024}
    nodes = np.array([5, 10, 20])
    known, first = classical(problem, range(6), nodes, **options)
    monkeypatch.setattr(dmft.Problem, "regression", False)
    sampled, second = classical(problem, range(6), nodes, **options)
    np.testing.assert_array_less(np.abs(sampled - known), 4.0 * np.sqrt(first + second))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loss": "hinge", "labels": "sign"}, "given 'hinge', whose slope jumps"),
        ({"dynamics": "sgd"}, "given 'sgd', must be 'gradient-flow'"),
    ],
)
def test_refused(values, words):
    with pytest.raises(InputError, match=words):
        classical_solve(dmft.Problem(**values), t_max=1.0, step=0.1, n_paths=8)
