"""A state that was packed comes back exactly, and nothing else passes for one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dmft.errors import InputError
from dmft.store.packing import pack, unpack

KINDS = ["?", "i1", "<i2", ">i4", "i8", "u1", "u8", "f2", "<f4", ">f8"]
CHARACTERS = st.characters(exclude_characters="/", exclude_categories=["Cs"])
KEYS = st.text(CHARACTERS, min_size=1, max_size=3)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
LEAVES = st.sampled_from(
    [None, True, "", "a\n{[/", 2**100, -(2**63), 0.1, 5e-324, float("-inf")]
) | arrays.arrays(st.sampled_from(KINDS), SHAPES)
STATES = st.dictionaries(
    KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3)), max_size=4
)


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        kept = other.dtype == one.dtype.newbyteorder("=") and other.shape == one.shape
        return kept and other.flags.writeable and np.array_equal(one, other, equal_nan=True)
    return type(one) is type(other) and one == other


@given(STATES)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_state_comes_back(state):
    assert same(state, unpack(*pack(state)))


def test_arrays_of_any_order_come_back():
    matrix = np.arange(12.0).reshape(3, 4)
    state = {"turned": matrix.T, "every second": matrix[:, ::2], "one": np.float64(2.5)}
    found = unpack(*pack(state))
    np.testing.assert_array_equal(found["turned"], matrix.T)
    np.testing.assert_array_equal(found["every second"], matrix[:, ::2])
    assert found["one"] == 2.5 and type(found["one"]) is float


def table(arrays=(), values=(), empty=()):
    return json.dumps({"arrays": dict(arrays), "values": dict(values), "empty": list(empty)})


@pytest.mark.parametrize(
    ("text", "content", "said"),
    [
        ("", 0, "table of its state is damaged"),
        ("[]", 0, "table of its state is damaged"),
        ('{"arrays": {}, "values": {}}', 0, "table of its state is damaged"),
        ('{"arrays": [], "values": {}, "empty": []}', 0, "table of its state is damaged"),
        (table(empty=[["a"]]), 0, "table of its state is damaged"),
        ("[" * 10**5, 0, "damaged|nested"),
        (table({"a": "f8 3"}), 16, "'a' of its state is longer"),
        (table({"a": "f8 2"}), 24, "8 bytes that belong to nothing"),
        (table({"a": "f8 " + "9" * 18 + " 99"}), 8, "'a' of its state is longer"),
        (table({"a": "f8 " + "9" * 19}), 8, "described as 'f8 9"),
        (table({"a": "f8 -1"}), 8, "described as 'f8 -1'"),
        (table({"a": "f8" + " 1" * 9}), 8, "described as 'f8 1"),
        (table({"a": "O8 1"}), 8, "described as 'O8 1'"),
        (table({"a": "f16 1"}), 16, "described as 'f16 1'"),
        (table({"a": 1}), 8, "described as '1'"),
        (table({"a": "f8 1", "a/b": "f8 1"}), 16, "'a/b' of its state is inside"),
        (table({"a/b": "f8 1", "a": "f8 1"}), 16, "'a' of its state is there twice"),
        (table({"a": "f8 1"}, {"a": 2}), 8, "'a' of its state is there twice"),
        (table(values={"a": 2}, empty=["a"]), 0, "'a' of its state is there twice"),
        (table(values={"a": [1]}), 0, "'a' of its state is no plain value"),
        (table(values={"a": {"b": 1}}), 0, "'a' of its state is no plain value"),
        ('{"arrays": {}, "values": {}, "empty": [' + "1," * 10**5 + "1]}", 0, "commas, allowed"),
    ],
)
def test_a_table_that_is_none_is_refused(text, content, said):
    with pytest.raises(InputError, match=said):
        unpack(text.encode(), bytes(content))


def test_what_is_not_zero_is_true():
    found = unpack(table({"a": "b1 3"}).encode(), b"\x00\x02\xff")["a"]
    assert found.tobytes() == b"\x00\x01\x01"


def test_a_state_with_many_arrays_is_within_the_bound():
    state = {str(n): {"a": np.zeros(3), "b": 1.0} for n in range(60_000)}
    assert len(unpack(*pack(state))) == 60_000
