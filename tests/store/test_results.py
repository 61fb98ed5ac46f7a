"""Results survive the disk; the files are labelled and say where they come from."""

from __future__ import annotations

import dataclasses
import json
import pickle
import warnings
from datetime import datetime
from pathlib import Path

import h5py
import numpy as np
import pytest

from dmft.config import Config
from dmft.errors import InputError
from dmft.problem import Problem
from dmft.settings import SimulationSettings, SolverSettings
from dmft.store import describe, load, read_header, save


def assert_same(left: object, right: object) -> None:
    """Equality, bit by bit, of dataclasses with arrays."""
    assert type(left) is type(right)
    if dataclasses.is_dataclass(left):
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name))
    elif isinstance(left, dict):
        assert left.keys() == right.keys()
        for name in left:
            assert_same(left[name], right[name])
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    else:
        assert left == right


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"replicates": 1},
        {"paths": None},
        {"mean_charge": None},
        {"l4_norm": np.linspace(0.0, 1.0, 12)},
        {"status": "not-converged", "reason": "standard error 0.1 > 0.01"},
        {"settings": SolverSettings(seed=2**80, target_error=0.01)},
        {"problem": Problem(teacher={"kind": "empirical", "values": [0.1, -1 / 3, 1e-300]})},
        {"work": {}},
        {"nodes": 2},
    ],
    ids=lambda changes: ",".join(changes) or "plain",
)
def test_solution_survives(tmp_path, make_solution, changes):
    solution = make_solution(**changes)
    save(tmp_path / "out.h5", solution)
    assert_same(load(tmp_path / "out.h5"), solution)
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.h5"]


@pytest.mark.parametrize("seeds", [1, 3])
def test_simulation_survives(tmp_path, make_simulation, seeds):
    simulation = make_simulation(seeds=seeds)
    save(str(tmp_path / "sim.h5"), simulation)
    assert_same(load(str(tmp_path / "sim.h5")), simulation)


def test_a_long_configuration_fits(tmp_path, make_solution):
    values = np.random.default_rng(0).standard_normal(20_000).tolist()
    solution = make_solution(problem=Problem(teacher={"kind": "empirical", "values": values}))
    save(tmp_path / "out.h5", solution)
    assert load(tmp_path / "out.h5").problem == solution.problem


def test_attributes(tmp_path, make_solution):
    config = Config(simulation=SimulationSettings(dimension=77))
    save(tmp_path / "out.h5", make_solution(), command_line="dmft solve x", config=config)
    with h5py.File(tmp_path / "out.h5") as file:
        attributes = dict(file.attrs)
        for path, dataset in _datasets(file):
            assert dataset.attrs["units"], path
            assert dataset.attrs["long_name"], path
        assert dict(file["work"].attrs) == {"panels": 4, "sweeps": 17, "flops": 1.5e9}
    assert attributes["schema"] == "dmft-solution"
    assert attributes["schema_version"] == "2.2"
    assert attributes["command_line"] == "dmft solve x"
    assert attributes["status"] == "done" and attributes["reason"] == ""
    assert attributes["host"] and attributes["package_version"]
    assert json.loads(attributes["seeds"]) == [0]
    assert datetime.fromisoformat(attributes["created"]).utcoffset().total_seconds() == 0
    table = json.loads(attributes["config"])
    assert list(table) == ["problem", "dynamics", "solver", "simulation"]
    assert table["solver"]["replicates"] == 3 and table["simulation"]["dimension"] == 77
    assert read_header(tmp_path / "out.h5").config.simulation.dimension == 77


def test_the_fixed_names_are_there(tmp_path, make_solution, make_simulation):
    save(tmp_path / "out.h5", make_solution())
    save(tmp_path / "sim.h5", make_simulation())
    curves = {"/time", "/train_mse", "/train_mse_stderr", "/excess_risk", "/excess_risk_stderr"}
    kernels = {"correlation_error", "correlation_residual", "overlap"}
    responses = {"response_weights", "response_residual", "quadrature_weights"}
    charges = {"/mean_charge", "/mean_charge_stderr", "/panel"}
    wanted = curves | charges | {f"/kernels/{name}" for name in kernels | responses}
    assert wanted <= set(describe(tmp_path / "out.h5")["datasets"])
    wanted = curves | {"/seed"} | {f"/kernels/{name}" for name in kernels}
    assert wanted <= set(describe(tmp_path / "sim.h5")["datasets"])


