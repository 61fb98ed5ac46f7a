"""Error bars know what all replicates have in common."""

import numpy as np
import pytest

import dmft
from dmft.solver.bias import bias_share

SIGNS = {"loss": "logistic", "labels": "sign"}


@pytest.mark.parametrize(
    ("values", "name", "share"),
    [
        (SIGNS, "train_loss", 10.0),
        ({"loss": "huber"}, "overlap", 75.0),
        ({**SIGNS, "network": {"depth": 3}}, "overlap", 75.0),
        ({**SIGNS, "network": {"depth": 3}}, "squared_norm", 150.0),
        ({**SIGNS, "network": {"init_scale": 0.01}}, "train_loss", 30.0),
        ({**SIGNS, "network": {"init_scale": 0.01}, "sampling_ratio": 10.0}, "overlap", 300.0),
        ({**SIGNS, "sampling_ratio": 10.0}, "overlap", 10.0),
    ],
)
def test_shares(values, name, share):
    assert bias_share(dmft.Problem(**values), name, 1000) == share / 1000


@pytest.mark.parametrize("dynamics", ["gradient-flow", "gradient-descent"])
def test_it_is_in_the_error_bars(dynamics):
    problem = dmft.Problem(loss="huber", labels="outliers", dynamics=dynamics)
    solution = dmft.solve(problem, t_max=2.0, n_paths=256, replicates=2, rtol=1e-3, threads=1)
    for name in ("train_loss", "overlap"):
        rows = getattr(solution, f"replicate_{name}")
        common = np.hypot(75.0 / 256.0, 1e-3 if dynamics == "gradient-flow" else 0.0)
        found = np.hypot(rows.std(axis=0, ddof=1) / 2**0.5, common * np.abs(rows.mean(axis=0)))
        np.testing.assert_allclose(getattr(solution, f"{name}_stderr")[1:], found[1:], rtol=1e-6)
