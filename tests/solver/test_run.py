"""The entry of the solver: plans, statuses, callbacks, refusals."""

import numpy as np
import pytest

from dmft import InputError, Interrupted, Problem
from dmft.solver import memory, solve
from dmft.solver.march import March
from dmft.solver.plan import Plan

SMALL = {"t_max": 2.0, "n_paths": 256, "replicates": 2, "rtol": 1e-2}


@pytest.fixture(scope="module")
def small():
    return solve(Problem(), **SMALL)


def test_a_solution_is_complete_and_consistent(small):
    assert small.status == "done"
    assert small.reason == ""
    assert small.time[0] == 0.0
    assert small.time[-1] == 2.0
    assert np.all(np.diff(small.time) > 0)
    assert small.panel[0] == -1
    assert np.array_equal(np.unique(small.panel[1:], return_counts=True)[1] % 3, np.zeros(
        small.panel[-1] + 1))  # fmt: skip
    assert np.allclose(small.replicate_excess_risk.mean(axis=0), small.excess_risk)
    sampling = small.replicate_excess_risk.std(axis=0, ddof=1) / 2**0.5
    time_error = 0.2 * 1e-2 * small.excess_risk * (small.time > 0)
    assert np.allclose(small.excess_risk_stderr, np.hypot(sampling, time_error))
    kernels = small.kernels
    assert np.allclose(np.diag(kernels.correlation_error), small.excess_risk)
    assert np.allclose(np.diag(kernels.correlation_residual), small.train_mse)
    assert kernels.quadrature_weights.sum() == pytest.approx(2.0)
    # R_r is the inverse of 1 - R_w in every replicate, hence nearly so in the mean.
    product = kernels.response_residual @ (np.eye(len(small.time)) - kernels.response_weights)
    assert np.allclose(product, np.eye(len(small.time)), atol=0.05)
    assert small.paths.weights.shape == (len(small.paths.teacher), len(small.time))
    assert small.mean_charge is None


def test_start_values_are_exact(small):
    assert small.excess_risk[0] == pytest.approx(1.0, abs=1e-12)
    assert small.train_mse[0] == pytest.approx(1.01, abs=1e-12)


def test_work_counters_are_those_of_the_method(small):
    """Counters, not seconds: a regression in sweeps or nodes fails here."""
    assert small.work["panels"] == 3 * (small.panel[-1] + 1)
    assert small.work["sweeps"] <= 4.0 * small.work["panels"]
    assert len(small.time) <= 31


def test_one_replicate_has_no_error_bars():
    solution = solve(Problem(), **{**SMALL, "replicates": 1})
    assert solution.excess_risk_stderr is None
    assert solution.kernels.overlap_stderr is None


def test_mean_charge_decays_with_weight_decay():
    problem = Problem(dynamics={"weight_decay": 0.1}, network={"init_u": 0.5, "init_v": 0.3})
    solution = solve(problem, **SMALL)
    assert np.allclose(solution.mean_charge, 0.16 * np.exp(-0.2 * solution.time))


def test_seed_changes_the_sample_and_nothing_else_does(small):
    again = solve(Problem(), **SMALL)
    other = solve(Problem(), **SMALL, seed=1)
    assert np.array_equal(again.excess_risk, small.excess_risk)
    assert not np.array_equal(other.excess_risk[: len(small.time)], small.excess_risk)


def test_replicates_continue_a_shorter_run(small):
    more = solve(Problem(), **{**SMALL, "replicates": 3})
    assert np.array_equal(more.replicate_excess_risk[:2], small.replicate_excess_risk)


def test_target_error_adds_replicates_until_it_is_met(small):
    spread = small.replicate_excess_risk.std(axis=0, ddof=1) / 2**0.5
    first = np.max(spread / small.excess_risk)
    target = 0.9 * float(first)
    solution = solve(Problem(), **SMALL, target_error=target, max_replicates=500)
    relative = solution.replicate_excess_risk.std(axis=0, ddof=1) / solution.excess_risk
    relative /= len(solution.replicate_excess_risk) ** 0.5
    assert 2 < len(solution.replicate_excess_risk) < 500
    assert relative.max() <= target
    assert solution.status == "done"


def test_a_training_error_that_rises_is_not_done(small):
    """Gradient flow without decay cannot increase it: a rise means too few paths."""
    from dmft.solver.replicates import Replicates

    replicates = Replicates(Problem())
    fine, rising = np.array([1.0, 0.5, 0.2, 0.1]), np.array([1.0, 0.2, 0.5, 0.1])
    replicates.curves["train_mse"] = [fine, 1.01 * fine]
    assert replicates.rise() == (0.0, 0)
    replicates.curves["train_mse"] = [rising, 1.01 * rising]
    assert replicates.rise() == (pytest.approx(1.5, rel=0.02), 2)
    replicates.curves["train_mse"] = [fine, rising]
    assert replicates.rise() == (0.0, 0)  # within five standard errors


def test_target_error_out_of_budget_is_not_converged():
    solution = solve(Problem(), **SMALL, target_error=1e-6, max_replicates=3)
    assert len(solution.replicate_excess_risk) == 3
    assert solution.status == "not-converged"
    assert "target_error" in solution.reason


def test_a_panel_that_fails_in_a_replicate_is_split(monkeypatch, small):
    original = March.attempt
    failed = []

    def attempt(self, step, active=None):
        if not failed and len(self.rows) == 2 and self.probability.size == 256:
            failed.append(step)
            return None
        return original(self, step, active)

    monkeypatch.setattr(March, "attempt", attempt)
    solution = solve(Problem(), **SMALL)
    assert solution.status == "done"
    assert len(solution.time) == len(small.time) + 3
    error = 4 * np.hypot(solution.excess_risk_stderr[-1], small.excess_risk_stderr[-1])
    assert abs(solution.excess_risk[-1] - small.excess_risk[-1]) < error


