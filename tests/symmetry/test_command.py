"""`dmft symmetry` as a user runs it: outputs, files, figures, mistakes."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest

from dmft.cli.main import main
from dmft.cli.symmetry import METHODS
from dmft.symmetry.models import TwoLayerTanh
from dmft.symmetry.training import Method
from tests.symmetry.test_checkpoints import trained

DIAGONAL = """
[model]
kind = "diagonal"
dimension = 3
[training]
step_size = 0.02
steps = 200
runs = 2
points = 5
"""
LINEAR = DIAGONAL.replace(
    '"diagonal"\ndimension = 3', '"two-layer-linear"\nhidden = 2\noutputs = 2'
)
LAYERS = """
[symmetry]
kind = "unit-rescaling"
up = ["hidden.weight"]
down = ["output.weight"]
[training]
step_size = 0.01
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diagonal.toml").write_text(DIAGONAL)
    (tmp_path / "linear.toml").write_text(LINEAR)
    (tmp_path / "tanh.toml").write_text(LINEAR.replace("two-layer-linear", "two-layer-tanh"))
    (tmp_path / "layers.toml").write_text(LAYERS)
    for name in ("run", "grads"):
        (tmp_path / name).mkdir()
    for step, weights, gradients in trained():
        np.savez(tmp_path / "run" / f"step-{step}.npz", **weights)
        np.savez(tmp_path / "grads" / f"step-{step}.npz", **gradients)
    return tmp_path


