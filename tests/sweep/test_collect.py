"""Collections: labelled, complete about what is missing, and light to open."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from dmft.config import Config
from dmft.errors import DmftError, InputError
from dmft.store import describe, load, save
from dmft.store.saving import saving
from dmft.store.schema import SOLUTION
from dmft.sweep import open_folder, run
from dmft.sweep.collect import collect
from dmft.sweep.collection import load_collection
from dmft.sweep.figures import _read_curve, plot_curves

xarray = pytest.importorskip("xarray")

GRID = """
[axes]
problem.network.init_scale = { geomspace = [0.01, 1.0, 3] }
problem.noise_std = [0.1, 0.2, 0.5, 0.7]
"""


@pytest.fixture
def folder(make_sweep, fake_solve):
    """All points computed but two; one did not converge, one failed."""

    def before(config):
        if (config.problem.noise_std, config.problem.network.init_scale) == (0.7, 1.0):
            raise InputError("too noisy", "problem")

    fake_solve.before = before
    path = make_sweep(GRID)
    run(path)
    there = open_folder(path)
    there.result(there.grid.points[1].items[0].name).unlink()
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_labels_select_points(folder, tmp_path, packed):
    collect(folder, tmp_path / "all.h5", packed=packed)
    there = open_folder(folder)
    with xarray.open_dataset(tmp_path / "all.h5", engine="h5netcdf") as ds:
        assert ds.excess_risk.dims == ("init_scale", "noise_std", "node")
        assert ds.excess_risk.attrs["long_name"] == "excess risk"
        assert {"time", "init_scale", "noise_std", "node"} == set(ds.coords)
        assert ds.excess_risk.sel(init_scale=0.1).shape[0] == 4
        for point in there.grid.points:
            chosen = ds.sel(**point.values)
            if not there.result(point.items[0].name).exists():
                assert np.isnan(chosen.excess_risk).all() and np.isnan(chosen.final_excess_risk)
                assert chosen.status in ("missing", "failed") and chosen.file == ""
                continue
            solution = load(there.result(point.items[0].name))
            count = len(solution.time)
            for name in ("time", "excess_risk", "train_mse", "train_mse_stderr"):
                values = chosen[name].values
                np.testing.assert_array_equal(values[:count], getattr(solution, name))
                assert np.isnan(values[count:]).all()
            assert chosen.final_train_mse == solution.train_mse[-1]
            assert chosen.status == solution.status
            assert load(tmp_path / chosen.file.item()).problem == solution.problem


def test_missing_points_are_visible(folder, tmp_path):
    collection = collect(folder, tmp_path / "all.h5")
    assert collection.status.tolist() == [
        ["done", "missing", "not-converged", "done"],
        ["done", "done", "not-converged", "done"],
        ["done", "done", "not-converged", "failed"],
    ]
    assert collection.reason[0, 1] == "solve was not computed yet"
    assert collection.reason[2, 3] == "problem: too noisy"
    assert collection.reason[1, 2] == "few paths"
    about = describe(tmp_path / "all.h5")
    assert about["status"] == "incomplete" and about["reason"] == "2 of 12 points have no result"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"not HDF5"), "not an HDF5"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "no such file"),
        (os.mkfifo, "is a device or a pipe"),
    ],
)
def test_damaged_result_is_said_to_be_so(folder, tmp_path, make, said):
    there = open_folder(folder)
    path = there.result(there.grid.points[0].items[0].name)
    path.unlink()
    make(path)
    collection = collect(folder, tmp_path / "all.h5")
    assert collection.status[0, 0] == "unreadable" and said in collection.reason[0, 0]
    assert (collection.status == "done").sum() == 6


def test_opening_reads_metadata_only(folder, tmp_path, monkeypatch):
    """With the results gone, everything but the curves is still there."""
    collect(folder, tmp_path / "all.h5")
    shutil.rmtree(folder / "results")
    with xarray.open_dataset(tmp_path / "all.h5", engine="h5netcdf") as ds:
        assert np.isfinite(ds.final_excess_risk).sum() == 10
        assert np.isnan(ds.excess_risk).all()
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["excess_risk"].is_virtual
        sources = file["excess_risk"].virtual_sources()
        assert len(sources) == 10 and not any(Path(s.file_name).is_absolute() for s in sources)


def test_collection_moves_with_its_folder(folder, tmp_path):
    collect(folder, folder / "all.h5")
    moved = folder.rename(tmp_path / "moved")
    with xarray.open_dataset(moved / "all.h5", engine="h5netcdf") as ds:
        assert np.isfinite(ds.excess_risk.isel(node=0)).sum() == 10


def test_packed_needs_nothing_else(folder, tmp_path):
    collect(folder, tmp_path / "all.h5", packed=True)
    shutil.rmtree(folder)
    with xarray.open_dataset(tmp_path / "all.h5", engine="h5netcdf") as ds:
        assert np.isfinite(ds.excess_risk.isel(node=0)).sum() == 10


def test_every_task_and_zipped_and_text_axes(make_sweep, fake_solve, tmp_path):
    folder = make_sweep(
        'tasks = ["compare"]\nzip = [["solver.seed", "simulation.seed"]]\n'
        "[base.simulation]\ndimension = 20\nseeds = 2\npoints = 3\n"
        '[axes]\nproblem.teacher.kind = ["gaussian", "rademacher"]\n'
        "solver.seed = [5, 6]\nsimulation.seed = [7, 8]\n"
    )
    assert run(folder).computed == {"done": 12}
    collection = collect(folder, tmp_path / "all.h5")
    assert collection.coordinates["kind"][1].tolist() == ["gaussian", "rademacher"]
    assert collection.coordinates["simulation_seed"][0] == "solver_seed"
    with xarray.open_dataset(tmp_path / "all.h5", engine="h5netcdf") as ds:
        assert ds.simulate_excess_risk.dims == ("kind", "solver_seed", "simulate_node")
        assert ds.sel(kind="rademacher", solver_seed=6).simulation_seed == 8
        assert ds.compare_probability.shape == (2, 2)
        assert ds.compare_verdict.dtype.kind in "UO"


def test_output_is_whole_or_not_there(folder, tmp_path, monkeypatch):
    collect(folder, tmp_path / "all.h5")
    before = (tmp_path / "all.h5").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        collect(folder, tmp_path / "all.h5")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DmftError, match="No space left"):
        collect(folder, tmp_path / "all.h5", overwrite=True)
    assert (tmp_path / "all.h5").read_bytes() == before


def test_the_command_clears_what_a_killed_one_has_left_and_waits_for_nobody(
    folder, tmp_path, capsys
):
    from dmft.cli.main import main
    from dmft.store import locked

    left = tmp_path / ".all.h5.01234567.tmp.h5"
    left.write_bytes(b"half")
    words = ["sweep", "collect", str(folder), "-o", str(tmp_path / "all.h5")]
    with locked(tmp_path / "all.h5"):
        left.write_bytes(b"half")
        assert main(words) == 2
    assert "another process is writing this file" in capsys.readouterr().err
    assert main(words) == 0
    assert not left.exists() and not list(tmp_path.glob("*.lock"))


def test_what_is_no_collection(folder):
    with pytest.raises(InputError, match="is a solution .*, must be a collection"):
        load_collection(next((folder / "results").iterdir()))


def test_grid_is_kept_inside(folder, tmp_path):
    collect(folder, tmp_path / "all.h5", command_line="dmft sweep collect")
    about = describe(tmp_path / "all.h5")
    assert about["grid"] == GRID and about["command_line"] == "dmft sweep collect"
    assert json.loads(about["dimensions"]) == ["init_scale", "noise_std"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["50%", "%b%5b", "%%", "a b\n'\"", "-é\\"])
def test_a_folder_of_any_name(folder, tmp_path, packed, name):
    there = folder.rename(tmp_path / name)
    found = collect(there, tmp_path / "all.h5", packed=packed)
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["excess_risk"].is_virtual != packed
        assert np.isfinite(file["excess_risk"][..., 0]).sum() == 10
    plot_curves(found, tmp_path / "a.png")


def test_a_folder_whose_name_no_text_can_hold_is_copied(folder, tmp_path):
    there = folder.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff%b"))
    found = collect(there, tmp_path / "all.h5")
    assert found.texts["file"][0, 0].startswith("\\udcff%b/results/solve-")
    with h5py.File(tmp_path / "all.h5") as file:
        assert np.isfinite(file["excess_risk"][..., 0]).sum() == 10
    with pytest.raises(InputError, match="is not UTF-8, .*; --packed copies"):
        collect(there, tmp_path / "all.h5", packed=False, overwrite=True)
    # From the inside its name is not needed.
    collect(there, there / "all.h5", packed=False)
    with h5py.File(there / "all.h5") as file:
        assert np.isfinite(file["excess_risk"][..., 0]).sum() == 10


@pytest.mark.slow
def test_two_thousand_points(make_sweep, fake_solve, tmp_path):
    folder = make_sweep(
        "[axes]\nproblem.noise_std = { linspace = [0, 0.4, 50] }\n"
        "solver.seed = { linspace = [0, 39, 40] }"
    )
    assert run(folder).computed == {"done": 2000}
    collection = collect(folder, tmp_path / "all.h5")
    np.testing.assert_allclose(
        collection.values["final_excess_risk"],
        np.broadcast_to(collection.coordinates["noise_std"][1][:, None], (50, 40)),
    )


def test_a_moved_collection_names_what_is_missing(folder, tmp_path):
    collect(folder, tmp_path / "all.h5")
    (tmp_path / "elsewhere").mkdir()
    moved = load_collection((tmp_path / "all.h5").rename(tmp_path / "elsewhere" / "all.h5"))
    with pytest.raises(InputError, match=r"solve-\w+\.h5, which is missing.*--packed"):
        plot_curves(moved, tmp_path / "a.png")


def test_a_damaged_result_is_not_drawn(folder, tmp_path):
    found = collect(folder, tmp_path / "all.h5")
    there = open_folder(folder)
    path = there.result(there.grid.points[0].items[0].name)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        plot_curves(found, tmp_path / "a.png")
    assert collect(folder, tmp_path / "again.h5").status.ravel()[0] == "unreadable"


@pytest.mark.slow
def test_more_points_than_files_that_may_be_open(make_sweep, tmp_path):
    path = make_sweep("[axes]\nproblem.noise_std = { linspace = [0.1, 0.9, 3000] }\n")
    there = open_folder(path)
    for point in there.grid.points:  # `save` would take minutes
        item = point.items[0]
        with saving(there.result(item.name), SOLUTION, item.config) as file:
            file["time"], file["excess_risk"] = np.arange(5.0), np.full(5, point.index)
    program = (
        "import resource, sys, numpy, h5py; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256));"
        "from dmft.sweep.collect import collect;"
        f"found = collect({str(path)!r}, {str(tmp_path / 'all.h5')!r});"
        "assert (found.status == 'done').all();"
        f"file = h5py.File({str(tmp_path / 'all.h5')!r});"
        "assert (file['excess_risk'][:, 3] == numpy.arange(3000)).all()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


@pytest.mark.parametrize(("limit", "packed", "warned"), [
    (73, False, True), (74, False, False), (73, True, False), (-1, False, False)
])  # fmt: skip
def test_views_of_more_files_than_may_be_open_are_warned_of(
    folder, tmp_path, monkeypatch, recwarn, limit, packed, warned
):
    """Ten results, and 64 files for the rest: HDF5 gives NaN for those that it cannot open."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (limit, limit))
    collect(folder, tmp_path / "all.h5", packed=packed)
    told = [str(each.message) for each in recwarn]
    assert len(told) == warned
    assert all("shows 10 files at once" in each and "--packed" in each for each in told)


