"""Draws of coordinates, designs and noise."""

import sys

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.settings import SimulationSettings
from dmft.simulation.data import (
    draw_data,
    random_coordinates,
    sample_count,
    standardised_design,
    stratified_coordinates,
    whitened_digits,
)

DESIGNS = ("gaussian", "rademacher", "sparse", "digits")


@pytest.mark.parametrize("density, d", [(0.1, 64), (0.1, 200), (0.35, 33), (1.0, 10)])
def test_stratified_teacher_has_its_exact_second_moment(density, d):
    problem = Problem(teacher={"kind": "bernoulli-gauss", "density": density})
    draws = stratified_coordinates(problem, d, np.random.default_rng(0))
    assert np.mean(draws.teacher**2) == pytest.approx(1.0, rel=1e-12)
    assert abs(np.count_nonzero(draws.teacher) - density * d) < 1.0


def test_stratified_moments_of_other_laws():
    problem = Problem(
        teacher={"kind": "gaussian", "mean": 1.0, "std": 0.5}, features={"kind": "power-law"}
    )
    draws = stratified_coordinates(problem, 101, np.random.default_rng(0))
    assert np.mean(draws.teacher**2) == pytest.approx(1.25, rel=1e-6)
    assert np.mean(draws.variance) == pytest.approx(1.0, rel=1e-4)
    discrete = Problem(teacher={"kind": "discrete", "values": [-1, 0, 2], "weights": [1, 2, 1]})
    values = stratified_coordinates(discrete, 100, np.random.default_rng(0)).teacher
    assert sorted(values) == [-1.0] * 25 + [0.0] * 50 + [2.0] * 25


def test_independent_components_are_independent():
    problem = Problem(
        teacher={"kind": "gaussian"},
        features={"kind": "power-law"},
        network={"init_u": {"kind": "gaussian"}, "init_v": {"kind": "gaussian"}},
    )
    d = 2000
    for draw in (stratified_coordinates, random_coordinates):
        drawn = draw(problem, d, np.random.default_rng(5))
        u, v = drawn.a0 + drawn.b0, drawn.a0 - drawn.b0
        table = np.corrcoef([drawn.teacher, drawn.variance, u, v, np.arange(d)])
        assert np.abs(table - np.eye(5)).max() < 4.0 / np.sqrt(d)


def test_paired_teacher_keeps_its_pairs():
    values, variances = [0.0, 1.0, -2.0, 3.0], [1.0, 2.0, 3.0, 4.0]
    problem = Problem(
        teacher={"kind": "empirical", "values": values, "feature_variances": variances}
    )
    for draw in (stratified_coordinates, random_coordinates):
        drawn = draw(problem, 40, np.random.default_rng(2))
        pairs = set(zip(drawn.teacher, drawn.variance, strict=True))
        assert pairs == set(zip(values, variances, strict=True))
    stratified = stratified_coordinates(problem, 40, np.random.default_rng(2))
    assert np.unique(stratified.teacher, return_counts=True)[1].tolist() == [10] * 4


def test_independent_draws_fluctuate_about_the_population():
    problem = Problem(teacher={"kind": "bernoulli-gauss", "density": 0.2})
    moments = [
        np.mean(random_coordinates(problem, 400, np.random.default_rng(i)).teacher ** 2)
        for i in range(40)
    ]
    # Var w*^2 = 3/density - 1 = 14.
    deviation = np.sqrt(14.0 / 400)
    assert abs(np.mean(moments) - 1.0) < 3.5 * deviation / np.sqrt(40)
    assert 0.6 * deviation < np.std(moments) < 1.5 * deviation


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


def test_too_small_dimensions_are_refused():
    with pytest.raises(InputError, match="dimension: given 20 .* at least 50"):
        sample_count(Problem(sampling_ratio=0.01), 20)
    assert sample_count(Problem(sampling_ratio=0.01), 50) == 1
    rare = Problem(teacher={"kind": "bernoulli-gauss", "density": 0.001})
    with pytest.raises(InputError, match="dimension: given 100, too small for this teacher"):
        stratified_coordinates(rare, 100, np.random.default_rng(0))


def test_digits_without_the_package_name_the_extra(monkeypatch):
    whitened_digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(InputError, match=r"design: .*dmft\[real\]"):
        standardised_design("digits", 3, 3, np.random.default_rng(0))
