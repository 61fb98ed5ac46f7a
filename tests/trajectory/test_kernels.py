"""Maps of the mean field and of simulations against exact kernels and each other."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.errors import InputError
from dmft.results.overlaps import BlockSums
from dmft.store import load, save
from dmft.theory import linear
from dmft.trajectory import algebra
from dmft.trajectory.kernels import flow_length, of_kernel

TIMES = np.geomspace(0.1, 20.0, 12)


@pytest.fixture(scope="module")
def solutions():
    """Independent solves of one replicate: replicates of each other, whatever their nodes."""
    problem = dmft.Problem()
    return [
        dmft.solve(problem, t_max=20.0, n_paths=512, replicates=1, rtol=3e-3, seed=seed)
        for seed in range(6)
    ]


@pytest.fixture(scope="module")
def simulation():
    return dmft.simulate(dmft.Problem(), dimension=400, seeds=12, times=TIMES)


def test_linear_network_against_the_marchenko_pastur_average():
    problem = dmft.Problem(network={"kind": "linear"}, sampling_ratio=0.7)
    solution = dmft.solve(problem, t_max=10.0, n_paths=256, replicates=2)
    path = solution.trajectory_map()
    exact = of_kernel(linear.overlap(problem, path.step), path.step)
    assert path.step.tolist() == [0.0, *solution.time[3::3]]
    assert path.map().points.tolist() == list(range(1, len(path.step)))  # w(0) = 0
    assert np.abs(path.map().values - exact.map().values).max() < 2e-4
    assert path.similarity() == pytest.approx(exact.similarity(), abs=1e-4)
    for name in ("length", "straightness", "participation_ratio"):
        assert path.scalars[name][0] == pytest.approx(exact.scalars[name][0], rel=1e-3)


def test_linear_regression_flow_is_the_marchenko_pastur_average():
    """K = w*' (I - e^(-tH)) (I - e^(-sH)) w* of one large design without noise."""
    problem = dmft.Problem(
        network={"kind": "linear"}, sampling_ratio=0.5, noise_std=0.0, teacher={"kind": "gaussian"}
    )
    simulation = dmft.simulate(problem, dimension=600, seeds=6, times=TIMES)
    exact = of_kernel(linear.overlap(problem, simulation.time), simulation.time).map()
    found = simulation.trajectory_map().map()
    z = (found.values - exact.values)[found.stderr > 0] / found.stderr[found.stderr > 0]
    assert np.abs(z).max() < 5.0
    assert np.abs(found.values - exact.values).max() < 0.02


def test_mean_field_agrees_with_finite_networks(solutions, simulation):
    """Each entry of the map within 4.5 standard errors of both (66 entries, Student tails)."""
    kernels = np.array([s.trajectory_map(times=TIMES).kernel for s in solutions])
    field = of_kernel(kernels / len(kernels), TIMES)
    finite = simulation.trajectory_map().selected(np.arange(1, len(TIMES) + 1))
    a, b = field.map(), finite.map()
    upper = np.triu_indices(len(TIMES), 1)
    z = (a.values - b.values)[upper] / np.hypot(a.stderr, b.stderr)[upper]
    assert np.abs(z).max() < 4.5
    for name in ("mean_directional_similarity", "length", "straightness", "mean_update_angle"):
        (x, dx), (y, dy) = field.scalars[name], finite.scalars[name]
        assert abs(x - y) < 4.5 * np.hypot(dx, dy), name


def test_a_solution_without_blocks_has_maps_without_errors(make_solution):
    solution = make_solution()
    theta = np.random.default_rng(0).standard_normal((len(solution.time), 50))
    kernels = {**vars(solution.kernels), "overlap": theta @ theta.T}
    solution = make_solution(kernels=type(solution.kernels)(**kernels))
    assert solution.trajectory_map().map().stderr is None
    path = solution.trajectory_map(times=solution.time)
    assert np.abs(path.gram - algebra.from_vectors(theta)).max() < 1e-10
    with pytest.raises(InputError, match=r"overlap of \(u, v\) is not in this result"):
        solution.trajectory_map("parameters")
    with pytest.raises(InputError, match="given 'u', allowed: weights, parameters"):
        solution.trajectory_map("u")


def parameters_by_integration(scale, force, steps):
    """u and v of coordinates that follow u' = -g v, v' = -g u under a constant force."""
    u, v = np.full(len(force), np.sqrt(2.0) * scale), np.zeros(len(force))
    path = [(u, v)]
    for _ in range(steps):
        h = 0.01
        slope = lambda u, v: (-force * v, -force * u)  # noqa: E731
        k1 = slope(u, v)
        k2 = slope(u + 0.5 * h * k1[0], v + 0.5 * h * k1[1])
        k3 = slope(u + 0.5 * h * k2[0], v + 0.5 * h * k2[1])
        k4 = slope(u + h * k3[0], v + h * k3[1])
        u, v = (x + h / 6 * (k1[i] + 2 * k2[i] + 2 * k3[i] + k4[i]) for i, x in enumerate((u, v)))
        path.append((u, v))
    return np.array(path)


