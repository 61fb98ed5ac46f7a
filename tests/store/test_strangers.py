"""Files of this package that a stranger has changed are refused in one line, or do no harm."""

from __future__ import annotations

import os

import h5py
import numpy as np
import pytest

import dmft
from dmft.cli.main import main
from dmft.config import Config
from dmft.errors import Interrupted
from dmft.store import load_checkpoint, save, save_checkpoint
from dmft.sweep import load_collection
from tests.store import hostile, strangers
from tests.store.states import write_mirrored

HARMLESS = {"work_of_text", "unknown_filter", "many_groups", "many_attributes"}
SMALL = {"t_max": 3.0, "n_paths": 64, "replicates": 3, "rtol": 1e-2, "threads": 1}


def resume(path):
    """What `dmft resume` computes."""
    config, state = load_checkpoint(path)
    dmft.solve(config.problem, **config.solver.model_dump(), resume=state, threads=1)


@pytest.fixture
def place(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.hdf")
    with h5py.File(tmp_path / "other.hdf", "w") as file:
        file["a"] = np.ones(100)
    for suffix, reader in {".resumed": resume, ".all": load_collection}.items():
        monkeypatch.setitem(hostile.READERS, suffix, reader)
    return tmp_path


def outcomes(good, changes):
    """What reading each changed copy comes to, where it is not refused."""
    assert hostile.outcome(good) == "fine"
    found = {}
    for name, change in changes.items():
        path = good.with_name(name + good.suffix)
        strangers.made(good, path, change)
        found[name] = hostile.outcome(path)
    return {name: what for name, what in found.items() if what != "refused"}


def test_results(place, make_solution):
    save(place / "good.out", make_solution())
    changes = strangers.OF_SOLUTIONS
    wrong = outcomes(place / "good.out", changes)
    assert wrong == dict.fromkeys(HARMLESS, "fine")


def test_states_that_a_solve_is_to_go_on_from(place):
    state, panels = {}, []

    def stop():
        panels.append(1)
        return len(panels) >= 20  # in the second replicate

    with pytest.raises(Interrupted):
        dmft.solve(dmft.Problem(), **SMALL, checkpoint=state.update, stop=stop)
    assert state["replicates"]["count"] and len(state["march"]["panels"]) > 1
    settings = {key: value for key, value in SMALL.items() if key != "threads"}
    save_checkpoint(place / "good.resumed", Config(solver=settings), state)
    assert outcomes(place / "good.resumed", strangers.OF_CHECKPOINTS) == {}

    save_checkpoint(place / "older.resumed", Config(solver=settings), {})
    with h5py.File(place / "older.resumed", "r+") as file:
        write_mirrored(file["checkpoint"], state)
        for name in ("table", "arrays"):
            del file["checkpoint"][name]
    assert outcomes(place / "older.resumed", strangers.OF_OLDER_CHECKPOINTS) == {}


def test_collections(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    (place / "g.toml").write_text(
        "[base.solver]\nt_max = 0.5\nn_paths = 64\nreplicates = 2\n"
        "[axes]\nproblem.noise_std = [0.1, 0.2]\n"
    )
    for line in ("init g.toml s", "run s --jobs 1", "collect s -o good.all --packed"):
        assert main(["sweep", *line.split()]) == 0
    capsys.readouterr()
    assert outcomes(place / "good.all", strangers.OF_COLLECTIONS) == {}
