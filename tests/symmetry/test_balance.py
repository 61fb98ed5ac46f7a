"""The two-layer linear network: closed form, root of the flow and SGD lead to one equilibrium."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.symmetry import (
    ExponentialSymmetry,
    Symmetries,
    Training,
    noise_equilibrium,
    orbit_through,
    train,
)
from dmft.symmetry.balance import (
    NoiseMatrices,
    balanced_parameters,
    flattest_trace,
    least_squares,
    noise_matrices,
    population_matrices,
    trace_of_hessian,
)
from dmft.symmetry.models import TwoLayerLinear

MODEL = TwoLayerLinear(inputs=4, outputs=3, hidden=2)
STRENGTH = 0.005


def teacher(rank=2):
    """A product of rank two, or one, with singular values of order one."""
    left, _, right = np.linalg.svd(np.random.default_rng(11).standard_normal((3, 4)))
    return (left[:, :rank] * [1.5, 1.0][:rank]) @ right[:rank]


def data(samples=400, noise=0.5, rank=2):
    rng = np.random.default_rng(12)
    x = rng.standard_normal((samples, 4)) * np.sqrt([1.6, 1.2, 0.8, 0.6])
    noise = noise * rng.standard_normal((samples, 3)) * np.sqrt([1.5, 1.0, 0.6])
    return x, x @ teacher(rank).T + noise


def of_rank_two(product):
    left, sizes, right = np.linalg.svd(product)
    return (left[:, :2] * sizes[:2]) @ right[:2]


def orbit_of(symmetry, theta, x, y, penalty=0.0):
    rows = MODEL.per_sample(theta, x, y)
    return orbit_through(symmetry, theta, rows, noise_strength=STRENGTH, penalty=penalty)


def random_symmetry(seed):
    """A random symmetric B: the sum of the generators with random coefficients."""
    rng = np.random.default_rng(seed)
    return ExponentialSymmetry.of(
        sum(rng.standard_normal() * symmetry.matrix() for symmetry in MODEL.symmetries())
    )


def test_closed_form_at_the_optimum_of_infinite_data():
    """U = sqrt(Tr Se) Se^(-1/2) P S^(1/2), W = sqrt(Tr Sx) S^(1/2) Q^T Sx^(-1/2)."""
    inputs, noise = np.diag([2.0, 1.0, 0.7, 0.3]), np.diag([2.0, 0.7, 0.3]) / 4
    found = balanced_parameters(MODEL, teacher(), population_matrices(inputs, noise))
    scale = np.sqrt(np.trace(noise) * np.trace(inputs))
    left, sizes, right = np.linalg.svd(np.sqrt(noise) @ teacher() @ np.sqrt(inputs) / scale)
    root = np.sqrt(sizes[:2])
    second = np.sqrt(np.trace(noise)) * np.diag(np.diag(noise) ** -0.5) @ left[:, :2] * root
    first = np.sqrt(np.trace(inputs)) * (root[:, None] * right[:2]) / np.sqrt(np.diag(inputs))
    np.testing.assert_allclose(second @ first, teacher(), atol=1e-14)
    charges = [
        MODEL.split(theta)[0] @ MODEL.split(theta)[0].T
        - MODEL.split(theta)[1].T @ MODEL.split(theta)[1]
        for theta in (found, MODEL.join(first, second))
    ]
    # Equal up to signs of the hidden units, which a rotation may flip.
    np.testing.assert_allclose(np.abs(charges[0]), np.abs(charges[1]), atol=1e-13)


@pytest.mark.parametrize("penalty", [0.0, 0.002])
def test_closed_form_is_the_root_of_every_symmetry(penalty):
    """Away from the optimum too, and with decay: any B has its root at lambda = 0 there."""
    x, y = data()
    off = 0.2 * np.random.default_rng(14).standard_normal((3, 4))
    product = of_rank_two(least_squares(x, y, 2) + off)
    start = balanced_parameters(MODEL, product, NoiseMatrices(np.eye(4), np.eye(3)))
    matrices = noise_matrices(MODEL, start, x, y, noise_strength=STRENGTH, penalty=penalty)
    balanced = balanced_parameters(MODEL, product, matrices)
    again = noise_matrices(MODEL, balanced, x, y, noise_strength=STRENGTH, penalty=penalty)
    np.testing.assert_allclose(again.first, matrices.first, atol=1e-13)  # of the product only
    assert again.imbalance(MODEL, balanced) < 1e-13
    for seed in range(5):
        symmetry = random_symmetry(seed)
        at = orbit_of(symmetry, balanced, x, y, penalty)
        assert abs(noise_equilibrium(at).lam[0]) < 1e-11
        away = orbit_of(symmetry, symmetry.orbit(balanced, 0.3), x, y, penalty)
        result = noise_equilibrium(away)
        assert result.lam[0] == pytest.approx(-0.3, abs=1e-10)
        np.testing.assert_allclose(result.theta, balanced, atol=1e-10)


def test_roots_lead_from_five_starts_to_the_closed_form():
    """Root after root along the generator of steepest flow; the symmetries do not commute."""
    x, y = data()
    product = least_squares(x, y, 2)
    members = MODEL.symmetries()
    for seed in range(5):
        transform = np.random.default_rng(seed).standard_normal((2, 2)) + 1.5 * np.eye(2)
        first, second = MODEL.split(
            balanced_parameters(MODEL, product, NoiseMatrices(np.eye(4), np.eye(3)))
        )
        theta = MODEL.join(transform @ first, second @ np.linalg.inv(transform))
        matrices = noise_matrices(MODEL, theta, x, y)
        assert matrices.imbalance(MODEL, theta) > 0.1
        for _ in range(200):
            flows = [orbit_of(symmetry, theta, x, y).flow()[0] for symmetry in members]
            steepest = sum(
                flow * symmetry.matrix() for flow, symmetry in zip(flows, members, strict=True)
            )
            scale = np.abs(flows).max()
            if scale < 1e-13:
                break
            along = ExponentialSymmetry.of(steepest / scale)
            theta = noise_equilibrium(orbit_of(along, theta, x, y)).theta
        assert matrices.imbalance(MODEL, theta) < 1e-8
        closed = balanced_parameters(MODEL, product, matrices)
        sides = [
            np.linalg.eigvalsh(matrices.sides(MODEL, at)[0]) for at in (theta, closed)
        ]  # rotations of the hidden units are free
        np.testing.assert_allclose(*sides, rtol=1e-8)


def test_sgd_reaches_it_from_five_starts_and_gd_does_not():
    """With one hidden unit, which relaxes fast; scripts/phenomena has the same with two."""
    model = TwoLayerLinear(inputs=4, outputs=3, hidden=1)
    x, y = data(noise=0.8, rank=1)
    training = Training(step_size=0.02, batch_size=8, steps=20_000, runs=5, points=801, seed=1)
    sgd = train(model, x, y, training)
    product = least_squares(x, y, 1)
    anywhere = balanced_parameters(model, product, NoiseMatrices(np.eye(4), np.eye(3)))
    matrices = noise_matrices(model, anywhere, x, y)
    balanced = balanced_parameters(model, product, matrices)
    closed = Symmetries(model.symmetries()).charges(balanced)[0]
    assert (matrices.imbalance(model, sgd.theta[0]) > 0.3).all()
    for run in range(5):
        sides = [
            noise_matrices(model, theta, x, y).sides(model, theta) for theta in sgd.theta[400:, run]
        ]
        left, right = np.mean(sides, axis=0).ravel()
        assert abs(left - right) < 0.03 * (left + right) / 2
        assert sgd.charges.charge[400:, run, 0].mean() == pytest.approx(closed, abs=0.1)
    gd = train(model, x, y, training.model_copy(update={"method": "gd", "steps": 2000}))
    change = np.abs(gd.charges.charge[-1] - gd.charges.charge[0])
    assert (change < 0.05 * gd.charges.size[0]).all()
    assert (np.abs(np.diff(gd.charges.charge[500:], axis=0)) < 1e-6).all()
    assert (np.abs(gd.charges.charge[-1] - closed) > 0.15).all()
    residuals = np.concatenate([sgd.charges.residual, gd.charges.residual])
    assert np.abs(residuals).max() < 1e-12


def test_sharpness_and_the_flattest_point_of_the_fibre():
    rng = np.random.default_rng(13)
    inputs = np.diag([2.0, 1.0, 0.7, 0.3])
    flattest = flattest_trace(teacher(), inputs)
    # The flattest point is the equilibrium of isotropic noise, and only of that.
    isotropic = balanced_parameters(MODEL, teacher(), population_matrices(inputs, 0.3 * np.eye(3)))
    assert trace_of_hessian(MODEL, isotropic, inputs) == pytest.approx(flattest, rel=1e-12)
    skewed = balanced_parameters(
        MODEL, teacher(), population_matrices(inputs, np.diag([1.0, 0.1, 0.02]))
    )
    assert trace_of_hessian(MODEL, skewed, inputs) > 1.05 * flattest
    first, second = MODEL.split(isotropic)
    for _ in range(20):
        transform = np.eye(2) + 0.4 * rng.standard_normal((2, 2))
        other = MODEL.join(transform @ first, second @ np.linalg.inv(transform))
        assert trace_of_hessian(MODEL, other, inputs) > flattest
    x, y = data(40)
    theta = MODEL.start(rng)
    covariance = x.T @ x / len(x)
    assert trace_of_hessian(MODEL, theta, covariance) == pytest.approx(MODEL.sharpness(theta, x, y))


def test_more_hidden_units_than_the_product_needs():
    wide = TwoLayerLinear(inputs=4, outputs=3, hidden=6)
    x, y = data()
    matrices = population_matrices(np.eye(4), np.diag([1.0, 2.0, 3.0]))
    theta = balanced_parameters(wide, least_squares(x, y, 3), matrices)
    first, second = wide.split(theta)
    np.testing.assert_allclose(second @ first, least_squares(x, y, 3), atol=1e-13)
    assert matrices.imbalance(wide, theta) < 1e-13


def test_mistakes():
    good = population_matrices(np.eye(4), np.eye(3))
    with pytest.raises(InputError, match="rank above hidden = 2"):
        balanced_parameters(MODEL, np.eye(3, 4), good)
    with pytest.raises(InputError, match="Gamma_U: given smallest eigenvalue"):
        balanced_parameters(MODEL, teacher(), NoiseMatrices(np.eye(4), np.diag([1.0, 1.0, 0.0])))