def test_without_replicates_no_errors_are_stored(tmp_path, make_solution):
    save(tmp_path / "out.h5", make_solution(replicates=1))
    assert not [name for name in describe(tmp_path / "out.h5")["datasets"] if "stderr" in name]


def test_opens_in_xarray_with_labelled_axes(tmp_path, make_solution, make_simulation):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    solution, simulation = make_solution(), make_simulation()
    save(tmp_path / "out.h5", solution)
    save(tmp_path / "sim.h5", simulation)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with xarray.open_datatree(tmp_path / "out.h5", engine="h5netcdf") as tree:
            kernel = tree["kernels"]["response_weights"]
            assert kernel.dims == ("time", "time_other")
            assert kernel.attrs["long_name"].startswith("weight response")
            picked = kernel.sel(time=100.0, time_other=0.1, method="nearest")
            assert picked == solution.kernels.response_weights[-1, 1]
            assert tree["kernels"]["quadrature_weights"].dims == ("time_other",)
            assert tree["replicates"]["train_mse"].dims == ("replicate", "time")
            assert tree["paths"]["weights"].dims == ("path", "time")
            np.testing.assert_array_equal(tree["time"], solution.time)
        with xarray.open_dataset(tmp_path / "sim.h5", engine="h5netcdf") as data:
            assert data["excess_risk"].dims == ("time",)
            assert data["seed"].dims == ("seed",)
        with xarray.open_datatree(tmp_path / "sim.h5", engine="h5netcdf") as tree:
            assert tree["seeds"]["excess_risk"].dims == ("seed", "time")
            assert tree["kernels"]["overlap_stderr"].dims == ("time", "time_other")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(tmp_path, make_solution, bad):
    curve = make_solution().train_mse.copy()
    curve[3] = bad
    with pytest.raises(InputError, match="train_mse: holds NaN or infinity"):
        save(tmp_path / "out.h5", make_solution(train_mse=curve))
    with pytest.raises(InputError, match="work.flops"):
        save(tmp_path / "out.h5", make_solution(work={"flops": bad}))
    assert list(tmp_path.iterdir()) == []


def test_unknown_content_does_no_harm(tmp_path, make_solution):
    save(tmp_path / "out.h5", make_solution())
    with h5py.File(tmp_path / "out.h5", "a") as file:
        file.attrs["mood"] = "good"
        file.attrs["schema_version"] = "2.7"
        file.create_dataset("later/invention", data=np.arange(3))
        file["work"].attrs["note"] = "text"
        file["train_mse"].attrs["colour"] = "red"
    assert_same(load(tmp_path / "out.h5"), make_solution())


def test_nothing_is_unpickled(tmp_path, make_solution):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    save(tmp_path / "out.h5", make_solution())
    with h5py.File(tmp_path / "out.h5", "a") as file:
        del file["train_mse"]
        file["train_mse"] = np.void(pickle.dumps(Bomb()))
        file.attrs["config"] = np.void(pickle.dumps(Bomb()))
    with pytest.raises(InputError):
        load(tmp_path / "out.h5")
    assert not (tmp_path / "exploded").exists()


def _datasets(group):
    for item in group.values():
        if isinstance(item, h5py.Dataset):
            yield item.name, item
        else:
            yield from _datasets(item)


def test_blocks_open_in_xarray_with_the_axes_of_the_kernels(tmp_path, make_simulation):
    import xarray

    from dmft.results.overlaps import OverlapBlocks

    stack = np.ones((2, 9, 9))
    blocks = OverlapBlocks(weights=stack, parameters=2 * stack, sizes=np.array([2, 1]))
    save(tmp_path / "sim.h5", make_simulation(blocks=blocks))
    with xarray.open_datatree(tmp_path / "sim.h5", engine="h5netcdf") as tree:
        overlap = tree["kernels/blocks"].parameter_overlap
        assert overlap.dims == ("block", "time", "time_other")
        assert overlap.sel(time=100.0, time_other=0.1, block=0, method="nearest") == 2.0
    again = load(tmp_path / "sim.h5").blocks
    assert again.sizes.tolist() == [2, 1]
    assert (again.weights == 1.0).all() and (again.parameters == 2.0).all()