def called(capsys, *words, status=0):
    assert main(["symmetry", *words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


CHECKPOINTS = ["layers.toml", "--checkpoints", "run", "--gradients", "grads"]


def test_check(folder, capsys):
    found = called(capsys, "check", "diagonal.toml")["symmetries"]
    assert len(found) == 3 and all(row["violation"] < 1e-14 for row in found)
    assert all(row["step_error"] < 1e-12 for row in found)
    found = called(capsys, "check", *CHECKPOINTS)["symmetries"]
    assert sorted(row["name"] for row in found) == ["unit 0", "unit 1"]
    violations = [row["violation"] for row in found]
    alone = {"unit 0": [], "unit 1": []}
    for step in (0, 10, 20, 30):
        files = ["--checkpoints", f"run/step-{step}.npz", "--gradients", f"grads/step-{step}.npz"]
        for row in called(capsys, "check", "layers.toml", *files)["symmetries"]:
            alone[row["name"]].append(row["violation"])
    assert [max(alone[row["name"]]) for row in found] == violations
    assert main(["symmetry", "check", "diagonal.toml", "--set", "model.dimension=20"]) == 0
    printed = capsys.readouterr().out
    assert "and 8 more, none worse" in printed and "all 20 hold" in printed


def test_equilibrium_of_a_model(folder, capsys):
    words = ["equilibrium", "diagonal.toml", "-o", "eq.h5", "--plot", "eq.png"]
    found = called(capsys, *words)
    assert found["kinds"] == ["finite"] * 3 and max(found["stationarity"]) < 1e-12
    u, v = np.array(found["parameters"]).reshape(2, 3)
    np.testing.assert_allclose(np.abs(u), np.abs(v), rtol=1e-10)
    assert found["sharpness"] < found["sharpness_before"]
    assert (folder / "eq.png").stat().st_size > 10_000
    with h5py.File("eq.h5") as file:
        assert file.attrs["schema"] == "dmft-noise-equilibrium"
        np.testing.assert_array_equal(file["parameters"][()], found["parameters"])
        assert file["lam"].dims[0][0].name == "/symmetry"
        assert file["kind"].asstr()[0] == "finite"
    assert main(["symmetry", *words, "--overwrite", "--at", "start"]) == 0
    printed = capsys.readouterr().out
    assert "saved in eq.h5" in printed and "figure in eq.png" in printed
    assert main(["info", "eq.h5"]) == 0


def test_equilibrium_of_the_two_layers(folder, capsys):
    found = called(capsys, "equilibrium", "linear.toml", "-o", "eq.h5", "--plot", "eq.png")
    assert found["imbalance"] < 1e-12 < found["imbalance_before"]
    assert max(found["stationarity"]) < 1e-12 and found["lam"] is None
    assert main(["symmetry", "equilibrium", "linear.toml"]) == 0
    assert "imbalance" in capsys.readouterr().out
    assert (folder / "eq.png").stat().st_size > 10_000


def test_equilibria_that_do_not_exist(folder, capsys):
    """The scale of a normalised layer grows for ever; without noise every point is one."""
    words = ["equilibrium", "diagonal.toml", "--set", "model.kind=scale-invariant"]
    found = called(capsys, *words)
    assert found["lam"] == ["inf"] and found["charge"] is None and found["sharpness"] is None
    assert main(["symmetry", *words, "-o", "eq.h5"]) == 0
    assert "no equilibrium: noise drives the orbit to infinity" in capsys.readouterr().out
    words = ["equilibrium", "diagonal.toml", "--at", "start", "--set", "data.noise_std=0",
             "--set", "data.teacher_std=0", "--set", "model.init_scale=1e-200"]  # fmt: skip
    found = called(capsys, *words)
    assert found["kinds"] == ["undetermined"] * 3
    assert main(["symmetry", *words]) == 0
    assert "not unique" in capsys.readouterr().out


def test_equilibrium_of_a_checkpoint(folder, capsys):
    found = called(capsys, "equilibrium", *CHECKPOINTS, "-o", "eq.h5", "--plot", "eq.png")
    assert found["kinds"] == ["finite"] * 2 and len(found["rates"]) == 2


def test_track(folder, capsys):
    words = ["track", "diagonal.toml", "-o", "run.h5", "--plot", "run.png"]
    methods = [word for method in METHODS for word in ("--method", method)]
    found = called(capsys, *words, *methods)
    assert found["methods"] == [method for method in METHODS for _ in range(2)]
    assert np.shape(found["charge"]) == (5, 6, 3) and np.shape(found["sharpness"]) == (5, 6)
    assert (folder / "run.png").stat().st_size > 20_000
    with h5py.File("run.h5") as file:
        assert file.attrs["schema"] == "dmft-symmetry" and file.attrs["status"] == "done"
        assert json.loads(file.attrs["config"])["training"]["steps"] == 200
        assert [scale[0].name for scale in file["charge"].dims] == ["/step", "/run", "/symmetry"]
        residual = (file["charge"][()] - file["predicted_charge"][()]) / file["charge_size"][()]
        assert np.abs(residual[:, :4]).max() < 1e-13 < 1e-3 < np.abs(residual[:, 4:]).max()
        assert file["parameters_end"].shape == (6, 6)
    assert main(["symmetry", *words, "--overwrite"]) == 0
    printed = capsys.readouterr().out
    assert "sgd: 2 run(s), 3 charge(s)" in printed and "figure in run.png" in printed


def test_track_opens_in_xarray(folder, capsys):
    import xarray

    called(capsys, "track", "linear.toml", "-o", "run.h5")
    with xarray.open_dataset("run.h5", engine="h5netcdf") as data:
        assert data.charge.dims == ("step", "run", "symmetry")
        assert data.charge.sel(step=200).shape == (2, 3)
        assert data.method.values.tolist() == ["sgd", "sgd"]


def test_track_checkpoints(folder, capsys):
    found = called(capsys, "track", *CHECKPOINTS, "-o", "run.h5", "--plot", "run.png")
    assert found["step"] == [0, 10, 20, 30] and found["loss"] is None
    assert found["largest_residual"] < 0.2
    assert main(["symmetry", "track", *CHECKPOINTS, "-o", "run.h5", "--overwrite"]) == 0
    assert "checkpoints: 1 run(s), 2 charge(s)" in capsys.readouterr().out


def test_divergence_is_saved_and_marked(folder, capsys):
    # Stable at the start, and not where the small warm-up leads.
    words = ["track", "diagonal.toml", "-o", "run.h5", "--set", "training.step_size=9",
             "--set", "training.warmup_steps=100"]  # fmt: skip
    found = called(capsys, *words, status=3)
    assert found["status"] == "not-converged" and "sgd diverged" in found["reason"]
    with h5py.File("run.h5") as file:
        assert file.attrs["status"] == "not-converged"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "nowhere.toml"], "nowhere.toml: no such file"),
        (["check"], "has no section [model]"),
        (["check", "tanh.toml"], "is the worst, theta^T A grad is"),
        (["check", "layers.toml"], "has no section [model]"),
        (["check", "layers.toml", "--checkpoints", "run"], "--gradients: required"),
        (["check", "diagonal.toml", *CHECKPOINTS[1:]], "has no section [symmetry]"),
        (["check", *CHECKPOINTS[:2], "run", "--gradients", "run"], "tensor 'hidden.weight' has"),
        (["check", *CHECKPOINTS[:2], "nowhere", "--gradients", "grads"], "nowhere"),
        (["check", *CHECKPOINTS, "--tolerance", "-1"], "greater than 0"),
        (["check", *CHECKPOINTS, "--set", "symmetry.up=['output.weight']"], "a tensor twice"),
        (["check", *CHECKPOINTS, "--set", "symmetry.up=['hidden']"], "did you mean 'hidden."),
        (["check", *CHECKPOINTS, "--set", "symmetry.kind=rotation"], "given kind 'rotation'"),
        (["check", "diagonal.toml", "--set", "model.kind=cubic"], "given kind 'cubic'"),
        (["check", "diagonal.toml", "--set", "model.depth=1"], "model.depth: given 1"),
        (["check", "diagonal.toml", "--set", "modle.depth=3"], "did you mean 'model'"),
        (["track", "diagonal.toml"], "required: -o"),
        (["track", "diagonal.toml", "-o", "x.h5", "--method", "adam"], "invalid choice: 'adam'"),
        (["track", "diagonal.toml", "-o", "x.h5", "--plot", "x.gif"], "ending '.gif'"),
        (["track", "diagonal.toml", "-o", "no/x.h5"], "folder that does not exist"),
        (["track", "diagonal.toml", "-o", "diagonal.toml"], "input and as output"),
        (
            ["track", "diagonal.toml", "-o", "x.h5", "--set", "training.step_size=90"],
            "training.step_size: given 90 for the first step, must be below 2 /",
        ),
        (
            ["track", "diagonal.toml", "-o", "x.h5", "--set", "training.batch_size=101"],
            "training.batch_size: given 101, must be at most the number of samples 100",
        ),
        (["equilibrium", "tanh.toml"], "is the worst"),
        (
            ["equilibrium", "linear.toml", "--set", "data.noise_std=0", "--set",
             "data.teacher_std=0", "--set", "model.init_scale=1e-200"],
            "Gamma_W: given smallest eigenvalue",
        ),
        (["fly"], "invalid choice"),
    ],
)  # fmt: skip
def test_mistakes(folder, refused, words, message):
    refused(["symmetry", *words], message)
    assert not (folder / "x.h5").exists()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"matrix": np.triu(np.ones((10, 10)))}, "a.npz: is not symmetric: A[0, 1] and A[1, 0]"),
        ({"diagonal": np.ones(9)}, "is for 9 parameters, the tensors have 10"),
        ({"other": np.ones(9)}, "holds other, must hold matrix, diagonal"),
        ({"diagonal": np.ones(10)}, "is the worst"),
        ({"vectors": np.ones((10, 2)), "core": np.ones(3)}, "must be (P, r) and (r, r)"),
    ],
)
def test_matrices_that_are_no_symmetry(folder, refused, arrays, message):
    np.savez("a.npz", **arrays)
    (folder / "matrix.toml").write_text("[symmetry]\nkind = 'matrix'\nfile = 'a.npz'\n")
    refused(["symmetry", "check", "matrix.toml", *CHECKPOINTS[1:]], message)


