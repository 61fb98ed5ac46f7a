"""Laws of finite networks, fitted to made-up pools whose laws are known."""

import numpy as np
import pytest

from dmft.bench.cases import POINTS
from dmft.bench.finite_size import Law, Pool, PowerOfDimension, fitted

SIZES = ((250, 2000), (500, 500), (1000, 120), (2000, 30))  # dimensions and counts
MANY = tuple((dimension, 4 * count) for dimension, count in SIZES)
SHAPE = np.geomspace(0.02, 1.0, POINTS)  # bias and noise grow along a curve, as excess_risk's do
SHAPE /= np.sqrt(np.mean(SHAPE**2))
UNIT = np.ones(1)


def made_up(bias, rng, power=1.0, noise=10.0, spread_power=1.0, common=0.9, sizes=SIZES):
    """Pools with a bias of bias/1000 at d = 1000, a share `common` of the noise in one number.

    Variances are those of `count` normal numbers.
    """
    pools = []
    for dimension, count in sizes:
        centre = 1.0 + bias / 1000.0 * SHAPE * (dimension / 1000.0) ** -power
        deviation = np.sqrt(noise / 1000.0 * (dimension / 1000.0) ** -spread_power) * SHAPE
        shared = np.sqrt(common) * rng.normal() + np.sqrt(1 - common) * rng.normal(size=POINTS)
        variance = deviation**2 * rng.chisquare(count - 1) / (count - 1)
        mean = centre + deviation * shared / np.sqrt(count)
        pools.append(Pool(dimension, count, mean[None], variance[None], 1e-7 * dimension**2))
    return pools


def test_noise_of_correlated_times_is_not_taken_for_a_slow_law():
    """At 99 % one pool in a hundred may be; counting times as independent takes one in four."""
    rng = np.random.default_rng(0)
    for bias, common in ((8.0, 1.0), (8.0, 0.9), (2.0, 0.9), (0.0, 0.9)):
        laws = [fitted(made_up(bias, rng, common=common)) for _ in range(300)]
        assert np.mean([law.bias.power[0] < 1.0 for law in laws]) < 0.03


@pytest.mark.parametrize("power", [0.65, 0.4])
def test_slow_laws_are_found(power):
    rng = np.random.default_rng(1)
    biases = [fitted(made_up(60.0, rng, power, sizes=MANY)).bias for _ in range(200)]
    powers = np.array([bias.power[0] for bias in biases])
    assert np.all(powers < 1.0)
    assert np.mean(powers) == pytest.approx(power, abs=4.0 * powers.std() / 200**0.5 + 0.005)
    # The stated error is that of complete correlation, little more than of nine tenths.
    stated = np.mean([bias.power_stderr[0] for bias in biases])
    assert 0.85 * stated < powers.std() < 1.05 * stated
    far = [bias(64_000)[0] for bias in biases]
    assert np.median(far) == pytest.approx(0.06 * 64.0**-power, rel=0.05)


def test_size_of_the_bias_and_its_error():
    rng = np.random.default_rng(2)
    biases = [fitted(made_up(8.0, rng)).bias for _ in range(300)]
    sizes, stated = np.array([(bias.size[0], bias.stderr[0]) for bias in biases]).T
    assert np.mean(sizes) == pytest.approx(8.0, abs=4.0 * sizes.std() / 300**0.5 + 0.05)
    assert 0.8 * stated.mean() < sizes.std() < 1.1 * stated.mean()
    # Noise is taken off the square, which is right on average where there is no bias.
    squares = [fitted(made_up(0.0, rng)).bias.size[0] ** 2 for _ in range(300)]
    assert np.mean(squares) < stated.mean() ** 2


def test_times_of_little_bias_do_not_set_the_power():
    """They are known well where noise is small, but are no part of the error that is raced to."""
    rng = np.random.default_rng(3)
    laws = []
    for _ in range(100):
        pools = made_up(8.0, rng)
        for pool in pools:
            pool.mean[0, :4] = 1.0 + 1e-4 * (pool.dimension / 250.0) ** -0.3
            pool.variance[0, :4] = 1e-12
        laws.append(fitted(pools))
    assert np.mean([law.bias.power[0] < 1.0 for law in laws]) < 0.04


