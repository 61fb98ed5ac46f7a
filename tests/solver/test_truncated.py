"""Truncated networks: against the diagonal one, finite networks, and the motion they integrate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import dmft
from dmft.errors import InputError
from dmft.problem import Problem, Truncated
from dmft.simulation.coordinates import start_of
from dmft.solver import classical, networks

LEVEL = 0.7
STEPS = {"kind": "gradient-descent", "step_size": 0.1}
SGD = {"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.5}


def truncated(level=LEVEL, **changes):
    return Problem(network=Truncated(level=level), **changes)


@pytest.mark.parametrize(("a0", "b0"), [(0.3, 0.3), (0.1, 1.5), (1.2, -0.2), (0.7, 0.0)])
def test_closed_form_against_the_motion_of_the_factors(a0, b0):
    """a' = -T(a) g, b' = T(b) g under a force that drives both through the level and back."""

    def force(time):
        return 3.0 * np.cos(time)

    def rate(time, factors):
        a, b = np.clip(factors, -LEVEL, LEVEL)
        return np.array([-a * force(time), b * force(time)])

    times = np.linspace(0.0, 6.0, 25)
    a, b = solve_ivp(rate, (0, 6), [a0, b0], t_eval=times, rtol=1e-11, atol=1e-13, max_step=0.05).y
    assert np.abs(b).max() > LEVEL or np.abs(a).max() > LEVEL
    weights = Truncated(level=LEVEL).parametrisation(False).weights(np.array([a, b]))
    start = start_of(Truncated(level=LEVEL), 0.0, np.array([a0]), np.array([b0]))
    state = networks.initial_state(3, LEVEL, np.array([a0]), np.array([b0]))
    for time, expected in zip(times, weights, strict=True):
        accumulated = np.array([3.0 * np.sin(time)])
        assert start.weights(accumulated, time)[0] == pytest.approx(expected, abs=1e-8)
        moved = start.advanced(accumulated, time)
        assert moved.weights(np.zeros(1), 0.0)[0] == pytest.approx(expected, abs=1e-8)
        p, q = networks.moved_state(3, LEVEL, 0.0, 0.0, *state, accumulated, 0.1)
        w, slope = networks.weight(3, LEVEL, 0.0, 0.0, p[0], q[0], 0.0, 0.0)
        assert w == pytest.approx(expected, abs=1e-8)
        assert -slope == pytest.approx(moved.steepness()[0], rel=1e-12)


@pytest.mark.parametrize("dynamics", ["gradient-flow", STEPS, SGD])
def test_a_high_level_is_no_level(dynamics):
    settings = {"t_max": 10.0, "n_paths": 128, "replicates": 2, "rtol": 1e-2}
    cut = dmft.solve(truncated(1e6, dynamics=dynamics), **settings)
    whole = dmft.solve(Problem(dynamics=dynamics), **settings)
    np.testing.assert_allclose(cut.excess_risk, whole.excess_risk, rtol=1e-11)
    np.testing.assert_allclose(cut.train_mse, whole.train_mse, rtol=1e-10)
    settings = {"t_max": 10.0, "dimension": 100, "seeds": 2, "points": 5}
    cut = dmft.simulate(truncated(1e6, dynamics=dynamics), **settings)
    whole = dmft.simulate(Problem(dynamics=dynamics), **settings)
    np.testing.assert_allclose(cut.excess_risk, whole.excess_risk, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "t_max"),
    [
        ({}, 10.0),
        ({"loss": "logistic", "labels": "sign"}, 10.0),
        ({"dynamics": STEPS}, 40),
        ({"dynamics": {**SGD, "momentum": 0.5}}, 40),
    ],
)
def test_mean_field_against_finite_networks(changes, t_max):
    """With a level that most learnt weights are beyond; |z| < 4 on all curves."""
    problem = truncated(**changes)
    solution = dmft.solve(problem, t_max=t_max, n_paths=512, replicates=3, rtol=1e-2)
    found = dmft.simulate(problem, t_max=t_max, dimension=300, seeds=10, points=6, rtol=1e-3)
    whole = dmft.solve(Problem(**changes), t_max=t_max, n_paths=256, replicates=2, rtol=1e-2)
    name = "train_mse" if problem.regression else "train_loss"
    apart = solution.curve_at(name, t_max) / whole.curve_at(name, t_max)
    assert abs(np.log(apart)) > 0.1  # the level matters
    assert dmft.compare(solution, found).agrees


def test_the_classical_algorithm_agrees():
    problem = truncated()
    slow = classical.classical_solve(problem, t_max=2.0, step=0.02, n_paths=2000, seed=1)
    fast = dmft.solve(problem, t_max=2.0, n_paths=512, replicates=2)
    # Explicit Euler of step 0.02 and 2000 random paths.
    np.testing.assert_allclose(slow.excess_risk[-1], fast.excess_risk[-1], rtol=0.03)


def test_higher_levels_come_closer():
    settings = {"t_max": 5.0, "n_paths": 256, "replicates": 2, "rtol": 1e-2}
    whole = dmft.solve(Problem(), **settings).curve_at("excess_risk", 5.0)
    gaps = [
        dmft.solve(truncated(level), **settings).curve_at("excess_risk", 5.0) - whole
        for level in (0.5, 1.0, 2.0, 4.0)
    ]
    assert (np.diff(np.abs(gaps)) < 0).all() and abs(gaps[-1]) < 2e-3 * whole


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dynamics": {"weight_decay": 0.1}}, "weight_decay: given 0.1 with the flow of a 'trunc"),
        ({"dynamics": "adam"}, "given 'adam' of a 'truncated' network, allowed: gradient-flow"),
        ({"dynamics": "stochastic-gradient-flow"}, "allowed: gradient-flow, gradient-descent, sgd"),
    ],
)
def test_what_is_not_known_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        truncated(**changes)


@pytest.mark.parametrize("level", [0.0, -1.0, float("inf"), float("nan")])
def test_a_level_is_a_positive_number(level):
    with pytest.raises(InputError, match="level"):
        Problem(network={"kind": "truncated", "level": level})


def test_theory_refuses_it():
    for name in ("predict", "learning_time", "basis_pursuit", "trade_off"):
        with pytest.raises(InputError, match="given 'truncated', known here for: diagonal"):
            getattr(dmft.theory, name)(truncated())


def test_small_levels_are_the_linear_network_at_times_over_its_square():
    """A factor beyond the level is a straight line in time: as one grows, the other has ended.

    No panel has a time error there, and none is too long: what moves slowly is not at rest.
    """
    level, options = 1e-3, {"n_paths": 512, "replicates": 2, "rtol": 1e-2}
    problem = Problem(network={"kind": "truncated", "level": level, "init_scale": 1e-2})
    slow = dmft.solve(problem, t_max=1.0 / level**2, **options)
    linear = dmft.solve(Problem(network="linear"), t_max=1.0, **options)
    assert slow.status == "done" and slow.time.size < 60
    times = np.array([0.03, 0.1, 0.5, 1.0])
    np.testing.assert_allclose(
        slow.curve_at("excess_risk", times / level**2), linear.curve_at("excess_risk", times),
        rtol=1e-3,
    )  # fmt: skip
