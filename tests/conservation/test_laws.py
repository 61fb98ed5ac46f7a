"""The catalogue along flows, polynomial laws, and statements settled by counterexample."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dmft.conservation import (
    Law,
    count,
    dictionary_laws,
    parse_architecture,
    polynomial_laws,
    verify,
)
from dmft.conservation.fields import Fields
from dmft.conservation.flow import RandomLoss, gauss, integrate
from dmft.conservation.rings import PRIMES, PrimeField, Reals
from dmft.conservation.search import parameter_names
from dmft.conservation.table import SECTIONS

FLOWS = [
    settings
    for section, entries in SECTIONS.items()
    for settings, _ in entries
    if section != "Whole transformers" and settings.get("widths") not in ([10] * 5, [20] * 3)
]


@pytest.mark.parametrize("settings", FLOWS, ids=lambda s: " ".join(map(str, s.values())))
def test_catalogue_is_conserved_along_flows(settings):
    result = verify(parse_architecture(settings), steps=12)
    assert all(drift.drift < 1e-12 and drift.conserved for drift in result.drifts)
    assert result.control.drift > 1e-4 and not result.control.conserved
    assert result.passed and result.moved > 0.01
    if settings.get("flow", "gradient") == "gradient":
        assert result.losses[1] < result.losses[0]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_whole_transformers_along_flows(kind):
    table = {"kind": kind, "vocabulary": 3, "width": 4, "tokens": 2, "eps": False, "tied": False}
    result = verify(parse_architecture(table), steps=10)
    assert result.passed, result.to_table()


def test_a_false_law_is_refuted_by_the_flow():
    architecture = parse_architecture({"kind": "relu", "widths": [2, 3, 2]})
    off = Law("off by a thousandth", "", "", lambda p: (
        1001 * (p["W1"] * p["W1"]).sum(1) - 1000 * (p["W2"] * p["W2"]).sum(0)
    ))  # fmt: skip
    result = verify(architecture, [*architecture.laws(), off])
    assert [drift.holds for drift in result.drifts] == [True, False]
    assert result.drifts[1].drift > 1e-5 and not result.passed


def test_laws_and_gradients_of_numpy_arrays():
    architecture = parse_architecture({"kind": "linear", "widths": [2, 3, 2], "bias": True})
    (law,) = architecture.laws()
    rng = np.random.default_rng(0)
    parameters = {name: rng.standard_normal(s) for name, s in architecture.parameters().items()}
    w1, b1, w2 = (parameters[name] for name in ("W1", "b1", "W2"))
    matrix = w1 @ w1.T + np.outer(b1, b1) - w2.T @ w2
    np.testing.assert_allclose(law.value(parameters), matrix[np.triu_indices(3)], rtol=1e-14)
    gradient = law.gradient(parameters)
    step = 1e-6
    for name, array in parameters.items():
        for index in np.ndindex(array.shape):
            moved = {key: value.copy() for key, value in parameters.items()}
            moved[name][index] += step
            ahead = law.value(moved)
            moved[name][index] -= 2 * step
            slope = (ahead - law.value(moved)) / (2 * step)
            np.testing.assert_allclose(gradient[name][(slice(None), *index)], slope, atol=1e-8)


@pytest.mark.parametrize("settings", [
    s for entries in SECTIONS.values() for s, _ in entries if s["kind"] not in ("symmetric",)
], ids=lambda s: " ".join(map(str, s.values())))  # fmt: skip
def test_degree_of_a_law_is_what_it_says(settings):
    """h(s theta) = s^degree h(theta) at s = 2."""
    architecture = parse_architecture(settings)
    rng = np.random.default_rng(1)
    parameters = {name: rng.standard_normal(s) for name, s in architecture.parameters().items()}
    doubled = {name: 2 * array for name, array in parameters.items()}
    for law in architecture.laws():
        if law.degree is not None:
            value = law.value(parameters)
            np.testing.assert_allclose(law.value(doubled), 2**law.degree * value, rtol=1e-13)
        assert law.formula and law.latex and law.name
    names = [law.name for law in architecture.laws()]
    assert len(set(names)) == len(names)


def test_row_space_is_that_of_the_inverse():
    architecture = parse_architecture({"kind": "symmetric", "widths": [2, 5]})
    (law,) = architecture.laws()
    u = np.random.default_rng(2).standard_normal((2, 5))
    expected = np.linalg.solve(u[:, :2], u[:, 2:])
    np.testing.assert_allclose(law.value({"U": u}), expected.reshape(-1), rtol=1e-12)


# Polynomial laws


def test_polynomial_laws_of_a_linear_network_span_balancedness():
    """(2,5,2): 15 polynomials of which 14 are independent."""
    found = polynomial_laws(parse_architecture({"kind": "linear", "widths": [2, 5, 2]}), 2)
    assert (len(found.coefficients), found.independent) == (15, 14)
    assert found.primes[-1] not in found.primes[:-1]


def evaluate(found, theta):
    """Laws at a point, from their text alone."""
    names = parameter_names(found.architecture)
    values = dict(zip(names, theta, strict=True))

    def monomial(text):
        total = Fraction(1)
        for factor in text.split("*"):
            name, _, power = factor.partition("^")
            total *= values[name] ** int(power or 1)
        return total

    return [
        sum(value * monomial(found.quantities[index]) for index, value in law.items())
        for law in found.coefficients
    ]


@pytest.mark.parametrize(
    "phi, degree, formulas",
    [
        (["u*v"], 2, ["u^2 - v^2"]),
        (["u**2*v**3"], 2, ["3 u^2 - 2 v^2"]),
        (["u**2*v**3", "w*u"], 2, ["3 u^2 - 2 v^2 - 3 w^2"]),
        (["u+v", "u-2*v"], 3, []),
        (["u + v - 3*w"], 1, ["u - v", "3 u + w"]),
        (["u**3/3 + v**3/3"], 3, []),  # 1/u - 1/v
        (["a*x + b*y", "a*y - b*x"], 2, ["a^2 - x^2 + b^2 - y^2"]),  # a complex product
    ],
)
def test_polynomial_laws_of_given_polynomials(phi, degree, formulas):
    found = polynomial_laws(parse_architecture({"kind": "polynomial", "phi": phi}), degree)
    assert list(found.formulas()) == formulas
    assert found.independent == len(formulas)
    assert found.independent <= count(found.architecture).laws


def test_found_laws_are_conserved_by_rational_euler_directions():
    """d h = h(theta + eps X) - h(theta) to first order, in exact fractions, for a linear network.

    X is the gradient of <w, W2 W1 x>: (W2^T w) x^T and w (W1 x)^T.
    """
    found = polynomial_laws(parse_architecture({"kind": "linear", "widths": [2, 2, 2]}), 2)
    rng = np.random.default_rng(3)
    w1, w2, x, w = (
        np.array([[Fraction(int(v)) for v in row] for row in rng.integers(-9, 9, shape)])
        for shape in ((2, 2), (2, 2), (2, 1), (2, 1))
    )
    theta = np.concatenate([w1.reshape(-1), w2.reshape(-1)])
    field = np.concatenate([(w2.T @ w @ x.T).reshape(-1), (w @ (w1 @ x).T).reshape(-1)])
    assert any(field)
    # A quadratic h has h(theta + X) - h(theta - X) = 2 <grad h, X>.
    ahead, behind = evaluate(found, theta + field), evaluate(found, theta - field)
    assert ahead == behind and len(ahead) == 3
    assert evaluate(found, theta) != evaluate(found, theta + field)


def test_the_extra_law_of_a_scalar_network_is_no_polynomial():
    """(1,2,2,1) has 7 laws, of which polynomials of degree 4 give 6."""
    architecture = parse_architecture({"kind": "linear", "widths": [1, 2, 2, 1]})
    assert count(architecture).laws == 7
    assert polynomial_laws(architecture, 2).independent == 6
    assert polynomial_laws(architecture, 4).independent == 6


def test_that_law_is_a_quadrature():
    """Volumes are kept, div X = 0, and D - 2 other laws are known: Jacobi's last multiplier."""
    for kind, keeps in (("linear", True), ("tanh", False)):
        architecture = parse_architecture({"kind": kind, "widths": [1, 2, 2, 1]})
        fields = Fields(architecture, PrimeField(PRIMES[0], 1), 1)
        draws = fields.generators(1).select(np.zeros(8, int))
        draws._cotangent = np.ones((1, 8, 1), np.int64)
        moved = np.stack([np.broadcast_to(fields.point[0], (8, 8)), np.eye(8, dtype=np.int64)])
        slopes = fields.generator(draws, moved)[1]
        assert (np.trace(slopes) % PRIMES[0] == 0) == keeps
        assert architecture.dimension - 2 == 6


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "linear", "widths": [5, 8, 5]},
        {"kind": "relu", "widths": [4, 6, 6, 3]},
        {"kind": "swiglu", "widths": [4, 3, 3]},
        {"kind": "attention", "heads": 2, "kv_heads": 1},
        {"kind": "moe", "expert": "linear", "widths": [3, 2, 2]},
    ],
)
def test_the_dictionary_finds_all_laws(table):
    architecture = parse_architecture(table)
    assert dictionary_laws(architecture).independent == count(architecture).laws


