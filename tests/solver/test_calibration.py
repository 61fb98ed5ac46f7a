"""Responses that obey Gaussian integration by parts exactly."""

from dataclasses import replace

import numpy as np
import pytest

import dmft
from dmft.numerics.collocation import radau
from dmft.problem import Problem
from dmft.solver.accuracy import Swept
from dmft.solver.calibration import NoiseRows, scale_growth
from dmft.solver.kernels import panel_gains, path_responses
from dmft.solver.march import March
from dmft.solver.pilot import StepControl, adaptive_panels
from dmft.solver.sampling import PathSet
from dmft.solver.scale_step import ScaleStep
from dmft.theory import predict


def _rows(generator, nodes=6, rank=5):
    """A causal response on nodes + 3 nodes, the rows of L, and what the march makes of them."""
    response = np.tril(-0.3 * generator.random((nodes + 3, nodes + 3)))
    noise = generator.normal(size=(nodes + 3, rank + 3))
    noise[:nodes, rank:] = 0.0
    factor = np.linalg.solve(np.eye(nodes) - response[:nodes, :nodes], noise[:nodes, :rank])
    changes = np.tril(0.2 * generator.normal(size=(3, nodes + 3, nodes + 3)))[:, nodes:]
    new = response[nodes:]
    rows = NoiseRows(
        factor, noise[nodes:], new[:, nodes:].copy(), new[:, :nodes].copy(),
        changes[:, :, nodes:], changes[:, :, :nodes],
    )  # fmt: skip
    return rows, response, changes, noise


def test_changed_rows_respond_as_the_whole_matrix_does():
    rows, response, changes, noise = _rows(np.random.default_rng(1))
    growth = np.array([-0.1, 0.1, 0.2])
    response[6:] += np.tensordot(growth, changes, 1)
    whole = response @ np.linalg.solve(np.eye(9) - response, noise)
    found, slopes = rows.response(growth)
    assert np.allclose(found, whole[6:], atol=1e-13)
    for j, step in enumerate(1e-6 * np.eye(3)):
        difference = (rows.response(growth + step)[0] - rows.response(growth - step)[0]) / 2e-6
        assert np.allclose(slopes[j], difference, atol=1e-8)


def test_scale_growth_solves_its_equation():
    generator = np.random.default_rng(2)
    rows, _, _, _ = _rows(generator)
    wanted = np.array([-0.01, 0.01, 0.02])
    towards, _ = rows.response(np.zeros(3))
    towards /= np.linalg.norm(towards, axis=1)[:, None]
    reaction = 0.1 * generator.random((3, 3))
    moment = np.sum(towards * rows.response(wanted)[0], axis=1) - reaction @ wanted
    found = scale_growth(rows, towards, moment, reaction, np.ones(3))
    assert np.allclose(found, wanted, atol=1e-6)
    least = scale_growth(rows, towards, moment, reaction, np.full(3, 0.5))
    assert np.all(least >= -1e-12)


def _march(paths=1024, t_max=8.0, rtol=0.01, **changes):
    problem = Problem(**changes)
    march = March(problem, PathSet(problem, paths, np.random.SeedSequence(4)), None, 8, 0.01 * rtol)
    for _ in adaptive_panels(march, StepControl(problem, march, rtol), t_max):
        pass
    return march


def test_changes_are_derivatives_in_the_scales():
    """Finite differences; in R_p for paths whose response inside the panel is given."""
    march = _march(paths=512)
    slope = -np.random.default_rng(6).random((512, 3))
    integration = radau().integration

    def panel(scale):
        return march.tracers.diagonal(slope, integration, scale, march.rows[-1].diagonal)

    scale = np.array([0.9, 1.0, 1.2])
    here = panel(scale)
    past = march.tracers.past(here)
    for j, step in enumerate(1e-5 * np.eye(3)):
        up, down = panel(scale * np.exp(step)), panel(scale * np.exp(-step))
        difference = (up.diagonal - down.diagonal) / 2e-5
        assert np.allclose(here.changes[j], difference, atol=1e-8)
        scaled = [
            march.tracers.past(replace(here, response=np.exp(x)[:, None] * here.response)).rows
            for x in (step, -step)
        ]
        difference = (scaled[0] - scaled[1]) / 2e-5
        assert np.allclose(past.changes()[j], difference, atol=2e-2 * abs(difference).max())


