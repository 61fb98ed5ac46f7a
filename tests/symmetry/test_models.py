"""Gradients, identities and statements of each model, against finite differences and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import trapezoid

from dmft.errors import InputError
from dmft.symmetry import (
    ExponentialSymmetry,
    Symmetries,
    Training,
    next_charge,
    noise_equilibrium,
    orbit_through,
    scaled_charge,
    train,
)
from dmft.symmetry.models import (
    DiagonalNetwork,
    ScaleInvariant,
    SyntheticData,
    TwoLayerLinear,
    TwoLayerTanh,
)
from dmft.symmetry.training import largest_curvature

MODELS = {
    "diagonal": DiagonalNetwork(dimension=4),
    "deep and wide diagonal": DiagonalNetwork(dimension=3, depth=4, width=2, init_scale=0.9),
    "scale invariant": ScaleInvariant(dimension=5),
    "two-layer linear": TwoLayerLinear(inputs=4, outputs=3, hidden=3),
    "rank one": TwoLayerLinear(inputs=4, outputs=3, hidden=1),
    "two-layer tanh": TwoLayerTanh(inputs=4, outputs=3, hidden=2),
}
EXACT = [name for name in MODELS if "tanh" not in name]


def prepared(name, samples=20, seed=0):
    model = MODELS[name]
    x, y = SyntheticData(samples=samples, seed=seed).draw(*model.widths)
    return model, model.start(np.random.default_rng(seed)), x, y


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_derivatives_of_losses(name):
    model, theta, x, y = prepared(name)
    width = 1e-5
    moves = width * np.eye(model.parameters)
    ahead, behind = model.losses(theta + moves, x, y), model.losses(theta - moves, x, y)
    rows = model.per_sample(theta, x, y)
    np.testing.assert_allclose((ahead - behind).T / (2 * width), rows, atol=1e-7)
    np.testing.assert_allclose(model.gradient(theta, x, y), rows.mean(axis=0), atol=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_sharpness_is_the_trace_of_the_hessian(name):
    model, theta, x, y = prepared(name)
    width = 1e-5
    moves = width * np.eye(model.parameters)
    hessian = (model.gradient(theta + moves, x, y) - model.gradient(theta - moves, x, y)) / (
        2 * width
    )
    assert model.sharpness(theta, x, y) == pytest.approx(np.trace(hessian), rel=1e-6)
    curvature = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
    assert largest_curvature(model, theta, x, y) == pytest.approx(curvature, rel=2e-2)


@pytest.mark.parametrize("name", MODELS)
def test_runs_side_by_side_are_runs_alone(name):
    model, _, x, y = prepared(name)
    theta = np.stack([model.start(np.random.default_rng(seed)) for seed in range(3)])
    batches = np.random.default_rng(1).integers(len(x), size=(3, 7))
    together = model.gradient(theta, x[batches], y[batches])
    rows = model.per_sample(theta, x[batches], y[batches])
    for run, batch in enumerate(batches):
        alone = model.gradient(theta[run], x[batch], y[batch])
        np.testing.assert_allclose(together[run], alone, atol=1e-13)
        np.testing.assert_allclose(rows[run].mean(axis=0), alone, atol=1e-13)
    assert model.sharpness(theta, x, y).shape == (3,)


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("weight_decay", [0.0, 0.7])
def test_one_step_identity(name, weight_decay):
    """Exact at a large step, for every batch, to 1e-12 of the size of the charge."""
    model, theta, x, y = prepared(name)
    step_size = 0.1
    for batch in ([3], [0, 1, 5], list(range(20))):
        gradient = model.gradient(theta, x[batch], y[batch])
        after = (1 - step_size * weight_decay) * theta - step_size * gradient
        for symmetry in model.symmetries():
            assert symmetry.validate(theta, model.per_sample(theta, x, y)) < 1e-13
            predicted = next_charge(symmetry, theta, gradient, step_size, weight_decay)
            size = np.abs(symmetry.values) @ symmetry.project(after) ** 2
            assert abs(symmetry.charge(after) - predicted) < 1e-12 * size


def test_the_tanh_network_lacks_the_symmetry_unless_it_is_linear():
    model, theta, x, y = prepared("two-layer tanh")
    symmetry = model.symmetries()[0]
    with pytest.raises(InputError, match=r"sample \d+ is the worst"):
        symmetry.validate(theta, model.per_sample(theta, x, y))
    small = 1e-4 * theta
    assert symmetry.validate(small, model.per_sample(small, x, y), 1e-6) > 0.0
    # The general identity has a term linear in the step, which the symmetry would forbid.
    gradient = model.gradient(theta, x, y)
    after = theta - 0.1 * gradient
    predicted = next_charge(symmetry, theta, gradient, 0.1)
    linear = -0.2 * theta @ symmetry.apply(gradient)
    assert symmetry.charge(after) == pytest.approx(predicted + linear, rel=1e-12)
    assert abs(linear) > 1e-3


def test_charge_of_a_diagonal_network_is_multiplied():
    """C <- [(1 - eta lambda)^2 - eta^2 g^2 prod of the other factors squared] C."""
    model, theta, x, y = prepared("deep and wide diagonal")
    eta, decay = 0.05, 0.3
    gradient = model.gradient(theta, x, y)
    residual = x @ model.weights(theta) - y[:, 0]
    force = x.T @ residual / len(x)
    before = model.factors(theta)
    after = model.factors((1 - eta * decay) * theta - eta * gradient)
    for layer in range(3):
        others = np.delete(before, [layer, layer + 1], axis=0).prod(axis=0)
        charge = before[layer] ** 2 - before[layer + 1] ** 2
        expected = ((1 - eta * decay) ** 2 - eta**2 * force**2 * others**2) * charge
        np.testing.assert_allclose(after[layer] ** 2 - after[layer + 1] ** 2, expected, atol=1e-14)


def test_sharpness_of_a_diagonal_network_by_its_charges():
    model, theta, x, y = prepared("diagonal")
    u, v = model.factors(theta)[:, 0]
    expected = (x**2).mean(axis=0) @ np.sqrt((u**2 - v**2) ** 2 + 4 * (u * v) ** 2)
    assert model.sharpness(theta, x, y) == pytest.approx(expected)
    assert np.all(u**2 - v**2 == Symmetries(model.symmetries()).charges(theta))
    # Vanishing charges are the flattest point with these weights.
    balanced = np.concatenate([np.sqrt(np.abs(u * v)), np.sign(u * v) * np.sqrt(np.abs(u * v))])
    assert model.sharpness(balanced, x, y) < expected


def test_layerwise_steps():
    """Q = u^2 / eta_u - v^2 / eta_v is multiplied by 1 - eta_u eta_v g^2."""
    model, theta, x, y = prepared("diagonal")
    steps = np.repeat([0.3, 0.02], 4)
    gradient = model.gradient(theta, x, y)
    u, v = model.factors(theta)[:, 0]
    force = gradient[:4] / v
    for i, symmetry in enumerate(model.symmetries()):
        before = scaled_charge(symmetry, theta, steps)
        after = scaled_charge(symmetry, theta - steps * gradient, steps)
        assert before == pytest.approx(u[i] ** 2 / 0.3 - v[i] ** 2 / 0.02, rel=1e-13)
        assert after == pytest.approx((1 - 0.3 * 0.02 * force[i] ** 2) * before, rel=1e-12)
        assert next_charge(symmetry, theta, gradient, steps) == pytest.approx(after, rel=1e-12)
    with pytest.raises(InputError, match="must be one with weight decay"):
        next_charge(symmetry, theta, gradient, steps, 0.1)


def test_charges_decay_at_the_rate_of_the_noise():
    """The slope of mean log|C| against eta^2 (variance + mean^2) of the force is -1 within 3 %."""
    model = DiagonalNetwork(dimension=3, init_scale=1.0)
    x, y = SyntheticData(samples=30, noise_std=1.0).draw(*model.widths)
    rng = np.random.default_rng(2)
    runs, eta, batch = 60, 0.03, 2
    theta = rng.standard_normal((runs, 6))
    clock = np.zeros((runs, 3))
    start = np.log(np.abs(theta[:, :3] ** 2 - theta[:, 3:] ** 2))
    for _ in range(600):
        force = (x @ model.weights(theta)[..., None] - y) * x  # (runs, samples, 3)
        clock += eta**2 * (force.var(axis=1) / batch + force.mean(axis=1) ** 2)
        chosen = rng.integers(30, size=(runs, batch))
        theta = theta - eta * model.gradient(theta, x[chosen], y[chosen])
    fall = start - np.log(np.abs(theta[:, :3] ** 2 - theta[:, 3:] ** 2))
    assert fall.mean() > 0.3
    slope = fall.mean() / clock.mean()
    error = (fall / clock).std() / np.sqrt(fall.size) / (fall / clock).mean()
    assert error < 0.01
    assert slope == pytest.approx(1.0, abs=0.03)


def test_noise_that_dies_freezes_charges_and_label_noise_does_not():
    """C ~ exp(-eta^2 D^2 H_ii k / B) with fresh label noise of variance D^2."""
    model = DiagonalNetwork(dimension=6, init_scale=1.0)
    x, y = SyntheticData(samples=4, noise_std=0.0).draw(*model.widths)  # fewer samples than weights
    common = {"step_size": 0.02, "batch_size": 2, "runs": 30, "points": 11, "seed": 3}
    quiet = train(model, x, y, Training(steps=16_000, **common))
    charge = np.abs(quiet.charges.charge)
    assert quiet.loss[-1].max() < 1e-8
    np.testing.assert_allclose(charge[-1], charge[5], rtol=1e-4)
    assert np.median(charge[-1] / charge[0]) > 0.5
    training = Training(steps=4000, label_noise_std=1.0, **{**common, "step_size": 0.01})
    noisy = train(model, x, y, training, quiet.theta[-1])
    fall = -np.log(np.abs(noisy.charges.charge[-1] / noisy.charges.charge[0])).mean(axis=0)
    predicted = 0.01**2 * 1.0**2 * (x**2).mean(axis=0) * 4000 / 2
    # The residuals that the labels excite, of relative size eta, add a few percent.
    excited = 2.0 * noisy.loss[2:].mean() / 1.0**2
    assert 0.01 < excited < 0.1
    np.testing.assert_allclose(fall, predicted * (1.0 + excited), rtol=0.06)
    assert fall.max() > 0.3


def test_injected_noise_makes_charges_diffuse():
    """No drift, and a variance of 8 T int (u^2 + v^2) dt."""
    model = DiagonalNetwork(dimension=1, init_scale=1.0)
    x, y = SyntheticData(samples=20, noise_std=0.3).draw(1, 1)
    training = Training(
        method="injected-noise", step_size=0.005, temperature=0.01, steps=800, runs=2000,
        points=81, seed=4,
    )  # fmt: skip
    run = train(model, x, y, training, np.tile([1.2, 0.4], (2000, 1)))
    change = (run.charges.charge - run.charges.predicted)[..., 0]
    for k in (20, 40, 80):
        squares = (run.theta[: k + 1] ** 2).sum(axis=-1).mean(axis=1)
        predicted = 8 * 0.01 * trapezoid(squares, dx=10 * 0.005)
        assert abs(change[k].mean()) < 4 * change[k].std() / np.sqrt(2000)
        # The standard error of a variance over 2000 runs is 3.2 %.
        assert change[k].var() == pytest.approx(predicted, rel=4 * 0.032)
    variance = change.var(axis=1)
    power = np.polyfit(np.log(run.step[10:]), np.log(variance[10:]), 1)[0]
    assert power == pytest.approx(1.0, abs=0.1)


def test_length_of_a_scale_invariant_layer():
    """|theta|^4 = sigma^2 Tr Sigma_1 / (4 gamma) with decay, growth like t^(1/4) without."""
    model = ScaleInvariant(dimension=8, init_scale=1.0)
    x, y = SyntheticData(samples=200, noise_std=1.0).draw(*model.widths)
    training = Training(
        step_size=0.01, batch_size=4, weight_decay=0.05, steps=10_000, runs=8, points=201, seed=5
    )
    run = train(model, x, y, training)
    fourth, expected = [], []
    for theta in run.theta[100:].reshape(-1, 8):
        unit = theta / np.linalg.norm(theta)
        rows = model.per_sample(unit, x, y)
        noise = rows.var(axis=0).sum()
        # Terms of the discrete step: the mean gradient, and decay twice.
        mean = rows.mean(axis=0)
        fourth.append(np.linalg.norm(theta) ** 4)
        expected.append(
            training.noise_strength * (noise + 4 * mean @ mean) / (4 * training.penalty)
        )
    assert np.mean(fourth) == pytest.approx(np.mean(expected), rel=0.02)
    theta = run.theta[-1, 0]
    found = orbit_through(
        model.symmetries(), theta, model.per_sample(theta, x, y),
        noise_strength=training.noise_strength, penalty=training.penalty,
    )  # fmt: skip
    length = np.linalg.norm(noise_equilibrium(found).theta)
    unit = theta / np.linalg.norm(theta)
    covariance = model.per_sample(unit, x, y).var(axis=0).sum()
    assert length**4 == pytest.approx(training.noise_strength * covariance / (4 * 0.025))
    free = train(
        model, x, y, training.model_copy(update={"weight_decay": 0.0, "steps": 16_000}),
        0.2 * run.theta[-1],
    )  # fmt: skip
    lengths = np.linalg.norm(free.theta, axis=-1).mean(axis=1)
    later = free.step > 1000
    power = np.polyfit(np.log(free.step[later]), np.log(lengths[later]), 1)[0]
    assert power == pytest.approx(0.25, abs=0.01)


def test_symmetries_of_the_two_layers_are_the_entries_of_the_charge_matrix():
    model = TwoLayerLinear(inputs=4, outputs=3, hidden=3)
    theta = model.start(np.random.default_rng(6))
    first, second = model.split(theta)
    expected = first @ first.T - second.T @ second
    for symmetry in model.symmetries():
        j, k = (int(part) for part in symmetry.name.split("[")[1][:-1].split(","))
        scale = 1.0 if j == k else np.sqrt(2.0)
        assert symmetry.charge(theta) == pytest.approx(scale * expected[j, k])
        assert isinstance(symmetry, ExponentialSymmetry)
