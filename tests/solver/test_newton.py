"""The Newton step of the noise rows and the rotation of noise directions: their signs matter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import dmft
from dmft.solver.newton import Following, PanelNoise
from dmft.solver.newton_kernels import answer_to_noise, solved_rows
from dmft.solver.noise import NoiseBasis
from dmft.solver.pilot import noise_rotation


@pytest.mark.parametrize("scales", [0, 3])
def test_a_newton_step_solves_the_linear_equations_it_says(scales):
    """change - projected(change) = found - current + reaction, with dense matrices.

    Scales that follow the change move the drive as well.
    """
    rng = np.random.default_rng(4)
    paths, rank, ratio = 400, 4, 0.7
    probability = np.full(paths, 1.0 / paths)
    basis = NoiseBasis(np.sqrt(probability), 0.1)
    basis.extend(basis.rows(rng.standard_normal((paths, rank))).directions)
    normals, fresh = rng.standard_normal((paths, rank)), rng.standard_normal((paths, 3))
    noise = PanelNoise(probability, ratio, normals, fresh, basis.paths)
    found = basis.rows(rng.standard_normal((paths, 3)))
    gain = 0.1 * rng.standard_normal((paths, 3, 3))
    memory = 20.0 * rng.standard_normal((paths, 3))
    current = np.hstack([found.known, found.fresh]) + 0.1 * rng.standard_normal((3, rank + 3))
    growth = 0.5 * rng.standard_normal((scales, 3, rank + 3))
    of_scales = 20.0 * rng.standard_normal((scales, paths, 3))
    following = Following(growth, of_scales) if scales else None
    step = noise.newton_step(gain, found, current, memory, following)

    def projected(drive):
        moved = ratio**0.5 * np.einsum("mij,mj->im", gain, drive)
        directions = np.hstack([basis.paths, found.directions[:-1]])
        projection = moved @ (np.sqrt(probability)[:, None] * directions)
        projection[:, -3:] = found.fresh_change(projection[:, -3:])
        return projection

    reaction = projected(memory / ratio**0.5)
    right = np.hstack([found.known, found.fresh]) - current + reaction
    left = step - projected(np.hstack([normals, fresh]) @ step.T)
    for derivative, moved in zip(growth, of_scales, strict=True):
        followed = np.sum(derivative * step) * projected(moved / ratio**0.5)
        assert np.linalg.norm(followed) > 0.05 * np.linalg.norm(right)
        left = left - followed
    assert np.linalg.norm(reaction) > 0.3 * np.linalg.norm(right - reaction)
    assert np.linalg.norm(left - right) < 0.03 * np.linalg.norm(right)


def _system(seed=5, paths=300, width=8, size=0.3):
    """Gains, normals, directions and fresh rows of a step, and a right side."""
    rng = np.random.default_rng(seed)
    gain = size * rng.standard_normal((paths, 3, 3)).astype(np.float32)
    normals, directions = rng.standard_normal((2, paths, width)).astype(np.float32)
    fresh = np.triu(rng.random((3, 3)) + 0.5)
    return (gain, normals, directions / paths**0.5, fresh), rng.standard_normal((3, width))


def test_the_step_stops_at_its_tolerance_and_at_its_budget():
    system, right = _system()
    none = np.zeros((0, *right.shape))

    def left(found):
        answer = answer_to_noise(*system[:2], found.astype(np.float32), *system[2:])
        return np.linalg.norm(right - found + answer) / np.linalg.norm(right)

    budgets = [left(solved_rows(*system, none, none, right, 1e-12, most)) for most in range(5)]
    assert budgets[0] == 1.0
    assert np.all(np.diff(budgets) < 0.0)
    exact = left(solved_rows(*system, none, none, right, 1e-12, 24))
    assert exact < 1e-5  # single precision
    within = left(solved_rows(*system, none, none, right, 0.02, 24))
    assert exact < within <= 0.02
    assert not np.any(solved_rows(*system, none, none, 0.0 * right, 0.02, 20))


@pytest.mark.parametrize("network, most", [({}, 3.0), ({"init_scale": 0.02}, 2.5)])
def test_sweeps_stay_few(network, most):
    """A wrong sign in the step changes no result; it costs sweeps: 3.6 and 3.2 a panel."""
    problem = dmft.Problem(network=network)
    solution = dmft.solve(problem, t_max=100.0, n_paths=1024, replicates=1)
    assert solution.status == "done"
    assert solution.work["sweeps"] / solution.work["panels"] < most


def test_late_sweeps_stay_few_after_small_starts():
    """Scales and noise rows that step without each other take 19 late nodes, 5.0 sweeps a panel."""
    problem = dmft.Problem(network={"init_scale": 1e-4})
    solution = dmft.solve(problem, t_max=1e4, n_paths=1024, replicates=1, seed=0)
    assert solution.status == "done"
    assert np.sum(solution.time > 1e3) <= 16
    assert solution.work["sweeps"] < 4.4 * solution.work["panels"]


def test_rotation_puts_first_what_moves_small_errors():
    """Direction 1 moves the weights early, when the error is large, direction 0 late."""
    response = np.eye(4)
    moved = np.zeros((5, 3))
    moved[1, 1], moved[4, 0] = 1.0, 0.5
    march = SimpleNamespace(
        response=response,
        noise_response=lambda: moved,
        risk=np.array([1.0, 1.0, 0.1, 0.02, 0.01]),
    )
    first = np.abs(noise_rotation(march)[0])
    np.testing.assert_allclose(first, [1.0, 0.0, 0.0], atol=1e-12)