def test_files_that_hold_no_matrix(folder, capsys):
    from scipy import sparse

    (folder / "matrix.toml").write_text("[symmetry]\nkind = 'matrix'\nfile = 'a.npz'\n")
    words = ["symmetry", "check", "matrix.toml", *CHECKPOINTS[1:]]
    assert main(words) == 2
    assert "a.npz: no such file" in capsys.readouterr().err
    (folder / "a.npz").write_text("no")
    assert main(words) == 2
    assert "a.npz: is no .npz file of arrays" in capsys.readouterr().err
    sparse.save_npz("a.npz", sparse.csr_array(np.triu(np.ones((10, 10)))))
    assert main(words) == 2
    assert "a.npz: is not symmetric" in capsys.readouterr().err
    (folder / "a.npz").unlink()
    os.mkfifo("a.npz")
    assert main(words) == 2
    assert capsys.readouterr().err == "dmft: error: a.npz: is no file, must be .npz\n"


@pytest.mark.parametrize("kind", ["matrix", "diagonal", "vectors", "sparse"])
def test_matrices_from_files(folder, capsys, kind):
    from scipy import sparse

    signs = np.array([1.0] * 6 + [-1.0] * 4)
    if kind == "sparse":
        sparse.save_npz("a.npz", sparse.csr_array(sparse.diags_array(signs)))
    elif kind == "vectors":
        np.savez("a.npz", vectors=np.eye(10), core=signs)
    else:
        np.savez("a.npz", **{kind: np.diag(signs) if kind == "matrix" else signs})
    (folder / "matrix.toml").write_text("[symmetry]\nkind = 'matrix'\nfile = 'a.npz'\n")
    found = called(capsys, "check", "matrix.toml", *CHECKPOINTS[1:])["symmetries"]
    assert found[0]["violation"] < 1e-12


def test_the_methods_of_the_command_are_those_of_the_library():
    assert Method.__args__ == METHODS
    assert TwoLayerTanh().kind == "two-layer-tanh"
