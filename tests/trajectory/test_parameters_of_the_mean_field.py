"""Maps of (u, v) in infinite dimension, from the kernel that the solver keeps per block."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.store import load, save

TIMES = np.geomspace(0.1, 10.0, 10)


@pytest.fixture(scope="module")
def solution():
    return dmft.solve(dmft.Problem(), t_max=10.0, n_paths=512, replicates=6, rtol=3e-3)


def test_blocks_are_the_overlap(solution):
    blocks = solution.blocks
    assert blocks.sizes.tolist() == [1] * 6
    mean = blocks.weights.sum(axis=0) / 6
    assert np.abs(mean - solution.kernels.overlap).max() < 1e-13


def test_the_start_and_the_norm(solution):
    """At t = 0 their mean square is 2 alpha^2, later E[(C^2 + 4 w^2)^(1/2)]."""
    kernel = solution.trajectory_map("parameters").kernel
    assert kernel[0, 0] == pytest.approx(2 * 0.3**2)
    paths = solution.paths
    norm = np.sqrt((2 * 0.3**2) ** 2 + 4 * paths.weights**2)
    assert np.diag(kernel)[-1] == pytest.approx(paths.probability @ norm[:, -1] /
                                                paths.probability.sum(), rel=0.5)  # fmt: skip


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_agrees_with_finite_networks(weight_decay):
    problem = dmft.Problem(dynamics={"weight_decay": weight_decay})
    solution = dmft.solve(problem, t_max=10.0, n_paths=512, replicates=6, rtol=1e-3)
    simulation = dmft.simulate(problem, dimension=400, seeds=12, times=TIMES)
    times = np.concatenate([[0.0], TIMES])
    field, finite = (
        solution.trajectory_map("parameters", times),
        simulation.trajectory_map("parameters"),
    )
    a, b = field.map(), finite.map()
    assert a.points[0] == b.points[0] == 0
    upper = np.triu_indices(len(times), 1)
    z = (a.values - b.values)[upper] / np.hypot(a.stderr, b.stderr)[upper]
    assert np.abs(z).max() < 4.5


def test_blocks_survive_a_file(solution, tmp_path):
    save(tmp_path / "out.h5", solution)
    again = load(tmp_path / "out.h5")
    for of in ("weights", "parameters"):
        a, b = solution.trajectory_map(of), again.trajectory_map(of)
        assert np.array_equal(a.gram, b.gram)
        assert a.scalars == b.scalars
