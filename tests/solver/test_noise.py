"""The square root of the noise covariance, and the innovations it is fed with."""

import numpy as np
import pytest
from scipy.stats import kstest

from dmft.config import parse_config
from dmft.problem import Problem
from dmft.problem.teachers import Gaussian
from dmft.solver.noise import NoiseBasis
from dmft.solver.sampling import PathSet


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
    basis = NoiseBasis(np.sqrt(probability), noise_std)
    factor = np.zeros((60, 0))
    for start in range(0, 60, 3):
        rows = basis.rows(errors[:, start : start + 3])
        factor = np.pad(factor, ((0, 0), (0, 3)))
        factor[start : start + 3] = np.hstack([rows.known, rows.fresh])
        basis.extend(rows.directions)
    covariance = errors.T @ errors / count + noise_std**2
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(covariance)
    assert np.allclose(factor @ factor.T, covariance, atol=1e-12)
    # Four exponentials and the label noise span five directions, in whatever frame.
    projection = basis.directions @ basis.directions.T
    assert np.allclose(projection @ projection, projection, atol=1e-12)
    assert np.trace(projection) == pytest.approx(5.0, abs=1e-9)


def test_directions_do_not_depend_on_what_the_sweeps_did_before():
    """Rows are triangular with a positive diagonal, hence unique."""
    generator = np.random.default_rng(1)
    basis = NoiseBasis(np.full(200, 200**-0.5), 0.3)
    rows = basis.rows(generator.normal(size=(200, 3)))
    assert np.array_equal(rows.fresh, np.triu(rows.fresh))
    assert np.all(np.diag(rows.fresh) > 0)


def test_change_of_the_factor_matches_finite_differences():
    generator = np.random.default_rng(2)
    basis = NoiseBasis(np.full(200, 200**-0.5), 0.3)
    basis.extend(basis.rows(generator.normal(size=(200, 1))).directions)
    errors, change = generator.normal(size=(2, 200, 3))
    before, after = basis.rows(errors - 1e-6 * change), basis.rows(errors + 1e-6 * change)
    middle = basis.rows(errors)
    projection = (200**-0.5 * change).T @ middle.directions[:-1]
    difference = (after.fresh - before.fresh) / 2e-6
    assert np.allclose(middle.fresh_change(projection), difference, atol=1e-8)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("kind", ["bernoulli-gauss", "gaussian", "rademacher"])
def test_innovations_are_orthogonal_and_exact_in_every_stratum(kind, rotated):
    generator = np.random.default_rng(6)
    rotation = np.linalg.qr(generator.normal(size=(70, 70)))[0] if rotated else None
    path_set = PathSet(Problem(teacher={"kind": kind}), 600, np.random.SeedSequence(2), rotation)
    known = np.sin(np.arange(600.0))
    path_set.learn(known)
    first = path_set.innovations(2)
    assert np.array_equal(first, path_set.innovations(2))
    path_set.use(1)
    second = path_set.innovations(3)
    assert np.array_equal(second[:, 0], first[:, 1])
    for stratum in path_set.strata:
        share = path_set.probability[stratum, None] / path_set.probability[stratum].sum()
        assert np.allclose(second[stratum].T @ (share * second[stratum]), np.eye(3), atol=1e-10)
        assert np.allclose(second[stratum].T @ (share * known[stratum, None]), 0, atol=1e-9)
        assert np.allclose(second[stratum].T @ (share * first[stratum, :1]), 0, atol=1e-9)
    assert abs(second).max() < 9


def test_rotation_gives_the_most_uniform_dimension_to_its_first_row():
    """Along that combination of directions a sample is far closer to normal than a random one."""
    generator = np.random.default_rng(7)
    rotation = np.linalg.qr(generator.normal(size=(90, 90)))[0]
    path_set = PathSet(Problem(teacher=Gaussian()), 512, np.random.SeedSequence(8), rotation)
    noise = path_set.innovations(90)
    best = kstest(noise @ rotation[0], "norm").statistic
    typical = np.median([kstest(column, "norm").statistic for column in noise.T])
    assert best < 0.3 * typical


def test_where_only_noise_moves_paths_its_tails_are_well_covered():
    """Importance sampling: more paths far out, with weights that leave every average what it is."""
    path_set = PathSet(Problem(), 4096, np.random.SeedSequence(8))
    atom, slab = path_set.strata
    first = path_set.innovations(1)[:, 0]
    share = path_set.probability[atom] / path_set.probability[atom].sum()
    for exponent in (0.5, 1.0):
        average = share @ np.exp(exponent * first[atom])
        assert average == pytest.approx(np.exp(0.5 * exponent**2), rel=2e-3)
    assert np.mean(np.abs(first[atom]) > 2.5) > 4.0 * np.mean(np.abs(first[slab]) > 2.5)
    assert np.ptp(path_set.probability[slab]) == 0.0


