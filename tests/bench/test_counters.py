"""Work of the solver on the problems of the race, by counters: the same on every machine."""

import numpy as np
import pytest

from dmft import Problem, Solution, solve
from dmft.bench.cases import CASES

PATHS = 512


def solved(name: str, n_paths: int = PATHS) -> Solution:
    case = CASES[name]
    return solve(case.problem, t_max=case.t_max, n_paths=n_paths, replicates=1, rtol=1e-3)


def sweeps_of_a_panel(*solutions: Solution) -> float:
    sweeps, panels = (sum(s.work[name] for s in solutions) for name in ("sweeps", "panels"))
    return sweeps / panels


@pytest.mark.slow
def test_a_late_decade_of_a_small_start_takes_at_most_20_nodes():
    solution = solved("P1", 2048)
    assert solution.status == "done"
    for start in (1e2, 1e3):
        assert np.sum((solution.time > start) & (solution.time <= 10.0 * start)) <= 20
    assert sweeps_of_a_panel(solution) <= 6.0


@pytest.mark.parametrize("name", ["P0", "P3"])
def test_sweeps_of_a_panel(name):
    solution = solved(name)
    assert solution.status == "done"
    assert sweeps_of_a_panel(solution) <= 5.0


@pytest.mark.parametrize("rtol", [1e-2, 1e-3])
def test_sweeps_of_a_panel_at_as_many_samples_as_coordinates(rtol):
    problem = Problem(sampling_ratio=1.0)
    solution = solve(problem, t_max=100.0, n_paths=PATHS, replicates=1, rtol=rtol)
    assert solution.status == "done"
    assert sweeps_of_a_panel(solution) <= 10.0


@pytest.mark.slow
def test_sweeps_of_a_panel_over_all_problems():
    assert sweeps_of_a_panel(*(solved(name, 2048) for name in CASES)) <= 6.0


def test_counters_of_a_longer_solve_contain_those_of_a_shorter_one():
    """Work grows with time, paths and accuracy, tangents in proportion to the paths."""
    work = {}
    for key, options in {
        "small": {},
        "long": {"t_max": 20.0},
        "fine": {"rtol": 1e-3},
        "two": {"replicates": 2},
        "large": {"n_paths": 1024},
    }.items():
        settings = {"t_max": 2.0, "n_paths": 256, "replicates": 1, "rtol": 1e-2, **options}
        solution = solve(Problem(), **settings)
        work[key] = {**solution.work, "nodes": float(len(solution.time))}
    for name in ("panels", "sweeps", "path_iterations", "tangent_flops", "tangent_bytes"):
        assert work["small"][name] < work["long"][name]
        assert work["small"][name] < work["fine"][name]
        assert work["small"][name] < work["two"][name]
    # The pilot is the same for all; per replicate and traced path the tangents cost the same.
    # All of 256 paths are traced, and 512 of 1024.
    replicate = work["two"]["tangent_bytes"] - work["small"]["tangent_bytes"]
    added = work["large"]["tangent_bytes"] - work["small"]["tangent_bytes"]
    assert added == pytest.approx(1.0 * replicate, rel=0.35)
    assert work["small"]["nodes"] == work["large"]["nodes"]
