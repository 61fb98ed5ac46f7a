"""Rows of the data: their law against SciPy, exact moments, innovations orthogonal to them."""

import numpy as np
import pytest
from scipy import stats

from dmft import Problem
from dmft.numerics.normal import normal_cumulative
from dmft.solver.data_rows import DataRows

COUNT = 4096


def drawn(labels, noise_std=0.5, field_std=1.0, seed=3, **values):
    problem = Problem(noise_std=noise_std, labels=labels, **values)
    return DataRows(problem, COUNT, np.random.SeedSequence(seed), field_std)


def test_cumulative_against_scipy():
    x = np.linspace(-8, 9, 301)
    np.testing.assert_allclose(normal_cumulative(x), stats.norm.cdf(x), rtol=1e-13)


@pytest.mark.parametrize("noise_std", [0.0, 1e-3, 0.3, 20.0])
def test_folded_signs_are_skew_normal(noise_std):
    rows = drawn({"kind": "sign"}, noise_std, field_std=0.8)
    law = stats.skewnorm(0.8 / noise_std) if noise_std else stats.halfnorm()
    assert stats.kstest(rows.field, law.cdf).statistic < 5.0 / COUNT  # unstratified: 50
    assert np.all(rows.labels == 1.0)
    assert np.isclose(np.mean(rows.field**2), 1.0)
    # E y h* in closed form: sqrt(2/pi) a / sqrt(1 + a^2) of the skew normal
    np.testing.assert_allclose(rows.field.mean(), law.mean(), atol=1e-3)


def test_folded_logit_against_drawn_signs():
    rows = drawn({"kind": "logit", "slope": 2.0}, field_std=1.5)
    generator = np.random.default_rng(0)
    h = 1.5 * generator.standard_normal(400_000)
    y = np.where(generator.random(len(h)) < 1.0 / (1.0 + np.exp(-2.0 * h)), 1.0, -1.0)
    for power in (1, 3):
        reference = (y * h) ** power
        error = reference.std() / len(h) ** 0.5
        assert abs(np.mean(rows.teacher_field**power) - reference.mean()) < 4 * error


def test_random_signs_know_nothing():
    rows = drawn({"kind": "random"})
    assert abs(rows.field.mean()) < 1e-3
    assert stats.kstest(rows.field, stats.norm.cdf).statistic < 5.0 / COUNT


def test_linear_labels_have_exact_second_moments():
    rows = drawn({"kind": "linear"}, 0.7, field_std=2.0)
    noise = rows.labels - rows.teacher_field
    np.testing.assert_allclose(
        [np.mean(rows.teacher_field**2), np.mean(noise**2), np.mean(noise * rows.field)],
        [4.0, 0.49, 0.0], atol=1e-10,
    )  # fmt: skip


def test_outliers_are_a_mixture():
    rows = drawn({"kind": "outliers", "fraction": 0.2, "outlier_std": 5.0}, 0.3)
    noise = rows.labels - rows.teacher_field
    assert np.isclose(rows.probability.sum(), 1.0)
    assert np.isclose(rows.probability @ noise**2, 0.8 * 0.09 + 0.2 * 25.0)


def test_counts_are_poisson():
    rows = drawn({"kind": "poisson", "slope": 0.7}, loss={"kind": "poisson"})
    mean = np.exp(0.7 * rows.teacher_field)
    assert np.all(rows.labels >= 0) and np.array_equal(rows.labels, np.round(rows.labels))
    for moment, expected in ((rows.labels, mean), (rows.labels**2, mean**2 + mean)):
        assert abs(moment.mean() - expected.mean()) < 4 * moment.std() / COUNT**0.5 / 4
    zero = np.mean(rows.labels == 0)
    assert abs(zero - np.exp(-mean).mean()) < 0.004


@pytest.mark.parametrize("kind", ["sign", "linear", "outliers"])
def test_innovations_are_orthogonal_to_field_and_labels(kind):
    rows = drawn({"kind": kind})
    first = rows.innovations(3).copy()
    assert np.array_equal(rows.innovations(3), first)
    rows.use(3)
    known = np.column_stack([np.ones(COUNT), rows.field, rows.labels, first])
    later = rows.innovations(70)
    assert np.abs((rows.probability[:, None] * known).T @ later).max() < 1e-10
    gram = (rows.probability[:, None] * later).T @ later
    np.testing.assert_allclose(gram, np.eye(70), atol=1e-10)


def test_same_seed_same_rows():
    one, two, other = (drawn({"kind": "linear"}, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.labels, two.labels)
    assert not np.array_equal(one.labels, other.labels)
