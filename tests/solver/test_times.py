"""Results at exactly the times that were asked for."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.cli.main import main
from dmft.errors import InputError, Interrupted

OPTIONS = {"n_paths": 256, "replicates": 2, "rtol": 1e-2, "threads": 1}
TIMES = [0.1, 1.0, 3.7, 12.0]
DYNAMICS = {
    "flow": {},
    "noisy": {"kind": "stochastic-gradient-flow", "step_size": 0.1},
    "descent": {"kind": "gradient-descent", "step_size": 0.1},
    "adam": {"kind": "adam", "step_size": 0.03},
}


@pytest.mark.parametrize("name", DYNAMICS)
def test_times_are_nodes(name):
    problem = dmft.Problem().replace(dynamics=DYNAMICS[name] or {"kind": "gradient-flow"})
    times = TIMES if not problem.dynamics.discrete else [1, 3, 300]
    solution = dmft.solve(problem, times=times, **OPTIONS)
    assert np.isin(times, solution.time).all() and solution.time[-1] == times[-1]
    assert solution.settings.t_max == times[-1] and solution.status == "done"
    assert (np.diff(solution.time) > 0).all()


def test_values_are_those_between_the_nodes_of_another_solve():
    """The dense output of the one against nodes of the other, within their standard errors."""
    asked = dmft.solve(dmft.Problem(), times=TIMES, t_max=30.0, **OPTIONS)
    plain = dmft.solve(dmft.Problem(), t_max=30.0, **OPTIONS)
    assert asked.time[-1] == 30.0
    for name in ("excess_risk", "train_mse"):
        error = plain.curve_at(f"{name}_stderr", TIMES)
        there = asked.curves[name].mean[np.isin(asked.time, TIMES)]
        assert (np.abs(there - plain.curve_at(name, TIMES)) < 4.0 * error).all(), name
    # Short panels before a time do not make those behind it short.
    assert asked.work["panels"] <= plain.work["panels"] + 3 * (len(TIMES) + 1)


def test_an_interrupted_solve_and_a_longer_one_keep_them():
    saved: dict = {}

    def stop() -> bool:
        nonlocal count
        count += 1
        return count == 12

    whole, count = dmft.solve(dmft.Problem(), times=TIMES, **OPTIONS), 0
    with pytest.raises(Interrupted):
        dmft.solve(dmft.Problem(), times=TIMES, stop=stop, checkpoint=saved.update, **OPTIONS)
    assert dmft.solve(dmft.Problem(), times=TIMES, resume=saved, **OPTIONS) == whole
    state: dict = {}
    dmft.solve(dmft.Problem(), times=TIMES, keep=state.update, **OPTIONS)
    longer = dmft.solve(dmft.Problem(), times=TIMES, t_max=40.0, resume=state, **OPTIONS)
    assert np.isin([*TIMES, 40.0], longer.time).all()
    with pytest.raises(InputError, match=r"solver.times: given"):
        dmft.solve(dmft.Problem(), times=[1.0], t_max=40.0, resume=state, **OPTIONS)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"times": []}, "times: given \\[\\], must have 1"),
        ({"times": [3, 2]}, "times: given 2 after 3, must increase"),
        ({"times": [1, np.nan]}, "times.1: given nan"),
        ({"times": [-1.0]}, "times.0: given -1.0"),
        ({"times": [1, [2]]}, "times.1: given"),
        ({"times": [1.0, 200.0], "t_max": 100.0}, "times: given 200, must be at most t_max"),
        ({"times": np.linspace(1, 2, 600)}, "given 600 times, must be at most 500"),
    ],
)
def test_other_times_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        dmft.solve(dmft.Problem(), **given, **OPTIONS)


def test_steps_are_whole():
    problem = dmft.Problem().replace(dynamics={"kind": "gradient-descent"})
    with pytest.raises(InputError, match=r"solver.times: given 1.5, must be a whole number"):
        dmft.solve(problem, times=[1.5, 3], t_max=5, **OPTIONS)


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = [f"--set=solver.{key}={OPTIONS[key]}" for key in ("n_paths", "replicates", "rtol")]
    times = "--set=solver.times=[0.5,2]"
    assert main(["solve", "-o", "out.h5", times, *small, "--quiet"]) == 0
    assert main(["simulate", "-o", "sim.h5", times, "--set=simulation.dimension=50",
                 "--set=simulation.seeds=2", "--quiet"]) == 0  # fmt: skip
    assert dmft.load("sim.h5").time.tolist() == [0.0, 0.5, 2.0]
    solution = dmft.load("out.h5")
    assert np.isin([0.5, 2.0], solution.time).all() and solution.settings.times == (0.5, 2.0)
    assert main(["compare", "out.h5", "sim.h5", "--json"]) in (0, 3)
    capsys.readouterr()
    assert main(["resume", "out.h5", "--set=solver.t_max=1"]) == 2
    assert "times" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [({"t_max": 1e308}, "solver.t_max: given 1e\\+308"), ({"times": [1.0, 1e300]}, "solver.times")],
)
def test_a_time_that_no_flow_needs_is_refused_at_once(given, said):
    with pytest.raises(InputError, match=said):
        dmft.solve(dmft.Problem(), **given)
