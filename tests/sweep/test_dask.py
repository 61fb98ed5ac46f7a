"""A sweep on Dask, also when a worker is lost in the middle."""

from __future__ import annotations

import pytest

from dmft.errors import InputError
from dmft.sweep import run
from dmft.sweep.dask import dask_executor
from dmft.sweep.status import status
from tests.sweep import processes

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'dmft[dask]'")

GRID = """
[base.solver]
t_max = 3.0
n_paths = 64
replicates = 3
rtol = 1e-2
[axes]
problem.noise_std = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
"""


def test_same_results_after_the_loss_of_a_worker(make_sweep):
    reference = make_sweep(GRID, "reference")
    assert run(reference).computed == {"done": 6}
    folder = make_sweep(GRID)
    killed = []

    def report(outcome, done, total):
        """After the first result, kill the worker that computes the next."""
        if not killed:
            processes.wait_for(lambda: processes.workers_of(folder))
            killed.append(processes.workers_of(folder)[0])
            processes.kill(killed[0])

    with dask_executor(None, 2) as executor:
        assert run(folder, executor, report=report).computed == {"done": 6}
    assert killed and status(folder).done == 6
    processes.assert_nothing_twice(folder)
    processes.assert_identical(folder, reference)


def test_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setattr("dmft.sweep.dask._CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(InputError, match="tcp://127.0.0.1:9: no Dask scheduler answers"),
        dask_executor("tcp://127.0.0.1:9", 1),
    ):
        pass
