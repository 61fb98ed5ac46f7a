"""PyTorch's own files; skipped without PyTorch."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory import algebra
from dmft.trajectory.readers import pytorch
from dmft.trajectory.readers.formats import read_file
from dmft.trajectory.series import open_series
from tests.trajectory.conftest import flat

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def tensors(arrays):
    return {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}


def test_state_dicts(model, tmp_path):
    walk = model()
    for i, arrays in enumerate(walk):
        torch.save(tensors(arrays), tmp_path / f"step{i}.pt")
    grams = trajectory.of_checkpoints(tmp_path)
    assert np.abs(grams.trajectory().gram - algebra.from_vectors(flat(walk))).max() < 1e-10


def test_training_checkpoints_with_tied_and_transposed_weights(tmp_path):
    rng = np.random.default_rng(0)
    walk = [rng.standard_normal((4, 3)) for _ in range(4)]
    for i, weight in enumerate(walk):
        stored = torch.from_numpy(weight)
        state = {"up.weight": stored, "tied.weight": stored, "down.weight": (stored + 1.0).t()}
        state["counts.num_batches_tracked"] = torch.tensor(i)
        torch.save(
            {"model": state, "optimizer": {"state": {0: stored}}, "epoch": i},
            tmp_path / f"{i}.ckpt",
        )
    grams = trajectory.of_checkpoints(tmp_path)
    assert grams.tied == ("tied.weight",)
    assert [part.tensor for part in grams.parts] == ["up.weight", "down.weight"]
    both = np.array([np.concatenate([w.ravel(), (w + 1.0).T.ravel()]) for w in walk])
    assert np.abs(grams.trajectory().gram - algebra.from_vectors(both)).max() < 1e-12


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_precisions(tmp_path, dtype):
    values = torch.randn(4, 50, generator=torch.Generator().manual_seed(0)).to(
        getattr(torch, dtype)
    )
    for i, row in enumerate(values):
        torch.save({"a": row.clone(), "b": row.reshape(10, 5).t()}, tmp_path / f"{i}.pth")
    exact = algebra.from_vectors(values.double().numpy())
    grams = trajectory.of_checkpoints(tmp_path)
    assert np.abs(grams.trajectory().gram - 2 * exact).max() < 1e-12 * exact.max()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("code in a checkpoint was run",))


def test_code_is_refused_not_run(tmp_path):
    for i in range(2):
        torch.save({"a": torch.zeros(2), "b": Bomb()}, tmp_path / f"{i}.pt")
    with pytest.raises(InputError, match=r"holds more than tensors .*, refused"):
        open_series(tmp_path)


def test_damaged_files(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "0.pt")
    whole = (tmp_path / "0.pt").read_bytes()
    (tmp_path / "1.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"1.pt: is no PyTorch file, truncated"):
        open_series(tmp_path)
    torch.save(torch.zeros(3), tmp_path / "1.pt")
    with pytest.raises(InputError, match=r"1.pt: holds a FakeTensor|Tensor, must be a state dict"):
        open_series(tmp_path)
    torch.save({"a": torch.zeros(3)}, tmp_path / "1.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"before PyTorch 1.6"):
        open_series(tmp_path)


def test_safetensors_of_the_reference_implementation(model, tmp_path):
    reference = pytest.importorskip("safetensors.torch")
    walk = model()
    for i, arrays in enumerate(walk):
        reference.save_file(tensors(arrays), tmp_path / f"{i}.safetensors", {"format": "pt"})
    grams = trajectory.of_checkpoints(tmp_path)
    assert np.abs(grams.trajectory().gram - algebra.from_vectors(flat(walk))).max() < 1e-10


def test_batch_normalisation_statistics_are_left_out(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4))
    for i in range(3):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter += 1.0
            net(torch.randn(8, 4))
        torch.save(net.state_dict(), tmp_path / f"{i}.pt")
    grams = trajectory.of_checkpoints(tmp_path)
    assert {part.tensor for part in grams.parts} == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_places_are_known_without_fake_tensors(tmp_path, monkeypatch):
    """They cost ten times as much; versions of PyTorch that need them come to the same."""
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.arange(6.0).reshape(2, 3).T}
    torch.save(weights, tmp_path / "a.pt")
    table = read_file(tmp_path / "a.pt")[0]
    asked = []
    given = pytorch._without_data
    monkeypatch.setattr(pytorch, "_without_data", lambda how: asked.append(how) or given(how))
    monkeypatch.setattr(torch.serialization, "_is_meta_location", lambda _: False, raising=False)
    again = read_file(tmp_path / "a.pt")[0]
    assert asked == [pytorch._Placed.META, pytorch._Placed.FAKE]
    for one, other in zip(table, again, strict=True):
        assert (one.name, one.shape, one.offset) == (other.name, other.shape, other.offset)
        assert one.identity == other.identity


@pytest.mark.parametrize("program", [b"(" * 10**6, b"G" + b"\xff" * 5 * 10**6])
def test_pickles_of_more_than_tensors_are_refused(tmp_path, program):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program)
        archive.writestr("archive/version", "3\n")
    with pytest.raises(InputError, match="beside 0 tensors, allowed: 4000"):
        read_file(tmp_path / "a.pt")
