"""Comparison of a mean-field solution with a simulation: agreement, disagreement, refusals."""

import json

import numpy as np
import pytest

import dmft
from dmft.comparison import relative_gap


@pytest.fixture(scope="module")
def pair():
    problem = dmft.Problem(sampling_ratio=1.5, teacher={"kind": "gaussian"})
    solution = dmft.solve(problem, t_max=5.0, n_paths=512, replicates=4)
    simulation = dmft.simulate(problem, dimension=300, seeds=12, t_max=5.0, points=12)
    return solution, simulation


def test_the_mean_field_agrees_with_the_simulation(pair):
    comparison = dmft.compare(*pair)
    assert comparison.agrees is True
    assert comparison.verdict == "they agree"
    for curve in comparison.curves:
        assert np.nanmax(np.abs(curve.relative)) < 0.1


def test_another_problem_disagrees(pair):
    """The same solution, said to have less noise than the simulation: seen at once."""
    solution, simulation = pair
    other = dmft.solve(
        solution.problem.model_copy(update={"noise_std": 0.5}), t_max=5.0, n_paths=256, replicates=4
    )
    disguised = type(other)(**{**vars(other), "problem": solution.problem})
    comparison = dmft.compare(disguised, simulation)
    assert comparison.agrees is False
    assert comparison.probability < 1e-6


def test_table_and_json(pair):
    comparison = dmft.compare(*pair)
    table = comparison.table()
    assert "train mse" in table
    assert "excess risk" in table
    found = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert found["agrees"] is True
    assert set(found["curves"]) == {"train_mse", "excess_risk"}
    assert set(found["kernels"]) == {"correlation_error", "correlation_residual", "overlap"}


def test_gap_of_a_small_system_is_larger():
    """Kernels of a single run fluctuate around the mean field like d^(-1/2)."""
    problem = dmft.Problem(sampling_ratio=1.5, teacher={"kind": "gaussian"})
    solution = dmft.solve(problem, t_max=3.0, n_paths=512, replicates=2)
    gaps = []
    for dimension in (50, 800):
        each = [
            relative_gap(
                solution,
                dmft.simulate(problem, dimension=dimension, seeds=1, seed=k, t_max=3.0, points=8),
            )["correlation_error"]
            for k in range(6)
        ]
        gaps.append(np.sqrt(np.mean(np.square(each))))
    # A factor 16 in d is a factor 4 in the gap; six runs know it to about 20 %.
    assert 2.0 < gaps[0] / gaps[1] < 8.0


def test_refusals(pair):
    solution, simulation = pair
    with pytest.raises(dmft.InputError):
        dmft.compare(simulation, solution)
    with pytest.raises(dmft.InputError):
        dmft.compare(solution, solution)
    other = dmft.Problem(sampling_ratio=1.5, noise_std=0.2, teacher={"kind": "gaussian"})
    stranger = type(simulation)(**{**vars(simulation), "problem": other})
    with pytest.raises(dmft.InputError, match="noise_std"):
        dmft.compare(solution, stranger)
