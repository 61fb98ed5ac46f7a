"""What sampled echoes add to error bars, as docs/losses.md states it."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.problem.losses import Hinge, Huber, Logistic, Poisson, Squared
from dmft.solver.bias import bias_share


@pytest.mark.parametrize(
    ("loss", "times_paths"),
    [(Logistic(), 10.0), (Poisson(), 20.0), (Squared(), 20.0), (Huber(), 75.0), (Hinge(), 75.0)],
)
@pytest.mark.parametrize("n_paths", [100, 4096])
def test_the_share_falls_with_the_paths(loss, times_paths, n_paths):
    assert bias_share(loss, n_paths) == pytest.approx(times_paths / n_paths)


@pytest.mark.parametrize(("n_paths", "share"), [(64, 10.0 / 64), (512, 10.0 / 512)])
def test_error_bars_of_a_flow_contain_it(n_paths, share):
    problem = dmft.Problem(sampling_ratio=1.5, loss="logistic", labels="sign")
    solution = dmft.solve(problem, t_max=0.2, n_paths=n_paths, replicates=4, rtol=1e-2)
    curve = solution.curves["train_loss"]
    least = np.hypot(1e-2, share) * curve.mean[1:]
    scatter = curve.runs.std(axis=0, ddof=1)[1:] / 2.0
    np.testing.assert_allclose(curve.stderr[1:], np.hypot(least, scatter), rtol=1e-6)
