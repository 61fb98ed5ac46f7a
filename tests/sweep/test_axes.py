"""Drawn axes, and settings that follow from axes by a formula."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from dmft.errors import InputError
from dmft.sweep import run
from dmft.sweep.collect import collect
from dmft.sweep.figures import plot_lines
from dmft.sweep.formulas import Formula
from dmft.sweep.grid import parse_grid

DRAWN = {
    "sample": {"kind": "sobol", "count": 64, "seed": 1},
    "axes": {
        "problem.network.init_scale": {"loguniform": [0.01, 1.0]},
        "problem.noise_std": [0.1, 0.2],
        "problem.sampling_ratio": {"uniform": [0.2, 2.0]},
        "solver.t_max": {"formula": "round(10 / sampling_ratio) + 1"},
    },
}


def columns(table):
    found = parse_grid(table)
    axes = {axis.key: axis.values for dimension in found.dimensions for axis in dimension.axes}
    return found, axes


@pytest.mark.parametrize("kind", ["random", "latin-hypercube", "sobol"])
def test_ranges_are_drawn_together_along_one_dimension(kind):
    sample = {"kind": kind, "count": 200, "seed": 1}
    found, axes = columns({**DRAWN, "sample": sample})
    assert [dimension.name for dimension in found.dimensions] == ["sample", "noise_std"]
    assert found.shape == (200, 2) and len(found.points) == 400
    scale = np.log10(axes["problem.network.init_scale"])
    ratio = np.array(axes["problem.sampling_ratio"])
    for units in ((scale + 2.0) / 2.0, (ratio - 0.2) / 1.8):
        assert ((units >= 0) & (units <= 1)).all() and kstest(units, "uniform").pvalue > 0.01
        counts = np.bincount((units * 200).astype(int).clip(max=199), minlength=200)
        assert (counts.max() == 1) == (kind == "latin-hypercube")
    assert abs(np.corrcoef(scale, ratio)[0, 1]) < 0.25
    assert columns({**DRAWN, "sample": sample})[1] == axes
    assert columns({**DRAWN, "sample": {**sample, "seed": 2}})[1] != axes
    more = columns({**DRAWN, "sample": {**sample, "count": 300}})[1]["problem.sampling_ratio"]
    assert (more[:200] == tuple(ratio)) == (kind != "latin-hypercube")


def test_sobol_points_fill_every_cell():
    _, axes = columns(DRAWN)
    scale = (np.log10(axes["problem.network.init_scale"]) + 2.0) / 2.0
    ratio = (np.array(axes["problem.sampling_ratio"]) - 0.2) / 1.8
    cells = set(zip((scale * 8).astype(int), (ratio * 8).astype(int), strict=True))
    assert len(cells) == 64  # one each, as 64 points of a (0, 6, 2)-net


def test_a_formula_is_evaluated_at_every_point():
    found, _ = columns(DRAWN)
    for point in found.points[:20]:
        ratio = point.values["sampling_ratio"]
        assert point.values["t_max"] == round(10 / ratio) + 1
        assert point.items[0].config.solver.t_max == point.values["t_max"]
        assert "t_max=" in point.label


def test_drawn_points_in_a_collection(make_sweep, fake_solve, tmp_path):
    text = """
