"""The solver against ensembles of finite networks, in standard errors of their difference."""

import json
from pathlib import Path

import numpy as np
import pytest

import dmft

REFERENCE = Path(__file__).parents[2] / "benchmarks" / "reference" / "gradient_flow.json"
CURVES = ("train_mse", "excess_risk")

# Settings, times, d, and seeds at d and 2d; the combined error is asserted below.
CASES = {
    "depth 3": ({"network": {"depth": 3, "init_scale": 0.6}}, [0.3, 1, 2, 4], 200, (60, 40)),
    "unbalanced start": (
        {"sampling_ratio": 1.5, "network": {"init_u": 0.5, "init_v": 0.2}},
        [0.2, 0.5, 1, 2, 4],
        100,
        (70, 40),
    ),
    "weight decay": ({"dynamics": {"weight_decay": 0.1}}, [0.3, 1, 2, 4, 8], 200, (60, 40)),
    "feature variances": (
        {"features": {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]}},
        [0.1, 0.3, 1, 2, 4],
        200,
        (60, 40),
    ),
    "small start": ({"network": {"init_scale": 0.01}}, [1, 2, 3, 5], 200, (60, 40)),
}


@pytest.mark.parametrize("name", CASES)
def test_finite_networks(name, mean_field, infinite_dimension):
    settings, times, dimension, seeds = CASES[name]
    problem, times = dmft.Problem(**settings), np.array(times, dtype=float)
    solution = dmft.solve(problem, t_max=times[-1], n_paths=1024, replicates=4, seed=1)
    assert solution.status == "done"
    simulated = infinite_dimension(problem, times, dimension, seeds)
    for curve in CURVES:
        ours, ours_error = mean_field(solution, curve, times)
        theirs, theirs_error = simulated[curve]
        error = np.hypot(ours_error, theirs_error)
        np.testing.assert_array_less(np.abs(ours - theirs) / error, 4.0, err_msg=curve)
        assert np.all(error < 0.12 * ours), curve


def test_reference_curves(default_solution, mean_field):
    """Twelve gradient flows at d = 2000, whose own bias is at most 4 %."""
    (run,) = json.loads(REFERENCE.read_text())["runs"]
    times = np.array(run["time"])
    for curve in CURVES:
        ours, ours_error = mean_field(default_solution, curve, times)
        error = np.hypot(ours_error, run[f"{curve}_stderr"])
        gap = np.abs(ours - run[curve])
        np.testing.assert_array_less(gap, 3.0 * error + 0.04 * ours, err_msg=curve)
        assert np.median(gap / error) < 2.0, curve


def test_default_curves_without_bias(default_solution, mean_field, infinite_dimension):
    times = np.array([0.1, 0.3, 1.0, 3.0])
    simulated = infinite_dimension(dmft.Problem(), times, 200, (80, 40))
    for curve in CURVES:
        ours, ours_error = mean_field(default_solution, curve, times)
        theirs, theirs_error = simulated[curve]
        error = np.hypot(ours_error, theirs_error)
        np.testing.assert_array_less(np.abs(ours - theirs) / error, 4.0, err_msg=curve)
        assert np.all(error < 0.12 * ours), curve
