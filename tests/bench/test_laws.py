"""The laws that rivals are extrapolated by, against brute force and made-up data."""

import numpy as np
import pytest

from dmft.bench.cases import CASES, POINTS, rms_error
from dmft.bench.classical import Law
from dmft.bench.ensemble import Bias, Pool, cheapest, fitted_bias
from dmft.bench.outcome import PowerLaw


def test_power_law_of_exact_points():
    x = np.array([1.0, 2.0, 5.0, 11.0])
    law = PowerLaw.through(x, 3.0 * x**-0.7)
    assert law.coefficient == pytest.approx(3.0) and law.exponent == pytest.approx(-0.7)
    assert law.exponent_stderr == pytest.approx(0.0, abs=1e-12)
    assert law(law.inverse(0.4)) == pytest.approx(0.4)
    assert PowerLaw.through([1.0, 4.0], [2.0, 1.0]).exponent_stderr is None


def test_error_of_a_power_law_covers_the_exponent():
    rng, x = np.random.default_rng(0), np.geomspace(1, 100, 8)
    laws = [PowerLaw.through(x, x**0.5 * np.exp(0.1 * rng.normal(size=8))) for _ in range(300)]
    z = [(law.exponent - 0.5) / law.exponent_stderr for law in laws]
    assert np.median(np.abs(z)) == pytest.approx(0.72, abs=0.12)  # Student's t, 6 degrees


def test_rms_error_is_over_seeds_and_times():
    reference = np.array([1.0, 2.0])
    risks = np.array([[1.1, 2.0], [1.0, 1.6]])
    error, stderr = rms_error(risks, reference)
    assert error == pytest.approx(np.sqrt((0.01 + 0.04) / 4))
    squares = np.array([0.005, 0.02])
    assert stderr == pytest.approx(squares.std(ddof=1) / 2**0.5 / (2 * error))
    assert np.isnan(rms_error(risks[:1], reference)[1])


@pytest.mark.parametrize("target", [0.03, 0.01, 0.002])
def test_classical_configuration_takes_the_least_work(target):
    law = Law(bias=0.2, noise=1.7, sweeps=15.0, rate=1e10, longest=0.08, t_max=24.0)
    step, n_paths = law.configuration(target)
    assert (law.bias * step) ** 2 + law.noise**2 / n_paths <= target**2
    assert step <= law.longest and 24.0 / step == pytest.approx(round(24.0 / step))
    steps = np.linspace(1e-4, 1.0, 4001)[1:] * min(0.08, 0.999 * target / 0.2)
    work = law.noise**2 / (target**2 - (law.bias * steps) ** 2) / steps**3
    least = law.sweeps * work.min() * 24.0**3 / 6.0 / law.rate
    assert law.seconds(step, n_paths) == pytest.approx(least, rel=0.05)


def test_of_several_curves_the_worst_counts():
    reference = np.array([[1.0, 2.0], [1.0, 1.0]])
    found = reference * (1.0 + np.array([[[0.01, 0.01], [0.2, 0.2]], [[0.02, 0.02], [0.0, 0.1]]]))
    assert rms_error(found, reference) == pytest.approx(rms_error(found[:, 1], reference[1]))
    assert rms_error(found[:, ::-1], reference[::-1]) == rms_error(found, reference)


def made_up_pools(slope, rng, power=1.0):
    pools = []
    for dimension, count in ((200, 900), (400, 400), (800, 100)):
        runs = 1.0 + slope * dimension**-power
        runs = runs + np.sqrt(8.0 / dimension) * rng.normal(size=(count, 1, POINTS))
        pools.append(
            Pool(dimension, count, runs.mean(0), runs.var(0, ddof=1), 1e-6 * dimension**1.8)
        )
    return pools


def test_bias_of_ensembles_is_found_and_noise_is_not_taken_for_it():
    rng = np.random.default_rng(1)
    found = [fitted_bias(made_up_pools(6.0, rng))(1000) for _ in range(40)]
    assert np.mean(found) == pytest.approx(6e-3, rel=0.05)
    squares = [(1000.0 * fitted_bias(made_up_pools(0.0, rng))(1000)) ** 2 for _ in range(40)]
    assert np.mean(squares) < 0.5


def test_bias_that_falls_slowly_is_not_taken_for_one_over_d():
    rng = np.random.default_rng(3)
    found = [fitted_bias(made_up_pools(2.0, rng, 0.5)) for _ in range(20)]
    assert np.mean([bias.power for bias in found]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([bias(80_000) for bias in found]) == pytest.approx(2.0 * 80_000**-0.5, rel=0.1)
    both = [
        Pool(
            a.dimension,
            a.count,
            np.vstack([a.mean, b.mean]),
            np.vstack([a.variance, b.variance]),
            a.seconds,
        )
        for a, b in zip(made_up_pools(2.0, rng, 0.5), made_up_pools(6.0, rng), strict=True)
    ]
    bias = fitted_bias(both)
    assert bias.power[0] < 0.7 and bias.power[1] == 1.0
    assert str(bias).endswith("/d") and "/d^" in str(bias)
    # The worse curve decides: a bias of 1 % in the first takes d = 40,000.
    assert cheapest(both, bias, 0.011)[2] > 20_000


def test_cheapest_ensemble_meets_the_target():
    pools, slope = made_up_pools(6.0, np.random.default_rng(2)), 6.0
    bias = Bias(np.array([slope]), np.ones(1))
    for target in (0.1, 0.02, 0.004):
        seconds, count, dimension = cheapest(pools, bias, target)
        variance = 8.0 / dimension / count
        assert np.hypot(slope / dimension, variance**0.5) == pytest.approx(target, rel=0.06) or (
            count == 1
        )
        for pool in pools:
            room = target**2 - (slope / pool.dimension) ** 2
            if room > 0:
                assert seconds <= max(1.0, np.ceil(pool.spread / room)) * pool.seconds * 1.0001


def test_cases_are_what_the_page_says():
    classes = ["C0", "C1", "C2", "C3"]
    assert list(CASES) == ["P0", "P1", "P2", "P3", *classes, *(f"{name}-loss" for name in classes)]
    for case in CASES.values():
        assert len(case.times) == POINTS and case.times[-1] == case.t_max
        steps = case.horizon / case.step, case.bias_horizon / case.step
        assert all(count == pytest.approx(round(count)) for count in steps)
