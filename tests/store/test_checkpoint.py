"""The state of a running solve comes back exactly."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from dmft.config import Config
from dmft.errors import DmftError, InputError
from dmft.settings import SolverSettings
from dmft.store import load, load_checkpoint, read_header, save, save_checkpoint
from tests.store.states import write_mirrored, write_pieces

STATE = {
    "replicate": 2,
    "time": 0.1 + 0.2,
    "label": "täxt",
    "nothing": None,
    "flag": True,
    "tiny": 5e-324,
    "infinite": float("inf"),
    "numpy": np.float64(1 / 3),
    "random": {"bit_generator": "PCG64", "state": {"state": 2**127 + 1, "inc": -(2**90)}},
    "arrays": {
        "matrix": np.arange(12.0).reshape(3, 4),
        "transposed": np.arange(12.0).reshape(3, 4).T,
        "empty": np.zeros((0, 3)),
        "single": np.float32(np.pi) * np.ones(1, np.float32),
        "scalar": np.array(7),
        "flags": np.array([True, False]),
        "unsigned": np.array([2**64 - 1], np.uint64),
        "not numbers": np.array([np.nan, -np.inf]),
    },
    "empty": {},
}


def assert_restored(left, right):
    assert set(left) == set(right)
    for key, value in left.items():
        if isinstance(value, dict):
            assert_restored(value, right[key])
        elif isinstance(value, np.ndarray):
            assert isinstance(right[key], np.ndarray)
            assert right[key].dtype == value.dtype
            np.testing.assert_array_equal(right[key], value)
        else:
            assert right[key] == value


def test_state_survives(tmp_path):
    config = Config(solver=SolverSettings(seed=2**70))
    save_checkpoint(tmp_path / "out.h5", config, STATE, "dmft solve")
    found, state = load_checkpoint(tmp_path / "out.h5")
    assert found == config
    assert_restored(STATE, state)
    assert type(state["replicate"]) is int and type(state["numpy"]) is float
    header = read_header(tmp_path / "out.h5")
    assert header.status == "running" and header.command_line == "dmft solve"
    assert header.schema == "dmft-solution" and header.seeds == (2**70,)


def test_random_generator_continues(tmp_path):
    generator = np.random.default_rng(5)
    generator.random(10)
    state = {"random": generator.bit_generator.state}
    save_checkpoint(tmp_path / "out.h5", Config(), state)
    other = np.random.default_rng()
    other.bit_generator.state = load_checkpoint(tmp_path / "out.h5")[1]["random"]
    np.testing.assert_array_equal(other.random(5), generator.random(5))


def test_start_is_an_empty_checkpoint(tmp_path):
    save_checkpoint(tmp_path / "out.h5", Config(), {})
    assert load_checkpoint(tmp_path / "out.h5") == (Config(), {})


def test_a_running_file_is_no_result(tmp_path):
    save_checkpoint(tmp_path / "out.h5", Config(), STATE)
    with pytest.raises(InputError, match="unfinished solve.*dmft resume .*out.h5"):
        load(tmp_path / "out.h5")


def test_a_result_is_no_checkpoint(tmp_path, make_solution, make_simulation):
    save(tmp_path / "out.h5", make_solution())
    with pytest.raises(InputError, match="is finished .done., nothing to resume"):
        load_checkpoint(tmp_path / "out.h5")
    save(tmp_path / "sim.h5", make_simulation())
    with pytest.raises(InputError, match="nothing to resume"):
        load_checkpoint(tmp_path / "sim.h5")
    with pytest.raises(InputError, match="group /checkpoint is missing"):
        load_checkpoint(tmp_path / "sim.h5", finished=True)


def test_result_replaces_checkpoint(tmp_path, make_solution):
    save_checkpoint(tmp_path / "out.h5", Config(), STATE)
    save(tmp_path / "out.h5", make_solution(), overwrite=True)
    assert load(tmp_path / "out.h5").status == "done"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.h5"]


def test_an_older_checkpoint_is_read(tmp_path):
    path = tmp_path / "out.h5"
    save_checkpoint(path, Config(), {})
    state = STATE | {"numpy": 1 / 3, "table": {"arrays": {}}, "arrays": {"table": np.arange(3)}}
    with h5py.File(path, "a") as file:
        del file["checkpoint"]
        write_mirrored(file.create_group("checkpoint"), state)
    with pytest.warns(UserWarning, match="unverified"):
        assert_restored(state, load_checkpoint(path)[1])
    with h5py.File(path, "a") as file:
        file["checkpoint/random"].attrs["bit_generator"] = "{"
    with pytest.raises(InputError, match="'bit_generator' of /checkpoint/random is damaged"):
        load_checkpoint(path)


def test_damaged_checkpoint(tmp_path):
    path = tmp_path / "out.h5"
    save_checkpoint(path, Config(), STATE)
    for table, said in {
        b"{": "table of its state is damaged",
        json.dumps({"arrays": {"a": "f8 2"}, "values": {}, "empty": []}).encode(): "'a' of its",
    }.items():
        with h5py.File(path, "a") as file:
            write_pieces(file["checkpoint"], table, b"")
        with pytest.raises(InputError, match=said) as refused:
            load_checkpoint(path)
        assert refused.value.location == str(path)
    with h5py.File(path, "a") as file:
        del file["checkpoint/arrays"]
        file["checkpoint"].create_dataset("arrays", data=np.zeros(3))
    with pytest.raises(InputError, match="must hold two rows of bytes"):
        load_checkpoint(path)
    with h5py.File(path, "a") as file:
        del file["checkpoint"]
    with pytest.raises(InputError, match="/checkpoint is missing"):
        load_checkpoint(path)


@pytest.mark.parametrize("key", ["a/b", "", 3])
def test_keys_that_would_not_come_back(tmp_path, key):
    with pytest.raises(ValueError, match="must be text without a slash"):
        save_checkpoint(tmp_path / "out.h5", Config(), {key: np.zeros(1)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value",
    [[1, 2], (1,), object(), 1j, np.zeros(2, complex), np.array(["a"]), np.zeros(1, "M8[s]")],
)
def test_values_that_would_not_come_back(tmp_path, value):
    with pytest.raises(TypeError, match="checkpoint value 'key'"):
        save_checkpoint(tmp_path / "out.h5", Config(), {"key": value})


def test_a_failed_checkpoint_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / "out.h5"
    save_checkpoint(path, Config(), {"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DmftError, match="No space left"):
        save_checkpoint(path, Config(), {"step": 2})
    assert load_checkpoint(path)[1] == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.h5"]
