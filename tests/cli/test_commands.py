"""What each command leaves behind and prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.cli.output import curve_table, print_json
from dmft.cli.progress import progress_bar
from dmft.store import load, read_header, save
from tests.helpers import names

SMALL = ["--set", "simulation.dimension=40", "--set", "simulation.seeds=2"]
SMALL += ["--set", "simulation.points=5", "--set", "solver.t_max=3"]


def parse(text: str):
    """JSON in the strict sense."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_solve_prints_a_table_and_saves(inside, capsys, fake_solver):
    Path("config.toml").write_text("[solver]\nt_max = 50\nn_paths = 128\nreplicates = 3\n")
    line = "solve config.toml -o out.h5 --set solver.rtol=1e-2 --threads 2"
    line += " --set simulation.dimension=123 --checkpoint-seconds 7"
    assert main(line.split()) == 0
    stdout, stderr = capsys.readouterr()
    assert stderr == ""
    assert stdout.splitlines()[0].split() == "time train mse excess risk mean charge".split()
    assert "±" in stdout and "status: done" in stdout and "saved in out.h5" in stdout
    assert "next: dmft plot out.h5 -o out.png" in stdout
    (options,) = fake_solver.calls
    assert options["t_max"] == 50 and options["n_paths"] == 128 and options["rtol"] == 0.01
    assert options["threads"] == 2 and options["checkpoint_seconds"] == 7
    assert options["resume"] is None and options["progress"] is None
    header = read_header("out.h5")
    assert header.command_line == "dmft " + line
    assert header.config.simulation.dimension == 123
    assert header.config.solver.n_paths == 128
    assert names(inside) == ["config.toml", "out.h5"]


