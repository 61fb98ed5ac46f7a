"""Stochastic gradient flow: its noise on a panel, exact linear curves, the limit of small steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import dmft
from dmft import InputError, Interrupted, Problem
from dmft.numerics.collocation import STAGES, radau
from dmft.solver import solve
from dmft.solver.march import March
from dmft.solver.sampling import PathSet
from dmft.solver.white_noise import Kicks, white_noise
from dmft.theory.linear import marchenko_pastur

FLOW = {"kind": "stochastic-gradient-flow", "step_size": 0.05, "batch_fraction": 0.05}
NAMES = ("train_mse", "excess_risk", "mean_charge", "effective_alpha")


def marched(problem: Problem, panels: int, step: float, paths: int = 256) -> March:
    path_set = PathSet(problem, paths, np.random.SeedSequence(2))
    noise = white_noise(problem.network, problem.dynamics, path_set, cautious=False)
    march = March(problem, path_set, None, panels, 1e-4, noise)
    for _ in range(panels):
        attempt = march.attempt(step)
        assert attempt is not None and attempt.converged
        march.commit(attempt.rows)
    return march


def linear_curves(
    problem: Problem, times: np.ndarray, points: int = 4000
) -> tuple[np.ndarray, np.ndarray]:
    """train_mse and excess_risk of the linear model: a Volterra equation over the spectrum.

    Noise of intensity I adds I x e^(-2 x (t - s)) ds to the squared error along an eigenvector.
    Trapezoidal rule on a fine grid.
    """
    spectrum, dynamics = marchenko_pastur(problem.sampling_ratio), problem.dynamics
    x, noise = spectrum.eigenvalue, problem.noise_std
    grid = np.linspace(0.0, times[-1], points + 1)
    decay = np.exp(-2 * np.outer(grid, x))
    inverse = np.divide(1.0, x, out=np.zeros_like(x), where=x > 0)
    train = (decay * (x + noise**2)) @ spectrum.samples
    risk = (decay + noise**2 * (1 - np.sqrt(decay)) ** 2 * inverse) @ spectrum.coordinates
    of_train, of_risk = (decay * x**2) @ spectrum.samples, (decay * x) @ spectrum.coordinates
    h = grid[1]
    scale = dynamics.step_size * dynamics.noise_variance(1.0) * h  # N is linear in train_mse
    for k in range(1, points + 1):
        known = train[:k] @ of_train[k:0:-1] - 0.5 * train[0] * of_train[k]
        train[k] = (train[k] + scale * known) / (1 - 0.5 * scale * of_train[0])
        risk[k] += scale * (
            train[: k + 1] @ of_risk[k::-1] - 0.5 * (train[0] * of_risk[k] + train[k] * of_risk[0])
        )
    return np.interp(times, grid, train), np.interp(times, grid, risk)


def test_accumulated_noise_is_a_brownian_motion_at_the_stages():
    """A B B^T A^T = Q(min(c_i, c_j)), with the intensity integrated over the panel."""
    intensity = np.array([[1.0], [2.0], [4.0]])
    accumulated = 0.3 * radau().integration @ Kicks.of(0.3, intensity).loading
    variation = 0.3 * radau().integration @ intensity[:, 0]
    expected = np.minimum.outer(variation, variation)
    np.testing.assert_allclose(accumulated @ accumulated.T, expected, rtol=1e-12)


def test_charges_fall_by_the_noise_alone():
    """d log|ab| = -(2 lambda + s delta I) dt on every path, I that of the training error."""
    problem = Problem(dynamics={**FLOW, "weight_decay": 0.2}, noise_std=0.3)
    march = marched(problem, 8, 0.1)
    times, rate = march.times, 0.05 * problem.dynamics.noise_variance(march.train_mse)
    ends = rate[::STAGES]  # smooth enough for Simpson's rule between every other end
    simpson = np.cumsum(0.1 / 3 * (ends[:-2:2] + 4 * ends[1:-1:2] + ends[2::2]))
    np.testing.assert_allclose(march.noise.variation[2 * STAGES :: 2 * STAGES], simpson, rtol=2e-3)
    expected = np.exp(-0.4 * times - 0.5 * march.noise.variation)
    np.testing.assert_allclose(march.charge_decay(), np.tile(expected, (256, 1)), rtol=1e-12)
    # The state that the paths are computed with says the same.
    product = np.exp(sum(march.paths.state))
    start = march.coordinates.a0 * march.coordinates.b0
    np.testing.assert_allclose(product, start * march.charge_decay()[:, -1], rtol=1e-10)


@pytest.mark.parametrize("ratio", [0.5, 1.5])
def test_linear_model_is_exact(ratio):
    problem = Problem(
        network={"kind": "linear"}, dynamics=FLOW, sampling_ratio=ratio, noise_std=0.3
    )
    solution = solve(problem, t_max=3.0, n_paths=1024, replicates=2, rtol=1e-3)
    assert solution.status == "done"
    times = np.array([0.2, 0.5, 1.0, 2.0, 3.0])
    exact = linear_curves(problem, times)
    still = linear_curves(
        problem.model_copy(update={"dynamics": problem.dynamics.model_copy(
            update={"batch_fraction": 1.0})}), times)  # fmt: skip
    assert np.all(exact[0][1:] > 1.05 * still[0][1:])  # the noise matters
    for name, reference, rtol in zip(
        ("train_mse", "excess_risk"), exact, (0.025, 0.008), strict=True
    ):
        np.testing.assert_allclose(solution.curve_at(name, times), reference, rtol=rtol)


def test_whole_batches_make_a_gradient_flow():
    settings = {"t_max": 4.0, "n_paths": 512, "replicates": 4}
    noiseless = solve(Problem(dynamics={**FLOW, "batch_fraction": 1.0}), **settings)
    flow = solve(Problem(), **settings)
    times = np.array([0.3, 1.0, 4.0])
    for name in ("train_mse", "excess_risk"):
        ours, theirs = (s.curve_at(name, times) for s in (noiseless, flow))
        errors = [s.curve_at(f"{name}_stderr", times) for s in (noiseless, flow)]
        assert np.all(np.abs(ours - theirs) < 4 * np.hypot(*errors)), name
    np.testing.assert_allclose(noiseless.mean_charge, 0.18, rtol=1e-12)
    assert flow.effective_alpha is None


@pytest.mark.slow
def test_small_steps_of_sgd_converge_to_it():
    """At fixed step_size/batch_fraction the difference falls like the step: order one."""
    times, gaps = np.array([0.5, 1.0, 2.0]), []
    for step in (0.1, 0.05):
        noise = {"step_size": step, "batch_fraction": step}
        settings = {"n_paths": 1024, "replicates": 6, "rtol": 1e-2}
        flow = solve(Problem(noise_std=0.3, dynamics={**FLOW, **noise}), t_max=2.0, **settings)
        problem = Problem(noise_std=0.3, dynamics={"kind": "sgd", **noise})
        descent = solve(problem, t_max=round(2.0 / step), **settings)
        gaps.append(
            descent.curve_at("effective_alpha", times / step)
            / flow.curve_at("effective_alpha", times)
            - 1
        )
    assert np.all(np.abs(gaps[0]) > 0.02)
    order = np.log2(gaps[0] / gaps[1])
    np.testing.assert_allclose(order, 1.0, atol=0.2)


def test_resuming_gives_the_same_numbers():
    options = {"t_max": 1.0, "n_paths": 256, "replicates": 2, "rtol": 1e-2}
    whole = solve(Problem(dynamics=FLOW), **options)
    panels = int(whole.panel[-1]) + 1
    for polled in (panels // 2, 2 * panels - 1):
        states, polls = [], []

        def stop(polls=polls, polled=polled) -> bool:
            polls.append(None)
            return len(polls) == polled

        with pytest.raises(Interrupted):
            solve(Problem(dynamics=FLOW), **options, checkpoint=states.append, stop=stop)
        resumed = solve(Problem(dynamics=FLOW), **options, resume=states[-1])
        for name in NAMES:
            np.testing.assert_array_equal(getattr(whole, name), getattr(resumed, name))


def test_an_intensity_that_has_vanished_need_not_settle():
    """Relative to itself while it matters; once it is 1e-12 of its start it costs no sweeps."""
    problem = Problem(sampling_ratio=0.3, noise_std=0.0, dynamics={**FLOW, "batch_fraction": 0.5})
    march = marched(problem, 2, 0.1)
    rows = march.rows[-1]
    first = problem.dynamics.step_size * problem.dynamics.noise_variance(float(march.train_mse[0]))
    for size, expected in ((1.0, 0.1), (1e-2, 0.1 / 1.01), (1e-4, 0.05), (1e-8, 1e-5)):
        now = replace(rows, intensity=np.full((STAGES, 1), 0.9 * size * first))
        better = replace(rows, intensity=np.full((STAGES, 1), size * first))
        found = march.noise.unsettled(now, better) * march.accuracy.tolerance / 0.1
        np.testing.assert_allclose(found, expected, rtol=1e-3)

    solution = solve(problem, t_max=400, n_paths=256, replicates=1, rtol=1e-2, threads=1)
    assert solution.status == "done"
    assert solution.curves["train_mse"].mean[-1] < 1e-10
    assert solution.work["sweeps"] < 270  # 227; 990 and no end if it had to settle


def test_noise_beyond_stability_is_reported():
    wild = {**FLOW, "step_size": 0.01, "batch_fraction": 5e-4}
    solution = solve(Problem(dynamics=wild), t_max=20.0, n_paths=512, replicates=1, rtol=0.05)
    assert solution.status == "not-converged"
    assert "step_size/batch_fraction = 20 is above what is stable" in solution.reason
    assert solution.time[-1] < 20.0


def test_what_the_flow_cannot_do_is_refused():
    with pytest.raises(InputError, match=r"dynamics.kind: .*depth 3, must be of depth 2 or linear"):
        Problem(dynamics=FLOW, network={"depth": 3})
    problem = Problem(dynamics=FLOW, features={"kind": "power-law", "exponent": 1.5})
    with pytest.raises(InputError, match=r"problem.features: given a continuous law"):
        solve(problem, t_max=1.0, n_paths=128)
    with pytest.raises(InputError, match=r"dynamics.kind: .*simulate 'sgd'"):
        dmft.simulate(Problem(dynamics=FLOW), dimension=50, seeds=1)
