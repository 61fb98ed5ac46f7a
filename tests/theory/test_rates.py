"""Spectral edges against closed forms and finite matrices; the law of small starts."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft import InputError
from dmft.theory import predict
from dmft.theory.averages import SmoothPenalty, Speeds
from dmft.theory.channels import channels_of
from dmft.theory.mirror import mirror_of
from dmft.theory.rates import lower_edge, upper_edge
from dmft.theory.small_start import small_start_rate


@pytest.mark.parametrize("delta", [0.05, 0.5, 0.999, 1.001, 2.0, 5.0])
def test_edges_of_marchenko_and_pastur(delta):
    one = Speeds(np.array([1.0]), np.array([1.0]), bounded=True)
    assert lower_edge(one, delta) == pytest.approx((1 - delta**0.5) ** 2, rel=1e-6)
    assert upper_edge(one, delta) == pytest.approx((1 + delta**0.5) ** 2, rel=1e-9)
    assert lower_edge(one, 1.0) == 0.0


@pytest.mark.parametrize("delta", [0.4, 2.5])
def test_edges_of_finite_matrices(delta):
    speeds = Speeds(np.array([0.5, 1.0, 6.0]), np.array([0.3, 0.5, 0.2]), bounded=True)
    d = 1500
    n = int(delta * d)
    rng = np.random.default_rng(0)
    s = np.repeat(speeds.value, np.round(speeds.probability * d).astype(int))
    features = rng.standard_normal((n, d)) * np.sqrt(s / d)
    spectrum = np.linalg.eigvalsh(features @ features.T if n < d else features.T @ features)
    # Edges fluctuate by d^(-2/3).
    assert spectrum[0] == pytest.approx(lower_edge(speeds, delta), rel=0.03)
    assert spectrum[-1] == pytest.approx(upper_edge(speeds, delta), rel=0.02)


def test_speeds_without_bound_have_no_upper_edge():
    problem = dmft.Problem()
    channels = channels_of(problem)
    speeds = SmoothPenalty(channels, mirror_of(problem, channels)).speeds(0.5, 0.3)
    assert upper_edge(speeds, 0.5) == np.inf
    assert speeds.value.min() == pytest.approx(2 * 0.09)


@pytest.mark.parametrize("start", [1.0, 0.01, 1e-5])
def test_quadrature_resolves_the_slowest_weights(start, monkeypatch):
    """At delta > 1 the edge hangs on the weights that end within alpha^2 of zero."""
    from dmft.theory import averages

    problem = dmft.Problem(sampling_ratio=1.5, network={"init_scale": start})
    coarse = predict(problem).relaxation_rate
    monkeypatch.setattr(averages, "_NARROW", 1e-6)
    monkeypatch.setattr(averages, "_GAUSS", 20)
    averages._gauss_rule.cache_clear()
    try:
        fine = predict(problem).relaxation_rate
    finally:
        averages._gauss_rule.cache_clear()
        monkeypatch.undo()
    assert coarse == pytest.approx(fine, rel=1e-8)


@pytest.mark.parametrize(
    "extra", [{}, {"teacher": {"kind": "gaussian"}, "sampling_ratio": 0.3, "noise_std": 0.5}]
)
def test_law_of_small_starts(extra):
    ratios = []
    for start in (1e-3, 1e-6, 1e-12, 1e-40):
        problem = dmft.Problem(network={"init_scale": start}, **extra)
        ratios.append(small_start_rate(problem) / predict(problem).relaxation_rate)
    gaps = 1 - np.array(ratios)
    assert np.all(gaps > 0) and np.all(np.diff(gaps) < 0)
    assert gaps[-1] < 0.02
    # the error is of order theta, like 1 / log(1/alpha)
    assert gaps[2] * 12 == pytest.approx(gaps[3] * 40, rel=0.2)


def test_law_of_small_starts_with_many_samples():
    problem = dmft.Problem(sampling_ratio=2.5, network={"init_scale": 1e-5})
    assert small_start_rate(problem) == pytest.approx(predict(problem).relaxation_rate, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"depth": 3}}, "depth 2"),
        ({"network": {"kind": "linear"}}, "depth 2"),
        ({"dynamics": {"weight_decay": 0.1}}, "weight decay 0"),
        ({"sampling_ratio": 1.0}, "every start"),
        ({"noise_std": 0.0}, "recovered"),
        ({"features": {"kind": "discrete", "values": [1.0, 2.0]}}, "equal"),
    ],
)
def test_law_of_small_starts_says_where_it_ends(changes, words):
    with pytest.raises(InputError, match=words):
        small_start_rate(dmft.Problem(**changes))
