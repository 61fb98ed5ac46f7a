"""Draws of coordinates: even, exact at the start, and with the tails of their laws."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.settings import SimulationSettings
from dmft.simulation.sampling import (
    interval_points,
    method_of,
    random_coordinates,
    stratified_coordinates,
)

NORMAL = {"kind": "gaussian", "std": 0.5}


def drawn(problem, d, seed=0):
    return stratified_coordinates(Problem(**problem), d, np.random.default_rng(seed))


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


def test_every_interval_has_one_random_point_and_their_order_is_random():
    rng = np.random.default_rng(0)
    points = np.array([interval_points(50, rng) for _ in range(400)])
    np.testing.assert_array_equal(np.sort(np.floor(50 * points)), np.tile(np.arange(50), (400, 1)))
    assert points.min() > 0.0 and points.max() < 1.0
    # Of every place in an interval, and of every interval in the first place: as uniform as can be.
    within = 50 * points % 1.0
    assert abs(within.mean() - 0.5) < 4.0 / np.sqrt(12 * within.size)
    assert within.var() == pytest.approx(1 / 12, rel=0.02)
    assert abs(points[:, 0].mean() - 0.5) < 4.0 / np.sqrt(12 * 400)
    assert interval_points(0, rng).shape == (0,)


def test_tails_are_those_of_the_law():
    """The fourth moment of a normal teacher is 3; 20 midpoints scaled to its variance have 2.51."""
    problem, rng = Problem(teacher={"kind": "gaussian"}), np.random.default_rng(1)
    found = [np.mean(stratified_coordinates(problem, 20, rng).teacher ** 4) for _ in range(2000)]
    midpoints = ndtri((np.arange(20) + 0.5) / 20)
    missing = 3.0 - np.mean(midpoints**4) / np.mean(midpoints**2) ** 2
    assert missing > 0.45
    assert abs(np.mean(found) - 3.0) < 0.6 * missing - 4.0 * np.std(found) / 2000**0.5


@pytest.mark.parametrize("seed", range(5))
def test_small_strata_share_their_intervals(seed):
    """Eight variances of two coordinates each: two medians eight times would not be even."""
    features = {"kind": "discrete", "values": [1, 2, 3, 4, 5, 6, 7, 8]}
    values = np.sort(
        drawn({"teacher": {"kind": "gaussian"}, "features": features}, 16, seed).teacher
    )
    away = 16 * ndtr(values) - np.arange(16)  # within [0, 1] but for the shift and the scale
    assert away.min() > -0.7 and away.max() < 1.7


STARTS = {
    "unbalanced": {"network": {"init_u": 0.5, "init_v": 0.2}},
    "far teacher": {
        "teacher": {"kind": "gaussian", "mean": 1e6, "std": 1e-3},
        "network": {"init_u": 0.5, "init_v": 0.2},
    },
    "normal u": {"network": {"init_u": NORMAL, "init_v": 0.0}},
    "normal u and v": {"network": {"init_u": NORMAL, "init_v": {**NORMAL, "mean": 0.1}}},
    "sparse u": {"network": {"init_u": {"kind": "bernoulli-gauss"}, "init_v": 0.1}},
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("d", [40, 201])
def test_networks_start_where_the_population_does(name, d):
    problem = Problem(**STARTS[name])
    u, v = problem.network.initial_components()
    teacher = problem.teacher.components()[-1]
    squares = [sum(law.probability * second(law) for law in laws) for laws in (u, v)]
    for seed in range(3):
        draws = drawn(STARTS[name], d, seed)
        assert 2 * np.mean(draws.a0 * draws.b0) == pytest.approx(squares[0] - squares[1], rel=1e-9)
        mean = teacher.mean * teacher.probability
        assert np.mean(draws.teacher) == pytest.approx(mean, rel=1e-13, abs=1e-12)
        if teacher.probability == 1.0:
            assert np.std(draws.teacher) == pytest.approx(teacher.std, rel=1e-6)
        else:
            assert np.mean(draws.teacher**2) == pytest.approx(1.0, rel=1e-12)


def second(law):
    if law.atom:
        return law.quantile(np.array([0.5]))[0] ** 2
    return law.mean**2 + law.std**2


def test_typical_charges_of_random_starts_are_those_of_the_population():
    """At midpoints some |u| = |v| to the bit: one b0 of zero makes the geometric mean zero."""
    problem = {"network": {"init_u": NORMAL, "init_v": NORMAL}}

    def typical(draws):
        return np.mean(np.log(np.abs(draws.a0)) + np.log(np.abs(draws.b0))) / 2

    rng = np.random.default_rng(0)
    expected = typical(random_coordinates(Problem(**problem), 10**6, rng))
    found = [typical(drawn(problem, 100, seed)) for seed in range(400)]
    assert abs(np.mean(found) - expected) < 4.0 * np.std(found) / 20.0 + 0.005


def test_deep_starts_keep_b_above_zero():
    """They are at midpoints, as they are: shifts and scales might take v beyond u."""
    network = {
        "depth": 3,
        "init_u": {"kind": "gaussian", "mean": 0.6, "std": 0.1},
        "init_v": {"kind": "gaussian", "std": 0.01},
    }
    draws = drawn({"network": network}, 50)
    for found, law in ((draws.a0 + draws.b0, (0.6, 0.1)), (draws.a0 - draws.b0, (0.0, 0.01))):
        expected = law[0] + law[1] * ndtri((np.arange(50) + 0.5) / 50)
        np.testing.assert_allclose(np.sort(found) / 2**0.5, expected, atol=1e-14)


def test_zeros_of_a_list_stay_zero():
    """Whatever d is; and the second moment is that of the list."""
    values = [0.0] * 7 + [1.0, 2.0, 4.0]
    for d in (10, 34, 203):
        teacher = drawn({"teacher": {"kind": "empirical", "values": values}}, d).teacher
        assert abs(np.count_nonzero(teacher == 0.0) - 0.7 * d) < 1.0
        assert np.mean(teacher**2) == pytest.approx(2.1, rel=1e-12)
    exact = drawn({"teacher": {"kind": "empirical", "values": values}}, 30).teacher
    np.testing.assert_allclose(np.sort(exact), np.sort(np.tile(values, 3)), rtol=1e-12)


def test_a_single_value_has_the_second_moment():
    teacher = drawn({}, 10).teacher
    assert np.count_nonzero(teacher) == 1
    assert np.sum(teacher**2) == pytest.approx(10.0, rel=1e-12)


def test_the_method_has_a_name_where_it_has_changed():
    discrete = Problem(teacher={"kind": "rademacher"})
    for problem, stratified, same in (
        (Problem(), True, False),
        (Problem(), False, True),
        (discrete, True, True),
    ):
        assert (method_of(problem, SimulationSettings(stratified=stratified)) == "") == same


def test_values_that_come_out_zero_though_the_law_is_not_are_refused():
    """Of a list, whose zeros are no support: nothing else asks for a value that is not zero."""
    law = {"teacher": {"kind": "empirical", "values": [0.0] * 99 + [1.0]}}
    with pytest.raises(InputError, match="given 2, too small for this teacher: .* nonzero"):
        drawn(law, 2)
    assert np.mean(drawn(law, 100).teacher ** 2) == pytest.approx(0.01)
