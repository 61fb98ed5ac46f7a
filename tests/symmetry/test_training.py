"""Training, tracking and the predicted drift."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.symmetry import ChargeTracker, Symmetries, Training, expected_drift, train
from dmft.symmetry.models import DiagonalNetwork, ScaleInvariant, SyntheticData, TwoLayerLinear
from dmft.symmetry.tracker import integrated

MODEL = DiagonalNetwork(dimension=3, depth=3)


def data(model, samples=30):
    return SyntheticData(samples=samples).draw(*model.widths)


@pytest.mark.parametrize("method", ["sgd", "gd"])
@pytest.mark.parametrize("model", [MODEL, ScaleInvariant(dimension=4), TwoLayerLinear(hidden=3)])
def test_charges_follow_their_recursion(model, method):
    training = Training(
        method=method, step_size=0.02, weight_decay=0.05, steps=500, warmup_steps=100, runs=3,
        label_noise_std=0.3, points=6,
    )  # fmt: skip
    run = train(model, *data(model), training)
    assert run.step.tolist() == [0, 100, 200, 300, 400, 500]
    assert run.charges.charge.shape == (6, 3, len(model.symmetries()))
    assert np.abs(run.charges.residual).max() < 1e-13
    assert np.abs(run.charges.charge[-1] - run.charges.charge[0]).max() > 1e-3


def test_a_wrong_gradient_leaves_a_residual():
    """What the tracker is for: momentum, or a loss without the symmetry, shows at once."""
    rng = np.random.default_rng(0)
    x, y = data(MODEL)
    theta = MODEL.start(rng)
    tracker = ChargeTracker(MODEL.symmetries(), 0.02)
    velocity = np.zeros(len(theta))
    for step in range(100):
        tracker.record(step, theta)
        gradient = MODEL.gradient(theta, x, y)
        velocity = 0.9 * velocity + gradient
        tracker.step(velocity)
        theta = theta - 0.02 * velocity
    assert np.abs(tracker.result().residual).max() > 1e-4


def test_same_seed_same_run():
    x, y = data(MODEL)
    training = Training(steps=50, points=3, seed=4)
    first, second = train(MODEL, x, y, training), train(MODEL, x, y, training)
    assert (first.theta == second.theta).all()
    other = train(MODEL, x, y, training.model_copy(update={"seed": 5}))
    assert (first.theta != other.theta).any()


def test_expected_drift_is_the_mean_of_many_steps():
    x, y = data(MODEL)
    theta = MODEL.start(np.random.default_rng(1))
    stack = Symmetries(MODEL.symmetries())
    rows = MODEL.per_sample(theta, x, y)
    drift = expected_drift(stack, theta, rows, step_size=0.1, batch_size=3, weight_decay=0.2)
    chosen = np.random.default_rng(2).integers(30, size=(40_000, 3))
    gradients = rows[chosen].mean(axis=1)
    after = (1 - 0.1 * 0.2) * theta - 0.1 * gradients
    change = stack.charges(after) - stack.charges(theta)
    error = change.std(axis=0) / np.sqrt(len(chosen))
    assert (np.abs(change.mean(axis=0) - drift) < 4 * error).all()
    # The noise is seen: without it the drift would be another one.
    quiet = expected_drift(stack, theta, rows, step_size=0.1, batch_size=10**9, weight_decay=0.2)
    assert (np.abs(quiet - drift) > 5 * error).any()


def test_drift_integrated_along_a_run_predicts_the_charges():
    x, y = SyntheticData(samples=30, noise_std=1.0).draw(3, 1)
    model = DiagonalNetwork(dimension=3, init_scale=1.0)
    run = train(model, x, y, Training(step_size=0.01, steps=3000, runs=1, points=301))
    stack = Symmetries(model.symmetries())
    drift = [
        expected_drift(
            stack, theta, model.per_sample(theta, x, y), step_size=0.01, batch_size=1
        )
        for theta in run.theta[:, 0]
    ]  # fmt: skip
    predicted = integrated(run.step, np.array(drift), run.charges.charge[0, 0])
    change = np.abs(run.charges.charge[-1, 0] - run.charges.charge[0, 0])
    assert (np.abs(predicted[-1] - run.charges.charge[-1, 0]) < 0.1 * change).all()


def test_divergence_is_reported_and_what_was_reached_is_kept():
    x, y = data(MODEL)
    run = train(
        MODEL, x, y, Training(method="gd", step_size=5.0, steps=1000, points=1001),
        10.0 * np.ones((1, 9)), refuse_unstable=False,
    )  # fmt: skip
    assert run.status == "not-converged" and "diverged before step" in run.reason
    assert len(run.step) < 60 and np.isfinite(run.theta).all() and np.isfinite(run.loss).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step_size": 50.0}, r"training.step_size: given 50 .* must be below 2 / .* = .* run 0"),
        ({"batch_size": 31}, "training.batch_size: given 31, must be at most .* 30"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    with pytest.raises(InputError, match=message):
        train(MODEL, *data(MODEL), Training(**changes))


def test_warm_up_makes_a_large_step_stable_at_the_start():
    training = Training(step_size=50.0, warmup_steps=10_000, steps=10)
    assert train(MODEL, *data(MODEL), training).status == "done"


@pytest.mark.parametrize(
    ("x", "y", "starts", "message"),
    [
        (np.ones((5, 4)), np.ones((5, 1)), None, r"x: given shape \(5, 4\), must be \(samples, 3"),
        (np.ones((5, 3)), np.ones((4, 1)), None, r"y: given shape \(4, 1\)"),
        (np.full((5, 3), np.nan), np.ones((5, 1)), None, "x: holds NaN"),
        (np.ones((5, 3)), np.ones((5, 1)), np.ones((1, 8)), r"starts: given shape \(1, 8\), must"),
    ],
)
def test_arrays_that_do_not_fit(x, y, starts, message):
    with pytest.raises(InputError, match=message):
        train(MODEL, x, y, Training(), starts)


def test_tracker_mistakes():
    tracker = ChargeTracker(MODEL.symmetries(), 0.1)
    with pytest.raises(InputError, match="given no records"):
        tracker.result()
    with pytest.raises(InputError, match="call `record` first"):
        tracker.step(np.ones(9))
    with pytest.raises(InputError, match=r"must be \(\.\.\., 9\)"):
        tracker.record(0, np.ones(8))
    with pytest.raises(InputError, match="gradients: given shape"):
        expected_drift(tracker.symmetries, np.ones(9), np.ones((5, 8)), step_size=0.1, batch_size=1)
