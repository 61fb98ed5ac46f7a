"""Backward sweeps, Taylor series and brackets, against finite differences and identities."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.conservation import functions, parse_architecture
from dmft.conservation.draws import Draws
from dmft.conservation.fields import Fields
from dmft.conservation.rings import PRIMES, PrimeField, Reals
from dmft.conservation.tensor import Tensor, backward, concatenate, exp

EVERY_KIND = [
    {"kind": "gelu", "widths": [2, 3, 2], "bias": True},
    {"kind": "softplus", "widths": [2, 3, 2]},
    {"kind": "relu", "widths": [2, 3, 2], "bias": True, "output_bias": True},
    {"kind": "power", "widths": [2, 3, 2], "exponent": 3},
    {"kind": "swiglu", "widths": [3, 2, 2]},
    {"kind": "convolution", "channels": [1, 2, 2], "dimension_of_images": "2", "pool": 2},
    {"kind": "convolution", "channels": [1, 2, 1], "residual": True, "activation": "tanh"},
    {"kind": "attention", "heads": 2, "kv_heads": 1, "position": "rotary", "bias": True},
    {"kind": "attention", "position": "t5", "sink": True, "causal": True, "qk_norm": True},
    {"kind": "attention", "position": "alibi", "score": "sigmoid"},
    {"kind": "moe", "top_k": 2, "gate": "normalised-sigmoid"},
    {"kind": "moe", "gate": "cosine", "expert": "gelu"},
    {"kind": "norm", "eps": True},
    {"kind": "gpt2", "vocabulary": 3, "width": 2, "heads": 1, "tokens": 2},
    {"kind": "llama", "vocabulary": 3, "tokens": 2, "tied": False},
    {"kind": "diagonal", "depth": 3},
    {"kind": "diagonal", "depth": 3, "form": "difference"},
    {"kind": "symmetric", "widths": [2, 3]},
    {"kind": "polynomial", "phi": ["u**3*v/2 - w", "2*u*w**2 + 1"]},
]


def identity(settings):
    return " ".join(str(value) for value in settings.values())


@pytest.mark.parametrize("settings", EVERY_KIND, ids=identity)
def test_generators_are_gradients(settings):
    """<w, g(theta, x)> by the forward pass alone, differentiated numerically."""
    fields = Fields(parse_architecture(settings), Reals(), 3)
    draws = fields.generators(4)
    field = fields.generator(draws, fields.point)[0]
    w = draws.cotangent((), False)[0]

    def value(theta):
        output = fields._output(draws, theta).data[0]
        return (output * w).reshape(4, -1).sum(1)

    step = 1e-6
    for i in range(fields.dimension):
        shift = np.zeros(fields.dimension)
        shift[i] = step
        slope = (value(fields.point + shift) - value(fields.point - shift)) / (2 * step)
        np.testing.assert_allclose(slope, field[:, i], rtol=2e-5, atol=2e-6 * np.abs(field).max())


@pytest.mark.parametrize("settings", EVERY_KIND, ids=identity)
def test_brackets_are_those_of_finite_differences(settings):
    """[X, Y] = dX Y - dY X with directional derivatives taken numerically."""
    fields = Fields(parse_architecture(settings), Reals(), 4)
    x, y = fields.generators(3), fields.generators(3)
    bracket = fields.bracket([y, x], fields.point)[0]
    fx, fy = fields.generator(x, fields.point), fields.generator(y, fields.point)
    scale = max(np.abs(fx).max(), np.abs(fy).max())

    def along(draws, direction):
        step = 1e-6 / scale
        ahead = fields.generator(draws, fields.point + step * direction)
        behind = fields.generator(draws, fields.point - step * direction)
        return (ahead - behind)[0] / (2 * step)

    terms = along(x, fy), along(y, fx)
    size = max(np.abs(terms[0]).max(), np.abs(terms[1]).max(), 1e-300)
    np.testing.assert_allclose(bracket, terms[0] - terms[1], rtol=0, atol=1e-6 * size)


@pytest.mark.parametrize("settings", EVERY_KIND, ids=identity)
def test_jacobi_identity_holds_exactly(settings):
    """[X,[Y,Z]] + [Y,[Z,X]] + [Z,[X,Y]] = 0 modulo p: third derivatives, without tolerance."""
    p = PRIMES[1]
    fields = Fields(parse_architecture(settings), PrimeField(p, 5), 5)
    x, y, z = (fields.generators(2) for _ in range(3))
    total = sum(
        fields.bracket(order, fields.point)[0] for order in ([z, y, x], [x, z, y], [y, x, z])
    )
    assert not (total % p).any()
    swapped = fields.bracket([x, y], fields.point) + fields.bracket([y, x], fields.point)
    assert not (swapped % p).any()


@pytest.mark.parametrize("name", [*functions.SERIES, "exp", "power 3", "power -2", "inverse root"])
def test_taylor_series(name):
    """f(z + t) from the coefficients at z, against f itself."""
    ring = Reals()
    real = {
        "exp": (functions.exp_series, np.exp),
        "power 3": (functions.power_series(3), lambda z: z**3),
        "power -2": (functions.power_series(-2), lambda z: z**-2.0),
        "inverse root": (functions.inverse_root_series, lambda z: z**-0.5),
    }
    z = np.array([0.7, 1.3, 2.1])
    series, f = real.get(name, (functions.SERIES.get(name), None))
    if f is None:
        value = {
            "gelu": lambda z: z * ring.value("normal-cdf", z),
            "silu": lambda z: z * ring.value("sigmoid", z),
        }
        f = value.get(name, lambda z: ring.value(name, z))
    c = series(ring, z, 10)
    for t in (0.03, -0.03):
        total = sum(c[j] * t**j for j in range(11))
        np.testing.assert_allclose(total, f(z + t), rtol=1e-12)


@pytest.mark.parametrize("name", functions.SERIES)
def test_formal_series_obey_the_same_equations(name):
    """Over a prime field the coefficients come from the equations alone: two orders agree."""
    ring = PrimeField(PRIMES[0], 1)
    z = np.arange(5, 10)
    short, long = (functions.SERIES[name](ring, z, order) for order in (2, 5))
    for a, b in zip(short, long, strict=False):
        np.testing.assert_array_equal(a, b)
    inverse = functions.power_series(-1)(ring, z, 3)
    assert (inverse[1] == (-inverse[0] * inverse[0]) % ring.p).all()


def test_chain_rule_of_multi_dual_numbers():
    """exp of z + eps_1 a + eps_2 b has the coefficients e, e a, e b, e a b."""
    z, a, b = 0.3, 2.0, -0.7
    tensor = Tensor(Reals(), np.array([z, a, b, 0.0]).reshape(4, 1))
    out = exp(tensor).data[:, 0]
    np.testing.assert_allclose(out, np.exp(z) * np.array([1, a, b, a * b]), rtol=1e-15)


def test_operators_behave_like_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 4)), rng.standard_normal((4,))
    ta, tb = (Tensor(Reals(), x[None, None], tracked=True) for x in (a, b))
    cases = [
        (ta + tb, a + b),
        (2 - ta, 2 - a),
        (ta * tb / 4, a * b / 4),
        (1 / ta, 1 / a),
        (ta @ tb.reshape(4, 1), a @ b.reshape(4, 1)),
        (ta.T, a.T),
        (ta.sum(0), a.sum(0)),
        (ta.sum(), a.sum()),
        (ta[[0, 2]][:, [1, 1]], a[[0, 2]][:, [1, 1]]),
        (ta[1:, None], a[1:, None]),
        (ta**3, a**3),
        (concatenate([ta, ta * 2], -2), np.concatenate([a, a * 2])),
        (ta.swapaxes(0, 1), a.swapaxes(0, 1)),
    ]
    for tensor, array in cases:
        np.testing.assert_allclose(tensor.data[0, 0], array, rtol=1e-14)


def test_repeated_indices_add_their_gradients():
    x = Tensor(Reals(), np.ones((1, 1, 3)), tracked=True)
    out = x[[0, 0, 2]].sum()
    (gradient,) = backward(out, np.ones((1, 1)), [x])
    np.testing.assert_array_equal(gradient[0, 0], [2, 0, 1])


def test_fractions_of_floats_are_refused_over_a_prime_field():
    x = Tensor(PrimeField(), np.ones((1, 1, 3), np.int64))
    with pytest.raises(TypeError, match="integers"):
        x * np.array([0.5, 1.0, 2.0])


def test_generators_are_replayed():
    fields = Fields(parse_architecture({"kind": "relu", "widths": [3, 4, 2]}), PrimeField(), 0)
    draws = fields.generators(5)
    first, second = (fields.generator(draws, fields.point) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert isinstance(draws, Draws)


def test_square_roots_exist_where_the_fields_are_taken():
    fields = Fields(parse_architecture({"kind": "norm"}), PrimeField(), 0)
    draws = fields.generators(20)
    fields._output(draws, fields.point)
    assert (draws.missing == 0).all() and draws.roots == 1
    points, draws = fields.points(7)
    fields._output(draws, points)
    assert (draws.missing == 0).all() and points.shape == (1, 7, fields.dimension)
