"""Charges under momentum: the exact law with buffers, the mean drift, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.symmetry import ChargeTracker, ExponentialSymmetry, Symmetries, Training, train
from dmft.symmetry.models import SyntheticData, TwoLayerLinear
from dmft.symmetry.tracker import expected_drift

MODEL = TwoLayerLinear(inputs=3, outputs=2, hidden=2)
X, Y = SyntheticData(samples=40, noise_std=1.0).draw(3, 2)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_the_law_holds_to_rounding(momentum, nesterov, weight_decay):
    settings = Training(step_size=0.005, batch_size=4, momentum=momentum, nesterov=nesterov,
                        weight_decay=weight_decay, steps=1000, runs=2)  # fmt: skip
    run = train(MODEL, X, Y, settings)
    assert np.abs(run.charges.residual).max() < 1e-12
    moved = np.abs(run.charges.charge[-1] - run.charges.charge[0]) / run.charges.size[0]
    assert moved.max() > 1e-3


@pytest.mark.torch
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_law_holds_for_pytorch_and_not_without_its_momentum(nesterov):
    torch = pytest.importorskip("torch")
    theta = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([theta], 0.05, momentum=0.9, nesterov=nesterov, weight_decay=0.01)
    symmetry = [ExponentialSymmetry.diagonal([1.0, -1.0])]
    right = ChargeTracker(symmetry, 0.05, 0.01, 0.9, nesterov=nesterov)
    wrong = ChargeTracker(symmetry, 0.05, 0.01)
    for step in range(50):
        at = theta.detach().numpy().copy()
        for tracker in (right, wrong):
            tracker.record(step, at)
        optimizer.zero_grad()
        (0.5 * (theta[0] * theta[1] - 1.0) ** 2).backward()
        gradient = theta.grad.numpy().copy()
        optimizer.step()
        right.step(gradient, theta=at)
        wrong.step(gradient)
    assert np.abs(right.result().residual).max() < 1e-13
    assert np.abs(wrong.result().residual).max() > 1e-2
    with pytest.raises(InputError, match="theta: not given"):
        right.step(gradient)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_the_mean_drift_is_that_of_gaussian_gradients(momentum, nesterov):
    """Independent gradients orthogonal to theta^T A: the law averaged over a long run of them."""
    rng = np.random.default_rng(0)
    symmetry = Symmetries([ExponentialSymmetry.diagonal([1.0, -1.0, 0.0])])
    theta = np.array([2.0, 1.0, 0.0])
    eta, chains, first, last = 1e-3, 400, 50, 250
    rows = rng.standard_normal((50, 3)) * [1.0, 0.0, 1.0] + [0.5, 0.0, 0.0]
    rows[:, 1] = 2.0 * rows[:, 0]  # theta^T A g = 0
    expected = expected_drift(
        symmetry, theta, rows, step_size=eta, batch_size=1, momentum=momentum, nesterov=nesterov
    )[0]
    tracker = ChargeTracker(symmetry, eta, 0.0, momentum, nesterov=nesterov)
    start = np.tile(theta, (chains, 1))
    tracker.record(0, start)
    for step in range(1, last + 1):
        tracker.step(rows[rng.integers(len(rows), size=chains)])
        if step in (first, last):
            tracker.record(step, start)
    drifts = np.diff(tracker.result().predicted[1:, :, 0], axis=0)[0] / (last - first)
    error = drifts.std() / np.sqrt(chains)
    assert abs(drifts.mean() - expected) < 4.0 * error
    assert error < 0.05 * abs(expected)


def test_the_noise_strength_grows_with_momentum():
    assert Training(step_size=0.1, batch_size=2, momentum=0.9).noise_strength == pytest.approx(0.5)


@pytest.mark.parametrize("given", ["adam", "AdamW"])
def test_adam_is_refused(given):
    with pytest.raises(InputError, match="must be 'sgd'.*Adam, keep no charge"):
        Training(optimizer=given)


def test_settings_that_contradict_each_other():
    with pytest.raises(InputError, match="momentum: given with injected noise"):
        train(MODEL, X, Y, Training(method="injected-noise", momentum=0.5))
    with pytest.raises(InputError, match="nesterov: given without momentum"):
        train(MODEL, X, Y, Training(nesterov=True))
    with pytest.raises(InputError, match="stability limit"):
        train(MODEL, X, Y, Training(step_size=5.0, momentum=0.9))


@pytest.mark.parametrize("make", [ExponentialSymmetry.of, ExponentialSymmetry.diagonal])
def test_complex_matrices_are_refused(make):
    matrix = np.array([1.0 + 1j, 2.0]) if make == ExponentialSymmetry.diagonal else np.eye(2) * 1j
    with pytest.raises(InputError, match="is complex, must be real"):
        make(matrix)
