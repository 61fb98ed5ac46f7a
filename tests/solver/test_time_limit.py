"""Solves that must end soon."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.errors import InputError
from dmft.solver.time_limit import TimeLimit

SETTINGS = {"n_paths": 128, "replicates": 3, "rtol": 0.03, "threads": 1}


def test_shares_of_pilot_and_replicates():
    now = [100.0]
    limit = TimeLimit(10.0, lambda: now[0])
    assert limit.ends_pilot(0.1, 9.0) == ""  # the clock starts here
    now[0] += 1.5
    assert limit.ends_pilot(0.2, 9.0) == ""  # one that takes as long would end at 3.0
    now[0] += 1.5
    assert limit.ends_pilot(9.0, 9.0) == ""  # it is at its end
    assert limit.ends_pilot(0.5, 9.0) == ""
    now[0] += 1.0
    assert limit.ends_pilot(0.6, 9.0) == "stopped at t = 0.6 by the time limit of 10 s"
    now[0] += 5.9
    assert limit.ends_replicates(2) == ""
    now[0] += 0.2
    assert limit.ends_replicates(1) == ""  # one has no error bars
    assert limit.ends_replicates(2) == "ended with 2 replicates by the time limit of 10 s"


@pytest.mark.parametrize(
    ("changes", "t_max"),
    [
        ({}, 20.0),
        ({"dynamics.kind": "stochastic-gradient-flow"}, 20.0),
        ({"labels.kind": "sign"}, 20.0),
        ({"dynamics.kind": "sgd"}, 40),
        ({"dynamics.kind": "adam"}, 40),
    ],
)
def test_it_ends_early_with_the_curves_up_to_there(changes, t_max):
    problem = dmft.Problem().replace(**changes)
    early = dmft.solve(problem, t_max=t_max, time_limit=1e-6, **SETTINGS)
    assert early.status == "not-converged" and early.runs == 2
    assert early.time[-1] < t_max
    assert f"stopped at t = {early.time[-1]:.6g} by the time limit of 1e-06 s" in early.reason
    assert "ended with 2 replicates" in early.reason
    assert np.isfinite(early.excess_risk).all()
    whole = dmft.solve(problem, t_max=early.time[-1], **SETTINGS)
    error = np.hypot(early.excess_risk_stderr[-1], whole.excess_risk_stderr[-1])
    bound = 0.01 * whole.excess_risk[-1] + 6.0 * error
    assert abs(early.excess_risk[-1] - whole.excess_risk[-1]) < bound


def test_with_time_to_spare_nothing_changes():
    problem = dmft.Problem()
    spare = dmft.solve(problem, t_max=1.0, time_limit=1e6, **SETTINGS)
    assert spare == dmft.solve(problem, t_max=1.0, **SETTINGS)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_is_above_zero(limit):
    with pytest.raises(InputError, match="time_limit: given .*, must be above 0"):
        dmft.solve(dmft.Problem(), time_limit=limit)


def test_weights_beyond_all_bounds_are_divergence():
    """Residuals of the Huber loss stay bounded: it is the weights that tell."""
    problem = dmft.Problem(
        loss="huber", labels="outliers", dynamics="gradient-descent", network={"depth": 4}
    )
    solution = dmft.solve(problem, t_max=100, n_paths=64, replicates=2)
    assert solution.time[-1] < 100 and "diverged" in solution.reason
    assert np.isfinite(solution.excess_risk).all()
