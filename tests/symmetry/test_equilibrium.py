"""Noether flow and noise equilibrium against exact arithmetic, limits and each other."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmft.errors import InputError
from dmft.symmetry import (
    ExponentialSymmetry,
    noether_flow,
    noise_equilibrium,
    orbit_through,
)
from dmft.symmetry.noether import Orbit


def orbit(values, squares, powers, noise_strength=0.1, penalty=0.02):
    """An orbit with given numbers along the axes."""
    values = np.asarray(values, dtype=float).reshape(len(squares), -1)
    theta = np.sqrt(np.asarray(squares, dtype=float))
    return Orbit(
        values, np.eye(len(theta)), theta, theta**2, np.asarray(powers, dtype=float),
        noise_strength, penalty, tuple(f"A{k}" for k in range(values.shape[1])),
    )  # fmt: skip


def random_orbit(seed, eigenvalues=5, symmetries=1, **options):
    rng = np.random.default_rng(seed)
    return orbit(
        rng.standard_normal((eigenvalues, symmetries)), rng.uniform(0.1, 3.0, eigenvalues),
        rng.uniform(0.1, 3.0, eigenvalues), **options,
    )  # fmt: skip


def exact_minimum(found):
    """argmin Phi of one symmetry, by ternary search in arithmetic of 60 digits."""
    with localcontext() as context:
        context.prec = 60
        values = [Decimal(float(v)) for v in found.values[:, 0]]
        decay = [2 * Decimal(found.penalty) * Decimal(float(a)) for a in found.squares]
        noise = [Decimal(found.noise_strength) / 2 * Decimal(float(s)) for s in found.powers]

        def potential(lam):
            return sum(
                a * (2 * v * lam).exp() + s * (-2 * v * lam).exp()
                for v, a, s in zip(values, decay, noise, strict=True)
            )

        low, high = Decimal(-20), Decimal(20)
        for _ in range(300):
            third = (high - low) / 3
            if potential(low + third) < potential(high - third):
                high -= third
            else:
                low += third
        return float((low + high) / 2)


@pytest.mark.parametrize("seed", range(8))
def test_root_is_the_exact_minimum(seed):
    found = random_orbit(seed)
    result = noise_equilibrium(found)
    assert result.exists and result.kinds == ("finite",)
    assert result.lam[0] == pytest.approx(exact_minimum(found), abs=1e-10)
    assert result.stationarity.max() < 1e-14
    np.testing.assert_allclose(found.charge(result.lam), result.charges)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_flow_falls_along_the_orbit(seed):
    found = random_orbit(seed, penalty=0.0 if seed % 2 else 0.3)
    lam = np.linspace(-3.0, 3.0, 61)[:, None]
    flow = found.flow(lam)[:, 0]
    assert (np.diff(flow) < 0.0).all()
    step = 1e-5
    slope = (found.potential(lam + step) - found.potential(lam - step)) / (2 * step)
    np.testing.assert_allclose(slope, -flow, rtol=1e-6, atol=1e-6 * np.abs(flow).max())


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(2, 4))
def test_several_symmetries_are_stationary_one_by_one(seed, count):
    """With decay in every direction the joint minimum exists; each alone has its root there."""
    found = random_orbit(seed, 6, count)
    joint = noise_equilibrium(found)
    assert joint.exists and joint.stationarity.max() < 1e-10
    for k in range(count):
        moved = orbit(
            found.values[:, [k]], found.squares * np.exp(2 * found.values @ joint.lam),
            found.powers * np.exp(-2 * found.values @ joint.lam),
        )  # fmt: skip
        assert abs(noise_equilibrium(moved).lam[0]) < 1e-8
    around = joint.lam + 1e-3 * np.random.default_rng(seed).standard_normal((20, count))
    assert (found.potential(around) > found.potential(joint.lam)).all()


def test_separate_symmetries_are_solved_as_if_alone():
    alone = [random_orbit(seed) for seed in range(3)]
    values = np.zeros((15, 3))
    for k, each in enumerate(alone):
        values[5 * k : 5 * k + 5, k] = each.values[:, 0]
    together = noise_equilibrium(
        orbit(
            values, np.concatenate([each.squares for each in alone]),
            np.concatenate([each.powers for each in alone]),
        )
    )  # fmt: skip
    expected = [noise_equilibrium(each) for each in alone]
    np.testing.assert_allclose(together.lam, [each.lam[0] for each in expected], rtol=1e-13)
    np.testing.assert_allclose(together.rates, sorted(each.rates[0] for each in expected))


def test_ends_at_infinity_and_nowhere():
    pair, both = [[1.0], [-1.0]], [1.0, 1.0]
    # Noise that only grows the first direction, without decay: up for ever; and its mirror.
    assert noise_equilibrium(orbit(pair, both, [1.0, 0.0], penalty=0.0)).lam[0] == np.inf
    assert noise_equilibrium(orbit(pair, both, [0.0, 1.0], penalty=0.0)).lam[0] == -np.inf
    one = noise_equilibrium(orbit([[2.0]], [1.0], [1.0], penalty=0.0))
    assert one.kinds == ("infinite",) and one.theta is None and not one.exists
    assert noise_equilibrium(orbit([[2.0]], [1.0], [1.0], noise_strength=0.0)).lam[0] == -np.inf
    still = noise_equilibrium(orbit(pair, both, [0.0, 0.0], penalty=0.0))
    assert still.kinds == ("undetermined",) and still.lam[0] == 0.0 and not still.exists
    assert still.theta is not None and still.rates is None


def test_several_symmetries_some_at_infinity():
    """exp(x + y) + exp(-x - y) + exp(-y): x + y = 0 balances, y grows, so x falls."""
    found = orbit([[0.5, 0.5], [0.0, 0.5]], [1.0, 0.0], [1.0, 1.0], 2.0, 0.5)
    result = noise_equilibrium(found)
    assert result.kinds == ("infinite", "infinite")
    assert result.lam.tolist() == [-np.inf, np.inf] and result.theta is None


def test_directions_without_flow_are_undetermined():
    found = orbit([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [1.0, 1.0], [2.0, 3.0])
    result = noise_equilibrium(found)
    assert result.kinds == ("undetermined", "undetermined", "finite")
    assert result.lam[2] == pytest.approx(0.25 * np.log(0.1 * 3.0 / (4 * 0.02)))


def test_extreme_scales_do_not_overflow():
    """The root of 4 gamma a e^(2 lam) = sigma^2 s e^(-2 lam), over 400 decades."""
    for power in (1e-200, 1e200):
        result = noise_equilibrium(orbit([[1.0]], [1.0], [power]))
        assert result.lam[0] == pytest.approx(0.25 * np.log(0.1 * power / 0.08), rel=1e-13)


def test_closed_form_of_one_rescaling():
    """u, v with noise r^2 v^2 and r^2 u^2: |u| = |v|, with or without decay."""
    rng = np.random.default_rng(5)
    theta = np.array([2.0, 0.3])
    force = rng.standard_normal((50, 1))
    symmetry = ExponentialSymmetry.diagonal([1.0, -1.0])
    for penalty in (0.0, 0.1):
        found = orbit_through(
            symmetry, theta, force * theta[::-1], noise_strength=0.1, penalty=penalty
        )
        result = noise_equilibrium(found)
        np.testing.assert_allclose(np.abs(result.theta), np.sqrt(0.6), rtol=1e-12)
        # The rate is 4 gamma + sigma^2 var there.
        assert result.rates[0] == pytest.approx(4 * penalty + 0.1 * force.var())


def test_flow_is_the_formula_of_the_covariance():
    rng = np.random.default_rng(6)
    matrix = rng.standard_normal((5, 5))
    matrix = matrix + matrix.T
    theta, rows = rng.standard_normal(5), rng.standard_normal((40, 5)) + 1.0
    flow = noether_flow(
        ExponentialSymmetry.of(matrix), theta, rows, noise_strength=0.2, penalty=0.03
    )
    covariance = np.cov(rows.T, ddof=0)
    expected = -4 * 0.03 * theta @ matrix @ theta + 0.2 * np.trace(matrix @ covariance)
    assert flow == pytest.approx(expected)


def test_rate_is_that_of_the_flow_near_its_zero():
    found = random_orbit(7)
    result = noise_equilibrium(found)
    step = 1e-6
    flows = [found.flow(result.lam + sign * step)[0] for sign in (1, -1)]
    charges = [found.charge(result.lam + sign * step)[0] for sign in (1, -1)]
    assert result.rates[0] == pytest.approx(-np.diff(flows)[0] / np.diff(charges)[0], rel=1e-6)


def test_identical_gradients_have_no_noise():
    theta = np.array([1.0, 0.7])
    rows = np.tile(0.1 * theta[::-1], (30, 1))
    found = orbit_through(
        ExponentialSymmetry.diagonal([1.0, -1.0]), theta, rows, noise_strength=0.1
    )
    assert noise_equilibrium(found).kinds == ("undetermined",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_strength": -1.0}, "noise_strength: given -1.0"),
        ({"noise_strength": 0.1, "penalty": np.inf}, "penalty: given inf"),
        ({"noise_strength": 0.1, "symmetries": []}, "given none"),
    ],
)
def test_mistakes(options, message):
    symmetries = options.pop("symmetries", ExponentialSymmetry.diagonal([1.0, -1.0]))
    with pytest.raises(InputError, match=message):
        orbit_through(symmetries, np.ones(2), np.ones((3, 2)), **options)