def test_identities_of_a_dictionary_are_no_laws():
    """tr W W^T = tr W^T W and the sum of all entries, twice, hold for any matrix."""
    found = dictionary_laws(parse_architecture({"kind": "gelu", "widths": [2, 3, 2]}))
    assert found.coefficients == () and found.independent == 0


# Flows


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_gauss_methods_have_their_order(stages):
    """Order 2s: a b-series condition, quadrature exact for polynomials of degree 2s - 1."""
    a, b = gauss(stages)
    c = a.sum(1)
    for k in range(2 * stages):
        assert b @ c**k == pytest.approx(1 / (k + 1), abs=1e-14)
    # Quadratic first integrals are kept if and only if this matrix vanishes (Cooper).
    np.testing.assert_allclose(b[:, None] * a + (b[:, None] * a).T, np.outer(b, b), atol=1e-15)


def test_flow_solves_the_differential_equation():
    """u = v: w = u^2 with <grad> has a closed form; here |X w - y| decays, against scipy."""
    from scipy.integrate import solve_ivp

    architecture = parse_architecture({"kind": "tanh", "widths": [2, 3, 1]})
    loss = RandomLoss(architecture, 4, 0)
    flow = integrate(loss, 20, stages=4)
    reference = solve_ivp(
        lambda _t, theta: loss.velocity(theta), (0, flow.times[-1]), loss.start,
        method="DOP853", rtol=1e-12, atol=1e-14,
    )  # fmt: skip
    np.testing.assert_allclose(flow.points[-1], reference.y[:, -1], atol=1e-9)


