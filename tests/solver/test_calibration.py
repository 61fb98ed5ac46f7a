"""Responses that obey Gaussian integration by parts exactly."""

import numpy as np
import pytest

import dmft
from dmft.problem import Problem
from dmft.solver.calibration import NoiseRows, row_scales
from dmft.solver.kernels import panel_gains, path_responses
from dmft.solver.march import March
from dmft.solver.pilot import StepControl, adaptive_panels
from dmft.solver.sampling import Sample
from dmft.theory import predict


def _rows(generator, nodes=6, rank=5):
    """A causal response on nodes + 3 nodes and the rows of L, as the march has them."""
    response = np.tril(-0.3 * generator.random((nodes + 3, nodes + 3)))
    noise = generator.normal(size=(nodes + 3, rank + 3))
    noise[:nodes, rank:] = 0.0
    factor = np.linalg.solve(np.eye(nodes) - response[:nodes, :nodes], noise[:nodes, :rank])
    past, diagonal = response[nodes:, :nodes].copy(), response[nodes:, nodes:].copy()
    return NoiseRows(factor, noise[nodes:], diagonal, past), response, noise


def test_scaled_rows_respond_as_the_whole_matrix_does():
    rows, response, noise = _rows(np.random.default_rng(1))
    scale = np.array([0.9, 1.1, 1.2])
    response[6:] *= scale[:, None]
    whole = response @ np.linalg.solve(np.eye(9) - response, noise)
    found, changes = rows.response(scale)
    assert np.allclose(found, whole[6:], atol=1e-13)
    for j, step in enumerate(1e-6 * np.eye(3)):
        difference = (rows.response(scale + step)[0] - rows.response(scale - step)[0]) / 2e-6
        assert np.allclose(changes[j], difference, atol=1e-8)


def test_row_scales_solve_their_equation():
    generator = np.random.default_rng(2)
    rows, _, _ = _rows(generator)
    wanted = np.array([0.95, 1.05, 1.1])
    towards, _ = rows.response(np.ones(3))
    towards /= np.linalg.norm(towards, axis=1)[:, None]
    reaction = 0.1 * generator.random((3, 3))
    moment = np.sum(towards * rows.response(wanted)[0], axis=1) - reaction @ wanted
    start = np.ones(3)
    assert np.allclose(row_scales(rows, towards, moment, reaction, start), wanted, atol=1e-6)
    far = row_scales(rows, towards, moment, reaction, np.full(3, 0.5))
    assert np.all((far >= 0.5) & (far < 0.6))


def test_gains_are_responses_times_coupling():
    generator = np.random.default_rng(3)
    slope, root = -generator.random((20, 3)), 0.5 + generator.random(20)
    coupling, gain = generator.random((3, 3)), np.empty((20, 3, 3))
    response, tangent = np.empty((20, 3, 3)), np.empty((20, 3, 3))
    path_responses(np.full(20, 0.05), root, slope, coupling, 0.5, response, tangent)
    panel_gains(root, slope, coupling, 0.5, gain)
    assert np.allclose(gain, response @ coupling, atol=1e-13)


@pytest.mark.parametrize("dynamics", [{}, {"weight_decay": 0.05}])
@pytest.mark.parametrize("network", [{"init_scale": 0.1}, {"depth": 3, "init_scale": 0.5}])
def test_identity_holds_in_the_sample(network, dynamics):
    """E[e_i z_i] = sqrt(delta) z_i (R_w R_r L)_i after every panel, where paths have moved."""
    problem = Problem(network=network, dynamics=dynamics)
    march = March(problem, Sample(problem, 1024, np.random.SeedSequence(4)), None, 8, 1e-5)
    for _ in adaptive_panels(march, StepControl(problem, march, 0.01), 8.0):
        pass
    found = (march.probability[:, None] * march.error).T @ march.noise
    expected = np.sqrt(problem.sampling_ratio) * march.response @ march.factor[1:]
    towards = expected / np.linalg.norm(expected, axis=1)[:, None]
    late = march.times[1:] > 2.0
    error = np.sum((found - expected) * towards, axis=1) / np.linalg.norm(expected, axis=1)
    assert abs(error[late]).max() < 2e-4
    assert len(march.traced) == 512


def test_small_starts_meet_their_fixed_point():
    """What calibration is for: 2.5(5) % of scatter in the limit without it, measured."""
    problem = Problem(network={"init_scale": 0.01})
    solution = dmft.solve(problem, t_max=3000.0, n_paths=1024, replicates=6, rtol=0.01, seed=5)
    limit = predict(problem).excess_risk
    relative = solution.replicate_excess_risk[:, -1] / limit - 1.0
    assert np.sqrt(np.mean(relative**2)) < 0.022
