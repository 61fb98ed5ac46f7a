"""Sweeps on a real Slurm: arrays with a cap, preemption, requeue and resume, collection."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from dmft.cli.main import main
from dmft.store import load_checkpoint
from dmft.sweep import open_folder, run
from dmft.sweep.collection import load_collection
from dmft.sweep.slurm import Batch, submit_with_submitit
from dmft.sweep.status import status
from tests.sweep import processes, slurm_cluster

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=f"Slurm {slurm_cluster.missing()}"),
]
GRID = """
[base.solver]
t_max = 1000.0
n_paths = 256
replicates = 4
[axes]
problem.noise_std = [0.1, 0.2, 0.3]
"""
SMALL = """
[base.solver]
t_max = 1.0
n_paths = 64
replicates = 2
rtol = 1e-2
[axes]
problem.noise_std = [0.1, 0.2, 0.3]
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with contextlib.ExitStack() as stack:
        try:
            cluster = slurm_cluster.cluster(tmp_path_factory.mktemp("slurm"))
            started = stack.enter_context(cluster)
        except slurm_cluster.CannotStart as error:
            pytest.skip(f"Slurm is installed but does not start here: {error}")
        yield started


@pytest.fixture
def commands(slurm, monkeypatch):
    """Commands of this process talk to the cluster; its jobs find the package."""
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, slurm.environment[name])
    monkeypatch.setenv("PYTHONPATH", str(processes.ROOT))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


def running(slurm, job) -> list[str]:
    """Tasks of an array that run now."""
    lines = slurm.run("squeue", "-h", "-r", "-j", job, "-t", "running", "-o", "%i").split()
    return [line for line in lines if "_" in line]


def events(folder: Path, kind: str) -> list[str]:
    return [event["item"] for event in open_folder(folder).events() if event["event"] == kind]


def start_again(slurm, task):
    """Slurm holds a requeued job back for two minutes; the test does not."""

    def pending():
        return slurm.run("squeue", "-h", "-j", task, "-o", "%T") == "PENDING"

    slurm.wait(pending, 60, f"{task} to be requeued")
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", task)
    slurm.run("scontrol", "update", f"jobid={task}", "starttime=now")


def test_array_with_preemption_requeue_and_collection(
    slurm, commands, make_sweep, tmp_path, capsys
):
    folder = make_sweep(GRID)
    collection = tmp_path / "all.h5"
    line = ["sweep", "run", str(folder), "--executor", "slurm", "--limit", "1"]
    line += ["--collect", str(collection), "--sbatch=--partition=low", "--quiet"]
    assert main([*line, "--json"]) == 0
    array, collecting = slurm.run("squeue", "-h", "-o", "%A", "--sort=i").split()
    assert f'"jobs": ["{array}", "{collecting}"]' in capsys.readouterr().out

    # A job of higher priority needs the whole node: the task saves and is requeued.
    slurm.wait(lambda: processes.workers_of(folder), 60, "the first task to compute")
    assert running(slurm, array) == [f"{array}_0"]  # of two processors, as the cap says
    high = slurm.run("sbatch", "--parsable", "-p", "high", "-n", "2", "-o", "/dev/null",
                     "--wrap", "sleep 3")  # fmt: skip
    slurm.wait(lambda: events(folder, "interrupted"), 60, "the task to save")
    [first] = events(folder, "interrupted")
    assert load_checkpoint(open_folder(folder).unfinished(first))[1]
    assert not collection.exists()
    slurm.wait(lambda: slurm.states(high) == ["COMPLETED"], 60, "the urgent job")
    start_again(slurm, f"{array}_0")

    # A signal to the batch script alone, as before the end of the time limit.
    slurm.wait(lambda: processes.workers_of(folder), 60, "the next task to compute")
    [task] = running(slurm, array)
    slurm.run("scancel", "--batch", "--signal=USR1", task)
    slurm.wait(lambda: len(events(folder, "interrupted")) == 2, 60, "the second task to save")
    if task != f"{array}_0":
        start_again(slurm, task)
    else:
        slurm.wait(lambda: "PENDING" in slurm.states(task), 60, "the second requeue")
        slurm.run("scontrol", "update", f"jobid={task}", "starttime=now")

    most = []

    def finished():
        most.append(len(running(slurm, array)))
        return status(folder).done == 3

    slurm.wait(finished, 180, "all points")
    assert max(most) == 1
    assert status(folder).requeued == 2
    slurm.wait(collection.exists, 60, "the collection")
    assert load_collection(collection).status.tolist() == ["done"] * 3
    assert sorted(events(folder, "done")) == sorted(open_folder(folder).grid.items)

    reference = make_sweep(GRID, "reference")
    assert run(reference).computed == {"done": 3}
    processes.assert_identical(folder, reference)


@pytest.mark.parametrize(
    "name",
    [
        "a b\n#SBATCH --wrap=touch hit\n'\"50%A $(touch hit) `touch hit`",
        "-o \\ \\n\\%j %j é ü 图 \t; touch hit & !x *?[a]~{b}#",
        "\\",  # Slurm replaces no %A after a backslash
        "\udcff $(touch hit)\udcfe%b",  # not UTF-8
        "--wrap=touch hit",
    ],
)
def test_a_folder_of_any_name(slurm, commands, make_sweep, tmp_path, capsys, name):
    folder = make_sweep(SMALL, name)
    line = ["sweep", "run", str(folder), "--executor", "slurm", "--collect", str(folder / "a\n.h5")]
    assert main([*line, "--quiet"]) == 0
    assert main(line[:-2]) == 2  # all is in the queue
    assert "in the queue already" in capsys.readouterr().err
    slurm.wait((folder / "a\n.h5").exists, 180, "the collection")
    assert load_collection(folder / "a\n.h5").status.tolist() == ["done"] * 3
    assert not [path for path in tmp_path.rglob("*") if path.name == "hit"]
    assert not Path("hit").exists()
    logs = [path.name for path in (folder / "slurm").glob("*.out")]
    assert len(logs) == 4, logs  # three tasks, and the collection


def test_parts_that_are_finished_are_not_submitted(slurm, commands, make_sweep, capsys):
    folder = make_sweep(SMALL)
    run(folder, indices=range(1, 2))
    assert main(["sweep", "script", str(folder)]) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --array=0,2\n" in script and "--chunk 1" in script
    # The printed script works as it is.
    path = folder / "job.sbatch"
    path.write_text(script)
    slurm.run("sbatch", str(path))
    slurm.wait(lambda: status(folder).done == 3, 90, "both parts")


def test_submitit_submits_an_array(slurm, commands, make_sweep):
    pytest.importorskip("submitit", reason="needs pip install 'dmft[submitit]'")
    folder = make_sweep(SMALL)
    batch = Batch(chunk=2, limit=1, options=("--comment=from-submitit",), setup=("export A=1",))
    jobs = submit_with_submitit(folder, batch, "slurm", timeout_min=5)
    assert len(jobs) == 2
    shown = slurm.run("scontrol", "show", "job", jobs[0].job_id.partition("_")[0])
    assert "Comment=from-submitit" in shown and "ArrayTaskThrottle=1" in shown
    slurm.wait(lambda: status(folder).done == 3, 90, "all points")


def test_refused_options_are_passed_on(slurm, commands, make_sweep, capsys):
    folder = make_sweep(SMALL)
    line = ["sweep", "run", str(folder), "--executor", "slurm", "--sbatch=--partition=nowhere"]
    assert main(line) == 1
    error = capsys.readouterr().err
    assert error.startswith("dmft: error: sbatch ") and "invalid partition" in error
    assert error.count("\n") == 1
