"""Multi-dual numbers and elimination over prime fields, against slow and obvious twins."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmft.conservation.echelon import Echelon, product
from dmft.conservation.reconstruction import rational
from dmft.conservation.rings import PRIMES, PrimeField, Reals

P = PRIMES[0]


def is_prime(n: int) -> bool:
    return n > 1 and all(n % d for d in range(2, int(n**0.5) + 1))


def test_primes_are_primes_below_2_31_with_roots_by_powers():
    for p in PRIMES:
        assert is_prime(p) and p < 2**31 and p % 4 == 3
    assert len(set(PRIMES)) == len(PRIMES)


def slow_multiply(a, b, p):
    """Product of multi-dual numbers as polynomials in nilpotents, with Python's integers."""
    size = max(len(a), len(b))
    out = [0] * size
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            if i & j == 0:
                out[i | j] += int(x) * int(y)
    return [value % p for value in out]


@pytest.mark.parametrize("left, right", [(1, 1), (1, 4), (4, 1), (4, 4), (8, 8), (2, 8)])
def test_product_of_multi_dual_numbers(left, right):
    rng = np.random.default_rng(left + 10 * right)
    for p in PRIMES[:2]:
        ring = PrimeField(p)
        a, b = rng.integers(0, p, (left, 3, 5)), rng.integers(0, p, (right, 3, 5))
        a[0, 0, 0] = b[0, 0, 0] = p - 1  # the largest product
        out = ring.multiply(a, b)
        for i in range(3):
            for j in range(5):
                assert out[:, i, j].tolist() == slow_multiply(a[:, i, j], b[:, i, j], p)


@pytest.mark.parametrize("heads_a, heads_b", [((), ()), ((4,), (4,)), ((1,), (4,)), ((2, 3), (3,))])
@pytest.mark.parametrize("batch_a, batch_b", [(1, 1), (1, 3), (3, 3)])
def test_matrix_product_is_made_of_products(heads_a, heads_b, batch_a, batch_b):
    rng = np.random.default_rng(5)
    ring = PrimeField(P)
    if len(heads_a) > len(heads_b):
        heads_b = (1,) * (len(heads_a) - len(heads_b)) + heads_b
    a = rng.integers(0, P, (4, batch_a, *heads_a, 2, 40))
    b = rng.integers(0, P, (2, batch_b, *heads_b, 40, 3))
    expected = ring.multiply(a[..., :, :, None], b[..., None, :, :]).sum(-2) % P
    np.testing.assert_array_equal(ring.matmul(a, b), expected)


def test_matrix_product_at_the_largest_entries_does_not_overflow():
    a = np.full((1, 1, 1, 500), P - 1)
    b = np.full((1, 1, 500, 1), P - 1)
    assert PrimeField(P).matmul(a, b).item() == 500  # (-1)(-1) 500 times
    assert product(a[0, 0], b[0, 0], P).item() == 500


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
def test_product_by_halves(n, m, k, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.integers(0, P, (n, m)), rng.integers(0, P, (m, k))
    expected = (a.astype(object) @ b.astype(object)) % P
    assert (product(a, b, P) == expected).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 30), st.integers(0, 30), st.integers(1, 60), st.integers(0, 2**32))
def test_rank_is_that_of_a_product(width, rank, count, seed):
    """An (n x r) times (r x w) matrix has rank min(n, r, w) but for bad luck of order 1/p."""
    rng = np.random.default_rng(seed)
    rank = min(rank, width)
    rows = product(rng.integers(0, P, (count, rank)), rng.integers(0, P, (rank, width)), P)
    echelon = Echelon(width, P)
    cut = count // 3
    grown = echelon.insert(rows[:cut]) + echelon.insert(rows[cut:])
    assert grown == echelon.rank == min(count, rank)
    assert echelon.insert(rows) == 0
    assert not echelon.reduce(rows).any()
    basis = echelon.null_space()
    assert basis.shape == (width - echelon.rank, width)
    if len(basis):
        assert not product(basis, np.ascontiguousarray(rows.T), P).any()
        assert Echelon(width, P).insert(basis) == len(basis)


def test_echelon_form_has_unit_columns():
    rng = np.random.default_rng(0)
    echelon = Echelon(300, P)
    echelon.insert(rng.integers(0, P, (250, 300)))
    np.testing.assert_array_equal(echelon.rows[:, echelon.pivots], np.eye(250))


def test_inverse_root_and_fraction():
    ring = PrimeField(P)
    a = np.random.default_rng(1).integers(1, P, 100)
    assert (a * ring.inverse(a) % P == 1).all()
    root, exists = ring.square_root(a)
    assert (root[exists] ** 2 % P == a[exists]).all()
    assert 30 < exists.sum() < 70  # half of all elements are squares
    assert ring.square_root(a * a % P)[1].all()
    assert ring.fraction(2, 3) * 3 % P == 2


def test_formal_values_depend_on_name_argument_and_key_only():
    z = np.arange(1000)
    ring = PrimeField(P, key=1)
    values = ring.value("exp", z)
    assert (values == PrimeField(P, key=1).value("exp", z)).all()
    assert (values >= 0).all() and (values < P).all() and len(set(values.tolist())) == 1000
    for other in (ring.value("tanh", z), PrimeField(P, key=2).value("exp", z)):
        assert (values != other).all()


@settings(deadline=None)
@given(st.fractions(max_denominator=20000).filter(lambda x: abs(x.numerator) < 20000))
def test_rational_reconstruction(x):
    assert rational(x.numerator * pow(x.denominator, -1, P) % P, P) == x


def test_rational_reconstruction_refuses_what_is_not_small():
    found = [rational(r, P) for r in np.random.default_rng(2).integers(0, P, 200).tolist()]
    small = [x for x in found if x is not None]
    assert all(isinstance(x, Fraction) for x in small)
    assert 0 < len(small) < 200  # about 60 % of residues have such a fraction


def test_reals_agree_with_the_definition():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((4, 2, 3)), rng.standard_normal((2, 2, 3))
    out = Reals().multiply(a, b)
    np.testing.assert_allclose(out[3], a[3] * b[0] + a[2] * b[1], rtol=1e-15)
    np.testing.assert_allclose(out[2], a[2] * b[0], rtol=1e-15)
