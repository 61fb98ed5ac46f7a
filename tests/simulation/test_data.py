"""Draws of designs and noise."""

import sys

import numpy as np
import pytest

import dmft
from dmft.errors import InputError
from dmft.problem import Problem
from dmft.settings import SimulationSettings
from dmft.simulation.data import draw_data, sample_count, standardised_design, whitened_digits

DESIGNS = ("gaussian", "rademacher", "sparse", "digits")


@pytest.mark.parametrize("kind", DESIGNS)
def test_designs_have_mean_zero_and_unit_covariance(kind):
    n, d = 20_000, 50
    features = standardised_design(kind, n, d, np.random.default_rng(3))
    assert features.shape == (n, d) and features.dtype == np.float64
    assert np.abs(features.mean(axis=0)).max() < 4.5 / np.sqrt(n)
    covariance = features.T @ features / n
    diagonal = np.diag(covariance)
    spread = np.sqrt(np.maximum(np.mean(features**4, axis=0) - 1.0, 1e-20) / n)
    assert np.all(np.abs(diagonal - 1.0) < 4.5 * spread + 1e-12)
    off = covariance - np.diag(diagonal)
    products = np.sqrt((features**2).T @ features**2 / n / n)
    assert np.all(np.abs(off) < 5.0 * products)


def test_digits_are_not_gaussian():
    features = standardised_design("digits", 20_000, 40, np.random.default_rng(0))
    kurtosis = np.mean(features**4, axis=0)
    assert np.abs(kurtosis - 3.0).max() > 0.5
    # The leading components are dependent beyond correlation.
    squares = np.corrcoef(features[:, :10].T ** 2)
    assert np.abs(squares - np.eye(10)).max() > 0.1


def test_data_set_shapes_scales_and_exact_noise():
    problem = Problem(
        sampling_ratio=0.75,
        noise_std=0.3,
        features={"kind": "discrete", "values": [0.5, 2.0], "weights": [2, 1]},
    )
    settings = SimulationSettings(dimension=400)
    data = draw_data(problem, settings, np.random.SeedSequence(0))
    assert data.features.shape == (300, 400) and data.labels.shape == (300,)
    noise = data.labels - data.features @ data.coordinates.teacher
    assert np.mean(noise**2) == pytest.approx(0.09, rel=1e-10)
    energy = np.sum(data.features**2) * 400 / 300 / np.sum(data.coordinates.variance)
    assert energy == pytest.approx(1.0, abs=5 * np.sqrt(3.0 / (300 * 400)))
    half = data.coordinates.variance == 0.5
    assert np.mean(data.features[:, half] ** 2) * 400 == pytest.approx(0.5, rel=0.03)


def test_designs_share_coordinates_and_noise():
    draws = [
        draw_data(
            Problem(), SimulationSettings(dimension=50, design=kind), np.random.SeedSequence(4)
        )
        for kind in DESIGNS
    ]
    for other in draws[1:]:
        np.testing.assert_array_equal(other.coordinates.teacher, draws[0].coordinates.teacher)


@pytest.mark.parametrize("stratified", [True, False])
@pytest.mark.parametrize(("density", "kind"), [(0.001, "nonzero"), (0.999, "zero")])
def test_a_network_without_one_kind_of_coordinates_has_no_rates(density, kind, stratified):
    """A share of none of them is not a number, which no file may hold."""
    problem = Problem(teacher={"kind": "bernoulli-gauss", "density": density})
    with pytest.raises(InputError, match=f"given 40, .*none of its coordinates would be {kind}"):
        dmft.simulate(problem, dimension=40, seeds=2, t_max=1.0, stratified=stratified)
    dense = problem.replace(**{"teacher.density": 1.0})
    assert np.isfinite(dmft.simulate(dense, dimension=40, seeds=2, t_max=1.0).excess_risk).all()


def test_too_small_dimensions_are_refused():
    with pytest.raises(InputError, match="dimension: given 20 .* at least 50"):
        sample_count(Problem(sampling_ratio=0.01), 20)
    assert sample_count(Problem(sampling_ratio=0.01), 50) == 1
    rare = Problem(teacher={"kind": "bernoulli-gauss", "density": 0.001})
    with pytest.raises(InputError, match="dimension: given 100, too small for this teacher"):
        draw_data(rare, SimulationSettings(dimension=100), np.random.SeedSequence(0))


def test_digits_without_the_package_name_the_extra(monkeypatch):
    whitened_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"design: .*dmft\[real\]"):
        standardised_design("digits", 3, 3, np.random.default_rng(0))
