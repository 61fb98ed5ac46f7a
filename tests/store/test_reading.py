"""Old files are migrated; newer, foreign and damaged ones are refused in one line."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dmft.errors import InputError
from dmft.store import load, read_header, save


@pytest.fixture
def path(tmp_path, make_solution):
    save(tmp_path / "out.h5", make_solution())
    return tmp_path / "out.h5"


def into_version_one(path):
    """What version 1 looked like: kernels at top level, another name for the version."""
    with h5py.File(path, "a") as file:
        file.attrs["version"] = 1
        del file.attrs["schema_version"]
        del file["kernels/time_other"]
        for name in list(file["kernels"]):
            file.move(f"kernels/{name}", name)
        del file["kernels"]


def test_version_one_of_a_solution(path, make_solution):
    into_version_one(path)
    before = path.read_bytes()
    solution, expected = load(path), make_solution()
    np.testing.assert_array_equal(solution.kernels.overlap, expected.kernels.overlap)
    np.testing.assert_array_equal(
        solution.kernels.quadrature_weights, expected.kernels.quadrature_weights
    )
    assert solution.work == expected.work
    assert read_header(path).version == "2.0"
    assert path.read_bytes() == before


def test_version_one_of_a_simulation(tmp_path, make_simulation):
    path = tmp_path / "sim.h5"
    save(path, make_simulation())
    into_version_one(path)
    simulation, expected = load(path), make_simulation()
    np.testing.assert_array_equal(
        simulation.kernels.overlap_stderr, expected.kernels.overlap_stderr
    )


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("schema", "climate-model", "schema 'climate-model', must be a file written by dmft"),
        ("schema", 5, "must be a file written by dmft"),
        ("schema", None, "no schema"),
        ("schema", "dmft-sweep", "holds a 'dmft-sweep'"),
        ("schema_version", "3.0", "schema version 3.0, this dmft reads up to 2"),
        ("schema_version", "12.1", "schema version 12.1"),
        ("schema_version", "new", "schema version new, must be like '2.2'"),
        ("schema_version", "0.5", "must be like"),
        ("schema_version", None, "schema version None"),
        ("config", "{", "attribute 'config' is not valid JSON"),
        ("config", "[1]", "not a JSON dict"),
        ("config", None, "attribute 'config' is missing"),
        ("config", '{"problem": {"noise_std": -1}}', "problem.noise_std: given -1"),
        ("seeds", "3", "not a JSON list"),
        ("status", None, "attribute 'status' is missing"),
        ("status", 3, "must be text"),
    ],
)
def test_bad_attributes(path, attribute, value, words):
    with h5py.File(path, "a") as file:
        del file.attrs[attribute]
        if value is not None:
            file.attrs[attribute] = value
    assert words.replace("'", "") in refusal(path).replace("'", "")


@pytest.mark.parametrize(
    ("dataset", "values", "words"),
    [
        ("time", None, "/time is missing"),
        ("kernels/overlap", None, "/kernels/overlap is missing"),
        ("kernels", None, "/kernels/correlation_error is missing"),
        ("replicates/train_mse", None, "/replicates/train_mse is missing"),
        ("paths/force", None, "/paths/force is missing"),
        ("train_mse", np.zeros(3), "/train_mse has shape (3,), must be (12)"),
        ("kernels/overlap", np.zeros((12, 11)), "has shape (12, 11), must be (12, 12)"),
        ("kernels/overlap", np.zeros(12), "has shape (12,)"),
        ("replicates/excess_risk", np.zeros((2, 12)), "must be (3, 12)"),
        ("train_mse", np.array([b"text"] * 12), "must be numbers"),
        ("train_mse", 1.0, "has shape ()"),
    ],
)
def test_bad_datasets(path, dataset, values, words):
    with h5py.File(path, "a") as file:
        del file[dataset]
        if values is not None:
            file[dataset] = values
    assert words in refusal(path)


def test_group_where_a_dataset_is_expected(path):
    with h5py.File(path, "a") as file:
        del file["train_mse"]
        file.create_group("train_mse/inner")
    assert "/train_mse is missing" in refusal(path)


def test_other_files(tmp_path, path):
    assert "no such file" in refusal(tmp_path / "absent.h5")
    assert "is a folder" in refusal(tmp_path)
    text = tmp_path / "text.h5"
    text.write_text("time,train_mse\n0,1\n")
    assert "is not an HDF5 file" in refusal(text)
    text.write_bytes(b"")
    assert "is not an HDF5 file" in refusal(text)
    with h5py.File(text, "w") as file:
        file["time"] = np.arange(3)
    assert "no schema" in refusal(text)


def test_truncated_anywhere(path):
    whole = path.read_bytes()
    for length in np.linspace(1, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:length])
        refusal(path)


def refusal(path) -> str:
    with pytest.raises(InputError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and "\n" not in text
    return text
