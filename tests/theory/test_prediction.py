"""Limits and rates: published numbers, limits, and what is outside of the domain."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dmft import InputError, Problem
from dmft.theory import basis_pursuit, l1_transition, minimum_l2, predict, trade_off
from dmft.theory.linear import learning_curves

# excess_risk and lambda_min of the default problem, from quadratures independent of this package
INTERPOLATION = {0.3: (0.1026926, 0.0300886), 1.0: (0.3454571, 0.1905387), 10: (0.5099438, 17.1577)}
RISKS = {0.1: 0.04994753, 0.03: 0.03819392, 0.01: 0.03478162, 0.001: 0.03220155, 1e-5: 0.03075016}


@pytest.mark.parametrize("scale", INTERPOLATION)
def test_interpolation_limits(scale):
    found = predict(Problem(network={"init_scale": scale}))
    risk, rate = INTERPOLATION[scale]
    assert found.regime == "interpolation"
    assert found.excess_risk == pytest.approx(risk, rel=1e-6)
    assert found.relaxation_rate == pytest.approx(rate, rel=2e-6)
    assert found.train_mse == 0.0


@pytest.mark.parametrize("scale", RISKS)
def test_small_starts(scale):
    found = predict(Problem(network={"init_scale": scale}))
    assert found.excess_risk == pytest.approx(RISKS[scale], rel=5e-7)


def test_lasso():
    found = predict(Problem(dynamics={"weight_decay": 0.1}))
    assert found.regime == "lasso"
    assert found.excess_risk == pytest.approx(0.01932852, rel=1e-6)
    assert found.nonzero == pytest.approx(0.2188366, rel=1e-6)
    assert found.train_mse == pytest.approx(0.009274010, rel=1e-6)
    found = predict(Problem(dynamics={"weight_decay": 1e-3}))
    assert found.excess_risk == pytest.approx(0.02849334, rel=1e-6)
    assert found.nonzero == pytest.approx(0.49528, rel=1e-5)
    assert found.train_mse == pytest.approx(3.43014e-6, rel=1e-5)


@pytest.mark.parametrize(
    ("delta", "weight_decay"), [(0.3, 0.0), (2.5, 0.0), (0.3, 0.1), (1.0, 0.1), (2.5, 0.1)]
)
def test_linear_network_ends_where_its_exact_curves_do(delta, weight_decay):
    problem = Problem(
        sampling_ratio=delta,
        noise_std=0.5,
        teacher={"kind": "gaussian"},
        network={"kind": "linear"},
        dynamics={"weight_decay": weight_decay},
    )
    found, end = predict(problem), learning_curves(problem, 1e9)
    assert found.excess_risk == pytest.approx(float(end.excess_risk), rel=1e-9)
    assert found.train_mse == pytest.approx(float(end.train_mse), rel=1e-9, abs=1e-12)
    # the rate and the power of time, from exact curves at late times
    for name, rate, power in (
        ("train_mse", found.train_rate, found.train_power),
        ("excess_risk", found.risk_rate, found.risk_power),
    ):
        late = np.array([20.0, 22.0]) / rate
        gap = getattr(learning_curves(problem, late), name) - getattr(end, name)
        slope = -np.log(gap[1] / gap[0]) * rate / 2.0
        assert slope == pytest.approx(rate * (1 + power / 21.0), rel=0.02), name


def test_critical_ratio():
    problem = Problem(sampling_ratio=1.0, network={"kind": "linear"})
    found = predict(problem)
    assert found.regime == "critical" and found.excess_risk == np.inf
    assert "sampling ratio 1" in found.note
    noiseless = predict(Problem(sampling_ratio=1.0, noise_std=0.0))
    assert noiseless.excess_risk == 0.0 and "teacher" in noiseless.note
    for each in (found, noiseless):
        assert each.relaxation_rate == each.train_mse == 0.0
    late = np.array([1e8, 1e10])
    for noise, powers in ((0.5, (0.5, -0.5)), (0.0, (1.5, 0.5))):
        problem = Problem(sampling_ratio=1.0, noise_std=noise, network={"kind": "linear"})
        curves, found = learning_curves(problem, late), predict(problem)
        for curve, power in zip((curves.train_mse, curves.excess_risk), powers, strict=True):
            assert np.log(curve[0] / curve[1]) / np.log(100) == pytest.approx(power, abs=1e-3)
        assert (found.train_power, found.risk_power) == powers


def test_more_samples_than_coordinates():
    for network in ({"init_scale": 0.3}, {"depth": 4}, {"init_u": 0.5, "init_v": 0.2}):
        found = predict(Problem(sampling_ratio=3.0, noise_std=0.4, network=network))
        assert found.regime == "least-squares"
        assert found.excess_risk == pytest.approx(0.08)
        assert found.train_mse == pytest.approx(0.16 * 2 / 3)
        assert 0 < found.relaxation_rate < 2


def test_ends_of_the_family():
    """alpha -> infinity is the minimum l2 norm; alpha -> 0 approaches the l1 norm."""
    large = predict(Problem(network={"init_scale": 1e3}))
    l2 = minimum_l2(Problem())
    assert large.excess_risk == pytest.approx(l2.excess_risk, rel=1e-9)
    assert large.relaxation_rate == pytest.approx(2e6 * l2.relaxation_rate, rel=1e-9)
    # (1 - delta) E[w*^2] + sigma^2 delta / (1 - delta)
    assert l2.excess_risk == pytest.approx(0.5 + 0.01, rel=1e-12)
    l1 = basis_pursuit(Problem())
    assert l1.nonzero == pytest.approx(0.5) and not l1.recovered
    gaps = [
        predict(Problem(network={"init_scale": a})).excess_risk / l1.excess_risk - 1
        for a in (1e-2, 1e-4, 1e-6)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    # the gap closes like 1/log(1/alpha), up to iterated logarithms
    assert gaps[1] * np.log(1e4) == pytest.approx(gaps[2] * np.log(1e6), rel=0.2)


def test_weight_decay_to_zero_is_the_minimum_norm():
    l1 = basis_pursuit(Problem())
    lasso = predict(Problem(dynamics={"weight_decay": 1e-7}))
    assert lasso.excess_risk == pytest.approx(l1.excess_risk, rel=1e-5)
    ridge = predict(Problem(network={"kind": "linear"}, dynamics={"weight_decay": 1e-8}))
    assert ridge.excess_risk == pytest.approx(minimum_l2(Problem()).excess_risk, rel=1e-6)


def test_l1_transition():
    """Known in parametric form (Donoho, Maleki and Montanari 2009), and seen from both sides."""
    from scipy.stats import norm

    kappa = 1.2
    delta = 2 * norm.pdf(kappa) / (kappa + 2 * (norm.pdf(kappa) - kappa * norm.cdf(-kappa)))
    density = delta * (1 - kappa * norm.cdf(-kappa) / norm.pdf(kappa))
    teacher = {"kind": "bernoulli-gauss", "density": float(density)}
    at = float(l1_transition(Problem(teacher=teacher)))
    assert at == pytest.approx(delta, rel=1e-9)
    above, below = (
        Problem(sampling_ratio=at * factor, noise_std=0.0, teacher=teacher)
        for factor in (1.01, 0.99)
    )
    assert basis_pursuit(above).recovered and basis_pursuit(above).excess_risk == 0.0
    assert not basis_pursuit(below).recovered and basis_pursuit(below).excess_risk > 1e-4
    # A network close to the l1 norm feels it: its error vanishes with its start above only.
    found, lost = (
        [
            predict(Problem(sampling_ratio=ratio, noise_std=0.0, network={"init_scale": a}))
            for a in (1e-3, 1e-6)
        ]
        for ratio in (0.6, 0.2)
    )
    assert found[1].excess_risk < 1e-3 * found[0].excess_risk
    assert lost[1].excess_risk > 0.5 * lost[0].excess_risk


def test_balanced_and_equivalent_starts_agree():
    """u = sqrt2 alpha, v = 0 is the standard start, and signs of a0, b0 do not matter."""
    standard = predict(Problem())
    given = predict(Problem(network={"init_u": 2**0.5 * 0.3, "init_v": 0.0}))
    assert given.excess_risk == pytest.approx(standard.excess_risk, rel=1e-9)
    turned = predict(Problem(network={"init_u": 0.0, "init_v": -(2**0.5) * 0.3}))
    assert turned.excess_risk == pytest.approx(standard.excess_risk, rel=1e-9)


def test_laws_that_are_the_same_give_the_same():
    values = {"kind": "discrete", "values": [0.0, 1.5, -0.5], "weights": [2, 1, 1]}
    listed = {"kind": "empirical", "values": [0.0, 0.0, 1.5, -0.5]}
    pairs = {**listed, "feature_variances": [1.0, 1.0, 1.0, 1.0]}
    reference = predict(Problem(teacher=values))
    for teacher in (listed, pairs):
        found = predict(Problem(teacher=teacher))
        assert found.excess_risk == pytest.approx(reference.excess_risk, rel=1e-9)
        assert found.relaxation_rate == pytest.approx(reference.relaxation_rate, rel=1e-9)
    # feature variances scale out of the linear model: s = 4 everywhere is a teacher twice as large
    network = {"kind": "linear"}
    scaled = predict(Problem(features={"kind": "discrete", "values": [4.0]}, network=network))
    double = {"kind": "bernoulli-gauss", "density": 0.1}
    plain = predict(Problem(teacher=double, noise_std=0.05, network=network))
    assert scaled.excess_risk == pytest.approx(4 * plain.excess_risk, rel=1e-9)
    assert scaled.relaxation_rate == pytest.approx(4 * plain.relaxation_rate, rel=1e-9)


def test_long_empirical_teachers_are_condensed_without_loss():
    rng = np.random.default_rng(0)
    values = rng.normal(size=20_000) * (rng.random(20_000) < 0.3)
    start = time.perf_counter()
    found = predict(Problem(teacher={"kind": "empirical", "values": list(values)}))
    assert time.perf_counter() - start < 20  # seconds on a busy machine; idle it is below 2
    from dmft.theory import channels

    few = predict(Problem(teacher={"kind": "empirical", "values": list(values[:1500])}))
    limit = channels._MOST_ATOMS
    try:
        channels._MOST_ATOMS = 10_000
        exact = predict(Problem(teacher={"kind": "empirical", "values": list(values[:1500])}))
    finally:
        channels._MOST_ATOMS = limit
    assert few.excess_risk == pytest.approx(exact.excess_risk, rel=1e-8)
    assert found.excess_risk == pytest.approx(few.excess_risk, rel=0.1)


def test_random_starts_contain_constant_ones():
    narrow = {"kind": "gaussian", "mean": 0.4, "std": 1e-4}
    found = predict(Problem(network={"init_u": narrow, "init_v": 0.1}))
    constant = predict(Problem(network={"init_u": 0.4, "init_v": 0.1}))
    assert found.excess_risk == pytest.approx(constant.excess_risk, rel=1e-6)


def test_nothing_to_learn():
    nothing = {"teacher": {"kind": "discrete", "values": [0.0]}, "noise_std": 0.0}
    for extra in ({}, {"dynamics": {"weight_decay": 0.1}}, {"network": {"kind": "linear"}}):
        found = predict(Problem(**nothing, **extra))
        assert found.excess_risk == found.train_mse == 0.0
        assert "no teacher" in found.note
    # but an unbalanced start away from zero has to be unlearnt
    found = predict(Problem(**nothing, network={"init_u": 0.5, "init_v": 0.3}))
    assert 0 < found.excess_risk < 0.15**2


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_ratio": 0.999},
        {"sampling_ratio": 1e-3},
        {"noise_std": 1e3},
        {"network": {"init_scale": 1e-100}},
        {"network": {"init_scale": 1e8}},
        {"network": {"init_scale": 1e3, "depth": 20}},
        {"dynamics": {"weight_decay": 1e-12}},
        {"dynamics": {"weight_decay": 1e6}},
        {"dynamics": {"weight_decay": 1e-9}, "noise_std": 0.0},
        {"network": {"init_u": 1e-3, "init_v": 1e3}},
    ],
)
@pytest.mark.filterwarnings("error")
def test_extreme_problems(changes):
    found = predict(Problem(**changes))
    assert np.isfinite(found.excess_risk) and found.excess_risk >= 0
    assert found.relaxation_rate >= 0


def test_rates_that_rounding_hides_are_not_made_up():
    found = predict(Problem(network={"depth": 20, "init_scale": 1e-6}))
    assert np.isnan(found.relaxation_rate) and "resolved" in found.note
    assert found.excess_risk == pytest.approx(basis_pursuit(Problem()).excess_risk, rel=1e-6)


def test_refusals():
    for start in (1e-150, 1e150):
        with pytest.raises(InputError, match="must be between"):
            predict(Problem(network={"init_scale": start}))
    with pytest.raises(InputError, match="sign"):
        predict(Problem(network={"init_u": 0.5, "init_v": 0.5}))
    for delta in (1.0, 2.0):
        with pytest.raises(InputError, match="least squares"):
            basis_pursuit(Problem(sampling_ratio=delta))
        with pytest.raises(InputError, match="least squares"):
            minimum_l2(Problem(sampling_ratio=delta))
    with pytest.raises(InputError, match="weight_decay"):
        basis_pursuit(Problem(dynamics={"weight_decay": 0.1}))


def random_problem(rng):
    """Over the whole domain: six teachers, three feature laws, depths 2 to 5, weight decay."""
    teachers = [
        {"kind": "bernoulli-gauss", "density": 0.1},
        {"kind": "bernoulli-gauss", "density": 0.9},
        {"kind": "gaussian", "mean": 1.0, "std": 0.5},
        {"kind": "gaussian"},
        {"kind": "rademacher"},
        {"kind": "discrete", "values": [0.0, 1.0, -2.0], "weights": [0.9, 0.05, 0.05]},
    ]
    features = [
        {"kind": "isotropic"},
        {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]},
        {"kind": "power-law", "exponent": 1.5},
    ]
    depth = int(rng.choice([2, 2, 3, 5]))
    smallest = 1e-6 if depth == 2 else 1e-4
    start = float(np.exp(rng.uniform(np.log(smallest), np.log(1e3))))
    decay = float(np.exp(rng.uniform(-12, 3))) if depth == 2 and rng.random() < 0.3 else 0.0
    return Problem(
        sampling_ratio=float(np.exp(rng.uniform(np.log(0.05), np.log(5.0)))),
        noise_std=float(rng.choice([0.0, 0.0, 0.01, 0.1, 1.0, 3.0])),
        teacher=teachers[rng.integers(6)],
        features=features[rng.integers(3)],
        network={"depth": depth, "init_scale": start},
        dynamics={"weight_decay": decay},
    )


def test_every_corner_of_the_domain_has_an_answer():
    """Fixed points, checked by their own equations; no failure, no NaN, bounded cost."""
    from dmft.theory.averages import SmoothPenalty
    from dmft.theory.channels import channels_of
    from dmft.theory.mirror import mirror_of

    rng = np.random.default_rng(7)
    for _ in range(40):
        problem = random_problem(rng)
        found = predict(problem)
        assert np.isfinite(found.excess_risk) and found.excess_risk >= 0
        assert np.isfinite(found.train_mse) and np.isfinite(found.relaxation_rate)
        tau, delta = found.noise_level, problem.sampling_ratio
        balance = delta * tau**2 - problem.noise_std**2 - found.excess_risk
        assert abs(balance) <= 1e-8 * delta * tau**2
        if found.regime == "interpolation":
            channels = channels_of(problem)
            penalty = SmoothPenalty(channels, mirror_of(problem, channels))
            moments = penalty.moments(tau, found.threshold)
            assert moments.slope == pytest.approx(delta, rel=1e-8)
            assert found.relaxation_rate > 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network": {"init_scale": 1e-6}},
        {"sampling_ratio": 0.95, "noise_std": 3.0, "network": {"init_scale": 1e3, "depth": 5}},
        {"features": {"kind": "power-law"}},
        {"dynamics": {"weight_decay": 0.1}},
    ],
)
def test_work_of_a_prediction_is_bounded(changes, monkeypatch):
    """Evaluations of the averages are what a prediction costs, about a millisecond each."""
    from dmft.theory.averages import SmoothPenalty
    from dmft.theory.penalties import AbsolutePenalty

    calls = 0

    def counted(original):
        def moments(self, tau, theta):
            nonlocal calls
            calls += 1
            return original(self, tau, theta)

        return moments

    for kind in (SmoothPenalty, AbsolutePenalty):
        monkeypatch.setattr(kind, "moments", counted(kind.moments))
    predict(Problem(**changes))
    assert 5 < calls < 250


def test_quadrature_does_not_depend_on_its_rule(monkeypatch):
    from dmft.theory import averages

    problems = [Problem(network={"init_scale": a}) for a in (1e-6, 0.1, 1e3)]
    problems.append(Problem(network={"init_scale": 0.01, "depth": 4}))
    usual = [predict(problem) for problem in problems]
    monkeypatch.setattr(averages, "_GAUSS", 24)
    monkeypatch.setattr(averages, "_TAIL", 9.5)
    averages._gauss_rule.cache_clear()
    try:
        finer = [predict(problem) for problem in problems]
    finally:
        averages._gauss_rule.cache_clear()
        monkeypatch.undo()
    for one, other in zip(usual, finer, strict=True):
        assert one.excess_risk == pytest.approx(other.excess_risk, rel=1e-8)
        assert one.relaxation_rate == pytest.approx(other.relaxation_rate, rel=1e-8)


def test_slow_starts_are_noted_where_they_are_the_reason():
    """delta > 1: |u| close to |v| is a reason to name, a small start is plain to see."""
    either = {"init_u": 1.0, "init_v": 1.0 - 1e-13}
    crossing = predict(Problem(sampling_ratio=1.5, network=either))
    assert crossing.relaxation_rate < 1e-12 and "|u| close to |v|" in crossing.note
    small = predict(Problem(sampling_ratio=1.5, network={"init_scale": 1e-10}))
    assert 0.0 < small.relaxation_rate < 1e-12 and small.note == ""


def test_trade_off_takes_starts_of_its_own():
    """The start of the problem does not matter, whatever it is."""
    plain = trade_off(Problem(), [0.3])
    drawn = trade_off(Problem(network={"init_u": 0.5, "init_v": 0.2}), [0.3])
    np.testing.assert_array_equal(plain.excess_risk, drawn.excess_risk)
