"""Results as objects: text, HTML, frames, equality, protected arrays."""

from __future__ import annotations

from dataclasses import replace

import html5lib
import numpy as np
import pytest

import dmft


def check_html(text):
    """Parse a fragment as a browser does, but with every mistake an error; the tags in it."""
    before = "<!DOCTYPE html><html lang='en'><head><title>x</title></head><body>"
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    tree = parser.parse(f"{before}{text}</body></html>")
    return {str(element.tag).rpartition("}")[2] for element in tree.iter()}


def test_short_text(make_solution, make_simulation):
    teacher = {"kind": "empirical", "values": np.linspace(-1, 1, 5000).tolist()}
    long = make_solution(problem=dmft.Problem(teacher=teacher))
    for result in (make_solution(), make_simulation(), long):
        assert 40 < len(repr(result)) < 600
        assert type(result).__name__ in repr(result) and "excess_risk =" in repr(result)
        assert {"svg", "table"} <= check_html(result._repr_html_())
    assert "teacher.values = 5000 values" in repr(long)
    assert len(repr(long.kernels)) < 200 and len(repr(long.paths)) < 200
    failed = replace(make_solution(), status="not-converged", reason="too few paths & <more>")
    assert "not-converged: too few paths" in repr(failed)
    check_html(failed._repr_html_())
    assert "table" in check_html(dmft.Problem(noise_std=0.3)._repr_html_())
    assert "<b>0.3</b>" in dmft.Problem(noise_std=0.3)._repr_html_()


def test_equality(make_solution, make_simulation, change):
    assert make_solution() == make_solution()
    assert make_simulation() == make_simulation()
    assert make_solution() != make_simulation()
    solution = make_solution()
    assert replace(solution, work={"panels": 1}) == solution
    assert replace(solution, problem=dmft.Problem(noise_std=0.2)) != solution
    assert change(solution, excess_risk=solution.excess_risk * (1 + 1e-15)) != solution
    kernels = replace(solution.kernels, overlap=solution.kernels.overlap + 1e-9)
    assert replace(solution, kernels=kernels) != solution


def test_arrays_are_read_only(make_solution):
    solution, time = make_solution(), np.linspace(0.0, 1.0, 12)
    for array in (solution.time, solution.excess_risk, solution.kernels.overlap):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    assert replace(solution, time=time).time[0] == 0.0
    time[0] = 0.5  # the array of the caller stays theirs


def test_values_between_times(make_solution, make_simulation):
    for result in (make_solution(), make_simulation()):
        time = result.time
        assert isinstance(result.curve_at("excess_risk", 1.0), float)
        np.testing.assert_allclose(result.curve_at("train_mse", time), result.train_mse)
        np.testing.assert_allclose(
            result.curve_at("train_mse_stderr", time[1:3]), result.train_mse_stderr[1:3]
        )
        with pytest.raises(dmft.InputError, match="allowed: train_mse, excess_risk"):
            result.curve_at("accuracy", 1.0)
        with pytest.raises(dmft.InputError, match="times: given"):
            result.curve_at("train_mse", [1.0, 2 * time[-1]])
        low, high = result.interval("train_mse", level=0.9)
        assert np.all(low < result.train_mse) and np.all(high > result.train_mse)
    between = make_simulation().curve_at("train_mse", 0.5 * sum(make_simulation().time[3:5]))
    assert min(make_simulation().train_mse[3:5]) < between < max(make_simulation().train_mse[3:5])


def test_frames(make_solution, make_simulation, tmp_path):
    pytest.importorskip("xarray")
    import xarray

    for result in (make_solution(), make_simulation()):
        frame = result.to_dataframe()
        np.testing.assert_array_equal(frame["excess_risk"], result.excess_risk)
        np.testing.assert_array_equal(frame.index, result.time)
        tree = result.to_xarray()
        dmft.save(tmp_path / f"{type(result).__name__}.h5", result)
        stored = xarray.open_datatree(tmp_path / f"{type(result).__name__}.h5", engine="h5netcdf")
        np.testing.assert_array_equal(tree["excess_risk"], stored["excess_risk"])
        np.testing.assert_array_equal(tree["kernels/overlap"], stored["kernels/overlap"])
        runs = "replicates" if hasattr(result, "panel") else "seeds"
        np.testing.assert_array_equal(tree[f"{runs}/train_mse"], stored[f"{runs}/train_mse"])
