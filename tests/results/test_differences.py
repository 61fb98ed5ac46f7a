"""The statistics of one quantity: excursions of a curve, degrees of freedom."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from dmft.results.differences import Difference, _freedom


def difference(ratio, freedom, length):
    """A curve whose differences are `ratio` standard errors; nothing is granted."""
    ratio = np.asarray(ratio, dtype=float)
    one = np.ones(len(ratio))
    return Difference(
        "train_mse", np.arange(1.0, len(one) + 1), 10 * one, 10 * one + ratio, one, 0 * one,
        10 * one, np.zeros(len(one), bool), freedom * one, length, 0.0,
    )  # fmt: skip


@pytest.mark.parametrize("length", [0.5, 3.0, 8.0])
def test_excursions_of_a_correlated_curve(length):
    ratio = np.zeros(400)
    ratio[7] = 4.2
    found = difference(ratio, 11.0, length).probability
    rice = length / np.pi * (1.0 + 4.2**2 / 11.0) ** -5.0
    assert found == pytest.approx(2.0 * student.sf(4.2, 11.0) + rice, rel=1e-12)


def test_excursions_happen_as_often_as_said():
    """Curves a cos x + b sin x over runs: the length is that of the half circle, pi."""
    rng = np.random.default_rng(11)
    x, runs, threshold = np.linspace(0.0, np.pi, 300), 8, 3.0
    curve = np.array([np.cos(x), np.sin(x)])
    largest = []
    for _ in range(4000):
        values = rng.standard_normal((runs, 2)) @ curve
        error = values.std(axis=0, ddof=1) / runs**0.5
        largest.append(np.max(np.abs(values.mean(axis=0)) / error))
    said = difference(np.full(300, threshold), runs - 1.0, np.pi).probability
    share = np.mean(np.array(largest) > threshold)
    spread = (share * (1.0 - share) / len(largest)) ** 0.5
    assert share <= said + 3 * spread  # the expected number of excursions bounds the probability
    assert said <= 1.6 * share


def test_an_error_that_is_small_by_chance_does_not_count_as_known_well():
    scale, few, many = np.ones(50), np.full(50, 1.0), np.full(50, 0.05)
    few[3] = 0.05  # of 4 replicates: here as small as that of 40 seeds
    freedom = _freedom(few, many, scale, (4, 40))
    alone = 2.0**2 / (1 / 3 + 1 / 39)  # of two equal errors
    assert alone > 11.0
    assert freedom[3] < 3.1
    assert freedom[0] == pytest.approx(3.0, rel=0.02)
