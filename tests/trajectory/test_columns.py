"""Compiled differences against NumPy: every pattern of 16 bits, every cut, whole passes."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory import compiled, engine, layout
from tests.trajectory.conftest import as_safetensors

PATTERNS = np.arange(65536, dtype=np.uint16)


def expected(theta):
    theta = np.where(np.isfinite(theta), theta, np.nan)
    with np.errstate(invalid="ignore"):
        return np.concatenate([theta[:1], np.diff(theta, axis=0)])


def found(loop, rows, first=0, width=None):
    out = np.empty((len(rows), rows.shape[1] - first if width is None else width))
    loop(rows, first, out)
    return np.where(np.isfinite(out), out, np.nan)


def rolled(values):
    """Each next to many others: beside itself, its neighbour, its negative, any."""
    return np.array([np.roll(values, shift) for shift in (0, 0, 1, 32769, 1000)])


def loops_of_halves():
    return [compiled.of_halves, *([compiled.of_native_halves] * compiled.converts_halves())]


def test_every_half():
    rows = rolled(PATTERNS.view(np.float16))
    exact = expected(rows.astype(float))
    assert np.isnan(exact[0]).sum() == 2 * 1024
    for loop in loops_of_halves():
        assert np.array_equal(found(loop, rows.view(np.int16)), exact, equal_nan=True)


def test_code_for_another_processor_converts_by_itself(monkeypatch):
    monkeypatch.setattr(numba.config, "CPU_NAME", "generic")
    assert not compiled.converts_halves()


def test_every_bfloat():
    rows = rolled(PATTERNS)
    with np.errstate(invalid="ignore"):
        exact = expected((rows.astype(np.uint32) << 16).view(np.float32).astype(float))
    assert np.array_equal(found(compiled.of_bfloats, rows.view(np.int16)), exact, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats(dtype):
    rows = np.random.default_rng(0).standard_normal((5, 3000)).astype(dtype)
    assert np.array_equal(found(compiled.of_floats, rows), expected(rows.astype(float)))


@pytest.mark.parametrize("first, width", [(0, 1), (17, 4096), (4095, 5000), (9999, 1)])
def test_any_columns(first, width):
    rows = np.random.default_rng(1).standard_normal((3, 10_000)).astype(np.float16)
    exact = expected(rows.astype(float))[:, first : first + width]
    for loop in loops_of_halves():
        assert np.array_equal(found(loop, rows.view(np.int16), first, width), exact)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "uint16"])
@pytest.mark.parametrize("options", [{}, {"heads": 3}, {"include": ["layers.1*"]}])
def test_a_pass_gives_the_same_bits(model, tmp_path, monkeypatch, dtype, options):
    monkeypatch.setattr(layout, "_UNIT", 700)
    monkeypatch.setattr(layout, "_SMALLEST", 1)
    for t, arrays in enumerate(model()):
        stored = {
            name: np.ascontiguousarray(values.astype(np.float32)).view(np.uint16)[..., 1::2]
            if dtype == "uint16" and values.ndim  # the upper halves: bfloat16
            else values.astype("float32" if dtype == "uint16" else dtype)
            for name, values in arrays.items()
        }
        as_safetensors(tmp_path / f"{t}.safetensors", stored)
    plain = trajectory.of_checkpoints(tmp_path, **options)
    monkeypatch.setattr(engine, "_COMPILED", 0)
    assert np.array_equal(trajectory.of_checkpoints(tmp_path, **options).values, plain.values)


def test_types_that_differ_take_the_other_way(model, write, monkeypatch):
    walk = model()
    write(walk[:3], dtype=np.float16)
    folder = write(walk[3:], first=3, dtype=np.float32)
    plain = trajectory.of_checkpoints(folder)
    monkeypatch.setattr(engine, "_COMPILED", 0)
    assert np.array_equal(trajectory.of_checkpoints(folder).values, plain.values)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named(model, write, monkeypatch, value):
    monkeypatch.setattr(engine, "_COMPILED", 0)
    walk = model()
    walk[2] = {name: values.copy() for name, values in walk[2].items()}
    walk[2]["layers.0.mlp.bias"][7] = value
    with pytest.raises(InputError, match=r"step-20.npz: tensor 'layers.0.mlp.bias'"):
        trajectory.of_checkpoints(write(walk, dtype=np.float16))