def test_every_result_is_read_once(folder, tmp_path, monkeypatch):
    from dmft.sweep import sources as module

    opened = []
    monkeypatch.setattr(
        module, "reading", lambda path, read=module.reading: opened.append(path) or read(path)
    )
    collect(folder, tmp_path / "all.h5", packed=True)
    assert len(opened) == len(set(opened)) == 10


@pytest.mark.parametrize("what", ["later", "noisier"])
def test_a_result_of_other_settings_is_no_point(folder, tmp_path, make_solution, what):
    """As after `dmft resume RESULT --set ...`, or a file that somebody put there."""
    there = open_folder(folder)
    item = there.grid.points[0].items[0]
    problem, settings = item.config.problem, item.config.solver
    if what == "later":
        settings = settings.model_copy(update={"t_max": 1e4})
    else:
        problem = problem.replace(noise_std=7.0)
    config = Config(problem=problem, solver=settings)
    other = make_solution(problem=problem, settings=settings)
    save(there.result(item.name), other, overwrite=True, config=config)
    (folder / "results" / f"{item.name}.h5.part").write_bytes(b"an extension of it")
    found = collect(folder, tmp_path / "all.h5")
    assert found.status[0, 0] == "unreadable" and (found.status == "done").sum() == 6
    said = "solver.t_max = 10000.0, the point has 100.0" if what == "later" else "noise_std = 7.0"
    assert said in found.reason[0, 0] and np.isnan(found.values["final_excess_risk"][0, 0])


