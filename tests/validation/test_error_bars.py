"""Error bars are honest: 90 % intervals of many seeds cover the truth about that often."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, t

import dmft
from dmft.results.interpolation import curve_at, curve_error_at

REPLICATES = 4
QUANTILE = t.ppf(0.95, REPLICATES - 1)
LIMIT = 0.1026926  # excess_risk of the default problem at t = infinity, theory/long-time.md
SETTLED = 120.0


def coverage(problem, times, seeds, n_paths, truth, truth_error):
    """Share of seeds whose Student interval holds the truth, (time,).

    The truth's own error widens the interval; it is small beside it.
    """
    inside = np.zeros(len(times))
    for seed in range(seeds):
        solution = dmft.solve(
            problem, t_max=times[-1], n_paths=n_paths, replicates=REPLICATES, seed=1000 + seed
        )
        value = curve_at(solution.time, solution.panel, solution.excess_risk, times, positive=True)
        error = curve_error_at(solution.time, solution.excess_risk_stderr, times)
        # The time error allowed by rtol is no part of the standard error.
        half_width = QUANTILE * np.hypot(error, truth_error) + 1e-3 * truth
        inside += np.abs(value - truth) <= half_width
    return inside / seeds


def test_intervals_cover_at_early_times():
    """Twelve seeds: fewer than eight hits have probability 0.004 if the intervals are right."""
    assert binom.cdf(7, 12, 0.9) < 0.005
    problem, times = dmft.Problem(), np.array([0.3, 0.8, 2.0])
    accurate = dmft.solve(problem, t_max=times[-1], n_paths=4096, replicates=4, seed=77)
    truth = curve_at(accurate.time, accurate.panel, accurate.excess_risk, times, positive=True)
    error = curve_error_at(accurate.time, accurate.excess_risk_stderr, times)
    assert np.all(coverage(problem, times, 12, 128, truth, error) >= 8 / 12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{}, {"network": {"init_scale": 0.1}}, {"network": {"depth": 3, "init_scale": 0.5}}],
    ids=["default", "small start", "depth 3"],
)
def test_intervals_cover(settings):
    problem, times = dmft.Problem(**settings), np.array([0.3, 1.0, 3.0, 8.0])
    accurate = dmft.solve(problem, t_max=times[-1], n_paths=16384, replicates=4, seed=77)
    truth = curve_at(accurate.time, accurate.panel, accurate.excess_risk, times, positive=True)
    error = curve_error_at(accurate.time, accurate.excess_risk_stderr, times)
    shares = coverage(problem, times, 40, 512, truth, error)
    print("coverage", dict(zip(times, shares, strict=True)))
    assert np.all(shares >= 0.8)


@pytest.mark.slow
def test_intervals_cover_the_escape_of_a_small_start():
    """Sixteen seeds: fewer than ten hits have probability 0.001 if the intervals are right."""
    assert binom.cdf(9, 16, 0.9) < 0.001
    problem = dmft.Problem(network={"init_scale": 1e-3})
    times = np.array([1.6, 2.0, 2.6, 3.5, 5.0, 8.0, 14.0])
    accurate = dmft.solve(problem, t_max=times[-1], n_paths=16384, replicates=4, seed=77)
    truth = curve_at(accurate.time, accurate.panel, accurate.excess_risk, times, positive=True)
    error = curve_error_at(accurate.time, accurate.excess_risk_stderr, times)
    shares = coverage(problem, times, 16, 1024, truth, error)
    print("coverage", dict(zip(times, shares, strict=True)))
    assert np.all(shares >= 10 / 16)


@pytest.mark.slow
def test_intervals_cover_the_fixed_point():
    times = np.array([SETTLED])
    shares = coverage(dmft.Problem(), times, 40, 512, np.array([LIMIT]), np.zeros(1))
    print("coverage", shares)
    assert shares[0] >= 0.8


@pytest.mark.slow
def test_mean_over_seeds_has_no_bias():
    """What replicates share no error bar shows: 40 seeds of few paths against the fixed point."""
    values = []
    for seed in range(40):
        solution = dmft.solve(dmft.Problem(), t_max=SETTLED, n_paths=512, replicates=1, seed=seed)
        values.append(solution.excess_risk[-1])
    error = np.std(values, ddof=1) / len(values) ** 0.5
    assert abs(np.mean(values) - LIMIT) < 4.0 * error + 2e-3 * LIMIT
    assert error < 0.02 * LIMIT
