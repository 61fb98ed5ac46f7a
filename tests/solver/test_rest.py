"""Flows with weight decay that come to rest."""

import numpy as np
import pytest

import dmft
from dmft.problem import Problem
from dmft.solver.flow import PlainFlow
from dmft.solver.pilot import adaptive_panels
from dmft.solver.rest import rests
from dmft.theory import predict

PROBLEM = Problem(network={"init_scale": 1e-3}, dynamics={"weight_decay": 0.1})


def marched(problem, t_max, seed=1, count=256):
    flow = PlainFlow(problem, 4096, None)
    march = flow.start(count, np.random.SeedSequence(seed), None, 64, 1e-2, True)
    control = flow.control(march, 1e-2)
    for _ in adaptive_panels(march, control, t_max):
        pass
    return flow, march, control


@pytest.fixture(scope="module")
def rested():
    return marched(PROBLEM, 1e30)


def test_what_has_come_to_rest_stays_to_any_time(rested):
    _, march, control = rested
    assert control.reason == ""
    assert march.time == pytest.approx(1e30)
    assert len(march.rows) < 60
    still = [rests(rows) for rows in march.rows]
    first = still.index(True)
    assert all(still[first:])
    assert 100.0 < march.rows[first - 1].step < 1e12
    node = march.times.size - 3 * (len(still) - first) - 1
    assert np.ptp(march.risk[node:]) < 1e-8 * march.risk[node]
    assert np.ptp(march.train_mse[node:]) < 1e-8 * march.train_mse[node]
    # One decade before, all were there to the tolerance of a sweep.
    before = np.searchsorted(march.times, march.times[node] / 10.0)
    assert march.risk[before] == pytest.approx(march.risk[-1], rel=2e-3)


def test_repeated_rows_repeat_a_march_at_rest(rested):
    flow, march, _ = rested
    again = flow.start(256, np.random.SeedSequence(1), None, 4, 1e-2, True)
    for rows in march.rows:
        again.commit(rows)
    assert np.array_equal(again.times, march.times)
    assert np.array_equal(again.error, march.error)


def test_nothing_is_at_rest_while_weights_move_or_without_decay():
    _, march, _ = marched(PROBLEM, 6.0)  # weights are leaving zero
    error = march.error[:, -1:]
    assert march._rest.attempt(march.rows, 1e-3, error) is None
    _, march, _ = marched(PROBLEM.replace(**{"dynamics.weight_decay": 0.0}), 0.5)
    assert march._rest.attempt(march.rows, 1e-3, march.error[:, -1:]) is None
    assert march.attempt(1e12) is None or not rests(march.attempt(1e12).rows)


@pytest.mark.parametrize("decay", [0.1, 1.0])
def test_small_starts_with_decay_end_at_the_fixed_point_at_any_time(decay):
    problem = PROBLEM.replace(**{"dynamics.weight_decay": decay})
    solution = dmft.solve(problem, t_max=1e10, n_paths=1024, replicates=3)
    assert solution.status == "done"
    assert solution.time[-1] == 1e10
    assert solution.excess_risk[-1] == pytest.approx(predict(problem).excess_risk, rel=0.03)
    assert np.isfinite(solution.kernels.response_weights).all()
