"""The rivals do what they are said to do."""

import numpy as np
import pytest

from dmft import Problem
from dmft.bench.ensemble import run
from dmft.solver.classical_tangents import mean_response


@pytest.mark.parametrize("nodes, paths", [(2, 3), (25, 16), (70, 37)])
def test_tangents_of_all_paths_against_one_inverse_for_each(nodes, paths):
    """Gamma of a path is the inverse of a triangular matrix; sizes are no multiples of blocks."""
    rng = np.random.default_rng(nodes)
    slope = -rng.random((nodes, paths))
    memory = np.eye(nodes) - 0.2 * np.tril(rng.random((nodes, nodes)), -1)
    increment, variance = 0.1 + 0.1 * rng.random(nodes), 0.5 + rng.random(paths)
    probability, ratio = rng.dirichlet(np.ones(paths)), 0.7
    expected = np.zeros((nodes, nodes))
    step = np.diag(np.ones(nodes - 1), -1)  # row k + 1 from row k
    for m in range(paths):
        feedback = np.diag(increment * ratio * variance[m]) @ memory @ np.diag(slope[:, m])
        system = np.eye(nodes) - step @ (np.eye(nodes) + feedback)
        gamma = np.linalg.solve(system, step @ np.diag(increment))
        expected += probability[m] * variance[m] * slope[:, m, None] * gamma
    result = mean_response(slope, memory, increment, variance, probability, ratio)
    np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "settings",
    [{}, {"sampling_ratio": 1.2}, {"dynamics": {"weight_decay": 0.05}}],
)
def test_both_integrators_of_the_ensemble_agree(settings):
    problem, times = Problem(**settings), np.geomspace(0.05, 20.0, 12)
    curves = [
        run(problem, 120, times, kind, np.random.SeedSequence(4))[0]
        for kind in ("implicit", "explicit")
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.01)
    assert np.sqrt(np.mean((curves[0] / curves[1] - 1.0) ** 2)) < 0.004
    assert curves[0][-1] < 0.8 * curves[0][0]


@pytest.mark.parametrize("loss", [{"loss": "logistic", "labels": "sign"}, {"loss": "huber"}])
def test_both_integrators_of_other_losses_agree(loss):
    problem, times = Problem(sampling_ratio=0.7, **loss), np.geomspace(0.05, 20.0, 12)
    curves = [
        run(problem, 100, times, kind, np.random.SeedSequence(4), ("train_loss",))[0]
        for kind in ("implicit", "explicit")
    ]
    assert np.sqrt(np.mean((curves[0] / curves[1] - 1.0) ** 2)) < 0.004
    assert curves[0][-1] < 0.5 * curves[0][0]