def test_points_that_share_a_result(make_sweep, tmp_path):
    """The prediction does not depend on the paths: two points, one file."""
    folder = make_sweep(
        'tasks = ["solve", "theory"]\n[base.solver]\nt_max = 1.0\nreplicates = 2\n'
        "rtol = 1e-2\n[axes]\nsolver.n_paths = [64, 128]\n"
    )
    assert run(folder).computed == {"done": 3}
    for packed in (False, True):
        found = collect(folder, tmp_path / "all.h5", packed=packed, overwrite=True)
        assert (found.status == "done").all()
        one, other = found.values["theory_excess_risk"]
        assert one == other and np.isfinite(one)
        with h5py.File(tmp_path / "all.h5") as file:
            assert np.isfinite(file["excess_risk"][:, 0]).all()


def test_a_curve_shows_the_results_of_its_points_alone(folder, tmp_path):
    """Another file may be anybody's, a pipe, or the collection itself, which HDF5 dies of."""
    collection = collect(folder, tmp_path / "all.h5", packed=False)
    at = (0,) * len(collection.dimensions)
    time, _, _ = _read_curve(collection, "excess_risk", at)
    assert time[0] == 0.0
    with h5py.File(collection.path, "r+") as file:
        for name, shown in {"excess_risk": collection.path.name, "noise_std": "."}.items():
            shape = file[name].shape
            labels = dict(file[name].attrs) if name == "noise_std" else {}
            del file[name]
            layout = h5py.VirtualLayout(shape, "f8")
            layout[...] = h5py.VirtualSource(shown, name, shape=shape)
            file.create_virtual_dataset(name, layout)
            file[name].attrs.update({key: labels[key] for key in labels.keys() & {"axis_of"}})
    with pytest.raises(InputError, match="/excess_risk shows 'all.h5', which is not its result"):
        _read_curve(collection, "excess_risk", at)
    with pytest.raises(InputError, match="/noise_std is a view of other files"):
        load_collection(collection.path)