def test_solve_in_json(inside, capsys, fake_solver):
    fake_solver.changes = {"mean_charge": None, "mean_charge_stderr": None}
    assert main(["solve", "-o", "out.h5", "--json"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stderr == "" and stdout.count("\n") == 1
    found, solution = parse(stdout), load("out.h5")
    assert found["file"] == "out.h5" and found["status"] == "done" and found["reason"] == ""
    for name in ("time", "train_mse", "train_mse_stderr", "excess_risk", "excess_risk_stderr"):
        np.testing.assert_array_equal(found[name], getattr(solution, name))
    assert found["mean_charge"] is None
    assert found["work"] == solution.work


def test_solve_quietly(inside, capsys, fake_solver):
    assert main(["solve", "-o", "out.h5", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_one_replicate_has_no_errors(inside, capsys, fake_solver):
    fake_solver.changes = {"replicates": 1}
    assert main(["solve", "-o", "out.h5"]) == 0
    assert "±" not in capsys.readouterr().out
    assert main(["resume", "out.h5", "--json"]) == 0
    assert parse(capsys.readouterr().out)["train_mse_stderr"] is None


def test_not_converged_is_saved_and_marked(inside, capsys, fake_solver):
    fake_solver.changes = {"status": "not-converged", "reason": "error 0.1 > 0.01"}
    assert main(["solve", "-o", "out.h5"]) == 3
    assert "status: not-converged (error 0.1 > 0.01)" in capsys.readouterr().out
    assert load("out.h5").status == "not-converged"
    assert main(["solve", "-o", "out.h5", "--overwrite", "--json"]) == 3
    found = parse(capsys.readouterr().out)
    assert found["status"] == "not-converged" and found["reason"] == "error 0.1 > 0.01"


def test_overwrite_replaces(inside, fake_solver):
    Path("out.h5").write_text("old")
    assert main(["solve", "-o", "out.h5", "--overwrite", "--quiet"]) == 0
    assert load("out.h5").status == "done"
    assert names(inside) == ["out.h5"]


def test_simulate(inside, capsys):
    assert main(["simulate", "-o", "sim.h5", "--threads", "1", *SMALL]) == 0
    stdout, stderr = capsys.readouterr()
    assert stderr == "" and "excess risk" in stdout and "saved in sim.h5" in stdout
    simulation = load("sim.h5")
    assert len(simulation.time) == 6 and simulation.time[-1] == pytest.approx(3)
    assert simulation.settings.dimension == 40
    assert names(inside) == ["sim.h5"]
    assert main(["simulate", "-o", "sim.h5", "--overwrite", "--json", *SMALL]) == 0
    found = parse(capsys.readouterr().out)
    assert found["file"] == "sim.h5" and found["seed"] == [0, 1]
    np.testing.assert_array_equal(found["excess_risk"], simulation.excess_risk)


def test_progress_of_a_simulation(inside, capsys):
    assert main(["simulate", "-o", "sim.h5", "--progress", *SMALL]) == 0
    assert "simulate" in capsys.readouterr().err


def test_progress_of_a_solve(inside, capsys, fake_solver):
    fake_solver.before_panel = lambda panel: time.sleep(0.06)  # the bar is not redrawn faster
    assert main(["solve", "-o", "out.h5", "--progress", "--json"]) == 0
    stdout, stderr = capsys.readouterr()
    assert "solve" in stderr and "3 s left" in stderr
    parse(stdout)


def test_progress_only_for_somebody_who_looks(monkeypatch):
    class Arguments:
        progress, quiet = False, False

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bar(Arguments, "solve") as show:  # type: ignore[arg-type]
        assert show is not None
        show(0.5, "half")
        show(7.0, "too much")
    Arguments.quiet = True
    with progress_bar(Arguments, "solve") as show:  # type: ignore[arg-type]
        assert show is None


def test_info(inside, capsys, make_solution):
    save("out.h5", make_solution(), command_line="dmft solve -o out.h5")
    assert main(["info", "out.h5"]) == 0
    stdout = capsys.readouterr().out
    for words in (
        "dmft-solution 2.2",
        "dmft solve -o out.h5",
        "solver.replicates = 3",
        "/kernels/overlap  12 x 12",
        "status    done",
    ):
        assert words in stdout
    assert "n_paths" not in stdout
    assert main(["info", "out.h5", "--json"]) == 0
    found = parse(capsys.readouterr().out)
    assert found["schema"] == "dmft-solution" and found["status"] == "done"
    assert found["changed"] == {"solver.replicates": 3}
    assert found["datasets"]["/kernels/overlap"] == [12, 12]
    assert found["config"]["solver"]["n_paths"] == 4096
    assert found["active"] is False


def test_info_of_another_schema_of_the_family(inside, capsys):
    import h5py

    with h5py.File("sweep.h5", "w") as file:
        file.attrs.update({"schema": "dmft-sweep", "schema_version": "2.0", "points": 3})
        file["excess_risk"] = np.zeros((3, 4))
    assert main(["info", "sweep.h5"]) == 0
    assert "/excess_risk  3 x 4" in capsys.readouterr().out
    assert main(["info", "sweep.h5", "--json"]) == 0
    assert parse(capsys.readouterr().out)["points"] == 3


def test_table_shows_ten_times_and_the_start(make_solution):
    lines = curve_table(make_solution(nodes=400)).splitlines()
    times = [float(line.split()[0]) for line in lines[1:]]
    assert times[0] == 0 and times[-1] == 100 and 10 <= len(times) <= 11
    assert times == sorted(set(times))


def test_json_has_no_nan(capsys):
    print_json({"a": np.array([1.0, np.nan]), "b": float("inf"), "c": {"d": (np.int64(3), None)}})
    assert parse(capsys.readouterr().out) == {"a": [1.0, None], "b": None, "c": {"d": [3, None]}}


def test_warnings_take_one_line(inside, capsys, fake_solver):
    fake_solver.before_panel = lambda panel: warnings.warn("two\nlines", stacklevel=1)
    with warnings.catch_warnings():
        warnings.simplefilter("once")
        assert main(["solve", "-o", "out.h5", "--quiet"]) == 0
    assert set(capsys.readouterr().err.splitlines()) == {"dmft: warning: two lines"}


def test_bugs_are_not_hidden(inside, fake_solver):
    def bug(panel):
        raise ZeroDivisionError

    fake_solver.before_panel = bug
    with pytest.raises(ZeroDivisionError):
        main(["solve", "-o", "out.h5"])
    assert names(inside) == []


@pytest.mark.parametrize(
    "name", ["plain.h5", "a b%s'\\.h5", "-x.h5", "two\nlines\x1b\t'\\n.h5", "ü.h5"]
)
def test_hints_can_be_pasted(name):
    from dmft.cli.output import command

    line = command("printf", "%s", Path(name))
    assert line.isprintable()
    said = subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout
    assert Path(os.fsdecode(said)) == Path(name) and not said.startswith(b"-")
