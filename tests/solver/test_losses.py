"""Compiled losses against plain NumPy and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.problem.losses import Hinge, Huber, Logistic, Poisson, Squared
from dmft.solver.losses import loss_terms, losses

PLAIN = {
    "squared": (Squared(), lambda h, y: 0.5 * (h - y) ** 2),
    "logistic": (Logistic(), lambda h, y: np.logaddexp(0.0, -y * h)),
    "huber": (
        Huber(width=0.7),
        lambda h, y: np.where(
            np.abs(h - y) <= 0.7, 0.5 * (h - y) ** 2, 0.7 * (np.abs(h - y) - 0.35)
        ),
    ),
    "hinge": (Hinge(margin=0.8), lambda h, y: np.maximum(0.0, 0.8 - y * h)),
    "poisson": (Poisson(), lambda h, y: np.exp(h) - y * h),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_losses_and_their_derivatives(kind):
    loss, plain = PLAIN[kind]
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 200).astype(float) if kind == "poisson" else rng.choice([-1.0, 1.0], 200)
    h = rng.normal(0.0, 2.0, (200, 3))
    value, slope, curvature = np.empty((3, 200, 3))
    losses(loss.code, loss.parameter, h, y, value, slope, curvature)
    np.testing.assert_allclose(value, plain(h, y[:, None]), rtol=1e-13, atol=1e-14)
    step = 1e-5
    up, down = plain(h + step, y[:, None]), plain(h - step, y[:, None])
    smooth = np.abs(up - 2 * value + down) < 2e-10 + 1.5 * step**2 * np.exp(h)  # away from kinks
    assert smooth.mean() > 0.98
    np.testing.assert_allclose(slope[smooth], ((up - down) / (2 * step))[smooth], atol=1e-8)
    slopes = np.empty((2, 200, 3))
    for i, shift in enumerate((step, -step)):
        losses(loss.code, loss.parameter, h + shift, y, value, slopes[i], np.empty((200, 3)))
    change = (slopes[0] - slopes[1]) / (2 * step)
    np.testing.assert_allclose(curvature[smooth], change[smooth], atol=1e-7, rtol=1e-7)


def test_logistic_far_out():
    assert loss_terms(1, 0.0, 1000.0, 1.0) == (0.0, -0.0, 0.0)
    value, slope, curvature = loss_terms(1, 0.0, -1000.0, 1.0)
    assert (value, slope, curvature) == (1000.0, -1.0, 0.0)
    small = loss_terms(1, 0.0, 50.0, 1.0)
    assert small[0] == pytest.approx(np.exp(-50.0), rel=1e-12)
    assert small[1] == pytest.approx(-np.exp(-50.0), rel=1e-12)


def test_unknown_loss_raises():
    with pytest.raises(ValueError, match="unknown loss"):
        loss_terms(17, 0.0, 1.0, 1.0)