def test_variance_is_fitted_to_all_pools():
    rng = np.random.default_rng(4)
    laws = [fitted(made_up(8.0, rng)) for _ in range(300)]
    assert np.mean([law.variance.power[0] != 1.0 for law in laws]) < 0.03
    plain = [law for law in laws if law.variance.power[0] == 1.0]
    last = np.array([law.spread(2000)[0] for law in plain])
    assert np.mean(last) == pytest.approx(10.0 / 2000.0, rel=0.01)
    assert last.std() < 0.04 * last.mean()  # the largest pool alone: 0.26
    slow = [fitted(made_up(8.0, rng, spread_power=0.4)).variance for _ in range(200)]
    powers = np.array([variance.power[0] for variance in slow])
    assert np.mean(powers) == pytest.approx(0.4, abs=0.01)
    assert powers.std() == pytest.approx(slow[0].power_stderr[0], rel=0.2)


def test_cheapest_ensemble_is_the_same_for_other_seeds():
    rng = np.random.default_rng(5)
    found = [fitted(made_up(8.0, rng)).cheapest(0.01) for _ in range(300)]
    seconds = np.array([row[0] for row in found])
    low, middle, high = np.quantile(seconds, [0.1, 0.5, 0.9])
    assert middle / 1.2 < low and high < 1.2 * middle
    exact = Law(
        tuple(made_up(8.0, rng)),
        PowerOfDimension(8.0 * UNIT, UNIT, UNIT, UNIT),
        PowerOfDimension(10.0 * UNIT, UNIT, UNIT, UNIT),
    )
    assert exact.cheapest(0.01)[0] == pytest.approx(middle, rel=0.05)


@pytest.mark.parametrize("target", [0.1, 0.02, 0.004, 0.0005])
def test_cheapest_ensemble_against_all_dimensions(target):
    """seconds = 1e-7 d^2: the best d is near c 3^1/2 / target, of all integers from 250."""
    law = Law(
        tuple(made_up(8.0, np.random.default_rng(6))),
        PowerOfDimension(8.0 * UNIT, UNIT, UNIT, UNIT),
        PowerOfDimension(1e4 * UNIT, UNIT, UNIT, UNIT),
    )
    seconds, count, dimension = law.cheapest(target)
    assert law.error(count, dimension) == pytest.approx(target, rel=1e-3)
    assert law.error(count, dimension) <= target and dimension % 50 == 0
    assert seconds == pytest.approx(count * 1e-7 * dimension**2)
    every = np.arange(250.0, 60_000.0)
    room = target**2 - (8.0 / every) ** 2
    with np.errstate(divide="ignore"):
        work = np.where(room > 0.0, np.ceil(1e4 / every / room) * 1e-7 * every**2, np.inf)
    assert work.min() * (1 - 1e-9) <= seconds < 1.02 * work.min()


def test_of_several_curves_the_worst_counts():
    rng = np.random.default_rng(7)
    both = [
        Pool(
            a.dimension,
            a.count,
            np.vstack([a.mean, b.mean]),
            np.vstack([a.variance, b.variance]),
            a.seconds,
        )
        for a, b in zip(made_up(60.0, rng, 0.5, sizes=MANY), made_up(8.0, rng), strict=True)
    ]
    law = fitted(both)
    slow, plain = str(law.bias).split(" and ")
    assert law.bias.power[0] < 0.7 and "/d^(" in slow
    assert law.bias.power[1] == 1.0 and plain.endswith(")/d")
    # A bias of 1 % in the first takes d = 36,000.
    assert law.cheapest(0.011)[2] > 20_000
    assert law.error(1, 1000) == pytest.approx(np.hypot(law.bias(1000), law.spread(1000) ** 0.5)[0])
