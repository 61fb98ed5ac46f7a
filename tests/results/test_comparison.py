"""Comparison: z-scores, a calibrated verdict, what is not comparable, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.numerics.collocation import radau
from dmft.problem import Problem
from dmft.results.comparison import SIGNIFICANCE, compare, relative_gap
from dmft.results.curves import Curve
from dmft.results.simulation import Simulation
from dmft.results.solution import Kernels, Solution
from dmft.settings import SimulationSettings, SolverSettings
from dmft.simulation import simulate
from dmft.solver import solve
from dmft.theory import linear

LINEAR = Problem(sampling_ratio=0.5, noise_std=0.3, network={"kind": "linear"})
KERNELS = ("correlation_error", "correlation_residual", "overlap")


def smooth_noise(rng, time, count):
    """Normal deviates (count, time) of variance 1, correlated over a factor e of time."""
    position = np.log(time + time[1])
    covariance = np.exp(-0.5 * (position[:, None] - position[None, :]) ** 2)
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    return rng.standard_normal((count, len(time))) @ root.T


def spread(values, count):
    return values.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else None


@cache
def closed_form(problem, time):
    """Curves and kernels of the linear model at a tuple of times."""
    curves = linear.learning_curves(problem, time)
    exact = {name: getattr(curves, name) for name in ("train_mse", "excess_risk")}
    return exact, {name: getattr(linear, name)(problem, time) for name in KERNELS}


def make_pair(
    problem=LINEAR, replicates=4, seeds=8, noise=(0.002, 0.02), shift=0.0, t_max=20.0, seed=0
):
    """Closed-form curves and kernels on Radau nodes and on other times, each with noise."""
    rng = np.random.default_rng(seed)
    edges = np.append(0.0, np.geomspace(0.05, t_max, 18))
    inside = edges[:-1, None] + np.diff(edges)[:, None] * radau().nodes
    inside[:, -1] = edges[1:]
    nodes = np.append(0.0, inside)
    panel = np.append(-1, np.repeat(np.arange(len(edges) - 1), 3))
    at = np.append(0.0, np.geomspace(0.02, t_max, 25))

    def side(time, count, size, factor):
        fluctuation = 1.0 + size * smooth_noise(rng, time, count) * (time > 0)
        exact, exact_kernels = closed_form(problem, tuple(time))
        scale = np.where(time > 0, factor, 1.0) * fluctuation
        curves = {name: curve * scale for name, curve in exact.items()}
        root = np.sqrt(scale)
        kernels = {
            name: kernel * root[:, :, None] * root[:, None, :]
            for name, kernel in exact_kernels.items()
        }
        return curves, kernels

    curves, kernels = side(nodes, replicates, noise[0], 1.0)
    width = np.append(0.0, np.diff(nodes))
    empty = np.zeros((len(nodes), len(nodes)))
    solution = Solution(
        problem=problem,
        settings=SolverSettings(replicates=replicates, t_max=t_max),
        time=nodes,
        panel=panel,
        curves={
            name: Curve(each.mean(axis=0), spread(each, replicates), each)
            for name, each in curves.items()
        },
        kernels=Kernels(
            **{name: each.mean(axis=0) for name, each in kernels.items()},
            **{f"{name}_stderr": spread(each, replicates) for name, each in kernels.items()},
            response_weights=empty,
            response_residual=empty,
            quadrature_weights=width,
        ),
    )
    curves, kernels = side(at, seeds, noise[1], 1.0 + shift)
    simulation = Simulation(
        problem=problem,
        settings=SimulationSettings(dimension=20_000, seeds=seeds),
        time=at,
        seed=np.arange(seeds),
        curves={
            name: Curve(each.mean(axis=0), spread(each, seeds), each)
            for name, each in curves.items()
        },
        kernels=Kernels(
            **{name: each.mean(axis=0) for name, each in kernels.items()},
            **{f"{name}_stderr": spread(each, seeds) for name, each in kernels.items()},
        ),
    )
    return solution, simulation


def test_z_is_the_difference_over_both_errors():
    solution, simulation = make_pair(shift=0.05)
    comparison = compare(solution, simulation)
    curve = comparison.curves[0]
    assert curve.name == "train_mse"
    i = 15
    at = simulation.time[i]
    mean_field = linear.learning_curves(LINEAR, at).train_mse
    assert curve.mean_field[i] == pytest.approx(mean_field, rel=0.01)
    assert curve.simulation[i] == simulation.train_mse[i]
    error = np.hypot(np.interp(at, solution.time, solution.train_mse_stderr),
                     simulation.train_mse_stderr[i])  # fmt: skip
    assert curve.z[i] == pytest.approx((simulation.train_mse[i] - curve.mean_field[i]) / error)
    assert np.median(curve.relative[1:]) == pytest.approx(0.05, abs=0.03)  # the sign is known
    assert np.isnan(curve.z[0])  # exact at t = 0 on both sides


def test_false_alarms_are_as_rare_as_promised():
    alarms = [compare(*make_pair(seed=seed)).agrees is False for seed in range(150)]
    assert np.mean(alarms) < 3 * SIGNIFICANCE


@pytest.mark.parametrize("shift", [0.1, -0.1])
def test_a_shift_of_many_standard_errors_is_detected(shift):
    missed = [compare(*make_pair(seed=seed, shift=shift)).agrees for seed in range(20)]
    assert np.mean(missed) <= 0.1


def test_a_wrong_kernel_is_detected_though_the_curves_are_right():
    solution, simulation = make_pair()
    wrong = simulation.kernels.overlap.copy()
    wrong[8:, 8:] *= 1.5
    comparison = compare(
        solution, replace(simulation, kernels=replace(simulation.kernels, overlap=wrong))
    )
    assert comparison.agrees is False
    assert all(curve.probability > SIGNIFICANCE for curve in comparison.curves)
    assert "overlap" in comparison.table()


def test_relative_difference_within_the_finite_size_bias_is_granted():
    solution, simulation = make_pair(shift=0.02, noise=(1e-5, 1e-5))
    assert compare(solution, simulation).agrees is False
    small = replace(simulation, settings=SimulationSettings(dimension=400, seeds=8))
    assert compare(solution, small).agrees is True  # 10/400 and both rtol
    assert compare(solution, small, finite_size=0.0).agrees is False
    assert compare(solution, simulation, finite_size=500.0).agrees is True


def test_a_side_without_errors_is_left_out_and_said():
    solution, simulation = make_pair(seeds=1)
    comparison = compare(solution, simulation)
    assert comparison.curves[0].simulation_stderr is None
    assert any("one seed" in note for note in comparison.notes)
    assert "one seed" in comparison.table()
    assert comparison.agrees is None and comparison.verdict.startswith("undecided")
    assert comparison.to_dict()["agrees"] is None
    solution, simulation = make_pair(replicates=1)
    comparison = compare(solution, simulation)
    assert comparison.agrees is True
    assert any("one replicate" in note for note in comparison.notes)
    both = compare(*make_pair(replicates=1, seeds=1))
    assert both.agrees is None and np.isnan(both.curves[0].z).all()
    same = compare(*make_pair(replicates=1, seeds=1, noise=(0.0, 0.0)))
    assert same.agrees is True  # no errors are needed to see that nothing differs


def test_a_vanished_training_error_is_compared_absolutely(change):
    solution, simulation = make_pair()
    late = simulation.time > 5.0
    train_mse = np.where(late, 1e-31, simulation.train_mse)
    nodes = np.where(solution.time > 4.9, 1e-24, solution.train_mse)
    kernels = solution.kernels
    for_kernel = np.where(solution.time > 4.9, 1e-12, 1.0)
    faded = change(
        solution,
        train_mse=nodes,
        kernels=replace(
            kernels,
            correlation_residual=kernels.correlation_residual * np.outer(for_kernel, for_kernel),
        ),
    )
    gone = change(simulation, train_mse=train_mse)
    comparison = compare(faded, gone)
    curve = comparison.curves[0]
    assert np.isnan(curve.z[late]).all() and np.isnan(curve.relative[late]).all()
    assert curve.vanished[late].all() and not curve.vanished[simulation.time < 4.5].any()
    assert curve.probability > SIGNIFICANCE
    assert any("train mse has vanished from time" in note for note in comparison.notes)
    assert np.isnan(comparison.kernels[1].z[-1]).all()
    # Vanished on one side only is a difference.
    assert compare(faded, simulation).curves[0].probability == 0.0


def test_table_is_short_and_readable():
    comparison = compare(*make_pair())
    lines = comparison.table().splitlines()
    assert len(lines) <= 33 and max(map(len, lines)) <= 100
    times = [float(line.split()[0]) for line in lines[2:] if "±" in line]
    assert times[0] == 0 and 20.0 in times
    assert len(times) == 2 * len(set(times)) and 8 <= len(set(times)) <= 11
    assert f"{SIGNIFICANCE:g}" in lines[-2] and lines[-1] == comparison.verdict


def test_dictionary_is_json():
    solution, simulation = make_pair(seeds=1)
    text = json.dumps(compare(solution, simulation).to_dict(), allow_nan=False)
    table = json.loads(text)
    assert set(table["curves"]) == {"train_mse", "excess_risk"}
    assert set(table["kernels"]) == set(KERNELS)
    curve = table["curves"]["excess_risk"]
    assert curve["time"] == simulation.time.tolist()
    assert curve["simulation_stderr"] is None and len(curve["z"]) == len(simulation.time)
    kernel = table["kernels"]["overlap"]
    assert 4 <= len(kernel["time"]) <= 6
    assert np.shape(kernel["z"]) == (len(kernel["time"]),) * 2
    assert min(np.diff(np.log(kernel["time"]))) > 0.5  # apart
    assert table["dimension"] == 20_000 and table["replicates"] == 4


def test_times_after_the_end_are_left_out():
    solution, simulation = make_pair()
    shorter, _ = make_pair(t_max=5.0)
    comparison = compare(shorter, simulation)
    assert comparison.curves[0].time[-1] <= 5.0 and comparison.agrees is True
    assert any("after 5" in note for note in comparison.notes)
    assert compare(solution, simulation).notes == ()


def test_unfinished_solution_is_noted():
    solution, simulation = make_pair()
    unfinished = replace(solution, status="not-converged", reason="error 0.1 > 0.01")
    assert "not-converged: error 0.1" in compare(unfinished, simulation).table()


def test_what_is_granted_is_said():
    """The tolerance is the one that the solve used; where it is large, agreement says little."""
    solution, simulation = make_pair()
    looser = replace(solution, rtol=0.05)
    granted = 0.05 - solution.settings.rtol
    before, after = compare(solution, simulation), compare(looser, simulation)
    assert after.tolerance == pytest.approx(before.tolerance + granted)
    assert compare(replace(solution, rtol=1e-9), simulation).tolerance == before.tolerance
    wide = compare(solution, simulation, finite_size=0.3 * simulation.settings.dimension)
    assert any("agreement says little" in note for note in wide.notes)


def test_relative_gap():
    solution, simulation = make_pair(shift=0.06, noise=(0.0, 0.0))
    gaps = relative_gap(solution, simulation)
    chosen = np.isin(simulation.time, compare(solution, simulation).kernels[0].time)
    for name in KERNELS:
        kernel = getattr(linear, name)(LINEAR, simulation.time[chosen])
        size = np.sqrt(np.diag(kernel))
        expected = 0.06 * np.sqrt(np.mean((kernel / np.outer(size, size)) ** 2))
        assert gaps[name] == pytest.approx(expected, rel=5e-3)


def test_gap_of_a_small_system_is_larger():
    solution, _ = make_pair(noise=(0.0, 0.0), replicates=1, t_max=5.0)
    rms = [
        np.sqrt(np.mean([
            relative_gap(solution, simulate(
                LINEAR, dimension=dimension, seeds=1, seed=k, t_max=5.0, points=8
            ))["correlation_error"] ** 2
            for k in range(8)
        ]))
        for dimension in (50, 800)
    ]  # fmt: skip
    # A factor 16 in d is a factor 4 in the gap, which eight runs know to about 20 %.
    assert 2.0 < rms[0] / rms[1] < 8.0


@pytest.fixture(scope="module")
def solved():
    problem = Problem(sampling_ratio=1.5, teacher={"kind": "gaussian"})
    simulation = simulate(problem, dimension=300, seeds=12, t_max=5.0, points=12)
    return solve(problem, t_max=5.0, n_paths=512, replicates=4), simulation


def test_a_solve_agrees_with_a_simulation(solved):
    comparison = compare(*solved)
    assert comparison.agrees is True and comparison.verdict == "they agree"
    for curve in comparison.curves:
        assert np.nanmax(np.abs(curve.relative)) < 0.1


def test_the_solve_of_another_problem_disagrees(solved):
    solution, simulation = solved
    noisy = solution.problem.model_copy(update={"noise_std": 0.5})
    other = solve(noisy, t_max=5.0, n_paths=256, replicates=4)
    comparison = compare(replace(other, problem=solution.problem), simulation)
    assert comparison.agrees is False and comparison.probability < 1e-6


def test_a_simulation_against_the_closed_form(change):
    solution, _ = make_pair(noise=(1e-5, 1e-5), replicates=2)
    simulation = simulate(LINEAR, dimension=200, seeds=12, t_max=20.0, seed=3)
    comparison = compare(solution, simulation)
    assert comparison.agrees is True, comparison.table()
    assert max(relative_gap(solution, simulation).values()) < 0.15
    other = change(solution, train_mse=1.3 * solution.train_mse)
    assert compare(other, simulation).agrees is False


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"noise_std": 0.2}, "problem.noise_std is 0.2, the solution has 0.3"),
        ({"teacher": {"density": 0.2}}, "problem.teacher.density is 0.2"),
        ({"network": {"kind": "diagonal"}}, "problem.network.kind is diagonal"),
    ],
)
def test_another_problem_is_refused(change, where):
    solution, simulation = make_pair()
    other = Problem(**{**LINEAR.model_dump(), **change})
    for call in (compare, relative_gap):
        with pytest.raises(InputError, match=where) as error:
            call(solution, replace(simulation, problem=other))
        assert "\n" not in str(error.value)


def test_wrong_arguments_are_refused():
    solution, simulation = make_pair()
    with pytest.raises(InputError, match="must be the solution first"):
        compare(simulation, solution)
    with pytest.raises(InputError, match="simulation: given an object of type Solution"):
        compare(solution, solution)
    with pytest.raises(InputError, match="solution: given an object of type str"):
        compare("out.h5", simulation)
    for value in (-1.0, np.nan, np.inf):
        with pytest.raises(InputError, match="finite_size"):
            compare(solution, simulation, finite_size=value)