def test_the_kernel_of_the_parameters_is_a_function_of_the_weights():
    """u u + v v = sqrt(C C) cosh(z + z), and the same from |a| and |b|, of an integrated path."""
    from dmft.simulation.run import _factors

    scale = 0.3
    path = parameters_by_integration(scale, np.random.default_rng(1).standard_normal(20), 200)[::20]
    u, v = path[:, 0], path[:, 1]
    weights = u * v
    exact = u @ u.T + v @ v.T
    z = 0.5 * np.arcsinh(2 * weights / (2 * scale**2))
    cosh = 2 * scale**2 * np.cosh(z[:, None] + z).sum(axis=-1)
    assert np.abs(cosh / exact - 1.0).max() < 1e-8
    factors = _factors(dmft.Problem(), weights, np.full(20, scale**2), np.arange(11.0))
    assert np.abs(factors @ factors.T / exact - 1.0).max() < 1e-8


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_parameters_of_a_simulation(weight_decay):
    """Their squared norm is |u|^2 + |v|^2 at the start; ever after it bounds charge and weights."""
    problem = dmft.Problem(dynamics={"weight_decay": weight_decay}, teacher={"kind": "gaussian"})
    simulation = dmft.simulate(problem, dimension=100, seeds=2, times=TIMES)
    path = simulation.trajectory_map("parameters")
    assert path.kernel[0, 0] == pytest.approx(2 * 0.3**2)
    assert path.map().points[0] == 0
    charge = 2 * 0.3**2 * np.exp(-2 * weight_decay * path.step)
    assert (np.diag(path.kernel) >= charge * (1 - 1e-12)).all()
    # E[u^2 + v^2] = E sqrt(C^2 + 4 w^2), between its value at the mean square of w and 2 E|w|.
    squares = charge**2 + 4 * np.diag(simulation.kernels.overlap)
    assert (np.diag(path.kernel) ** 2 <= squares * (1 + 1e-12)).all()


def test_deeper_networks_have_no_parameter_map():
    problem = dmft.Problem(network={"kind": "diagonal", "depth": 3})
    simulation = dmft.simulate(problem, dimension=50, seeds=2, times=[1.0, 2.0])
    with pytest.raises(InputError, match="needs a network of depth 2"):
        simulation.trajectory_map("parameters")


def test_blocks_survive_a_file(simulation, tmp_path):
    save(tmp_path / "sim.h5", simulation)
    again = load(tmp_path / "sim.h5")
    for of in ("weights", "parameters"):
        a, b = simulation.trajectory_map(of), again.trajectory_map(of)
        assert np.array_equal(a.gram, b.gram)
        assert a.scalars == b.scalars


def test_blocks_of_replicates():
    sums = BlockSums()
    kernels = np.random.default_rng(2).standard_normal((37, 3, 3))
    for kernel in kernels:
        sums.add(weights=kernel, parameters=None)
    sums = BlockSums.from_state(sums.state())
    blocks = sums.blocks()
    assert blocks.sizes.tolist() == [3] * 5 + [2] * 11
    assert blocks.parameters is None
    assert np.abs(blocks.weights[4] - kernels[[4, 20, 36]].sum(axis=0)).max() < 1e-14
    assert np.abs(blocks.weights.sum(axis=0) - kernels.sum(axis=0)).max() < 1e-12


def test_fluctuations_fall_with_the_square_root_of_the_dimension():
    """The standard error of omega over 60 runs of d and of 4d: ratio 2."""
    errors = []
    for dimension in (60, 240):
        path = dmft.simulate(
            dmft.Problem(), dimension=dimension, seeds=64, times=TIMES[::2], rtol=1e-2
        ).trajectory_map()
        errors.append(path.scalars["mean_directional_similarity"][1])
    # Each error has a relative standard error of about 1/sqrt(2 * 16), the number of blocks.
    assert abs(np.log2(errors[0] / errors[1]) - 1.0) < 4.0 * np.sqrt(2.0 / 32) / np.log(2)


def test_length_of_a_flow():
    """A path that goes round: r (cos, sin)(t^2) at the nodes of three-point panels."""
    edges = np.linspace(0.0, 1.0, 21)
    nodes = np.array([0.15505102572168222, 0.6449489742783178, 1.0])
    share = np.array([0.3764030627004673, 0.5124858261884216, 0.1111111111111111])
    time = np.concatenate([[0.0], (edges[:-1, None] + np.diff(edges)[:, None] * nodes).ravel()])
    weights = np.concatenate([[0.0], (np.diff(edges)[:, None] * share).ravel()])
    panel = np.concatenate([[-1], np.repeat(np.arange(20), 3)])
    phase = time**2
    theta = 2.0 * np.stack([np.cos(phase), np.sin(phase)], axis=1)
    exact = 2.0 * 1.0
    assert flow_length(theta @ theta.T, time, panel, weights) == pytest.approx(exact, rel=1e-4)
    polygon = of_kernel(theta @ theta.T, time).scalars["length"][0]
    assert polygon < exact
    assert polygon == pytest.approx(exact, rel=1e-3)