def test_a_panel_that_always_fails_ends_the_solve_with_what_was_reached(monkeypatch, small):
    original = March.attempt

    def attempt(self, step, active=None):
        beyond = self.time + step > 1.0 and self.probability.size == 256
        return None if beyond else original(self, step, active)

    monkeypatch.setattr(March, "attempt", attempt)
    solution = solve(Problem(), **SMALL)
    assert solution.status == "not-converged"
    assert 0.5 < solution.time[-1] <= 1.0
    assert f"{solution.time[-1]:.6g}" in solution.reason
    assert np.isfinite(solution.excess_risk).all()


def test_a_pilot_that_fails_says_where(monkeypatch):
    original = March.attempt
    monkeypatch.setattr(
        March,
        "attempt",
        lambda self, *given: None if self.time > 0.2 else original(self, *given),
    )
    solution = solve(Problem(), **SMALL)
    assert solution.status == "not-converged"
    assert "no panel converged" in solution.reason


def test_progress_tells_time_error_and_sweeps():
    seen = []
    solve(Problem(), **SMALL, progress=seen.append)
    assert [p.replicate for p in seen] == sorted(p.replicate for p in seen)
    assert seen[-1].time == 2.0
    assert seen[-1].replicates == 2
    assert seen[0].stage == "pilot" and seen[-1].stage == "replicate 2/2"
    assert 0.0 < seen[0].fraction < seen[-1].fraction == 1.0
    assert all(p.sweeps >= 1 and p.error >= 0 for p in seen)
    assert 0.0 < seen[-1].seconds_left < 1.0  # the ending of the last replicate


def test_stop_saves_a_state_first():
    states = []
    with pytest.raises(Interrupted):
        solve(Problem(), **SMALL, checkpoint=states.append, stop=lambda: True)
    assert len(states) == 1
    assert "march" in states[0]
    for rows in states[0]["march"]["panels"].values():
        del rows["scale"]
    with pytest.raises(InputError, match="resume: given panels of another version"):
        solve(Problem(), **SMALL, resume=states[0])


def test_refusals(monkeypatch):
    with pytest.raises(InputError, match="threads: given 0"):
        solve(Problem(), threads=0)
    with pytest.raises(InputError, match="t_max: given -1"):
        solve(Problem(), t_max=-1.0)
    with pytest.raises(InputError, match="resume: given a state without 'splits'"):
        solve(Problem(), **SMALL, resume={"nothing": 1})
    monkeypatch.setattr(memory.os, "sysconf", lambda name: 1000)
    with pytest.raises(InputError, match=r"solver\.n_paths: given 4096, which needs .* GiB"):
        solve(Problem(), t_max=0.1, n_paths=4096)


def test_split_plan_keeps_the_ends():
    directions = np.array([[True, True, True], [False, True, False]])
    plan = Plan(np.array([0.0, 1.0, 3.0]), directions, np.eye(2)).split(1)
    assert np.array_equal(plan.edges, [0.0, 1.0, 2.0, 3.0])
    assert plan.directions.shape == (3, 3)
    assert np.array_equal(plan.cut(1, "").directions, directions[:1])


def test_state_survives_a_plain_copy_of_its_tree():
    """What is saved is only nested dicts of arrays, numbers and text."""
    states = []
    solve(Problem(), **SMALL, checkpoint=states.append, checkpoint_seconds=0.0)

    def leaves(tree):
        for value in tree.values():
            yield from leaves(value) if isinstance(value, dict) else [value]

    assert all(
        isinstance(leaf, np.ndarray | int | float | str) for s in states for leaf in leaves(s)
    )


def test_curves_between_nodes_and_intervals(small):
    middle = 0.5 * (small.time[4] + small.time[5])
    value = small.curve_at("excess_risk", [middle])
    assert small.excess_risk[5] < value[0] < small.excess_risk[4]
    assert np.allclose(small.curve_at("train_mse", small.time), small.train_mse)
    low, high = small.interval(level=0.9)
    # One degree of freedom: the 95 % quantile of Student t is 6.3138.
    assert np.allclose(high - low, 2 * 6.3137515 * small.excess_risk_stderr)
    with pytest.raises(InputError, match="name: given 'risk', allowed: train_mse"):
        small.curve_at("risk", [1.0])
    with pytest.raises(InputError, match="level: given 2"):
        small.interval(level=2)


def test_ridge_stays_exact_over_panels_much_longer_than_its_decay():
    from dmft.theory.linear import learning_curves

    problem = Problem(
        sampling_ratio=3.0, network={"kind": "linear"}, dynamics={"weight_decay": 0.06}
    )
    solution = solve(problem, t_max=1e4, n_paths=256, replicates=1)
    exact = learning_curves(problem, solution.time)
    assert np.allclose(solution.excess_risk, exact.excess_risk, rtol=1e-3)
    assert np.allclose(solution.train_mse, exact.train_mse, rtol=3e-3)


def test_a_vanishing_risk_costs_no_more_panels():
    problem = Problem(sampling_ratio=3.0, noise_std=0.0, network={"kind": "linear"})
    solution = solve(problem, t_max=1e3, n_paths=256, replicates=1)
    assert solution.status == "done"
    assert solution.excess_risk[-1] < 1e-12
    assert len(solution.time) < 120
