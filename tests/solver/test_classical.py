"""The classical algorithm against closed forms, finite differences and finite dimension."""

import numpy as np
import pytest

from dmft import Problem
from dmft.errors import InputError
from dmft.solver.classical import classical_solve
from dmft.solver.classical_process import Process, draw_population
from dmft.solver.classical_rows import data_side
from dmft.theory.linear import learning_curves, marchenko_pastur

RADEMACHER = {"kind": "rademacher"}


def linear_problem(sampling_ratio, **more):
    settings = {"teacher": RADEMACHER, "noise_std": 0.3, **more}
    return Problem(sampling_ratio=sampling_ratio, network={"kind": "linear"}, **settings)


def descent_curves(problem, step, count):
    """Exact train_mse and excess_risk of gradient descent with this step, teacher moment 1."""
    law, noise = marchenko_pastur(problem.sampling_ratio), problem.noise_std**2
    missing = (1 - step * law.eigenvalue) ** np.arange(count)[:, None]
    # q = (1 - missing) / x, as the geometric sum it is, so that x = 0 needs no care.
    gain = step * np.vstack([np.zeros(len(law.eigenvalue)), np.cumsum(missing[:-1], axis=0)])
    train = missing**2 @ ((law.eigenvalue + noise) * law.samples)
    risk = missing**2 @ law.coordinates + noise * gain**2 @ (law.eigenvalue * law.coordinates)
    return np.array([train, risk])


@pytest.mark.parametrize("sampling_ratio", [0.5, 1.0, 2.0])
def test_linear_model_is_exact_gradient_descent(sampling_ratio):
    problem, step = linear_problem(sampling_ratio), 0.2
    solutions = [
        classical_solve(problem, t_max=4.0, step=step, n_paths=400, seed=seed, tolerance=1e-6)
        for seed in range(8)
    ]
    assert all(solution.converged for solution in solutions)
    curves = np.array([(s.train_mse, s.excess_risk) for s in solutions])
    exact = descent_curves(problem, step, 21)
    stderr = curves.std(0, ddof=1) / len(curves) ** 0.5
    assert np.all(np.abs(curves.mean(0) - exact) <= 4 * stderr + 1e-9)
    assert np.all(stderr < 0.05 * exact)


@pytest.mark.parametrize("sampling_ratio", [0.5, 1.0, 2.0])
def test_linear_response_is_exact_without_sampling_error(sampling_ratio):
    """The slope of the linear model is -1 on every path, so few paths give R_w exactly."""
    step, problem = 0.2, linear_problem(sampling_ratio)
    solution = classical_solve(problem, t_max=4.0, step=step, n_paths=8, tolerance=1e-10)
    law = marchenko_pastur(sampling_ratio)
    x = law.eigenvalue
    powers = (1 - step * x) ** np.arange(20)[:, None]
    response = solution.kernels.response_weights
    residual = solution.kernels.response_residual
    for column in (0, 7):
        lags = powers[: 20 - column]
        np.testing.assert_allclose(
            response[column + 1 :, column], -step * lags @ law.coordinates, atol=1e-8
        )
        np.testing.assert_allclose(
            residual[column + 1 :, column], -step * lags @ (x * law.samples), atol=1e-8
        )
    assert np.array_equal(response, np.tril(response, -1))
    assert np.linalg.eigvalsh(solution.kernels.correlation_residual).min() > -1e-10


@pytest.mark.parametrize("sampling_ratio", [0.5, 1.0, 2.0])
def test_first_order_in_the_step(sampling_ratio):
    """Error of the response to a first kick against the flow; it carries no sampling error."""
    problem, time = linear_problem(sampling_ratio), 2.0
    law = marchenko_pastur(sampling_ratio)
    exact = -np.exp(-law.eigenvalue * time) @ law.coordinates
    errors = []
    for step in (0.1, 0.05, 0.025):
        solution = classical_solve(problem, t_max=time, step=step, n_paths=2, tolerance=1e-9)
        errors.append(solution.kernels.response_weights[-1, 0] / step - exact)
    ratios = np.array(errors[:-1]) / errors[1:]
    np.testing.assert_allclose(ratios, 2.0, atol=0.35)
    assert abs(ratios[1] - 2) < abs(ratios[0] - 2)


