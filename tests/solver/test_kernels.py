"""Compiled kernels against plain NumPy twins."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmft.numerics.collocation import radau
from dmft.simulation.coordinates import start_of
from dmft.solver import kernels, networks
from dmft.solver.networks import depth_of, initial_state, moved_state
from dmft.theory.mirror import mirror_of

K = 3


def half_square(x, level):
    """H(a) of a cut factor, by way of a itself."""
    a = np.where(x <= np.log(level), np.exp(x), level * (1.0 + x - np.log(level)))
    return np.where(a <= level, a**2 / 2, level * a - level**2 / 2)


def phi(code, depth, decay, growth, p, q, accumulated, elapsed):
    """NumPy twin of networks.weight, without the derivative."""
    if code == 3:
        return half_square(p - accumulated, depth) - half_square(q + accumulated, depth)
    if code == 0:
        return np.exp(-decay * elapsed) * (p - accumulated)
    if code == 1:
        a, b = np.exp(p - accumulated - decay * elapsed), np.exp(q + accumulated - decay * elapsed)
        return (a**2 - b**2) / 2
    scale = np.exp(growth * elapsed)
    a = (scale * (p + (depth - 2) * accumulated)) ** (-1 / (depth - 2))
    b = (scale * (q - (depth - 2) * accumulated)) ** (-1 / (depth - 2))
    return (a**depth - b**depth) / depth


# code, depth (of a truncated network its level), decay, growth
NETWORKS = [
    (0, 1, 0.1, -0.1), (1, 2, 0.05, 0.0), (2, 3, 0.0, 0.0), (2, 5, 0.02, 0.06), (3, 0.6, 0.0, 0.0),
]  # fmt: skip


def some_paths(code, count=40, seed=0):
    generator = np.random.default_rng(seed)
    if code == 2:
        p, q = generator.uniform(2, 4, (2, count))
    else:
        p, q = generator.normal(-0.5, 0.3, (2, count))
    return p, q, generator


@pytest.mark.parametrize(("code", "depth", "decay", "growth"), NETWORKS)
def test_weights_and_their_slope(code, depth, decay, growth):
    p, q, generator = some_paths(code)
    accumulated = generator.uniform(-0.2, 0.2, (len(p), K))
    elapsed = np.array([0.1, 0.5, 1.0])
    w, slope = np.empty_like(accumulated), np.empty_like(accumulated)
    networks.weights_on_stages(code, depth, decay, growth, p, q, accumulated, elapsed, w, slope)
    twin = phi(code, depth, decay, growth, p[:, None], q[:, None], accumulated, elapsed)
    assert np.allclose(w, twin, rtol=1e-13, atol=1e-15)
    step = 1e-6
    ahead, behind = (
        phi(code, depth, decay, growth, p[:, None], q[:, None], accumulated + s, elapsed)
        for s in (step, -step)
    )
    assert np.allclose(slope, (ahead - behind) / (2 * step), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("code", "depth", "decay", "growth"), NETWORKS)
def test_paths_solve_their_equations(code, depth, decay, growth):
    p, q, generator = some_paths(code, seed=1)
    count, ratio, step = len(p), 0.7, 0.8
    root = generator.uniform(0.5, 1.5, count)
    teacher = generator.normal(size=count)
    drive, shift = 0.3 * generator.normal(size=(2, count, K))
    tableau = radau(growth * step)
    coupling = (
        step * tableau.integration @ np.linalg.inv(np.eye(K) + 0.1 * generator.random((K, K)))
    )
    accumulated = np.zeros((count, K))
    w, slope = np.empty((count, K)), np.empty((count, K))
    _, failed = networks.solve_weights(
        code, depth, decay, growth, p, q, root, teacher, step * tableau.nodes, coupling, ratio,
        drive, shift, 1e-7, accumulated, w, slope,
    )  # fmt: skip
    assert failed == 0
    force = ratio * root[:, None] * (w - teacher[:, None]) + drive
    assert np.allclose(accumulated, root[:, None] * (shift + force @ coupling.T), atol=1e-10)


def test_a_path_without_solution_is_counted():
    huge = np.full(1, 1e308)
    w = np.empty((1, K))
    _, failed = networks.solve_weights(
        1, 2, 0.0, 0.0, np.zeros(1), np.zeros(1), np.ones(1), huge, np.ones(K),
        1e10 * np.eye(K), 1.0, *np.zeros((2, 1, K)), 1e-7, np.zeros((1, K)), w, w.copy(),
    )  # fmt: skip
    assert failed == 1


def test_path_responses_against_matrix_inverses():
    generator = np.random.default_rng(2)
    count, ratio = 30, 1.3
    probability = generator.random(count)
    root = generator.uniform(0.5, 1.5, count)
    slope = -generator.random((count, K))
    coupling = generator.random((K, K))
    response, tangent = np.empty((count, K, K)), np.empty((count, K, K))
    mean, square = kernels.path_responses(
        probability, root, slope, coupling, ratio, response, tangent
    )
    for m in range(count):
        inverse = np.linalg.inv(np.eye(K) - ratio * root[m] ** 2 * coupling @ np.diag(slope[m]))
        assert np.allclose(tangent[m], inverse)
        assert np.allclose(response[m], root[m] ** 2 * np.diag(slope[m]) @ inverse)
    assert np.allclose(mean, np.einsum("m,mij->ij", probability, response))
    assert np.allclose(square, np.einsum("m,mia,mbj->iabj", probability, response, response))


def test_tangents_are_derivatives_of_the_whole_march():
    """Two panels of one path by packed recursion against the dense matrix formula."""
    generator = np.random.default_rng(3)
    count, panels, ratio = 4, 3, 0.6
    nodes = K * panels
    root = generator.uniform(0.5, 1.5, count)
    slopes = -generator.random((count, nodes))
    steps = [0.3, 0.5, 0.4]
    response = np.tril(0.2 * generator.normal(size=(nodes, nodes)))
    for k in range(panels):  # full diagonal blocks
        block = slice(K * k, K * k + K)
        response[block, block] = -0.2 * generator.random((K, K))
    packed = np.zeros((count, K * K * panels * (panels + 1) // 2))
    start = np.zeros((count, nodes))
    integral = np.zeros((nodes, nodes))
    for k, step in enumerate(steps):
        integration = step * radau().integration
        integral[K * k :, K * k : K * k + K] = integration[-1]
        block = slice(K * k, K * k + K)
        integral[block, block] = integration
        inverse = np.linalg.inv(np.eye(K) - response[block, block])
        coupling = integration @ inverse
        h, tangent = np.empty((count, K, K)), np.empty((count, K, K))
        slope = slopes[:, block]
        kernels.path_responses(np.ones(count), root, slope, coupling, ratio, h, tangent)
        kernels.advance_tangents(
            packed, start, response[block, : K * k].copy(), root, slope, tangent, coupling,
            inverse, integration, ratio, 1.0,
        )  # fmt: skip
    residual_response = np.linalg.inv(np.eye(nodes) - response)
    for m in range(count):
        # F = h + delta R_r D, D = sqrt(s) Phi' dG, dG = sqrt(s) (integral of F).
        drift = ratio * residual_response @ np.diag(root[m] ** 2 * slopes[m]) @ integral
        force = np.linalg.inv(np.eye(nodes) - drift)
        assert np.allclose(start[m], root[m] * (integral @ force)[-1])
        offset = 0
        for k in range(panels):
            width = K * (k + 1)
            rows = packed[m, offset : offset + K * width].reshape(K, width)
            assert np.allclose(rows, (force - np.eye(nodes))[K * k : width, :width])
            offset += K * width


def test_an_unknown_network_raises():
    p, one, elapsed = np.zeros(1), np.ones(1), np.zeros(3)
    accumulated, w, slope = np.zeros((3, 1, 3))
    law = (7, 3, 0.0, 0.0)
    with pytest.raises(ValueError, match="unknown network"):
        networks.weight(*law, 1.0, 1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="unknown network"):
        networks.weights_on_stages(*law, p, p, accumulated, elapsed, w, slope)
    with pytest.raises(ValueError, match="unknown network"):
        networks.solve_weights(
            *law, p, p, one, one, elapsed, np.eye(3), 1.0, *np.ones((2, 1, 3)), 1e-7,
            accumulated, w, slope,
        )  # fmt: skip
    with pytest.raises(ValueError, match="unknown network"):
        networks._admissible_part(7, 3, 0.0, 1.0, 1.0, np.zeros(3), np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="unknown network 7"):
        initial_state(7, 3, one, one)
    with pytest.raises(ValueError, match="unknown network 7"):
        moved_state(*law, one, one, one, 0.1)
    with pytest.raises(ValueError, match="unknown network 7"):
        networks.bounded(7, 3, 0.0, one, one, accumulated, elapsed)


def test_an_unknown_network_raises_in_steps_simulations_and_theory():
    network = SimpleNamespace(code=7, kind="new", depth=3, constant=3)
    problem = SimpleNamespace(network=network)
    one = np.ones(2)
    with pytest.raises(ValueError, match="unknown network 7"):
        depth_of(network)
    with pytest.raises(ValueError, match="unknown network 7"):
        start_of(network, 0.0, one, one)
    with pytest.raises(ValueError, match="unknown network 7"):
        mirror_of(problem, SimpleNamespace(a0=one, b0=one))


@pytest.mark.parametrize(("log_start", "decay"), [(-230.0, 0.0), (-40.0, 3.0)])
def test_weights_leave_tiny_starts_within_one_panel(log_start, decay):
    """From e^-230, or with a decay of 60 in the panel: more than a hundred steps of 0.7 in G."""
    law, p = (1, 2, decay, 0.0), np.full(2, log_start)
    elapsed, coupling = 20.0 * radau().nodes, 20.0 * radau().integration
    target, drive, shift = np.zeros(2), np.array([[-15.0] * 3, [15.0] * 3]), np.zeros((2, 3))
    stages = np.zeros((3, 2, 3))
    _, failed = networks.solve_weights(
        *law, p, p, np.ones(2), target, elapsed, coupling, 0.5, drive, shift, 1e-10, *stages
    )
    assert failed == 0
    force, w = stages[:2]
    np.testing.assert_allclose(force, (0.5 * w + drive) @ coupling.T, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(w[0], -w[1], rtol=1e-9)
    factors = 2.0 * (log_start - force[0] - decay * elapsed)
    np.testing.assert_allclose(w[0], 0.5 * np.exp(factors), rtol=1e-6)
    assert w[0, -1] > 5.0


def test_guesses_are_kept_where_weights_are_finite():
    p, q = np.array([2.0, 4.0]), np.array([3.0, 1.0])
    far, elapsed = np.array([[-900.0, 900.0], [0.5, -0.5]]), np.array([10.0, 40.0])
    # At depth 2 the room grows with the weight decay, as |G| does on the support.
    kept = networks.bounded(1, 2, 0.5, p, q, far, elapsed)
    np.testing.assert_array_equal(kept, [[-8.0, 23.0], [0.5, -0.5]])
    kept = networks.bounded(2, 4, 0.5, p, q, far, elapsed)
    np.testing.assert_allclose(kept, [[-0.8, 1.2], [0.4, -0.5]])
    assert (np.minimum(p[:, None] + 2 * kept, q[:, None] - 2 * kept) > 0.0).all()
    np.testing.assert_array_equal(networks.bounded(0, 1, 0.5, p, q, far, elapsed), far)
