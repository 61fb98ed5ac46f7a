"""What each task leaves behind, and how it is interrupted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import dmft
from dmft.config import Config
from dmft.errors import Interrupted
from dmft.store import describe, load, load_checkpoint, save_checkpoint
from dmft.sweep import open_folder, run
from dmft.sweep.collect import collect
from dmft.sweep.tasks import TASKS, Context
from tests.sweep.conftest import SMALL

AXES = "[axes]\nproblem.noise_std = [0.1, 0.2]\n"


def test_theory_keeps_numbers_and_words_and_leaves_out_what_is_undefined(
    make_sweep, monkeypatch, tmp_path
):
    def predict(problem):
        risk = 10 * problem.noise_std
        table = {"regime": "lasso", "excess_risk": risk, "power": None, "note": ""}
        return SimpleNamespace(to_dict=lambda: table)

    monkeypatch.setattr(dmft.theory, "predict", predict, raising=False)
    folder = make_sweep('tasks = ["theory"]\n' + AXES)
    assert run(folder).computed == {"done": 2}
    item = next(iter(open_folder(folder).grid.items))
    assert describe(open_folder(folder).result(item))["schema"] == "dmft-theory"
    collection = collect(folder, tmp_path / "all.h5")
    assert collection.values.keys() - {"wall_seconds", "cpu_seconds"} == {"excess_risk"}
    assert collection.values["excess_risk"].tolist() == [1.0, 2.0]
    assert collection.texts["regime"].tolist() == ["lasso", "lasso"]


def test_results_are_those_of_the_library(make_sweep):
    folder = make_sweep('tasks = ["compare"]\n' + SMALL + AXES)
    assert run(folder).computed == {"done": 6}
    there = open_folder(folder)
    point = there.grid.points[1]
    config = point.items[0].config
    solution, simulation = (load(there.result(item.name)) for item in point.items[:2])
    expected = dmft.solve(config.problem, **config.solver.model_dump())
    np.testing.assert_array_equal(solution.excess_risk, expected.excess_risk)
    np.testing.assert_array_equal(solution.kernels.overlap, expected.kernels.overlap)
    expected = dmft.simulate(
        config.problem, **config.simulation.model_dump(), t_max=config.solver.t_max
    )
    np.testing.assert_array_equal(simulation.seed_excess_risk, expected.seed_excess_risk)
    about = describe(there.result(point.items[2].name))
    assert about["schema"] == "dmft-comparison" and "/probability" in about["datasets"]


def context(stop) -> Context:
    return Context(threads=1, stop=stop, checkpoint_seconds=1e9, command_line="", inputs={})


def test_solve_is_interrupted_with_a_checkpoint_and_continues(tmp_path):
    path, config = tmp_path / "out.h5", Config(
        solver={"t_max": 1.0, "n_paths": 64, "replicates": 2, "rtol": 1e-2}
    )  # fmt: skip
    polls = []
    with pytest.raises(Interrupted):
        TASKS["solve"].compute(config, path, context(lambda: polls.append(1) or len(polls) == 7))
    assert load_checkpoint(path)[1]["march"]
    total = []
    assert TASKS["solve"].compute(config, path, context(lambda: total.append(1) and False)) == (
        "done", "",
    )  # fmt: skip
    expected = dmft.solve(config.problem, **config.solver.model_dump())
    np.testing.assert_array_equal(load(path).excess_risk, expected.excess_risk)
    whole = []
    TASKS["solve"].compute(config, tmp_path / "new.h5", context(lambda: whole.append(1) and False))
    assert len(total) == len(whole) - 7  # the panels before were not solved again


def test_simulation_is_interrupted(tmp_path):
    config = Config(simulation={"dimension": 50, "seeds": 2}, solver={"t_max": 1.0})
    with pytest.raises(Interrupted):
        TASKS["simulate"].compute(config, tmp_path / "sim.h5", context(lambda: True))
    assert not list(tmp_path.iterdir())


def test_checkpoint_of_another_version_is_of_no_use(tmp_path, monkeypatch):
    config = Config(solver={"t_max": 0.1, "n_paths": 64, "replicates": 1})
    path = tmp_path / "out.h5"
    monkeypatch.setattr("dmft.store.header.package_version", lambda: "0.0.1")
    save_checkpoint(path, config, {"splits": "something else"})
    monkeypatch.undo()
    assert TASKS["solve"].compute(config, path, context(lambda: False))[0] == "done"
