"""Orders of convergence, physical identities of the march, and its failures."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dmft.numerics.collocation import radau
from dmft.numerics.workers import Workers
from dmft.problem import Problem
from dmft.solver.march import March
from dmft.solver.response import diagonal_response
from dmft.solver.sampling import PathSet
from dmft.solver.small_kernels import is_causal
from dmft.theory.linear import learning_curves


def march_uniformly(problem, t_max, panels, paths=128, tolerance=1e-9):
    march = March(
        problem, PathSet(problem, paths, np.random.SeedSequence(0)), None, panels, 10 * tolerance
    )
    for _ in range(panels):
        attempt = march.attempt(t_max / panels)
        assert attempt.converged
        march.commit(attempt.rows)
    return march


@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_order_five_at_panel_ends_on_the_linear_network(ratio):
    problem = Problem(
        sampling_ratio=ratio,
        noise_std=0.3,
        network={"kind": "linear"},
        teacher={"kind": "gaussian"},
    )
    errors = []
    for panels in (3, 6, 12):
        march = march_uniformly(problem, 4.0 / ratio**0.5, panels, tolerance=1e-10)
        exact = learning_curves(problem, march.times)
        errors.append(
            [
                abs(march.risk[-1] - exact.excess_risk[-1]),
                abs(march.train_mse[-1] - exact.train_mse[-1]),
            ]
        )
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(orders[-1] > 4.2)
    assert np.all(np.array(errors[-1]) < 1e-4)


def test_order_of_panels_in_log_time_on_the_linear_network():
    problem = Problem(
        noise_std=0.3, network={"kind": "linear"}, teacher={"kind": "gaussian"},
    )  # fmt: skip
    errors = []
    for panels in (6, 12, 24):
        paths = PathSet(problem, 128, np.random.SeedSequence(0))
        march = March(problem, paths, None, panels + 1, 1e-9, logarithmic=True)
        edges = np.append(0.0, np.geomspace(0.01, 8.0, panels + 1))
        for step in np.diff(edges):
            attempt = march.attempt(step)
            assert attempt.converged
            march.commit(attempt.rows)
        exact = learning_curves(problem, march.times[1:])
        errors.append(np.max(np.abs(march.risk[3::3] - exact.excess_risk[2::3])))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert orders[-1] > 4.2
    assert errors[-1] < 1e-5


def test_order_five_on_a_nonlinear_path():
    """With very many samples the memory vanishes: w' = -2 delta sqrt(w^2 + alpha^4) (w - 1)."""
    ratio, alpha = 1e9, 0.2
    problem = Problem(
        sampling_ratio=ratio,
        noise_std=0.0,
        teacher={"kind": "discrete", "values": [1.0]},
        network={"init_scale": alpha},
    )
    t_max = 3.0 / ratio
    exact = solve_ivp(
        lambda _, w: -2 * np.sqrt(w**2 + alpha**4) * (w - 1), (0, 3), [0.0], rtol=1e-12, atol=1e-14
    ).y[0, -1]
    errors = []
    for panels in (4, 8, 16):
        march = march_uniformly(problem, t_max, panels, paths=64)
        errors.append(abs(march.probability @ march.all_weights()[:, -1] - exact))
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert orders[-1] > 4.5
    assert errors[-1] < 1e-6


def test_charge_is_conserved_on_every_path():
    problem = Problem(network={"init_u": {"kind": "gaussian", "std": 0.5}, "init_v": 0.2})
    march = march_uniformly(problem, 2.0, 4, tolerance=1e-4)
    a, b = np.exp(march.paths.state)
    start = march.coordinates
    assert np.allclose(a * b, np.abs(start.a0 * start.b0), rtol=1e-12)
    # ... and the weights they stand for are those of the last node.
    assert np.allclose((a**2 - b**2) / 2, march.all_weights()[:, -1], rtol=1e-10, atol=1e-12)


def test_response_is_the_derivative_of_the_mean_weights():
    """Novikov: E[e_i rho_j-noise] through R_w, on the linear network where it is exact."""
    problem = Problem(sampling_ratio=0.7, noise_std=0.4, network={"kind": "linear"})
    march = march_uniformly(problem, 3.0, 5, paths=512, tolerance=1e-8)
    noise_response = (march.probability[:, None] * march.error).T @ march.samples.drive.normals
    expected = problem.sampling_ratio**0.5 * march.response @ march.samples.factor[1:]
    assert np.allclose(noise_response, expected, atol=1e-6)


def test_only_the_causal_root_of_the_panel_response_is_taken():
    count, ratio = 64, 0.5
    slope = -np.ones((count, 3))
    workers = Workers(count, None)
    for length in (1.0, 50.0, 1e4):
        integration = length * radau().integration
        wrong = np.diag([1.97, 1.97, 1.97])
        panel = diagonal_response(
            workers, np.full(count, 1 / count), np.ones(count), slope, integration, ratio,
            np.ones(3), wrong,
        )  # fmt: skip
        assert np.linalg.eigvals(panel.diagonal).real.max() < 0
        assert np.allclose(
            panel.diagonal, np.tensordot(np.full(count, 1 / count), panel.response, 1) @ integration
        )


def test_causal_roots_are_those_with_a_spectrum_in_the_right_half_plane():
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((3000, 3, 3)) * rng.choice([0.3, 1.0, 3.0], (3000, 1, 1))
    causal = np.linalg.eigvals(matrices).real.max(axis=1) < 1.0
    assert 0.3 < causal.mean() < 0.7
    assert [is_causal(matrix) for matrix in matrices] == list(causal)


def test_committing_the_same_rows_repeats_the_march_bit_for_bit():
    problem = Problem(noise_std=0.2)
    march = march_uniformly(problem, 2.0, 4, tolerance=1e-4)
    again = March(problem, PathSet(problem, 128, np.random.SeedSequence(0)), None, 4, 1e-3)
    for rows in march.rows:
        again.commit(rows)
    assert np.array_equal(again.risk, march.risk)
    assert np.array_equal(again.samples.factor, march.samples.factor)
    assert np.array_equal(again.samples.force, march.samples.force)


def test_an_impossible_panel_is_a_failed_attempt():
    problem = Problem(network={"depth": 5, "init_scale": 2.0})
    march = March(problem, PathSet(problem, 64, np.random.SeedSequence(0)), None, 2, 1e-3)
    attempt = march.attempt(1e12)
    assert attempt is None or not attempt.converged or attempt.time_error > 0.1