@pytest.mark.parametrize("sampling_ratio", [0.5, 1.0, 2.0])
def test_linear_curves_approach_the_flow(sampling_ratio):
    problem, seeds = linear_problem(sampling_ratio), 6
    exact = learning_curves(problem, np.linspace(0, 2, 5))
    curves = {}
    for step in (0.1, 0.05):
        solutions = [
            classical_solve(problem, t_max=2.0, step=step, n_paths=256, seed=seed)
            for seed in range(seeds)
        ]
        every = slice(None, None, round(0.5 / step))
        curves[step] = np.array([(s.train_mse[every], s.excess_risk[every]) for s in solutions])
    means = {step: values.mean(0) for step, values in curves.items()}
    variance = {step: values.var(0, ddof=1) / seeds for step, values in curves.items()}
    target = np.array([exact.train_mse, exact.excess_risk])
    # Extrapolated to step zero; the second-order rest is below 1 % of the initial value.
    stderr = np.sqrt(4 * variance[0.05] + variance[0.1])
    extrapolated = 2 * means[0.05] - means[0.1]
    assert np.all(np.abs(extrapolated - target) <= 4 * stderr + 0.01)
    assert np.all(stderr < 0.1)


def test_default_problem_against_finite_dimension():
    """Excess risk at t = 0.5 and 1 of twelve gradient flows at d = 2000, with standard errors."""
    reference, reference_stderr = np.array([[0.78925, 0.43346], [0.00771, 0.00770]])
    steps, seeds = (0.125, 0.0625), 8
    values = np.empty((2, seeds, 2))
    for i, step in enumerate(steps):
        for seed in range(seeds):
            solution = classical_solve(
                Problem(), t_max=1.0, step=step, n_paths=1024, seed=100 * i + seed, tolerance=1e-3
            )
            values[i, seed] = solution.excess_risk[[len(solution.time) // 2, -1]]
    coarse, fine = values.mean(1)
    variance = values.var(1, ddof=1) / seeds
    stderr = np.sqrt(variance[0] + 4 * variance[1] + reference_stderr**2)
    assert np.all(np.abs(2 * fine - coarse - reference) <= 4 * stderr)
    assert np.all(stderr < 0.06 * reference)


NETWORKS = [
    {"dynamics": {"weight_decay": 0.3}, "network": {"kind": "linear"}},
    {"dynamics": {"weight_decay": 0.3}, "network": {"init_u": 0.5, "init_v": 0.2}},
    {"network": {"depth": 3, "init_scale": 0.6}, "dynamics": {"weight_decay": 0.1}},
    {"network": {"depth": 4, "init_u": 1.0, "init_v": 0.3}},
]


@pytest.mark.parametrize("settings", NETWORKS)
def test_tangents_are_derivatives(settings):
    features = {"kind": "discrete", "values": [0.5, 1.5]}
    problem = Problem(teacher=RADEMACHER, features=features, **settings)
    rng = np.random.default_rng(3)
    coordinates, probability = draw_population(problem, 16, rng)
    step, nodes = 0.1, 9
    process = Process(problem, step * np.arange(nodes), step, coordinates, probability)
    memory = np.eye(nodes) - 0.1 * np.tril(rng.random((nodes, nodes)), -1)
    noise = 0.3 * rng.standard_normal((nodes, len(probability)))
    share = probability * coordinates.variance
    pull = rng.standard_normal(nodes)
    _, slope = process.paths(noise, memory, pull)
    response = process.response(slope, memory)
    kick = 1e-5 / np.sqrt(coordinates.variance)  # the noise enters the force times sqrt(s)
    for column in range(nodes):
        ends = []
        for sign in (1, -1):
            kicked = noise.copy()
            kicked[column] += sign * kick
            ends.append(process.paths(kicked, memory, pull)[0] @ share)
        np.testing.assert_allclose(response[:, column], (ends[0] - ends[1]) / 2e-5, atol=1e-8)


@pytest.mark.parametrize("settings", NETWORKS)
def test_small_steps_follow_the_flow_of_the_network(settings):
    """phi(G, t) against the equations of a and b under a constant force."""
    problem = Problem(teacher=RADEMACHER, **settings)
    coordinates, shares = draw_population(problem, 2, np.random.default_rng(0))
    decay, depth, steps = problem.dynamics.weight_decay, problem.network.depth, 4000
    time, force = np.linspace(0.0, 1.0, steps + 1), 0.4
    process = Process(problem, time, 1 / steps, coordinates, shares)
    accumulated = np.sum(process.increment[:-1]) * force
    result = process.weights_of(np.full(2, accumulated), 1.0)[0][0]
    if depth == 1:
        expected = -force * (1 - np.exp(-decay)) / decay
    else:
        a, b = coordinates.a0[0], coordinates.b0[0]
        for _ in range(steps):
            a -= (a ** (depth - 1) * force + decay * a) / steps
            b += (b ** (depth - 1) * force - decay * b) / steps
        expected = (a**depth - b**depth) / depth
    assert result == pytest.approx(expected, rel=2e-3)


def test_feature_variance_is_a_change_of_units():
    """Variance s and step eta are variance 1, step s eta and teacher sqrt(s) w*."""
    scaled = linear_problem(0.7, features={"kind": "discrete", "values": [2.0]})
    plain = linear_problem(0.7, teacher={"kind": "rademacher", "scale": 2**0.5})
    first = classical_solve(scaled, t_max=2.0, step=0.1, n_paths=64)
    second = classical_solve(plain, t_max=4.0, step=0.2, n_paths=64)
    np.testing.assert_allclose(first.excess_risk, second.excess_risk, rtol=1e-8)
    np.testing.assert_allclose(first.train_mse, second.train_mse, rtol=1e-8)


def test_returned_kernels_satisfy_the_equations_and_repeat():
    options = {"t_max": 2.0, "step": 0.125, "n_paths": 128, "tolerance": 1e-8}
    solution = classical_solve(Problem(), seed=5, **options)
    assert solution.converged and solution.reason == ""
    damped = classical_solve(Problem(), seed=5, damping=0.4, **options)
    assert damped.iterations > solution.iterations
    np.testing.assert_allclose(damped.excess_risk, solution.excess_risk, rtol=1e-6)
    again = classical_solve(Problem(), seed=5, **options)
    assert np.array_equal(again.excess_risk, solution.excess_risk)
    other = classical_solve(Problem(), seed=6, **options)
    assert not np.allclose(other.excess_risk, solution.excess_risk, rtol=1e-6)
    kernels = solution.kernels
    response, correlation = data_side(kernels.correlation_error, kernels.response_weights, 0.1)
    identity = np.eye(len(solution.time))
    np.testing.assert_allclose(
        response @ (identity - kernels.response_weights), identity, atol=1e-9
    )
    assert np.array_equal(np.diag(correlation), solution.train_mse)


def test_failures_are_flagged():
    short = classical_solve(Problem(), t_max=2.0, step=0.125, n_paths=64, max_iterations=2)
    assert not short.converged and short.iterations == 2
    assert "2 sweeps" in short.reason
    for network in ({"kind": "diagonal"}, {"depth": 3, "init_scale": 0.5}):
        problem = Problem(network=network)
        coarse = classical_solve(problem, t_max=20.0, step=1.0, n_paths=64)
        assert not coarse.converged
        assert "diverged" in coarse.reason and "smaller step" in coarse.reason
        assert np.isfinite(coarse.excess_risk).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 0.3),
        ("step", float("nan")),
        ("t_max", -1.0),
        ("n_paths", 0),
        ("damping", 1.0),
        ("tolerance", 0.0),
        ("max_iterations", 0),
    ],
)
def test_bad_options_are_named(name, value):
    options = {"t_max": 1.0, "step": 0.1, "n_paths": 8, name: value}
    with pytest.raises(InputError, match=f"^{name}: given"):
        classical_solve(Problem(), **options)
