"""The penalty of deep networks with weight decay, and what is said about its many minima."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.theory import predict
from dmft.theory.bridge import BridgePenalty
from dmft.theory.channels import channels_of


@pytest.mark.parametrize("selection", ["global", "spinodal"])
@pytest.mark.parametrize("depth", [3, 5])
def test_moments_match_sampling(selection, depth):
    problem = dmft.Problem(noise_std=0.3)
    penalty = BridgePenalty(channels_of(problem), depth, selection)
    tau, theta = 0.5, 0.2
    rng = np.random.default_rng(0)
    count = 200_000
    teacher = np.where(rng.random(count) < 0.1, rng.standard_normal(count) * 10**0.5, 0.0)
    noise = rng.standard_normal(count)
    x = np.abs(teacher + tau * noise)
    # brute force: the lower of the two minima, or the nonzero one wherever there is one
    q, c = 2 / depth, theta / 2 * depth ** (2 / depth)
    v = np.linspace(1e-6, 1.0, 4000)[:, None] * 1.0
    sample = slice(0, 6_000)
    xs = x[sample]
    best = np.empty(len(xs))
    for i in range(0, len(xs), 500):
        part = xs[i : i + 500]
        grid = v * part
        cost = (grid - part) ** 2 / 2 + c * grid**q
        # interior minimum: the largest v whose derivative changes sign
        slope = grid - part + c * q * grid ** (q - 1)
        inside = (slope[:-1] < 0) & (slope[1:] >= 0)
        has = inside.any(axis=0)
        place = len(inside) - 1 - inside[::-1].argmax(axis=0)
        nonzero = grid[place, np.arange(len(part))]
        lower = cost[place, np.arange(len(part))] < part**2 / 2
        keep = has & (lower if selection == "global" else True)
        best[i : i + 500] = np.where(keep, nonzero, 0.0)
    weight = best * np.sign(teacher + tau * noise)[sample]
    error = (weight - teacher[sample]) ** 2
    moments = penalty.moments(tau, theta)
    standard = error.std() / len(xs) ** 0.5
    assert abs(error.mean() - moments.risk) < 4 * standard
    response = weight * noise[sample] / tau
    assert abs(response.mean() - moments.slope) < 4 * response.std() / len(xs) ** 0.5
    share = np.mean(weight != 0)
    assert abs(share - penalty.nonzero(tau, theta)) < 4 * (share / len(xs)) ** 0.5


def test_prediction_says_what_it_is():
    found = predict(dmft.Problem(network={"depth": 3}, dynamics={"weight_decay": 0.1}))
    assert found.regime == "bridge" and "approximation" in found.note
    assert np.isnan(found.relaxation_rate)
    assert 0 < found.excess_risk < 0.05


@pytest.mark.slow
def test_flows_from_different_starts_end_in_different_minima():
    """Why there is no single answer; a large start comes close to the prediction."""
    ends = []
    for start in (0.3, 1.0):
        problem = dmft.Problem(
            network={"depth": 3, "init_scale": start}, dynamics={"weight_decay": 0.3}
        )
        result = dmft.simulate(problem, dimension=100, seeds=3, times=[200.0, 400.0])
        np.testing.assert_allclose(result.excess_risk[-1], result.excess_risk[-2], rtol=1e-3)
        ends.append(result.excess_risk[-1])
    assert ends[0] > 2 * ends[1]
    assert ends[1] == pytest.approx(predict(problem).excess_risk, rel=0.5)