# The law of softmax routers does not carry over to normalised sigmoids.


def test_normalised_sigmoid_by_an_exact_counterexample():
    """Two experts with outputs 1 and 0 on x = 1, logits ln 2 and 0: d/dt (R_1 + R_2) = 8/343.

    The loss is z^2/2, the output z = s_1/(s_1 + s_2) with s = 2/3, 1/2.
    """
    s1, s2 = Fraction(2, 3), Fraction(1, 2)
    total = s1 + s2
    z = s1 / total
    slopes = [s1 * (1 - s1) * s2 / total**2, -s1 * s2 * (1 - s2) / total**2]
    rate = -z * sum(slopes)
    assert rate == Fraction(8, 343)

    table = {"kind": "moe", "widths": [1, 1, 1], "experts": 2, "expert": "linear"}
    for gate, expected in (("normalised-sigmoid", 8 / 343), ("softmax", 0.0)):
        architecture = parse_architecture({**table, "gate": gate})
        fields = Fields(architecture, Reals(), 0)
        draws = fields.generators(1)
        fields._output(draws, fields.point)  # draws x
        draws._arrays[0][:] = 1.0
        theta = np.array([[[math.log(2), 0.0, 1.0, 0.0]]])  # R_1, R_2, A_1, A_2
        z = fields._output(draws, theta).data[0, 0]
        draws._cotangent = -z.reshape(1, 1, 1)
        field = fields.generator(draws, theta)[0, 0]
        assert field[0] + field[1] == pytest.approx(expected, abs=1e-16)


def test_normalised_sigmoid_modulo_primes():
    table = {"kind": "moe", "widths": [4, 2, 2], "experts": 3}
    softmax = parse_architecture({**table, "gate": "softmax"})
    router = softmax.laws()[0]
    assert router.name == "output sums R"
    for gate, conserved in (("softmax", True), ("normalised-sigmoid", False)):
        result = count(parse_architecture({**table, "gate": gate}), laws=[router])
        assert result.certificate.checks[0].conserved == conserved
    assert count(softmax).laws == 4 + count(parse_architecture({**table, "gate": "sigmoid"})).laws


def test_points_of_a_search_are_new_for_every_equation():
    architecture = parse_architecture({"kind": "relu", "widths": [2, 2, 2]})
    fields = Fields(architecture, PrimeField(PRIMES[0]), 0)
    points, _ = fields.points(5)
    assert len(np.unique(points[0], axis=0)) == 5
