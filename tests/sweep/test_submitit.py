"""submitit without a cluster: its jobs are processes of this machine."""

from __future__ import annotations

import pytest

from dmft.sweep import run
from dmft.sweep.slurm import Batch, submit_with_submitit
from dmft.sweep.status import status
from tests.sweep import processes

pytest.importorskip("submitit", reason="needs pip install 'dmft[submitit]'")

GRID = """
[base.solver]
t_max = 1.0
n_paths = 64
replicates = 2
rtol = 1e-2
[axes]
problem.noise_std = [0.1, 0.2, 0.3]
"""


def test_parts_as_processes(make_sweep, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(processes.ROOT))
    folder, reference = make_sweep(GRID), make_sweep(GRID, "reference")
    run(folder, indices=range(1))
    jobs = submit_with_submitit(folder, Batch(), "local", timeout_min=5)
    assert [job.result() for job in jobs] == [{"done": 1}] * 2  # the first part is finished
    assert status(folder).done == 3
    run(reference)
    processes.assert_identical(folder, reference)
