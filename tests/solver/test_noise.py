"""The square root of the noise covariance, and the innovations it is fed with."""

import numpy as np
import pytest

from dmft.config import parse_config
from dmft.problem import Problem
from dmft.solver.noise import NoiseBasis
from dmft.solver.sampling import Sample


def smooth_errors(count, times, seed=0):
    """Smooth random functions of time, one per path: a covariance of low numerical rank."""
    generator = np.random.default_rng(seed)
    rates = np.array([0.1, 0.5, 2.0, 7.0])
    return generator.normal(size=(count, 4)) @ np.exp(-np.outer(rates, times))


def test_factor_reproduces_the_covariance_where_cholesky_fails():
    count, noise_std = 300, 0.2
    times = np.linspace(0.0, 3.0, 60)
    errors = smooth_errors(count, times)
    probability = np.full(count, 1 / count)
    basis = NoiseBasis(np.sqrt(probability), noise_std, 1e-3)
    factor = np.zeros((60, 0))
    for start in range(0, 60, 3):
        rows = basis.rows(errors[:, start : start + 3], residual=1e-3)
        factor = np.pad(factor, ((0, 0), (0, rows.fresh.shape[1])))
        factor[start : start + 3] = np.hstack([rows.known, rows.fresh])
        basis.extend(rows)
    covariance = errors.T @ errors / count + noise_std**2
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(covariance)
    # Four exponentials and the label noise span five directions; dropped ones are of size 1e-6.
    assert 5 <= basis.rank <= 8
    assert np.allclose(factor @ factor.T, covariance, atol=1e-9)
    gram = basis.paths.T @ basis.paths + np.outer(basis.sigma, basis.sigma)
    assert np.allclose(gram, np.eye(basis.rank), atol=1e-12)


def test_new_directions_keep_their_gauge():
    count = 200
    generator = np.random.default_rng(1)
    basis = NoiseBasis(np.full(count, count**-0.5), 0.3, 1e-3)
    errors = generator.normal(size=(count, 3))
    first = basis.rows(errors, 0.0)
    # Nearly the same paths, seen from a rotated frame: the answer must turn with the frame.
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    second = basis.rows(errors + 1e-6, 0.0, first.fresh @ rotation)
    assert np.allclose(second.fresh, first.fresh @ rotation, atol=1e-4)
    assert np.allclose(second.fresh @ second.fresh.T, first.fresh @ first.fresh.T, atol=1e-4)
    assert np.allclose(second.directions, first.directions @ rotation, atol=1e-4)


@pytest.mark.parametrize("kind", ["bernoulli-gauss", "gaussian", "rademacher"])
def test_innovations_are_orthogonal_and_exact_in_every_stratum(kind):
    sample = Sample(Problem(teacher={"kind": kind}), 600, np.random.SeedSequence(2))
    known = np.sin(np.arange(600.0))[:, None]
    sample.learn(known)
    first = sample.innovations(2)
    assert np.array_equal(first, sample.innovations(2))
    sample.use(first[:, :1])
    second = sample.innovations(3)
    for stratum in sample.strata:
        n = stratum.stop - stratum.start
        assert np.allclose(second[stratum].T @ second[stratum] / n, np.eye(3), atol=1e-10)
        assert np.allclose(second[stratum].T @ known[stratum], 0, atol=1e-9)
        assert np.allclose(second[stratum].T @ first[stratum, :1], 0, atol=1e-9)
    assert abs(second).max() < 7


def test_sample_has_exact_moments_and_probabilities():
    problem = Problem(teacher={"kind": "bernoulli-gauss", "density": 0.03})
    sample = Sample(problem, 512, np.random.SeedSequence(3))
    assert sample.probability.sum() == pytest.approx(1.0, abs=1e-14)
    teacher = sample.coordinates.teacher
    assert sample.probability @ teacher**2 == pytest.approx(1.0, abs=1e-12)
    assert sample.probability[teacher != 0].sum() == pytest.approx(0.03, abs=1e-12)
    assert (teacher != 0).sum() == 256


def test_many_atoms_become_quantiles_of_one_stratum():
    table = {"problem": {"teacher": {"kind": "discrete", "values": list(range(20))}}}
    sample = Sample(parse_config(table).problem, 400, np.random.SeedSequence(4))
    values, counts = np.unique(sample.coordinates.teacher, return_counts=True)
    assert len(sample.strata) == 1
    assert np.array_equal(values, np.arange(20.0))
    assert np.all(counts == 20)


def test_noise_beyond_the_low_discrepancy_dimensions_is_still_there():
    sample = Sample(Problem(), 1024, np.random.SeedSequence(5))
    for _ in range(30):
        sample.use(sample.innovations(3))
    noise = sample.innovations(3)
    assert np.isfinite(noise).all()
    assert abs(sample.probability @ noise**2 - 1).max() < 1e-10
