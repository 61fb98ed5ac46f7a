"""Workers and drivers that are killed or asked to stop: nothing lost, nothing done twice."""

from __future__ import annotations

import random
import signal
import time

import pytest

from dmft.sweep import create, run
from dmft.sweep.status import status
from tests.sweep import processes

GRID = """
[base.solver]
t_max = 3.0
n_paths = 64
replicates = 3
rtol = 1e-2
[axes]
problem.noise_std = [0.1, 0.2, 0.4]
problem.network.init_scale = [0.3, 1.0]
"""
POINTS = 6


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The grid, computed without any disturbance in one process."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "grid.toml").write_text(GRID)
    there = create(folder / "grid.toml", folder / "sweep").path
    assert run(there).computed == {"done": POINTS}
    return there


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "grid.toml").write_text(GRID)
    return create(tmp_path / "grid.toml", tmp_path / "sweep").path


def finish(folder, reference):
    """Run to the end: what was finished stays untouched, and all is as without disturbance."""
    before = processes.results(folder)
    done = processes.start("run", folder, "--jobs", 2)
    stdout, stderr = done.communicate(timeout=120)
    assert done.returncode == 0, stderr
    after = processes.results(folder)
    assert before.items() <= after.items()
    assert f"before    {len(before)} results" in stdout or before == {}
    found = status(folder)
    assert (found.points, found.done, found.failed) == (POINTS, POINTS, 0)
    processes.assert_nothing_twice(folder)
    processes.assert_identical(folder, reference)


def test_killed_worker_is_replaced(folder, reference):
    driver = processes.start("run", folder, "--jobs", 2)
    processes.wait_for(lambda: len(processes.results(folder)) >= 2)
    processes.wait_for(lambda: processes.workers_of(folder))
    processes.kill(processes.workers_of(folder)[0])
    assert driver.wait(120) == 0, driver.stderr.read()
    finish(folder, reference)


def test_killed_driver_leaves_no_workers_behind(folder, reference):
    driver = processes.start("run", folder, "--jobs", 2, "--checkpoint-seconds", 0.05)
    processes.wait_for(lambda: len(processes.results(folder)) >= 2)
    processes.wait_for(lambda: processes.workers_of(folder))
    driver.kill()
    driver.wait()
    processes.wait_for(lambda: not processes.workers_of(folder), 20)
    assert len(processes.results(folder)) < POINTS
    finish(folder, reference)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
    ],
)
def test_stopped_driver_saves_and_continues(folder, reference, number):
    driver = processes.start("run", folder, "--jobs", 2)
    processes.wait_for(lambda: len(processes.results(folder)) >= 2)
    driver.send_signal(number)
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 130, stderr
    assert stderr.startswith("dmft: error: interrupted, ") and stderr.count("\n") == 1
    assert status(folder).running == 0
    finish(folder, reference)


@pytest.mark.slow
def test_worker_that_is_asked_to_end_saves_first(folder, reference):
    driver = processes.start("run", folder, "--index", 0, "--chunk", POINTS)
    processes.wait_for(lambda: processes.results(folder))
    driver.send_signal(signal.SIGUSR1)
    assert driver.wait(60) == 130
    assert status(folder).running == 0
    finish(folder, reference)


@pytest.mark.slow
def test_kills_at_random_times(folder, reference):
    """Of worker or driver, again and again, until everything is done."""
    chance = random.Random(5)
    kills = 0
    while len(processes.results(folder)) < POINTS:
        before = processes.results(folder)
        driver = processes.start("run", folder, "--jobs", 2, "--checkpoint-seconds", 0.05)
        time.sleep(chance.uniform(0.5, 1.0 + 0.5 * kills))  # no machine is too slow or too fast
        workers = processes.workers_of(folder)
        if workers and chance.random() < 0.5:
            processes.kill(chance.choice(workers))
            time.sleep(chance.uniform(0.0, 1.0))
        driver.kill()
        driver.communicate()
        kills += 1
        assert before.items() <= processes.results(folder).items()
        assert kills < 60
    assert kills > 2
    finish(folder, reference)