sample = { kind = "sobol", count = 4 }
[axes]
problem.noise_std = { uniform = [0.1, 0.3] }
solver.t_max = { formula = "100 * noise_std" }
solver.seed = [0, 1]
"""
    folder = make_sweep(text)
    run(folder)
    collection = collect(folder, tmp_path / "all.h5")
    assert collection.dimensions == ("sample", "seed") and collection.shape == (4, 2)
    noise = collection.coordinates["noise_std"]
    assert noise[0] == "sample" and collection.coordinates["sample"][1].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(collection.values["t_max"][:, 0], 100 * noise[1])
    np.testing.assert_allclose(collection.values["final_excess_risk"][:, 1], noise[1])
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(tmp_path / "all.h5", engine="h5netcdf") as ds:
        assert ds.noise_std.dims == ("sample",) and ds.t_max.dims == ("sample", "seed")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sample": {"kind": "halton", "count": 4}}, "sample.kind: given 'halton', allowed"),
        ({"sample": {"count": 0}}, "sample.count: given 0, must be an integer from 1"),
        ({"sample": {}}, "sample.count: given None"),
        ({"sample": {"count": 4, "seeds": 1}}, "did you mean 'seed'"),
        ({"sample": None}, "sample: given none"),
        ({"axes": {"problem.noise_std": [1, 2]}}, "sample: given without an axis"),
        ({"axes": {"problem.noise_std": {"uniform": [2, 1]}}}, "the second must be greater"),
        ({"axes": {"problem.noise_std": {"uniform": [1]}}}, "must be [least, most]"),
        ({"axes": {"problem.noise_std": {"uniform": [1, "2"]}}}, "must be [least, most]"),
        ({"axes": {"problem.noise_std": {"loguniform": [0, 1]}}}, "must be greater than 0"),
        ({"axes": {"problem.noise_std": {"uniform": [-1e308, 1e308]}}}, "difference is no number"),
        ({"axes": {"solver.t_max": {"formula": "1"}}, "sample": None}, "given formulas alone"),
        ({"zip": [["problem.noise_std", "problem.sampling_ratio"]]}, "zip is for lists"),
    ],
)
def test_bad_samples_are_refused(change, words):
    table = {key: value for key, value in {**DRAWN, **change}.items() if value is not None}
    with pytest.raises(InputError) as caught:
        parse_grid(table)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('touch hit')", "allowed: numbers"),
        ("(lambda: 1)()", "allowed: numbers"), ("x if x else 1", "allowed: numbers"),
        ("[x]", "allowed"), ("x.real", "allowed"), ("'a' * 10**9", "allowed"), ("x @ x", "allowed"),
        ("exp", "'exp' is no axis"), ("y + 1", "'y' is no axis, allowed: x"),
        ("exp(*x)", "allowed"),
        ("x := 3", "no formula"), ("x +", "no formula"), ("", "must be text"),
        ("(" * 300 + ")" * 300, "must be text"),
        ("True + x", "allowed"), ("1j", "allowed"), ("min()", "allowed"),
        ("abs(x, x)", "undefined"),
        ("1 / (x - 2)", "undefined at x=2"), ("9**9**9**9", "undefined"), ("log(-x)", "undefined"),
        ("(-x)**0.5", "undefined at x=2 (no finite number)"), ("1e308 * 10 * x", "undefined"),
        ("10" + "0" * 400, "undefined"),
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused_and_never_run(text, words):
    with pytest.raises(InputError) as caught:
        formula = Formula.read(text, "axes.a.formula")
        formula.check_names(["x"])
        formula.value({"x": 2})
    assert words in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.floats(-5, 5), st.floats(0.1, 5))
def test_values_are_those_of_python(x, y):
    text = "-x**2 + 3 * max(x, y) / sqrt(y) - exp(min(x, 1)) * log10(y) + abs(-x) + floor(y)"
    scope = {"x": x, "y": y, "__builtins__": {}, **Formula.FUNCTIONS}
    expected = eval(text, scope)
    assert Formula.read(text, "").value({"x": x, "y": y}) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="xy0123456789.+-*/()eE ,_'[]", max_size=30))
def test_any_text_is_a_number_or_refused(text):
    found = 0.0
    with suppress(InputError):
        formula = Formula.read(text, "here")
        formula.check_names(["x", "y"])
        found = formula.value({"x": 2, "y": 0.5})
    assert np.isfinite(found)


def test_a_drawn_axis_runs_across_a_figure(make_sweep, fake_solve, tmp_path):
    folder = make_sweep(
        'sample = { kind = "sobol", count = 8 }\n[axes]\n'
        "problem.noise_std = { uniform = [0.1, 0.3] }\nsolver.seed = [0, 1]\n"
    )
    run(folder)
    collection = collect(folder, tmp_path / "all.h5")
    plot_lines(collection, tmp_path / "a.png", x="noise_std")
    plot_lines(collection, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    with pytest.raises(InputError, match="allowed: sample"):
        plot_lines(collection, tmp_path / "c.png", x="nothing")
