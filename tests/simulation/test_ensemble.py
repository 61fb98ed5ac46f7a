"""The door: ensembles, their errors, kernels and validation."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.simulation import simulate

# Gradient flow at d = 2000, 12 seeds, of an independent integration (RK45, rtol 1e-5):
# sampling ratio .5, noise .1, Bernoulli-Gauss density .1, depth 2, start .3.
REFERENCE_TIME = [0.5, 1, 2, 4, 8, 16, 24]
REFERENCE = {
    "train_mse": (
        [0.604572, 0.189719, 0.0442929, 0.0116750, 0.00317266, 0.000721951, 0.000247840],
        [0.003242, 0.003157, 0.000871, 0.000235, 8.33e-05, 2.41e-05, 9.0e-06],
    ),
    "excess_risk": (
        [0.789252, 0.433456, 0.229473, 0.150092, 0.118104, 0.106568, 0.104699],
        [0.007706, 0.007699, 0.005598, 0.004157, 0.003447, 0.003205, 0.003118],
    ),
}


def test_reproduces_the_reference_curves():
    # At a fifth of the reference's dimension; its finite-size bias is within the errors.
    result = simulate(Problem(), dimension=400, seeds=24, times=REFERENCE_TIME, seed=1)
    for name, (mean, error) in REFERENCE.items():
        found, spread = getattr(result, name)[1:], getattr(result, name + "_stderr")[1:]
        deviation = (found - mean) / np.hypot(error, spread)
        assert np.abs(deviation).max() < 3.0, name
        assert np.all(spread < 0.1 * found), name


@pytest.mark.parametrize("design", ["rademacher", "sparse", "digits"])
def test_designs_agree(design):
    times = [0.5, 2.0, 8.0, 30.0]
    both = [
        simulate(Problem(), dimension=400, seeds=12, times=times, seed=7, design=kind)
        for kind in ("gaussian", design)
    ]
    for name in ("train_mse", "excess_risk"):
        first, second = (getattr(one, name)[1:] for one in both)
        error = np.hypot(*(getattr(one, name + "_stderr")[1:] for one in both))
        assert np.all(np.abs(first - second) < 3.5 * error)


def test_independent_draws_agree_with_stratified_ones():
    both = [
        simulate(Problem(), dimension=200, seeds=24, times=[1.0, 10.0], stratified=stratified)
        for stratified in (True, False)
    ]
    start = [one.seed_excess_risk[:, 0].std() for one in both]
    assert start[0] < 1e-12 and start[1] > 0.05
    error = np.hypot(*(one.excess_risk_stderr[1:] for one in both))
    assert np.all(np.abs(both[0].excess_risk - both[1].excess_risk)[1:] < 3.5 * error)


def test_curves_are_the_diagonals_of_the_kernels():
    problem = Problem(features={"kind": "discrete", "values": [0.5, 1.5]})
    result = simulate(problem, dimension=60, seeds=3, times=[0.0, 0.5, 5.0], rtol=1e-5)
    assert result.time.tolist() == [0.0, 0.5, 5.0]
    np.testing.assert_allclose(np.diag(result.kernels.correlation_error), result.excess_risk)
    np.testing.assert_allclose(np.diag(result.kernels.correlation_residual), result.train_mse)
    np.testing.assert_allclose(
        np.diag(result.kernels.correlation_error_stderr), result.excess_risk_stderr, atol=1e-15
    )
    for kernel in (
        result.kernels.correlation_error,
        result.kernels.correlation_residual,
        result.kernels.overlap,
    ):
        assert kernel.shape == (3, 3)
        assert np.linalg.eigvalsh(kernel).min() > -1e-12
    assert np.all(result.kernels.overlap[0] == 0.0)
    np.testing.assert_allclose(result.seed_train_mse.mean(axis=0), result.train_mse)
    spread = result.seed_train_mse.std(axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(result.train_mse_stderr, spread)


def test_initial_values_are_the_populations():
    result = simulate(Problem(sampling_ratio=2.0), dimension=300, seeds=8, times=[0.0])
    assert result.excess_risk[0] == pytest.approx(1.0, rel=1e-12)
    assert abs(result.train_mse[0] - 1.01) < 4 * result.train_mse_stderr[0]


def test_same_seed_same_arrays_and_runs_do_not_depend_on_their_number():
    few = simulate(Problem(), dimension=50, seeds=2, times=[1.0, 4.0], seed=9)
    again = simulate(Problem(), dimension=50, seeds=2, times=[1.0, 4.0], seed=9)
    np.testing.assert_array_equal(few.seed_train_mse, again.seed_train_mse)
    np.testing.assert_array_equal(few.kernels.correlation_error, again.kernels.correlation_error)
    more = simulate(Problem(), dimension=50, seeds=4, times=[1.0, 4.0], seed=9)
    np.testing.assert_array_equal(more.seed_excess_risk[:2], few.seed_excess_risk)
    assert more.seed.tolist() == [0, 1, 2, 3]
    other = simulate(Problem(), dimension=50, seeds=2, times=[1.0, 4.0], seed=10)
    assert np.all(other.seed_train_mse != few.seed_train_mse)


def test_number_of_threads_changes_nothing():
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(simulate(Problem(), dimension=300, seeds=1, times=[1.0, 20.0]))
    np.testing.assert_array_equal(
        found[0].kernels.correlation_residual, found[1].kernels.correlation_residual
    )


def test_one_run_has_no_errors():
    result = simulate(Problem(), dimension=30, seeds=1, times=[1.0])
    assert result.train_mse_stderr is None and result.kernels.overlap_stderr is None


def test_default_times_and_progress():
    calls = []
    result = simulate(
        Problem(),
        dimension=30,
        seeds=2,
        t_max=50.0,
        points=10,
        progress=calls.append,
    )
    assert len(result.time) == 11 and result.time[0] == 0.0 and result.time[-1] == 50.0
    assert np.all(np.diff(result.time) > 0)
    fractions = [state.fraction for state in calls]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert calls[-1].stage == "simulation 2/2" and calls[-1].seconds_left == 0.0
    assert calls[-1].time == calls[-1].t_max == 50.0
    # A large start learns within 1/alpha^2: the grid has to begin before that.
    large = Problem(network={"init_scale": 10.0})
    assert simulate(large, dimension=30, seeds=1, points=5).time[1] < 1e-3


@pytest.mark.parametrize(
    "given, message",
    [
        ({"dimension": 1}, "dimension: given 1, must be at least 2"),
        ({"dimension": 200_000}, "dimension: given 200000 .* must fit"),
        ({"seeds": 0}, "seeds: given 0"),
        ({"design": "circulant"}, "design: given 'circulant', allowed"),
        ({"rtol": 0.5}, "rtol: given 0.5"),
        ({"t_max": float("nan")}, "t_max: given nan"),
        ({"times": [1.0, 1.0]}, "times: given 1 after 1, must increase"),
        ({"times": [1.0, float("nan")]}, "times: given nan, must be finite"),
        ({"times": [-1.0, 1.0]}, "times: given -1, must not be negative"),
        ({"times": []}, "times: given an array of shape"),
        ({"times": "soon"}, "times: given 'soon'"),
    ],
)
def test_bad_input_is_one_clear_line(given, message):
    with pytest.raises(InputError, match=message) as caught:
        simulate(Problem(), **given)
    assert "\n" not in str(caught.value)


def test_start_too_small_for_its_depth_is_refused():
    problem = Problem(network={"depth": 20, "init_scale": 1e-20})
    with pytest.raises(InputError, match="too small"):
        simulate(problem, dimension=20, seeds=1, times=[1.0])
