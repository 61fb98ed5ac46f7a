"""Counts: those known in the literature, what they must not depend on, what certificates say."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmft.conservation import Law, count, count_float, parse_architecture, polynomial_laws
from dmft.conservation.closure import generate
from dmft.conservation.draws import FORMAL, PATTERNS, SELECTIONS
from dmft.conservation.fields import Fields
from dmft.conservation.rings import PRIMES, PrimeField
from dmft.conservation.table import SECTIONS
from dmft.conservation.verification import random_form

# Trace dimensions and counts of linear networks: Marcotte, Gribonval, Peyre (2023) for two layers,
# and exact arithmetic done independently of this package for the others.
LINEAR = [
    ((2, 2, 2), (4, 5), 3),
    ((2, 4, 2), (4, 6), 10),
    ((2, 5, 2), (4, 6), 14),
    ((5, 5, 5), (25, 35), 15),
    ((3, 4, 2, 5), (12, 17), 13),
    ((1, 2, 2, 2), (2, 3, 4), 6),
    ((20, 20, 20), (400, 590), 210),
    ((1, 2, 2, 1), (1,), 7),
]


@pytest.mark.parametrize("widths, dimensions, laws", LINEAR)
def test_linear_networks(widths, dimensions, laws):
    result = count(parse_architecture({"kind": "linear", "widths": widths}))
    assert result.trace_dimensions == dimensions
    assert result.laws == laws == result.parameters - dimensions[-1]
    assert result.certificate.exact == (widths != (1, 2, 2, 1))
    assert result.certificate.assumptions == ()


def test_ten_by_ten_network_of_four_layers():
    result = count(parse_architecture({"kind": "linear", "widths": [10] * 5}), points=1)
    assert (result.parameters, result.trace_dimensions[-1], result.laws) == (400, 235, 165)


def expected_laws(settings):
    """The count as a formula of the sizes, where the table gives one in words."""
    kind = settings["kind"]
    if settings.get("flow") == "momentum":
        r = settings["widths"][1]
        return r * (r - 1) // 2 if kind == "linear" else 0
    if kind in ("relu", "leaky-relu", "power"):
        return sum(settings["widths"][1:-1])
    if kind in ("gelu", "silu", "tanh", "sigmoid", "softplus"):
        return 0
    if kind in ("swiglu", "geglu"):
        return settings["widths"][1]
    if kind in ("reglu", "bilinear"):
        return 2 * settings["widths"][1]
    if kind == "convolution":
        channels = settings["channels"]
        return sum(channels[1:-1:2] if settings.get("residual") else channels[1:-1])
    if kind == "attention":
        return expected_laws_of_attention(**settings)
    if kind == "moe":
        return expected_laws_of_experts(**settings)
    return None


def expected_laws_of_attention(head_dim, heads=1, kv_heads=None, **rest):
    t, groups = head_dim * (head_dim + 1) // 2, kv_heads or heads
    total = groups * t  # values and outputs
    if rest.get("qk_norm"):
        gains = head_dim // 2 if rest.get("position") == "rotary" else head_dim
        return total + heads + groups + gains
    if rest.get("position") == "rotary":
        labels = rest.get("frequencies", range(1, head_dim // 2 + 1))
        turning = [label for label in labels if label]
        total += groups * sum(turning.count(label) ** 2 for label in set(turning))
        still = 2 * (len(labels) - len(turning))
        total += groups * still * (still + 1) // 2
    else:
        total += groups * t
        still = head_dim
    if rest.get("bias") and not rest.get("sink"):
        total += groups * still
    if rest.get("position") == "t5":
        total += heads
    if rest.get("score") == "relu":
        total += heads
    if rest.get("score") == "linear":
        share = heads // groups
        total += groups * share * (share + 1) // 2
    return total


def expected_laws_of_experts(widths, experts, gate="softmax", expert="swiglu", top_k=0, **_):
    inputs, hidden, _ = widths
    own = {"swiglu": hidden, "relu": hidden, "gelu": 0, "two-layer": hidden * (hidden + 1) // 2}
    router = {"softmax": inputs, "switch": inputs, "sigmoid": 0, "normalised-sigmoid": 0}
    shared = router.get(gate, experts)
    if gate == "softmax" and top_k == 1:
        shared = experts * inputs
    return shared + experts * own[expert]


ROWS = [
    (section, settings)
    for section, entries in SECTIONS.items()
    for settings, _ in entries
    if section not in ("Linear networks", "Whole transformers")
]


@pytest.mark.parametrize("section, table", ROWS, ids=lambda value: str(value)[:90])
def test_every_row_of_the_table_is_explained(section, table):
    result = count(parse_architecture(table), points=1)
    assert result.certificate.exact and result.certificate.closed
    assert all(check.conserved for check in result.certificate.checks)
    assert expected_laws(table) in (result.laws, None)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "gpt2", "vocabulary": 4, "width": 3, "heads": 1, "hidden": 2},
        {"kind": "llama", "vocabulary": 3, "width": 4, "kv_heads": 1, "hidden": 2, "tied": False},
    ],
)
def test_whole_transformers_are_explained(settings):
    result = count(parse_architecture(settings), points=1)
    assert result.certificate.exact and result.laws > 0
    assert all(check.conserved for check in result.certificate.checks)


def test_laws_of_the_tiny_gpt2_one_by_one():
    """d = 3, heads of 3, 2 hidden units, 3 positions, 4 tokens, tied embedding."""
    architecture = parse_architecture(
        {"kind": "gpt2", "vocabulary": 4, "width": 3, "heads": 1, "hidden": 2}
    )
    result = count(architecture, points=1)
    found = {check.law.name: check.new for check in result.certificate.checks}
    assert found == {
        "query-key h1.0": 6,
        "value-output h1.0": 6,
        "frozen h1.bK": 3,
        "gains h1.n1.g": 3,
        "gains h1.n2.g": 3,
        "stream mean P": 3,
        "stream mean h1.O": 3,
        "stream mean h1.A": 2,
        "stream mean h1.bO": 1,
        "stream mean h1.bA": 1,
        "token-position shift": 3,
    }
    assert result.laws == sum(found.values()) == 34


# What a count must not depend on.

SMALL = st.sampled_from([
    {"kind": "linear", "widths": [2, 3, 2]},
    {"kind": "linear", "widths": [1, 2, 2, 2]},
    {"kind": "relu", "widths": [2, 3, 2], "bias": True},
    {"kind": "tanh", "widths": [2, 2, 2]},
    {"kind": "reglu", "widths": [2, 2, 2]},
    {"kind": "attention", "width": 3, "tokens": 3, "position": "rotary"},
    {"kind": "moe", "widths": [2, 2, 2], "experts": 3, "top_k": 2, "expert": "relu"},
    {"kind": "norm", "widths": [2, 3, 2], "norm": "rms"},
    {"kind": "diagonal", "depth": 3},
])  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(SMALL, st.integers(0, 2**31), st.sampled_from(PRIMES))
def test_count_does_not_depend_on_seed_and_prime(table, seed, prime):
    """The seed draws the point and all data."""
    architecture = parse_architecture(table)
    expected = count(architecture, points=1).trace_dimensions
    assert generate(Fields(architecture, PrimeField(prime, seed), seed)).dimensions == expected


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(4)), st.sampled_from(["linear", "relu", "gelu"]), st.integers(0, 99))
def test_permuted_hidden_units_have_the_same_trace(order, kind, seed):
    architecture = parse_architecture({"kind": kind, "widths": [2, 4, 3], "bias": True})
    fields = Fields(architecture, PrimeField(PRIMES[0], seed), seed)
    expected = generate(fields).dimensions
    parts = fields.split(fields.point)  # views
    parts["W1"][:] = parts["W1"][:, :, order]
    parts["b1"][:] = parts["b1"][:, :, order]
    parts["W2"][:] = parts["W2"][..., order]
    assert generate(fields).dimensions == expected


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5))
def test_transposed_linear_networks_have_as_many_laws(widths):
    forward, backward = (
        count(parse_architecture({"kind": "linear", "widths": order}), points=1)
        for order in (widths, widths[::-1])
    )
    assert forward.trace_dimensions == backward.trace_dimensions


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=2, max_size=4), st.booleans())
def test_bounds_of_a_certificate_are_consistent(widths, bias):
    for kind in ("linear", "relu", "tanh"):
        result = count(parse_architecture({"kind": kind, "widths": widths, "bias": bias}))
        certificate = result.certificate
        assert 0 <= certificate.lower_bound <= certificate.upper_bound == result.laws
        assert result.laws == result.parameters - max(certificate.ranks)
        assert list(result.trace_dimensions) == sorted(set(result.trace_dimensions))
        assert certificate.closed
        assert all(check.new <= check.entries for check in certificate.checks)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 3), min_size=3, max_size=4), st.sampled_from(["linear", "relu"]))
def test_polynomial_laws_are_at_least_as_many_as_the_independent_ones(widths, kind):
    architecture = parse_architecture({"kind": kind, "widths": widths})
    found = polynomial_laws(architecture, 2)
    result = count(architecture, points=1)
    assert found.independent <= len(found.coefficients)
    assert result.certificate.lower_bound <= found.independent <= result.laws


@pytest.mark.parametrize("flow", ["multiplicative", "weight-decay", "momentum"])
def test_velocities_of_other_flows(flow):
    """Written out for u v with one sample: X = (v, u) w."""
    architecture = parse_architecture({"kind": "polynomial", "phi": ["u*v"], "flow": flow})
    fields = Fields(architecture, PrimeField(PRIMES[0], 1), 1)
    draws = fields.generators(1)
    p = PRIMES[0]
    state = fields.point[0, 0].tolist()
    u, v = state[:2]
    w, rate = draws.cotangent((1,), False).item(), int(draws.rate())
    if flow == "multiplicative":
        expected = [u * v * w, u * v * w]
    elif flow == "weight-decay":
        expected = [v * w - rate * u, u * w - rate * v, rate * state[-1]]
    else:
        friction = [-rate * state[2], -rate * state[3]]
        expected = [*state[2:4], v * w + friction[0], u * w + friction[1], rate * state[-1]]
    found = fields.generator(draws, fields.point)[0, 0].tolist()
    assert found == [value % p for value in expected]


# What a certificate says.


def test_a_false_law_is_refuted_and_does_not_count():
    architecture = parse_architecture({"kind": "linear", "widths": [2, 3, 2]})
    false = random_form(architecture, 0)
    half = Law("half true", "", "", lambda p: (p["W1"] * p["W1"] - (p["W2"] * p["W2"]).T).sum(1))
    wrong = Law("wrong sign", "", "", lambda p: (p["W1"] @ p["W1"].T + p["W2"].T @ p["W2"])[0])
    result = count(architecture, laws=[false, half, wrong])
    assert [check.conserved for check in result.certificate.checks] == [False, True, False]
    assert [check.new for check in result.certificate.checks] == [0, 3, 0]
    assert not result.certificate.exact


def test_a_family_counts_only_its_conserved_entries():
    architecture = parse_architecture({"kind": "relu", "widths": [2, 3, 2]})
    linear = parse_architecture({"kind": "linear", "widths": [2, 3, 2]}).laws()
    (check,) = count(architecture, laws=linear).certificate.checks
    assert (check.entries, check.new, check.conserved) == (6, 3, False)


def test_dependent_laws_count_once():
    architecture = parse_architecture({"kind": "relu", "widths": [2, 3, 2]})
    (law,) = architecture.laws()
    cube = Law("cubes", "", "", lambda p: law.evaluate(p) ** 3, degree=6)
    checks = count(architecture, laws=[law, cube]).certificate.checks
    assert [check.new for check in checks] == [3, 0] and all(c.conserved for c in checks)


def test_assumptions_are_those_that_were_made():
    def assumed(**table):
        return set(count(parse_architecture(table), points=1).certificate.assumptions)

    assert assumed(kind="bilinear", widths=[2, 2, 2]) == set()
    assert assumed(kind="relu", widths=[2, 2, 2]) == {PATTERNS}
    assert assumed(kind="swiglu", widths=[2, 2, 2]) == {FORMAL}
    assert assumed(kind="moe", widths=[2, 2, 2], top_k=2) == {FORMAL, SELECTIONS}


def test_levels_that_are_not_reached_are_said_to_be_open():
    architecture = parse_architecture({"kind": "linear", "widths": [1, 2, 2, 2]})
    short = count(architecture, max_level=2)
    assert not short.certificate.closed
    assert short.trace_dimensions == (2, 3) and short.laws == 7
    assert short.certificate.lower_bound == 6 and not short.certificate.exact


@pytest.mark.parametrize(
    "table",
    [
        {"kind": "linear", "widths": [2, 5, 2]},
        {"kind": "relu", "widths": [3, 6, 4, 2], "bias": True},
        {"kind": "tanh", "widths": [2, 3, 2]},
        {"kind": "bilinear", "widths": [2, 2, 2]},
        {"kind": "attention", "width": 4, "tokens": 3},
        {"kind": "attention", "width": 5, "head_dim": 4, "position": "rotary", "tokens": 2},
        {"kind": "attention", "width": 4, "score": "linear", "heads": 2, "kv_heads": 1},
        {"kind": "moe", "widths": [3, 2, 2], "gate": "normalised-sigmoid"},
        {"kind": "moe", "widths": [3, 2, 2], "gate": "cosine"},
        {"kind": "norm", "widths": [2, 3, 2]},
        {"kind": "symmetric", "widths": [2, 4]},
    ],
    ids=lambda table: " ".join(map(str, table.values())),
)
def test_singular_values_agree_with_exact_ranks(table):
    """Real activations in float64 against formal ones over prime fields."""
    architecture = parse_architecture(table)
    exact, real = count(architecture, points=1), count_float(architecture)
    assert real.trace_dimensions == exact.trace_dimensions and real.laws == exact.laws
    assert all(rank.clear for rank in real.ranks) and real.closed


@pytest.mark.parametrize(
    "kind, widths, laws",
    [("linear", [1, 1, 1, 1], 2), ("linear", [1, 2, 1], 3), ("relu", [1, 1, 1], 1)],
)
@pytest.mark.filterwarnings("error")
def test_brackets_that_cancel_are_no_directions_in_float(kind, widths, laws):
    """One input and one output: all fields are parallel, brackets are rounding errors."""
    result = count_float(parse_architecture({"kind": kind, "widths": widths}))
    assert (result.laws, result.closed) == (laws, True)


def test_memory_of_an_elimination_is_that_of_one_matrix():
    """Rank 300 of 400 columns is kept in at most 400 rows, whatever was inserted."""
    architecture = parse_architecture({"kind": "relu", "widths": [10] * 5})
    trace = generate(Fields(architecture, PrimeField(), 0))
    assert trace.echelon._rows.shape[0] <= trace.fields.dimension
    assert trace.echelon.rank == 400 - 30
    assert np.array_equal(np.unique(trace.echelon.pivots), np.sort(trace.echelon.pivots))


def peak_memory(width):
    """Bytes of one count, and D."""
    architecture = parse_architecture({"kind": "linear", "widths": [width] * 3})
    tracemalloc.start()
    count(architecture, points=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak, architecture.dimension


def test_memory_grows_with_the_square_of_the_parameters():
    (small, few), (large, many) = peak_memory(11), peak_memory(22)
    assert many == 4 * few
    assert large < 1.1 * 16 * small
    assert large < 120 * many**2  # the matrix itself takes 8
