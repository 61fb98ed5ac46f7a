"""Learning times, the drift of weight decay, the trade-off, and what is read off curves."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft import InputError
from dmft.theory import basis_pursuit, minimum_l2, predict
from dmft.theory.linear import learning_curves
from dmft.theory.measurement import (
    crossing_time,
    detect_phases,
    measured_rate,
    spread_of_rescaled,
)
from dmft.theory.timescales import (
    current_problem,
    drifting_risk,
    grokking,
    initial_force,
    learning_time,
)
from dmft.theory.tradeoff import trade_off


def network(start, depth=2):
    return {"init_scale": start, "depth": depth}


def test_initial_force_is_that_of_data():
    features = {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]}
    problem = dmft.Problem(noise_std=0.5, teacher={"kind": "gaussian"}, features=features)
    rng = np.random.default_rng(0)
    d, n, squares = 2000, 1000, []
    for _ in range(12):
        s = rng.permutation(np.repeat([0.25, 4.0], [1600, 400]))
        x = rng.standard_normal((n, d)) * np.sqrt(s / d)
        y = x @ rng.standard_normal(d) + 0.5 * rng.standard_normal(n)
        squares.append(np.mean((x.T @ y) ** 2))
    error = np.std(squares, ddof=1) / 12**0.5
    assert abs(np.mean(squares) - initial_force(problem) ** 2) < 4 * error
    assert error < 0.03 * np.mean(squares)


def test_learning_times_at_both_ends():
    force = initial_force(dmft.Problem())
    large = learning_time(dmft.Problem(network=network(1e3)))
    assert large == pytest.approx(1 / (2e6 * force), rel=1e-9)
    small = learning_time(dmft.Problem(network=network(1e-8)))
    assert small == pytest.approx(np.log(2e16) / 2 / force, rel=1e-9)
    deep = learning_time(dmft.Problem(network=network(1e2, depth=3)))
    assert deep == pytest.approx(1 / (2e8 * force), rel=1e-6)
    linear = learning_time(dmft.Problem(network={"kind": "linear"}))
    assert linear == pytest.approx(1 / force)
    same = learning_time(dmft.Problem(network={"init_u": 2**0.5 * 1e-3, "init_v": 0.0}))
    assert same == pytest.approx(learning_time(dmft.Problem(network=network(1e-3))), rel=1e-9)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"init_u": {"kind": "gaussian"}, "init_v": 0.1}}, "random"),
        ({"network": {"init_u": 0.1, "init_v": 0.1}}, "sign"),
        ({"teacher": {"kind": "discrete", "values": [0.0]}}, "nothing"),
    ],
)
def test_learning_time_refusals(changes, words):
    with pytest.raises(InputError, match=words):
        learning_time(dmft.Problem(**changes))


def test_lazy_time_collapses_solved_curves():
    """A large start is the linear model in rescaled time."""
    for depth, start in ((2, 30.0), (3, 10.0)):
        problem = dmft.Problem(network=network(start, depth))
        unit = learning_time(problem) / learning_time(dmft.Problem(network={"kind": "linear"}))
        solution = dmft.solve(problem, t_max=5 * unit, n_paths=256, replicates=2)
        exact = learning_curves(dmft.Problem(network={"kind": "linear"}), solution.time / unit)
        np.testing.assert_allclose(solution.excess_risk, exact.excess_risk, rtol=3e-3)


def test_drift_walks_through_the_interpolators():
    problem = dmft.Problem(network=network(10.0), dynamics={"weight_decay": 0.01})
    times = np.array([50.0, 200.0, 300.0, 400.0])
    risk = drifting_risk(problem, times)
    for time, value in zip(times, risk, strict=True):
        still = current_problem(problem, float(time))
        assert still.dynamics.weight_decay == 0
        assert still.network.init_scale == pytest.approx(10 * np.exp(-0.01 * time))
        assert value == pytest.approx(predict(still).excess_risk, rel=1e-9)
    assert drifting_risk(problem, times.reshape(2, 2)).shape == (2, 2)
    # and so does a network: lambda is 1/3 of lambda_min at the end of these times
    result = dmft.simulate(problem, dimension=100, seeds=2, times=times)
    for seed in range(2):
        settings = {"dimension": 100, "seeds": 2, "times": [1e5]}
        limit = dmft.simulate(current_problem(problem, 200.0), **settings).seed_excess_risk
        assert result.seed_excess_risk[seed, 2] == pytest.approx(limit[seed, -1], rel=0.03)


def test_grokking_delay():
    def delay(start, weight_decay):
        found = grokking(
            dmft.Problem(network=network(start), dynamics={"weight_decay": weight_decay})
        )
        return found.risk_time

    base = delay(100.0, 1e-3)
    assert delay(100.0, 1e-4) == pytest.approx(10 * base, rel=1e-6)
    assert delay(1e5, 1e-3) - base == pytest.approx(1e3 * np.log(1e3), rel=1e-3)
    found = grokking(dmft.Problem(network=network(100.0), dynamics={"weight_decay": 1e-3}))
    half = predict(dmft.Problem(network=network(found.half_start))).excess_risk
    ends = basis_pursuit(dmft.Problem()).excess_risk, minimum_l2(dmft.Problem()).excess_risk
    assert half == pytest.approx(sum(ends) / 2, rel=1e-4)
    assert found.delay == pytest.approx(found.risk_time - found.learning_time)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "without weight decay"),
        ({"dynamics": {"weight_decay": 0.1}, "sampling_ratio": 1.5}, "interpolators"),
        ({"dynamics": {"weight_decay": 0.1}, "network": {"depth": 3}}, "depth 2"),
        ({"dynamics": {"weight_decay": 0.1}, "network": {"kind": "linear"}}, "depth 2"),
    ],
)
def test_grokking_refusals(changes, words):
    with pytest.raises(InputError, match=words):
        grokking(dmft.Problem(**changes))
    if words != "depth 2":
        with pytest.raises(InputError, match=words):
            drifting_risk(dmft.Problem(**changes), [1.0])


def test_grokking_is_seen_in_a_simulation():
    problem = dmft.Problem(network=network(30.0), dynamics={"weight_decay": 0.01})
    predicted = grokking(problem)
    times = np.concatenate([np.geomspace(1e-5, 1.0, 25), np.linspace(2.0, 800.0, 60)])
    result = dmft.simulate(problem, dimension=150, seeds=8, times=times)
    phases = detect_phases(result)
    assert phases.risk_time == pytest.approx(predicted.risk_time, rel=0.1)
    assert phases.plateau == pytest.approx(minimum_l2(dmft.Problem()).excess_risk, rel=0.15)
    assert phases.learning_time == pytest.approx(predicted.learning_time, rel=0.15)
    assert phases.delay > 1e4 * phases.learning_time


def test_trade_off():
    curve = trade_off(dmft.Problem(), np.geomspace(1e-4, 10, 8))
    assert np.all(np.diff(curve.relaxation_rate) > 0) and np.all(np.diff(curve.excess_risk) > 0)
    assert curve.l1.excess_risk < curve.excess_risk[0] < curve.excess_risk[-1] < curve.l2
    middle = dmft.Problem(network={"init_scale": float(curve.init_scale[3])})
    assert curve.excess_risk[3] == pytest.approx(predict(middle).excess_risk, rel=1e-9)
    # A deep network has the same ends, and is close to the small one much earlier.
    deep = trade_off(dmft.Problem(network={"depth": 4}), [1e-3, 1e2])
    assert deep.excess_risk[0] == pytest.approx(deep.l1.excess_risk, rel=1e-4)
    assert deep.excess_risk[1] == pytest.approx(deep.l2, rel=1e-4)
    for changes in ({"sampling_ratio": 2.0}, {"dynamics": {"weight_decay": 0.1}}):
        with pytest.raises(InputError):
            trade_off(dmft.Problem(**changes))
    with pytest.raises(InputError, match="linear"):
        trade_off(dmft.Problem(network={"kind": "linear"}))
    with pytest.raises(InputError, match="init_scale"):
        trade_off(dmft.Problem(), [0.0, 1.0])


def test_measured_rate_of_a_known_law(make_simulation):
    time = np.concatenate([[0.0], np.geomspace(0.1, 100, 400)])
    law = np.where(time > 1, np.maximum(time, 1e-9) ** -1.5 * np.exp(-0.3 * (time - 1)), 1.0)
    rng = np.random.default_rng(0)
    runs = law * (1 + 0.05 * rng.standard_normal((3, 1)))
    result = make_simulation(
        points=401, time=time, train_mse=runs.mean(0), seed_train_mse=runs, seeds=3
    )
    found = measured_rate(result)
    assert found.rate == pytest.approx(0.3, rel=1e-3)
    assert found.stderr < 3e-3
    # the power law in front matters: without it the fit is far off
    assert measured_rate(result, power=0.0).rate > 1.05 * found.rate
    offset = make_simulation(
        points=401, time=time, train_mse=runs.mean(0) + 2, seed_train_mse=runs + 2, seeds=3
    )
    assert measured_rate(offset, limit=2.0).rate == pytest.approx(0.3, rel=1e-3)
    with pytest.raises(InputError, match="falls"):
        measured_rate(offset)
    with pytest.raises(InputError, match="allowed"):
        measured_rate(result, name="mean_charge")


def test_crossings_and_phases(make_simulation):
    time = np.linspace(0, 10, 101)
    assert crossing_time(time, np.exp(-time), np.exp(-3.03)) == pytest.approx(3.03)
    assert crossing_time(time, np.exp(-time), 1e-9) is None
    assert crossing_time(time, np.exp(-time), 2.0) == 0.0
    flat = make_simulation(points=101, time=time, train_mse=np.ones(101))
    with pytest.raises(InputError, match="does not fall"):
        detect_phases(flat)


def test_spread_of_rescaled_curves():
    time = np.linspace(0.1, 20, 2000)
    scales = [1.0, 2.0, 5.0]
    curves = [np.exp(-time / s) for s in scales]
    points = np.linspace(0.2, 3.0, 20)
    assert spread_of_rescaled([time] * 3, curves, scales, points).max() < 1e-3
    assert spread_of_rescaled([time] * 3, curves, [1.0] * 3, points).max() > 0.3
