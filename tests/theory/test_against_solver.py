"""Limits and rates against solved curves: thirty problems, and twelve rates.

The default selection takes a few; `--all` runs the whole grid.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

import dmft
from dmft.theory import predict
from dmft.theory.measurement import measured_rate

TWO_VALUES = {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]}
SIGNS = {"kind": "rademacher"}
SHIFTED = {"kind": "gaussian", "mean": 0.5, "std": 1.0}
LISTED = {"kind": "empirical", "values": [0.0, 0.0, 0.0, 1.0, -2.0]}


def diagonal(start, depth=2):
    return {"init_scale": start, "depth": depth}


def decay(weight_decay):
    return {"weight_decay": weight_decay}


# interpolation, least squares, LASSO, ridge: 14 + 7 + 6 + 3
GRID = [
    {},
    {"network": diagonal(0.1)},
    {"network": diagonal(1.0)},
    {"network": diagonal(10.0)},
    {"sampling_ratio": 0.2, "network": diagonal(0.5)},
    {"sampling_ratio": 0.8, "noise_std": 0.3},
    {"noise_std": 0.0, "network": diagonal(0.2)},
    {"noise_std": 1.0, "network": diagonal(0.5)},
    {"teacher": SIGNS, "network": diagonal(0.5)},
    {"teacher": SHIFTED, "network": diagonal(0.5)},
    {"teacher": LISTED, "network": diagonal(0.4)},
    {"network": diagonal(0.6, depth=3)},
    {"network": diagonal(0.9, depth=4)},
    {"network": {"init_u": 0.6, "init_v": 0.3}},
    {"features": TWO_VALUES, "network": diagonal(0.5)},
    {"sampling_ratio": 1.5, "noise_std": 0.5, "network": diagonal(0.5)},
    {"sampling_ratio": 2.0, "noise_std": 0.5},
    {"sampling_ratio": 4.0, "noise_std": 1.0, "network": diagonal(0.2)},
    {"sampling_ratio": 2.0, "noise_std": 0.5, "network": diagonal(0.6, depth=3)},
    {"sampling_ratio": 1.5, "noise_std": 0.5, "network": {"init_u": 0.6, "init_v": 0.3}},
    {"sampling_ratio": 2.0, "noise_std": 0.5, "features": TWO_VALUES, "network": diagonal(0.5)},
    {"sampling_ratio": 2.0, "noise_std": 0.5, "teacher": SIGNS},
    {"dynamics": decay(0.1)},
    {"dynamics": decay(0.3), "network": diagonal(1.0)},
    {"sampling_ratio": 1.0, "dynamics": decay(0.2), "noise_std": 0.3},
    {"sampling_ratio": 2.0, "dynamics": decay(0.3), "noise_std": 0.5},
    {"dynamics": decay(0.3), "features": TWO_VALUES},
    {"dynamics": decay(0.5), "teacher": SIGNS},
    {"network": {"kind": "linear"}, "noise_std": 0.5},
    {"network": {"kind": "linear"}, "dynamics": decay(0.2), "sampling_ratio": 1.0},
]
QUICK = (2, 29)


def horizon(problem):
    """When the gap to the limit is below a thousandth."""
    rate = predict(problem).relaxation_rate
    return 8.0 / rate if rate > 0 else 60.0 / problem.dynamics.weight_decay


def number(index):
    marks = () if index in QUICK else pytest.mark.slow
    return pytest.param(index, marks=marks, id=f"problem {index}")


def end_scores(index, n_paths=2048, replicates=6):
    """Differences of solve and theory at the end, in quantiles of a normal law."""
    problem = dmft.Problem(**GRID[index])
    found = predict(problem)
    solution = dmft.solve(
        problem, t_max=horizon(problem), n_paths=n_paths, replicates=replicates, seed=index
    )
    assert solution.status == "done", solution.reason
    scores = {}
    for name in ("excess_risk", "train_mse"):
        expected = getattr(found, name)
        value, error = getattr(solution, name)[-1], getattr(solution, f"{name}_stderr")[-1]
        # A training error that vanishes is compared with its start; so is rounding.
        error = np.hypot(error, 1e-6 * getattr(solution, name)[0])
        # What is left of the relaxation.
        error = np.hypot(error, 1e-3 * expected)
        z = student.cdf(-abs(value - expected) / error, replicates - 1)
        scores[name] = (value, expected, error, z)
    return scores


@pytest.mark.parametrize("index", [number(i) for i in range(len(GRID))])
def test_end_of_training(index):
    paths = 512 if index in QUICK else 2048
    for name, (value, expected, error, tail) in end_scores(index, paths).items():
        # Sixty comparisons at 5e-4 each: a false alarm in three of a hundred grids.
        assert tail > 2.5e-4, (name, value, expected, error)
        assert error < 0.03 * max(expected, 1e-3), (name, error)


RATES = {
    "default": {},
    "start 1": {"network": diagonal(1.0)},
    "start 10": {"network": diagonal(10.0)},
    "few samples": {"sampling_ratio": 0.2, "network": diagonal(0.5)},
    "noise-free": {"noise_std": 0.0, "network": diagonal(0.5)},
    "signs": {"teacher": SIGNS, "network": diagonal(0.5)},
    "depth 3": {"network": diagonal(0.6, depth=3)},
    "unbalanced": {"network": {"init_u": 0.6, "init_v": 0.3}},
    "feature variances": {"features": TWO_VALUES, "network": diagonal(0.5)},
    "more samples": {"sampling_ratio": 2.0, "noise_std": 0.0, "network": diagonal(0.5)},
    "more samples, depth 3": {
        "sampling_ratio": 3.0,
        "noise_std": 0.0,
        "network": diagonal(0.8, depth=3),
    },
    "linear": {"network": {"kind": "linear"}},
}
QUICK_RATES = ("start 1", "linear")


def rate_of(name, n_paths=2048, replicates=4):
    problem = dmft.Problem(**RATES[name])
    found = predict(problem)
    solution = dmft.solve(
        problem, t_max=11.0 / found.train_rate * 2, n_paths=n_paths, replicates=replicates, seed=5
    )
    return found, measured_rate(solution, power=found.train_power)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK_RATES else pytest.mark.slow) for n in RATES]
)
def test_rate_within_five_percent(name):
    found, measured = rate_of(name)
    assert measured.rate == pytest.approx(found.train_rate, rel=0.05)
    assert measured.stderr < 0.05 * measured.rate
