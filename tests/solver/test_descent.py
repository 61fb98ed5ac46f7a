"""The mean field of gradient descent and SGD: kernels, exact linear curves, finite networks."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft import InputError, Interrupted, NotConverged, Problem
from dmft.problem.dynamics import GradientDescent, stored_steps
from dmft.solver import solve
from dmft.solver.descent import Descent
from dmft.solver.descent_kernels import advance
from dmft.solver.sampling import PathSet
from dmft.theory.linear import marchenko_pastur

SGD = {"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.1}
NAMES = ("train_mse", "excess_risk", "mean_charge", "effective_alpha")


def descended(problem: Problem, steps: int, paths: int = 128) -> Descent:
    path_set = PathSet(problem, paths, np.random.SeedSequence(1))
    march = Descent(problem, problem.dynamics, path_set, None, steps, 1e6)
    for _ in range(steps):
        march.step()
    return march


def linear_curves(
    dynamics: GradientDescent | dmft.problem.dynamics.SGD, ratio: float, noise: float, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """train_mse and excess_risk of the linear model: a Volterra equation over the spectrum.

    Batch noise of step l adds eta^2 N_l x (1 - eta x)^(2 (k - 1 - l)) to the error along an
    eigenvector of X^T X with eigenvalue x, and x times that to the residual.
    """
    spectrum, eta = marchenko_pastur(ratio), dynamics.step_size
    x = spectrum.eigenvalue
    keep = (1 - eta * x) ** (2 * np.arange(steps + 1)[:, None])
    settled = 1 - (1 - eta * x) ** np.arange(steps + 1)[:, None]
    inverse = np.divide(1.0, x, out=np.zeros_like(x), where=x > 0)
    train = (keep * (x + noise**2)) @ spectrum.samples
    risk = (keep + noise**2 * settled**2 * inverse) @ spectrum.coordinates
    of_train, of_risk = (keep * x**2) @ spectrum.samples, (keep * x) @ spectrum.coordinates
    variance = np.zeros(steps)
    for k in range(1, steps + 1):
        variance[k - 1] = dynamics.noise_variance(train[k - 1])
        train[k] += eta**2 * variance[:k] @ of_train[k - 1 :: -1]
        risk[k] += eta**2 * variance[:k] @ of_risk[k - 1 :: -1]
    return train, risk


@pytest.mark.parametrize("ratio", [0.5, 1.5])
@pytest.mark.parametrize(
    "dynamics",
    [
        {"kind": "gradient-descent", "step_size": 0.3},
        {**SGD, "batch_fraction": 0.3},
        {**SGD, "sampling": "with-replacement"},
        {**SGD, "label_noise_std": 0.5},
    ],
    ids=["gradient descent", "batches", "with replacement", "label noise"],
)
def test_linear_model_is_exact(dynamics, ratio):
    """No path of the linear model is special, so few of them give many digits."""
    problem = Problem(
        network={"kind": "linear"}, dynamics=dynamics, sampling_ratio=ratio, noise_std=0.3
    )
    solution = solve(problem, t_max=40, n_paths=512, replicates=2)
    exact = linear_curves(problem.dynamics, ratio, 0.3, 40)
    np.testing.assert_allclose(solution.train_mse, exact[0], rtol=2e-3)
    np.testing.assert_allclose(solution.excess_risk, exact[1], rtol=2e-3)


def test_the_linear_curves_see_every_term():
    """The reference itself: N = 0 is gradient descent, and each noise term raises it."""
    of = dmft.problem.dynamics
    still = linear_curves(of.GradientDescent(step_size=0.1), 0.5, 0.3, 20)
    full = linear_curves(of.SGD(step_size=0.1, batch_fraction=1.0), 0.5, 0.3, 20)
    np.testing.assert_array_equal(still, full)
    noisy = linear_curves(of.SGD(step_size=0.1, batch_fraction=0.3), 0.5, 0.3, 20)
    assert np.all(noisy[0][1:] > 1.01 * still[0][1:])


@pytest.mark.parametrize(
    ("network", "decay"), [({"depth": 2}, 0.2), ({"depth": 3}, 0.1), ({"kind": "linear"}, 0.1)]
)
def test_tangents_are_derivatives(network, decay):
    """A force added at one step moves the paths as their tangents say; the kernels are kept."""
    dynamics = {"kind": "gradient-descent", "step_size": 0.2, "weight_decay": decay}
    problem = Problem(network=network, dynamics=dynamics)
    march = descended(problem, 6, 64)
    depth, ratio, root = march._depth, problem.sampling_ratio, march.root_variance
    noise = march.force - ratio * march.error - march.force @ march.response.T

    def run(push: float, at: int) -> np.ndarray:
        """Paths under the same noise and the same R_w, in plain NumPy: w of shape (paths, 7)."""
        linear = depth == 1
        a = np.zeros(64) if linear else march.coordinates.a0.copy()
        b = np.zeros(64) if linear else march.coordinates.b0.copy()
        w, inner, force = np.zeros((64, 7)), np.zeros((64, 7)), np.zeros((64, 7))
        for k in range(7):
            w[:, k] = a if linear else (a**depth - b**depth) / depth
            # The response of the data to the weights; the push comes on top of it.
            error = root * (w[:, k] - march.teacher)
            inner[:, k] = ratio * error + noise[:, k] + inner @ march.response[k]
            force[:, k] = inner[:, k] + push * (k == at)
            g = root * force[:, k]
            keep = 1 - 0.2 * decay
            if linear:
                a = keep * a - 0.2 * g
            else:
                a, b = (
                    keep * a - 0.2 * a ** (depth - 1) * g,
                    keep * b + 0.2 * b ** (depth - 1) * g,
                )
        return w

    np.testing.assert_allclose(run(0.0, 0), march.weights, atol=1e-12)
    for at in (0, 3):
        h = 1e-5
        slope = (run(h, at) - run(-h, at)) / (2 * h)
        row = march.probability @ (root[:, None] * slope)
        np.testing.assert_allclose(row, march.response[:, at], atol=1e-8)


def test_the_charge_of_every_path_moves_as_it_must():
    """ab <- ab ((1 - eta lambda)^2 - (eta g)^2), exactly."""
    march = descended(Problem(dynamics={**SGD, "weight_decay": 0.3}, noise_std=0.3), 30)
    product = march.factors[0] * march.factors[1]
    g = march.root_variance[:, None] * march.force
    expected = product[:, :-1] * ((1 - 0.1 * 0.3) ** 2 - (0.1 * g[:, :-1]) ** 2)
    np.testing.assert_allclose(product[:, 1:], expected, rtol=1e-12)


def test_advance_leaves_unrelated_tangents_alone():
    """One step from the start: the only tangent is that of the force just felt."""
    a, b = np.full(2, 0.5), np.full(2, 0.25)
    tangent_a, tangent_b, packed = np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
    advance(
        1, 0.1, 0.0, 0.5, np.ones(2), np.full(2, 2.0), np.zeros(0), a.copy(), b.copy(),
        *np.ones((2, 2)), a, b, tangent_a, tangent_b, packed,
    )  # fmt: skip
    np.testing.assert_allclose(a, 0.5 * 0.8)
    np.testing.assert_allclose(b, 0.25 * 1.2)
    np.testing.assert_allclose(tangent_a, [[-0.05, 0, 0]] * 2)
    np.testing.assert_allclose(tangent_b, [[0.025, 0, 0]] * 2)
    assert not packed.any()


@pytest.mark.parametrize(
    "settings",
    [
        {"dynamics": {"kind": "gradient-descent", "step_size": 0.3}},
        {"dynamics": SGD, "noise_std": 0.3},
        {"dynamics": {**SGD, "sampling": "with-replacement", "label_noise_std": 0.3}},
        {"dynamics": {**SGD, "sampling": "without-replacement", "weight_decay": 0.1}},
        {
            "dynamics": {**SGD, "step_size": 0.04, "batch_fraction": 0.2},
            "network": {"depth": 3, "init_scale": 0.6},
        },
        {
            "dynamics": {**SGD, "step_size": 0.04, "batch_fraction": 0.3},
            "features": {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]},
        },
    ],
    ids=["gradient descent", "batches", "replacement", "decay", "depth 3", "variances"],
)
def test_finite_networks_agree(settings):
    problem = Problem(teacher={"kind": "rademacher"}, **settings)
    solution = solve(problem, t_max=25, n_paths=1024, replicates=4)
    simulation = dmft.simulate(problem, dimension=800, seeds=24, t_max=25, seed=3)
    comparison = dmft.compare(solution, simulation)
    assert len(comparison.curves) == (2 if problem.network.depth == 3 else 4)
    for curve in comparison.curves:
        z = curve.z[np.isfinite(curve.z)]
        assert np.abs(z).max() < 4.0, curve.name
        assert np.max(curve.stderr / np.abs(curve.mean_field)) < 0.06, curve.name
    assert comparison.agrees


def test_small_steps_are_gradient_flow():
    flow = solve(Problem(), t_max=1.0, n_paths=1024, replicates=4)
    gaps = []
    for steps in (10, 40):
        dynamics = {"kind": "gradient-descent", "step_size": 1.0 / steps}
        descent = solve(Problem(dynamics=dynamics), t_max=steps, n_paths=1024, replicates=4)
        gaps.append(descent.excess_risk[-1] / flow.excess_risk[-1] - 1)
    assert abs(gaps[0]) > 0.02
    assert gaps[1] == pytest.approx(gaps[0] / 4, rel=0.35)


def test_a_solution_of_steps_is_consistent():
    solution = solve(Problem(dynamics=SGD), t_max=20, n_paths=256, replicates=2)
    assert solution.status == "done"
    np.testing.assert_array_equal(solution.time, np.arange(21.0))
    np.testing.assert_array_equal(solution.panel, np.arange(21) - 1)
    kernels = solution.kernels
    np.testing.assert_allclose(np.diag(kernels.correlation_error), solution.excess_risk)
    np.testing.assert_allclose(np.diag(kernels.correlation_residual), solution.train_mse)
    assert not np.triu(kernels.response_weights).any()
    np.testing.assert_array_equal(kernels.quadrature_weights, 1.0)
    assert solution.work["steps"] == 3 * 20
    assert np.all(np.diff(solution.mean_charge) < 0)
    assert solution.effective_alpha[0] == pytest.approx(0.3, rel=1e-12)
    # The typical charge is below the mean one: Jensen.
    assert np.all(2 * solution.effective_alpha**2 <= solution.mean_charge * (1 + 1e-12))


def test_any_number_of_threads_gives_the_same_numbers():
    one, two = (
        solve(Problem(dynamics=SGD), t_max=12, n_paths=1200, replicates=1, threads=threads)
        for threads in (1, 2)
    )
    for name in NAMES:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize("polled", [3, 14, 22])  # in the pilot, replicates 1 and 2
@pytest.mark.parametrize("network", [{}, {"depth": 3}, {"kind": "linear"}])
def test_resuming_gives_the_same_numbers(network, polled, monkeypatch):
    """A march goes on in its middle: no step is made twice."""
    options = {"t_max": 10, "n_paths": 128, "replicates": 2}
    problem = Problem(dynamics={**SGD, "step_size": 0.03}, network=network)
    made, step = [], Descent.step
    monkeypatch.setattr(Descent, "step", lambda march: made.append(march.count) or step(march))
    whole = solve(problem, **options)
    steps = len(made)
    states, polls = [], iter(range(1, 1000))
    with pytest.raises(Interrupted):
        solve(problem, **options, checkpoint=states.append, stop=lambda: next(polls) == polled)
    made.clear()
    resumed = solve(problem, **options, resume=states[-1])
    for name in ("train_mse", "excess_risk", "mean_charge", "effective_alpha"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(resumed, name))
    np.testing.assert_array_equal(whole.kernels.overlap, resumed.kernels.overlap)
    assert resumed.work == whole.work
    assert len(made) == steps - polled


def test_a_march_too_large_for_a_checkpoint_starts_again(monkeypatch):
    from dmft.solver import descent

    monkeypatch.setattr(descent, "_LARGEST_STATE", 1000)
    options = {"t_max": 10, "n_paths": 128, "replicates": 1}
    states, polls = [], iter(range(1, 1000))
    with pytest.raises(Interrupted):
        solve(
            Problem(dynamics=SGD), **options,
            checkpoint=states.append, stop=lambda: next(polls) == 14,
        )  # fmt: skip
    assert "march" not in states[-1]
    resumed = solve(Problem(dynamics=SGD), **options, resume=states[-1])
    whole = solve(Problem(dynamics=SGD), **options)
    np.testing.assert_array_equal(whole.excess_risk, resumed.excess_risk)


def test_steps_of_another_version_are_refused():
    options = {"t_max": 10, "n_paths": 128, "replicates": 1}
    states, polls = [], iter(range(1, 1000))
    with pytest.raises(Interrupted):
        solve(
            Problem(dynamics=SGD), **options,
            checkpoint=states.append, stop=lambda: next(polls) == 14,
        )  # fmt: skip
    del states[-1]["march"]["_packed"]
    with pytest.raises(InputError, match="resume: given steps of another version: '_packed'"):
        solve(Problem(dynamics=SGD), **options, resume=states[-1])


def test_many_steps_are_thinned():
    dynamics = {"kind": "gradient-descent", "step_size": 0.05}
    solution = solve(Problem(dynamics=dynamics), t_max=260, n_paths=64, replicates=1)
    np.testing.assert_array_equal(solution.time, stored_steps(260))
    assert len(solution.time) < 258 and solution.time[-1] == 260
    assert solution.kernels.overlap.shape == 2 * (len(solution.time),)
    simulation = dmft.simulate(Problem(dynamics=dynamics), dimension=40, seeds=2, t_max=260)
    assert set(simulation.time) <= set(solution.time)
    assert len(dmft.compare(solution, simulation).curves[0].time) == len(simulation.time)


def test_stored_steps_keep_the_first_and_the_last():
    assert stored_steps(5) == [0, 1, 2, 3, 4, 5]
    many = stored_steps(100_000)
    assert many[:64] == list(range(64)) and many[-1] == 100_000
    assert 200 < len(many) <= 258
    assert np.all(np.diff(many) > 0)


def test_divergence_is_no_result_but_what_was_reached_is():
    dynamics = {"kind": "gradient-descent", "step_size": 2.5}
    solution = solve(Problem(dynamics=dynamics), t_max=50, n_paths=256, replicates=2)
    assert solution.status == "not-converged"
    assert "step_size 2.5 is above what is stable" in solution.reason
    assert 1 <= solution.time[-1] < 10
    assert len(solution.train_mse) == len(solution.kernels.overlap) == len(solution.time)
    with pytest.raises(NotConverged, match="first step"):
        solve(Problem(dynamics={**dynamics, "step_size": 1e4}), t_max=50, n_paths=256)


def test_bad_input_is_refused():
    with pytest.raises(InputError, match=r"solver.t_max: given 10.5, must be a whole number"):
        solve(Problem(dynamics=SGD), t_max=10.5)
    with pytest.raises(InputError, match=r"solver.t_max: given 1e\+09 steps, must be at most"):
        solve(Problem(dynamics=SGD), t_max=1e9)
    for fraction in (0.0, -0.1, 1.5):
        with pytest.raises(InputError, match=r"dynamics.batch_fraction: given"):
            Problem(dynamics={**SGD, "batch_fraction": fraction})
    with pytest.raises(InputError, match=r"dynamics.step_size: given 0"):
        Problem(dynamics={**SGD, "step_size": 0})
    with pytest.raises(InputError, match=r"dynamics.sampling: given 'shuffled', allowed"):
        Problem(dynamics={**SGD, "sampling": "shuffled"})
    with pytest.raises(InputError, match=r"dynamics.batch_fraction: unknown key"):
        Problem(dynamics={"kind": "gradient-descent", "batch_fraction": 0.1})


def test_trajectories_take_stored_steps_only():
    solution = solve(Problem(dynamics=SGD), t_max=10, n_paths=256, replicates=2)
    assert len(solution.trajectory_map().step) == 11
    assert len(solution.trajectory_map("parameters", [1, 4, 10]).step) == 3
    with pytest.raises(InputError, match=r"times: given 2.5, must be stored steps"):
        solution.trajectory_map(times=[1, 2.5])


def test_predictions_are_those_of_gradient_flow():
    from dmft.theory import learning_time, predict

    for kind in ("gradient-descent", "sgd", "stochastic-gradient-flow"):
        for ask in (predict, learning_time):
            with pytest.raises(InputError, match=f"dynamics.kind: given '{kind}', predictions"):
                ask(Problem(dynamics={"kind": kind}))


def test_what_diverges_is_told_by_its_start_not_by_its_size():
    """Labels in other units: every curve scales with them, and where steps diverge stays."""
    found = []
    for unit in (1.0, 1e3):
        problem = Problem(
            network={"kind": "linear"}, teacher={"kind": "gaussian", "std": unit},
            noise_std=0.3 * unit, dynamics={"kind": "gradient-descent", "step_size": 3.0},
        )  # fmt: skip
        found.append(solve(problem, t_max=40, n_paths=64, replicates=1))
    small, large = found
    assert small.status == large.status == "not-converged"
    np.testing.assert_array_equal(small.time, large.time)
    np.testing.assert_allclose(large.train_mse, 1e6 * small.train_mse, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "flow"), [("sgd", "stochastic-gradient-flow"), ("gradient-descent", "gradient-flow")]
)
def test_too_large_a_march_names_the_flow_that_fits(monkeypatch, kind, flow):
    monkeypatch.setattr("dmft.solver.steps.memory_excess", lambda size: "needs 1 TB")
    with pytest.raises(InputError, match=f"needs 1 TB for .* or dynamics.kind = '{flow}'"):
        solve(Problem(dynamics={"kind": kind}), t_max=4, n_paths=64, replicates=1)
