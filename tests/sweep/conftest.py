"""Sweeps whose points cost nothing, and some that are solved in earnest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dmft.errors import Interrupted
from dmft.sweep import create, run
from dmft.sweep.collect import collect
from dmft.sweep.collection import Collection
from dmft.sweep.tasks import TASKS

SMALL = """
[base.solver]
t_max = 1.0
n_paths = 64
replicates = 2
rtol = 1e-2
[base.simulation]
dimension = 30
seeds = 3
points = 5
"""

THREE_AXES = """
[axes]
problem.network.init_scale = { geomspace = [0.01, 1.0, 3] }
problem.noise_std = [0.1, 0.2, 0.5, 0.7]
problem.teacher.kind = ["gaussian", "rademacher"]
"""


class FakeSolve:
    """Writes a made-up solution whose curves encode the noise of the point.

    `before` is called with the settings first; what it raises happens to the point.
    """

    def __init__(self, make_solution) -> None:
        self.make_solution = make_solution
        self.before = lambda config: None
        self.noises: list[float] = []

    def __call__(self, config, path, context):
        from dmft.store import save

        self.noises.append(config.problem.noise_std)
        self.before(config)
        if context.stop():
            raise Interrupted("asked to stop")
        nodes = 6 + len(self.noises) % 3  # points differ in the number of their times
        solution = self.make_solution(
            nodes=nodes,
            problem=config.problem,
            settings=config.solver,
            excess_risk=np.full(nodes, config.problem.noise_std),
        )
        status = "not-converged" if config.problem.noise_std == 0.5 else "done"
        solution = replace(solution, status=status, reason="few paths" if status != "done" else "")
        save(path, solution, overwrite=True, config=config)
        return solution.status, solution.reason


@pytest.fixture
def fake_solve(monkeypatch, make_solution) -> FakeSolve:
    fake = FakeSolve(make_solution)
    monkeypatch.setitem(TASKS, "solve", replace(TASKS["solve"], compute=fake))
    return fake


@pytest.fixture
def make_sweep(tmp_path):
    """A function of the text of a grid that makes its folder."""

    def make(text: str, name: str = "sweep") -> Path:
        grid = tmp_path / f"{name}.toml"
        grid.write_text(text, encoding="utf-8")
        return create(grid, tmp_path / name).path

    return make


@pytest.fixture
def make_collection(make_sweep, fake_solve, tmp_path):
    """Computes and collects a sweep of 3 x 4 x 2 points; `before` as in `FakeSolve`."""

    def make(before=lambda config: None) -> Collection:
        fake_solve.before = before
        folder = make_sweep(THREE_AXES)
        run(folder)
        return collect(folder, tmp_path / "all.h5")

    return make
