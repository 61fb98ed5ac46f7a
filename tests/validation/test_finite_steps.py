"""Gradient descent and SGD against networks of 2000 coordinates, at every recorded step."""

from __future__ import annotations

import numpy as np
import pytest

import dmft

CURVES = ("train_mse", "excess_risk", "mean_charge", "effective_alpha")
CASES = [
    {"kind": "gradient-descent", "step_size": 0.1},
    {"kind": "gradient-descent", "step_size": 0.3},
    {"kind": "gradient-descent", "step_size": 0.35},  # the edge of stability is at 0.4
    {"kind": "sgd", "step_size": 0.03, "batch_fraction": 0.02},
    {"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.1},
    {"kind": "sgd", "step_size": 0.3, "batch_fraction": 0.5},
]


def largest_scores(problem: dmft.Problem, steps: int, seeds: int) -> dict[str, float]:
    solution = dmft.solve(problem, t_max=steps, n_paths=2048, replicates=8)
    assert solution.status == "done"
    simulation = dmft.simulate(problem, dimension=2000, seeds=seeds, t_max=steps)
    curves = dmft.compare(solution, simulation).curves
    assert [curve.name for curve in curves] == list(CURVES)
    for curve in curves:
        assert np.max(curve.stderr / np.abs(curve.mean_field)) < 0.08, curve.name
    return {curve.name: np.abs(curve.z[np.isfinite(curve.z)]).max() for curve in curves}


@pytest.mark.slow
@pytest.mark.parametrize("dynamics", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_every_step_within_three_standard_errors(dynamics):
    problem = dmft.Problem(noise_std=0.3, teacher={"kind": "rademacher"}, dynamics=dynamics)
    scores = largest_scores(problem, 100, 24)
    assert max(scores.values()) < 3.0, scores


@pytest.mark.slow
def test_unbalanced_start():
    """The start a = 1.5 alpha, b = 0.5 alpha has w(0) = 0.25: nothing is symmetric."""
    problem = dmft.Problem(
        noise_std=0.3,
        network={"init_u": 1.0 / 2**0.5, "init_v": 0.5 / 2**0.5},
        dynamics={"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.1},
    )
    scores = largest_scores(problem, 160, 10)
    assert max(scores.values()) < 3.0, scores
