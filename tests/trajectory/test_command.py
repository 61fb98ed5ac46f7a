"""`dmft trajectory` as a user runs it: outputs, files, figures, mistakes, interruption."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

import dmft
from dmft.cli.main import main
from dmft.cli.trajectory import GROUPINGS
from dmft.errors import InputError
from dmft.store import save
from dmft.trajectory import groups, of_checkpoints
from dmft.trajectory.figures import _same
from dmft.trajectory.files import load_report, save_report
from dmft.trajectory.report import report_of
from dmft.trajectory.scalars import SCALARS
from tests.trajectory.conftest import flat


@pytest.fixture
def folder(model, write, tmp_path, monkeypatch):
    """A working directory with the folder "run" of checkpoints."""
    monkeypatch.chdir(tmp_path)
    write(model())
    return tmp_path


def mapped(capsys, *words):
    assert main(["trajectory", "map", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_keys_that_scripts_rely_on(folder, capsys, model):
    found = mapped(capsys, "run", "-o", "out.h5")
    theta = flat(model())
    norms = np.linalg.norm(theta, axis=1)
    omega = np.mean(theta @ theta.T / np.outer(norms, norms))
    assert found["mean_directional_similarity"] == pytest.approx(omega, abs=1e-12)
    length = np.linalg.norm(np.diff(theta, axis=0), axis=1).sum()
    assert found["length"] == pytest.approx(length, rel=1e-12)
    assert (found["checkpoints"], found["parameters"]) == theta.shape
    assert found["mean_directional_similarity_stderr"] > 0.0
    assert found["file"] == "out.h5"


def test_the_table_leads_on(folder, capsys):
    assert main(["trajectory", "map", "run", "-o", "out.h5", "--by", "layer"]) == 0
    printed = capsys.readouterr().out
    assert "mean directional similarity" in printed and "layers.1 " in printed
    assert "next: dmft trajectory plot out.h5 -o out.png" in printed
    assert main(["trajectory", "plot", "out.h5", "-o", "out.png"]) == 0
    assert (folder / "out.png").stat().st_size > 10_000
    assert main(["info", "out.h5"]) == 0
    assert "dmft-trajectory" in capsys.readouterr().out


def test_the_file_holds_maps_with_labelled_axes(folder, capsys, model):
    mapped(capsys, "run", "-o", "out.h5", "--by", "tensor")
    with h5py.File("out.h5") as file:
        assert file["map/cosine"].shape == (6, 6)
        assert file["relative_map/cosine"].shape == (5, 5)
        assert file["map/cosine"].dims[0][0][()].tolist() == [0, 10, 20, 30, 40, 50]
        assert file["groups/value"].shape == (8, len(SCALARS))
        assert file["scalars/value"].attrs["long_name"]
        everything = []
        file.visititems(lambda name, item: everything.append(item))
        for item in everything:
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                assert np.isfinite(item[()]).all(), item.name


def test_the_file_opens_in_xarray(folder, capsys):
    import xarray

    mapped(capsys, "run", "-o", "out.h5", "--by", "layer")
    with xarray.open_datatree("out.h5", engine="h5netcdf") as tree:
        cosine = tree["map"].cosine
        assert cosine.dims == ("row_step", "column_step")
        assert cosine.sel(row_step=10, column_step=10) == 1.0
        assert tree["curves"].update_angle.dims == ("turn_step",)
        assert tree["groups"].value.dims == ("group", "column")


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 1.0, 1.0], [0.0, 0.0]])
def test_short_and_still_trajectories(folder, capsys, values):
    """Two checkpoints do not turn, equal ones do not move, zeros have no direction."""
    (folder / "still").mkdir()
    for i, value in enumerate(values):
        np.savez(folder / "still" / f"{i}.npz", a=np.full(3, value))
    found = mapped(capsys, "still", "-o", "out.h5")
    expected = pytest.approx(1.0, abs=1e-14) if values[0] else None
    assert found["mean_directional_similarity"] == expected
    assert found["mean_update_angle"] in (None, 0.0)
    assert main(["trajectory", "plot", "out.h5", "-o", "out.png"]) == 0
    assert main(["trajectory", "compare", "out.h5", "out.h5"]) == (0 if values[0] else 2)


def test_a_report_survives_its_file(folder):
    grams = of_checkpoints("run")
    report = report_of(grams, "run", "tensor", heads=None)
    save_report("out.h5", report)
    again = load_report("out.h5")
    assert again.to_dict() == report.to_dict()
    assert again.csv() == report.csv()
    assert again.settings == {"heads": None}
    # A scalar tensor cannot be cut into blocks and so has no error bar.
    alone = next(group for group in again.groups if group.name == "scale")
    assert alone.scalars["length"][1] is None


def test_csv(folder, capsys):
    mapped(capsys, "run", "-o", "out.h5", "--by", "layer", "--csv", "out.csv")
    with (folder / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == ["all", "embed", "layers.0", "layers.1", "scale"]
    total = sum(int(row["parameters"]) for row in rows[1:])
    assert int(rows[0]["parameters"]) == total
    assert float(rows[1]["mean_directional_similarity"]) > 0.0
    assert set(SCALARS) < set(rows[0])


def test_the_cache_is_beside_the_output(folder, capsys):
    mapped(capsys, "run", "-o", "out.h5")
    assert (folder / "out.cache.h5").exists()
    before = (folder / "out.cache.h5").read_bytes()
    mapped(capsys, "run", "-o", "out.h5", "--overwrite", "--by", "layer")
    assert (folder / "out.cache.h5").read_bytes() == before
    mapped(capsys, "run", "-o", "other.h5", "--no-cache")
    assert not (folder / "other.cache.h5").exists()
    mapped(capsys, "run", "-o", "third.h5", "--cache", "kept.h5")
    assert (folder / "kept.h5").exists()


def test_compare(folder, capsys, model, write):
    write(model(8, seed=3, scale=0.3), "other")
    mapped(capsys, "run", "-o", "a.h5")
    mapped(capsys, "other", "-o", "b.h5")
    words = ["trajectory", "compare", "a.h5", "b.h5", "--plot", "both.png"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["common_checkpoints"] == 6
    assert found["scalars"]["length"]["difference"] > 0.0
    assert found["scalars"]["mean_directional_similarity"]["z"] < -4.0
    assert found["largest_map_z"] > 4.0
    assert (folder / "both.png").stat().st_size > 10_000
    assert main([*words, "--overwrite"]) == 0
    assert "standard errors" in capsys.readouterr().out
    assert main(["trajectory", "compare", "a.h5", "a.h5", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert same["largest_map_difference"] == 0.0
    assert all(entry["difference"] == 0.0 for entry in same["scalars"].values())


@pytest.mark.parametrize("of", ["weights", "parameters"])
def test_of_a_simulation(folder, capsys, of):
    simulation = dmft.simulate(dmft.Problem(), dimension=50, seeds=3, t_max=5.0, points=6)
    save("sim.h5", simulation)
    found = mapped(capsys, "sim.h5", "-o", "out.h5", "--of", of)
    expected = simulation.trajectory_map(of).scalars["mean_directional_similarity"]
    assert found["mean_directional_similarity"] == pytest.approx(expected[0])
    assert found["mean_directional_similarity_stderr"] == pytest.approx(expected[1])
    assert found["checkpoints"] == 7
    assert main(["trajectory", "plot", "out.h5", "-o", "out.png"]) == 0
    maps = load_report("out.h5").maps()
    assert _same(maps["map"], maps["relative_map"]) == (of == "weights")  # w(0) = 0


def test_of_a_solution(folder, capsys):
    solution = dmft.solve(dmft.Problem(), t_max=2.0, n_paths=128, replicates=2, rtol=1e-2)
    save("sol.h5", solution)
    found = mapped(capsys, "sol.h5", "-o", "out.h5")
    assert found["mean_directional_similarity"] == pytest.approx(
        solution.trajectory_map().similarity()
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["map", "nowhere", "-o", "x.h5"], "nowhere: no such folder"),
        (["map", "empty", "-o", "x.h5"], "empty: holds no checkpoints"),
        (["map", "run/step-0.npz", "-o", "x.h5"], "step-0.npz"),
        (["map", "run", "-o", "empty"], "empty: is a folder"),
        (["map", "run", "-o", "run/x.h5"], "lies among the checkpoints"),
        (["map", "run", "-o", "nowhere/x.h5"], "folder that does not exist"),
        (["map", "run", "-o", "x.h5", "--include", "zzz"], "no tensor matches"),
        (["map", "run", "-o", "x.h5", "--by", "colour"], "invalid choice: 'colour'"),
        (["map", "run", "-o", "x.h5", "--by", "head"], "give their number"),
        (["map", "run", "-o", "x.h5", "--heads", "5"], "do not divide"),
        (
            ["map", "run", "-o", "x.h5", "--heads", "4", "--include", "*mlp*"],
            "heads: given 4, but no tensor holds queries",
        ),
        (["map", "run", "-o", "x.h5", "--kv-heads", "2"], "kv_heads: given 2 without heads"),
        (["map", "run", "-o", "x.h5", "--csv", "x.h5"], "given for --output and --csv"),
        (["map", "run", "-o", "x.h5", "--cache", "x.h5"], "given for --output and --cache"),
        (["map", "run", "-o", "x.h5", "--no-cache", "--cache", "c.h5"], "together with --no-cache"),
        (["map", "run/step-0.npz", "run/step-0.npz", "-o", "x.h5"], "given twice"),
        (
            ["map", "run/step-0.npz", "run/step-10.npz", "run/step-1.npz", "-o", "x.h5"],
            "step-1.npz: no such file",
        ),
        (["map", "run", "-o", "x.h5", "--memory", "0"], "greater than 0"),
        (["map", "run", "-o", "x.h5", "--memory", "1e-6"], "memory: given"),
        (["map", "run", "-o", "x.h5", "--csv", "no/x.csv"], "folder that does not exist"),
        (["map", "text.h5", "-o", "x.h5"], "text.h5: is not an HDF5 file"),
        (["map", "sim.h5", "-o", "x.h5", "--of", "u"], "invalid choice"),
        (["map", "sim.h5", "-o", "x.h5", "--steps", "{step}"], "--steps: given for sim.h5"),
        (["map", "sim.h5", "-o", "x.h5", "--kv-heads", "2"], "--kv-heads: given for sim.h5"),
        (["map", "sim.h5", "-o", "x.h5", "--by", "layer"], "--by: given for sim.h5"),
        (["plot", "sim.h5", "-o", "x.png"], "must be a trajectory"),
        (["plot", "run.h5", "-o", "x.png"], "run.h5: no such file"),
        (["plot", "sim.h5", "-o", "x.gif"], "given the ending '.gif'"),
        (["compare", "sim.h5", "sim.h5"], "must be a trajectory"),
        (["fly"], "invalid choice"),
        ([], "required: ACTION"),
    ],
)
def test_mistakes(folder, refused, words, message, make_simulation):
    (folder / "empty").mkdir()
    (folder / "text.h5").write_text("no")
    save("sim.h5", make_simulation())
    refused(["trajectory", *words], message)
    assert not (folder / "x.h5").exists()


def test_an_existing_output_is_kept(folder, capsys):
    (folder / "out.h5").write_text("precious")
    assert main(["trajectory", "map", "run", "-o", "out.h5"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "out.h5").read_text() == "precious"


def test_interruption_and_continuation(folder, capsys, model, write):
    write(model(12, shapes={f"t{i}": (40, 50) for i in range(40)}), "long")
    program = (
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from dmft.trajectory import engine, passes; passes.SAVE_SECONDS = 0;"
        "read = engine._Scratch.grams;"
        "engine._Scratch.grams = lambda *a: (time.sleep(0.1), read(*a))[1];"
        "from dmft.cli.main import main;"
        "sys.exit(main(['trajectory', 'map', 'long', '-o', 'out.h5', '--threads', '1']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ, stderr=subprocess.PIPE, text=True
    )
    while not (folder / "out.cache.h5").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.05)  # into a piece, not into HDF5's own callbacks, which would swallow it
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert error.splitlines() == ["dmft: error: interrupted, the same command continues"]
    assert not (folder / "out.h5").exists()
    with h5py.File("out.cache.h5") as file:
        assert len(file["sets/0/piece"]) > 0
    assert mapped(capsys, "long", "-o", "out.h5")["parameters"] == 40 * 2000


def test_the_groupings_of_the_command_are_those_of_the_library():
    assert tuple(groups.GROUPINGS) == GROUPINGS


def test_a_foreign_file_is_no_report(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["schema"] = "dmft-trajectory"
    with pytest.raises(InputError, match="a.h5: cannot be read, damaged"):
        load_report(tmp_path / "a.h5")


def test_steps_beyond_64_bits_and_more_memory_than_there_is(folder):
    shutil.copy("run/step-10.npz", f"run/step-{'9' * 30}.npz")
    assert main(["trajectory", "map", "run", "-o", "x.h5", "--memory", "1e308", "--quiet"]) == 0
    assert load_report("x.h5").path.step[-1] == 1e30