def test_responses_continue_from_panel_to_panel():
    """A short panel starts with the last row; averages that are scaled only afterwards jump."""
    march = _march(network={"init_scale": 0.01}, t_max=40.0, rtol=0.003)
    last = march.response[-1]
    rows = march.attempt(1e-5 * march.time).rows
    assert abs(march.rows[-1].scale[-1] - 1.0) > 0.02
    assert np.linalg.norm(rows.past[0] - last) < 5e-4 * np.linalg.norm(last)


def test_scales_follow_noise_rows_as_paths_do():
    """Finite differences: noise rows change, the paths with them, and the scales are found anew."""
    march = _march(t_max=20.0)
    attempt, fresh = march.attempt(5.0), march.samples.drive.fresh(3)
    rows, panel_time = attempt.rows, march._panel(5.0)
    step, stages = panel_time.integration, march._first_guess(panel_time, march.times, march.error)
    coupling = step @ rows.inverse
    march._solve(stages, panel_time.elapsed, coupling, march._drive(rows), None, 1e-7)
    error, normals = march._error_of(stages), np.hstack([march.samples.drive.normals, fresh])
    panel = march.tracers.diagonal(stages.slope, step, rows.scale, rows.diagonal)
    response = march.tracers.past(panel)
    gain = march.paths.gains(stages.slope, panel.coupling, march.samples.ratio)
    current = np.hstack([rows.known, rows.fresh])

    def scales(change):
        moved = np.sqrt(march.samples.ratio) * normals @ change.T
        there = error + np.einsum("mij,mj->mi", gain, moved)
        found = NoiseRows(
            march.samples.factor[1:], current + change, panel.diagonal, response.rows,
            panel.changes, response.changes(),
        )  # fmt: skip
        force = march.samples.force_of(error, march._drive(rows), rows.inverse)
        swept = Swept(rows, stages.slope, there, force)
        return ScaleStep(
            found, swept, march.samples, march.accuracy, march.probability, gain, normals
        )

    growth = scales(np.zeros_like(current)).following().growth
    along = current / np.linalg.norm(current)
    for stage in range(3):
        change = np.zeros_like(current)
        change[stage] = 1e-4 * along[stage]
        difference = (scales(change).growth - scales(-change).growth) / 2.0
        followed = np.tensordot(growth, change, 2)
        assert np.linalg.norm(difference - followed) < 0.05 * np.linalg.norm(followed)


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
    march = _march(network=network, dynamics=dynamics)
    found = (march.probability[:, None] * march.error).T @ march.samples.drive.normals
    expected = np.sqrt(march.samples.ratio) * march.response @ march.samples.factor[1:]
    towards = expected / np.linalg.norm(expected, axis=1)[:, None]
    late = march.times[1:] > 2.0
    error = np.sum((found - expected) * towards, axis=1) / np.linalg.norm(expected, axis=1)
    assert abs(error[late]).max() < 2e-4
    assert len(march.tracers.index) == 512


def test_small_starts_meet_their_fixed_point():
    """What calibration is for: 2.5(5) % of scatter in the limit without it, measured."""
    problem = Problem(network={"init_scale": 0.01})
    solution = dmft.solve(problem, t_max=3000.0, n_paths=1024, replicates=6, rtol=0.01, seed=5)
    limit = predict(problem).excess_risk
    relative = solution.replicate_excess_risk[:, -1] / limit - 1.0
    assert np.sqrt(np.mean(relative**2)) < 0.022
