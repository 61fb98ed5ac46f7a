"""Fraction and time left: by a clock that the counted work drives, and by the wall clock."""

import time

import pytest

from dmft import Problem, solve
from dmft.solver.progress import FLOW_COSTS, STEP_COSTS, TRACED_STEP_COSTS, WorkMeter


@pytest.mark.parametrize("costs", [FLOW_COSTS, STEP_COSTS, TRACED_STEP_COSTS])
def test_sums_of_costs(costs):
    single = [costs.panels(k, k + 1, 300) for k in range(150)]
    assert costs.panels(7, 150, 300) == pytest.approx(sum(single[7:]))
    assert single == pytest.approx(sorted(single))


def test_a_step_without_tangents_is_not_dearer_for_ever():
    first, full, late = (STEP_COSTS.panels(k, k + 1, 4096) for k in (0, 100, 10_000))
    assert late == pytest.approx(full) == pytest.approx(first + 4096 * 0.02 * 100)
    assert STEP_COSTS.replicate_ending(256, 1) == STEP_COSTS.replicate_ending(10_000, 1)


class Machine:
    """Takes twice the model's time at late panels, and long over the first panel of all."""

    def __init__(self, costs, panels):
        self.now, self.costs, self.panels = 0.0, costs, panels

    def work(self, k, paths):
        slower = 1.0 + 0.5 * k / self.panels
        self.now += slower * self.costs.panels(k, k + 1, paths) / 1e5
        if self.costs.pause and (k + 1) % self.costs.pause == 0:  # as long as 60 panels
            self.now += 60 * self.costs.panels(k, k + 1, paths) / 1e5


@pytest.mark.parametrize(
    "costs, known", [(FLOW_COSTS, False), (STEP_COSTS, True), (TRACED_STEP_COSTS, True)]
)
def test_estimates_by_counted_work(costs, known):
    panels, replicates = 100, 3
    machine = Machine(costs, panels)
    meter = WorkMeter(costs, 1024, 4096, clock=lambda: machine.now)
    told = []
    machine.now += 500.0  # compiling
    begin = machine.now
    for k in range(panels):
        machine.work(k, 1024)
        t = 0.1 * 1.25 ** (k + 1)
        end = 0.1 * 1.25**panels
        planned = panels if known else None
        told.append((machine.now, *meter.pilot_panel(k + 1, t, end, replicates, planned)))
    machine.now += costs.pilot_ending(panels) / 1e5
    for replicate in range(replicates):
        machine.now += costs.start * 4096 / 1e5
        for k in range(panels):
            machine.work(k, 4096)
            told.append((machine.now, *meter.replicate_panel(k + 1, panels, replicate, replicates)))
        machine.now += costs.replicate_ending(panels, 4096) / 1e5
    assert [left is None for _, _, left in told[:4]] == [True] * 3 + [False]
    end = machine.now
    assert told[-1][1] == pytest.approx(1.0)
    assert told[-1][2] == pytest.approx(end - told[-1][0], rel=0.5)
    for now, fraction, left in told[4:-1]:
        assert 0.0 < fraction < 1.0
        if costs.pause and now - begin < 0.1 * (end - begin):
            continue  # no pause was seen yet
        assert 0.5 < left / (end - now) < 2.0, now / end
    fractions = [fraction for _, fraction, _ in told[panels:]]
    assert fractions == sorted(fractions)


def test_a_resumed_march_has_no_speed_yet():
    meter = WorkMeter(FLOW_COSTS, 1024, 4096)
    fraction, left = meter.replicate_panel(20, 40, 1, 2)
    assert 0.5 < fraction < 0.8 and left is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "problem, settings",
    [
        (Problem(), {}),
        (Problem(network={"init_scale": 0.01}), {"t_max": 1e4}),
        (Problem(dynamics={"kind": "sgd"}), {"t_max": 200.0}),
        (Problem(dynamics={"kind": "sgd"}), {"t_max": 100.0}),
        (Problem(dynamics={"kind": "adam"}), {"t_max": 1000.0, "n_paths": 2048}),
        (
            Problem(loss={"kind": "logistic"}, labels={"kind": "sign"}),
            {"n_paths": 2048, "replicates": 3},
        ),
    ],
    ids=["default", "small-start", "sgd", "sgd-traced", "adam", "logistic"],
)
def test_time_left_on_the_wall_clock(problem, settings):
    few = {**settings, "t_max": 3.0, "n_paths": 256, "replicates": 2}
    solve(problem, **few)  # loads what is compiled
    start, seen = time.monotonic(), []
    solve(problem, **settings, progress=lambda state: seen.append((time.monotonic(), state)))
    end = time.monotonic()
    slack = 0.03 * (end - start)  # what comes after the last panel, and a moment of a busy machine
    checked = 0
    for now, state in seen:
        if now - start < 0.1 * (end - start) or state.seconds_left is None:
            continue
        checked += 1
        ratio = (state.seconds_left + slack) / (end - now + slack)
        assert 0.5 < ratio < 2.0, (state, end - now)
    assert checked > 0.7 * len(seen) - 4