@pytest.mark.parametrize("teacher", ["bernoulli-gauss", "gaussian"])
def test_wide_teachers_leave_every_average_what_it_is(teacher):
    problem = Problem(teacher={"kind": teacher})
    seed = np.random.SeedSequence(8)
    wide, plain = (
        PathSet(problem, 4096, seed, wide_teacher=(1.5, 1.3)),
        PathSet(problem, 4096, seed),
    )
    slab = wide.strata[-1]
    share = wide.probability[slab] / wide.probability[slab].sum()
    assert wide.probability.sum() == pytest.approx(1.0)
    value = wide.coordinates.teacher[slab]
    value = value / problem.teacher.components()[-1].std
    wide.learn(wide.coordinates.teacher)
    noise = wide.innovations(1)[slab, 0]
    for average, exact in (
        (share @ value, 0.0), (share @ value**2, 1.0), (share @ noise, 0.0),
        (share @ noise**2, 1.0), (share @ (value * noise), 0.0),
    ):  # fmt: skip
        assert average == pytest.approx(exact, abs=1e-9)
    assert share @ value**4 == pytest.approx(3.0, rel=0.01)
    for exponent in (1.0, 2.0):  # of a force of both, whose tail leaves a small start
        average = share @ np.exp(exponent * (0.8 * value + 0.6 * noise))
        assert average == pytest.approx(np.exp(0.5 * exponent**2), rel=0.02)
    far = 3.0 * problem.teacher.components()[-1].std
    reach = [np.mean(np.abs(s.coordinates.teacher[slab]) > far) for s in (wide, plain)]
    assert reach[0] > 8.0 * reach[1] > 0.0


def test_part_of_a_sample_is_a_smaller_sample():
    path_set = PathSet(Problem(), 1000, np.random.SeedSequence(8))
    chosen, probability = path_set.part(250)
    assert len(chosen) == len(np.unique(chosen)) == 250
    for stratum in path_set.strata:
        inside = (chosen >= stratum.start) & (chosen < stratum.stop)
        assert inside.sum() == 125
        assert probability[inside].sum() == pytest.approx(path_set.probability[stratum].sum())
        ratio = probability[inside] / path_set.probability[chosen[inside]]
        assert np.ptp(ratio) < 1e-12
    assert np.array_equal(path_set.part(1000)[0], np.arange(1000))


def test_noise_does_not_vanish_on_the_few_paths_where_a_coordinate_lives():
    path_set = PathSet(Problem(), 512, np.random.SeedSequence(9))
    lonely = np.zeros(512)
    lonely[[10, 400]] = 1.0
    path_set.learn(lonely)
    assert np.std(path_set.innovations(60)[[10, 400]]) > 0.7


def test_sample_has_exact_moments_and_probabilities():
    problem = Problem(teacher={"kind": "bernoulli-gauss", "density": 0.03})
    path_set = PathSet(problem, 512, np.random.SeedSequence(3))
    assert path_set.probability.sum() == pytest.approx(1.0, abs=1e-14)
    teacher = path_set.coordinates.teacher
    assert path_set.probability @ teacher**2 == pytest.approx(1.0, abs=1e-12)
    assert path_set.probability[teacher != 0].sum() == pytest.approx(0.03, abs=1e-12)
    assert (teacher != 0).sum() == 256


def test_many_atoms_become_quantiles_of_one_stratum():
    table = {"problem": {"teacher": {"kind": "discrete", "values": list(range(20))}}}
    path_set = PathSet(parse_config(table).problem, 400, np.random.SeedSequence(4))
    values, counts = np.unique(path_set.coordinates.teacher, return_counts=True)
    assert len(path_set.strata) == 1
    assert np.array_equal(values, np.arange(20.0))
    assert np.all(counts == 20)


def test_noise_beyond_the_low_discrepancy_dimensions_is_still_there():
    path_set = PathSet(Problem(), 1024, np.random.SeedSequence(5))
    for _ in range(30):
        path_set.use(len(path_set.innovations(3).T))
    noise = path_set.innovations(3)
    assert np.isfinite(noise).all()
    assert abs(path_set.probability @ noise**2 - 1).max() < 1e-10
