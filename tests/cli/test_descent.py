"""Commands on gradient descent, SGD and stochastic gradient flow, from file to file."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from dmft.cli.main import main
from dmft.store import load

SETTINGS = ["solver.t_max=12", "solver.n_paths=128", "solver.replicates=3"]
SETTINGS += ["simulation.dimension=100", "simulation.seeds=4", "simulation.points=8"]
SGD = ["dynamics.kind=sgd", "dynamics.step_size=0.1", "dynamics.batch_fraction=0.2"]


def line(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("sgd")
    for command in ("solve", "simulate"):
        output = str(path / f"{command}.h5")
        assert main([command, "-o", output, "--quiet", *line(*SETTINGS, *SGD)]) == 0
    return path


def test_files_count_steps_and_hold_charges(folder):
    for name in ("solve.h5", "simulate.h5"):
        with h5py.File(folder / name) as file:
            assert file["time"].attrs["units"] == "steps"
            assert file["kernels/time_other"].attrs["units"] == "steps"
            assert file["mean_charge"].shape == file["time"].shape
            assert "effective_alpha_stderr" in file
        result = load(folder / name)
        assert result.problem.dynamics.batch_fraction == 0.2
        assert result.effective_alpha[0] == pytest.approx(0.3)


def test_compare_plot_info(folder, capsys):
    out, sim = str(folder / "solve.h5"), str(folder / "simulate.h5")
    assert main(["compare", out, sim, "--json", "--plot", str(folder / "both.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] and {"mean_charge", "effective_alpha"} < set(found["curves"])
    assert found["curves"]["mean_charge"]["time"] == list(load(sim).time)
    for name in ("solve", "simulate"):
        assert main(["plot", str(folder / f"{name}.h5"), "-o", str(folder / f"{name}.png")]) == 0
    assert main(["info", out]) == 0
    assert "dynamics.batch_fraction = 0.2" in capsys.readouterr().out
    assert main(["resume", out]) == 0
    assert capsys.readouterr().out.split()[:3] == ["step", "train", "mse"]


def test_divergence_is_saved_and_marked(tmp_path, capsys):
    path = tmp_path / "wild.h5"
    wild = ["dynamics.kind=gradient-descent", "dynamics.step_size=2.5"]
    assert main(["solve", "-o", str(path), "--json", *line(*SETTINGS, *wild)]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "not-converged" and "above what is stable" in found["reason"]
    assert load(path).status == "not-converged"
    assert main(["simulate", "-o", str(tmp_path / "s.h5"), *line(*SETTINGS, *wild)]) == 3
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1 and "diverged at step" in stderr
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["dynamics.batch_fraction=1.5"], "dynamics.batch_fraction: given 1.5, must be at most 1"),
        (["dynamics.batch_fraction=0"], "dynamics.batch_fraction: given 0, must be greater than 0"),
        (["dynamics.step_size=-1"], "dynamics.step_size: given -1, must be greater than 0"),
        (["dynamics.label_noise_std=-1"], "dynamics.label_noise_std: given -1, must be at least 0"),
        (["solver.t_max=2.5"], "solver.t_max: given 2.5, must be a whole number of steps"),
        (["solver.t_max=1e9"], "solver.t_max: given 1e+09 steps, must be at most 1e+07"),
        (["solver.t_max=1e308"], "solver.t_max: given 1e+308 steps, must be at most 1e+07"),
        (["dynamics.batchfraction=1"], "did you mean 'batch_fraction'?"),
    ],
)
def test_bad_input_is_one_line(tmp_path, refused, settings, words):
    path = tmp_path / "new.h5"
    refused(["solve", "-o", str(path), *line(*SGD, *settings)], words)
    assert not path.exists()


def test_predictions_are_refused(capsys):
    assert main(["theory", *line(*SGD)]) == 2
    assert "dynamics.kind: given 'sgd', predictions are those of" in capsys.readouterr().err


def test_a_sweep_over_batch_fractions(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {section: {} for section in ("dynamics", "solver", "simulation")}
    for setting in (*SETTINGS, *SGD):
        name, value = setting.split("=")
        section, key = name.split(".")
        settings[section][key] = value if key != "kind" else f'"{value}"'
    del settings["dynamics"]["batch_fraction"]
    text = 'tasks = ["solve", "simulate", "compare"]\n' + "".join(
        f"[base.{section}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for section, keys in settings.items()
    )
    text += '[axes]\n"dynamics.batch_fraction" = [0.2, 1.0]\n'
    Path("grid.toml").write_text(text)
    assert main(["sweep", "init", "grid.toml", "study"]) == 0
    assert main(["sweep", "plan", "study"]) == 0
    assert main(["sweep", "run", "study", "--jobs", "1"]) == 0
    assert main(["sweep", "collect", "study", "-o", "all.h5"]) == 0
    capsys.readouterr()
    with h5py.File("all.h5") as file:
        charges = np.asarray(file["final_mean_charge"])
    assert charges[0] < charges[1] < 0.18
