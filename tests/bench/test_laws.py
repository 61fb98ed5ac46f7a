"""The laws that rivals are extrapolated by, against brute force and made-up data."""

import numpy as np
import pytest

from dmft.bench.cases import CASES, POINTS, rms_error
from dmft.bench.classical import Law
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


def test_cases_are_what_the_page_says():
    classes = ["C0", "C1", "C2", "C3"]
    assert list(CASES) == ["P0", "P1", "P2", "P3", *classes, *(f"{name}-loss" for name in classes)]
    for case in CASES.values():
        assert len(case.times) == POINTS and case.times[-1] == case.t_max
        steps = case.horizon / case.step, case.bias_horizon / case.step
        assert all(count == pytest.approx(round(count)) for count in steps)
