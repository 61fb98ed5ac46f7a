"""The commands together with what they call, on problems small enough for seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.store import load, load_checkpoint

# Until these modules exist there is nothing to run.

ROOT = Path(__file__).parents[2]
SETTINGS = ["solver.t_max=2", "solver.n_paths=128", "solver.replicates=2", "solver.rtol=1e-2"]
SETTINGS += ["simulation.dimension=100", "simulation.seeds=3", "simulation.points=8"]
SMALL = [word for setting in SETTINGS for word in ("--set", setting)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with out.h5 and sim.h5."""
    folder = tmp_path_factory.mktemp("whole")
    assert main(["solve", "-o", str(folder / "out.h5"), "--quiet", *SMALL]) in (0, 3)
    assert main(["simulate", "-o", str(folder / "sim.h5"), "--quiet", *SMALL]) == 0
    return folder


def test_solution_is_complete(whole):
    solution = load(whole / "out.h5")
    assert solution.time[0] == 0 and solution.time[-1] == pytest.approx(2)
    assert solution.replicate_excess_risk.shape == (2, len(solution.time))
    assert solution.kernels.overlap.shape == (len(solution.time),) * 2
    assert solution.work


def test_compare_and_plot(whole, capsys):
    out, sim = str(whole / "out.h5"), str(whole / "sim.h5")
    assert main(["compare", out, sim, "--json", "--plot", str(whole / "both.png")]) == 0
    assert isinstance(json.loads(capsys.readouterr().out)["agrees"], bool)
    assert main(["compare", out, sim]) == 0
    assert "agree" in capsys.readouterr().out
    assert main(["plot", out, "-o", str(whole / "out.pdf")]) == 0
    assert main(["plot", sim, "-o", str(whole / "sim.svg")]) == 0
    assert (whole / "both.png").read_bytes().startswith(b"\x89PNG")
    assert (whole / "out.pdf").read_bytes().startswith(b"%PDF")
    assert b"<svg" in (whole / "sim.svg").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_and_resumed_numbers_are_identical(whole, tmp_path, number):
    path = tmp_path / "out.h5"
    returncode = _stop_and_resume(path, number, SMALL)
    if number == signal.SIGTERM:
        assert returncode in (130, 0)  # it may have been faster
    _assert_same(path, whole / "out.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.h5"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "dynamics", [["solver.t_max=2"], ["dynamics.kind=gradient-descent", "solver.t_max=20"]]
)
def test_killed_with_rows_and_resumed_with_threads(tmp_path, dynamics):
    """Logistic loss: both sides are sampled, and resumed with another number of threads."""
    changes = ["problem.loss.kind=logistic", "problem.labels.kind=sign", *dynamics]
    line = [*SMALL, *(word for change in changes for word in ("--set", change))]
    (tmp_path / "whole").mkdir()
    whole, path = tmp_path / "whole" / "out.h5", tmp_path / "out.h5"
    assert main(["solve", "-o", str(whole), "--quiet", *line]) == 0
    _stop_and_resume(path, signal.SIGKILL, line, "--threads", "2")
    _assert_same(path, whole)


def _stop_and_resume(path, number, settings, *resumed):
    """Stop a solve when it has a checkpoint, and resume it; the exit status of the first."""
    line = ["-o", str(path), "--quiet", "--checkpoint-seconds", "1e-3", *settings]
    process = subprocess.Popen(
        [sys.executable, "-m", "dmft", "solve", *line],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    )
    while process.poll() is None and not _has_checkpoint(path):
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate()
    assert main(["resume", str(path), "--quiet", *resumed]) in (0, 3)
    return process.returncode


def _assert_same(path, whole):
    resumed, expected = load(path), load(whole)
    assert resumed.curves.keys() == expected.curves.keys()
    for name in expected.curves:
        ours, theirs = (getattr(x, f"replicate_{name}") for x in (resumed, expected))
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(resumed.time, expected.time)
    np.testing.assert_array_equal(resumed.kernels.overlap, expected.kernels.overlap)


def _has_checkpoint(path: Path) -> bool:
    return path.exists() and bool(load_checkpoint(path)[1])
