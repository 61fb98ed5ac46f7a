"""Every format gives the same numbers; damaged or dangerous files end in one line."""

from __future__ import annotations

import json
import pickle

import h5py
import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.store import save
from dmft.trajectory import algebra
from dmft.trajectory.readers.formats import read_file
from dmft.trajectory.series import open_series
from tests.trajectory.conftest import as_safetensors, flat


def check(folder, walk, tolerance=1e-14):
    grams = trajectory.of_checkpoints(folder)
    exact = algebra.from_vectors(flat(walk))
    assert np.abs(grams.trajectory().gram - exact).max() < tolerance * np.abs(exact).max()
    return grams


def bfloat16(array):
    """The upper half of float32, and the value it stands for."""
    upper = (array.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return upper, (upper.astype(np.uint32) << 16).view(np.float32).astype(float)


def small(model, count=4):
    return model(count, shapes={"a.weight": (6, 5), "b.weight": (7,)})


# ---------------------------------------------------------------------- formats


def test_safetensors(model, tmp_path):
    walk = model()
    for i, arrays in enumerate(walk):
        as_safetensors(tmp_path / f"model_{i}.safetensors", arrays)
    check(tmp_path, walk)


def test_safetensors_in_half_precision(model, tmp_path):
    walk = []
    for i, arrays in enumerate(model(shapes={"a": (6, 5), "b": (7,)})):
        upper, value = bfloat16(arrays["a"])
        half = arrays["b"].astype(np.float16)
        as_safetensors(tmp_path / f"model_{i}.safetensors", {"a": upper, "b": half})
        walk.append({"a": value, "b": half.astype(float)})
    check(tmp_path, walk)


def test_sharded_safetensors_in_folders(model, tmp_path):
    walk = model()
    for i, arrays in enumerate(walk):
        folder = tmp_path / f"checkpoint-{500 * i}"
        folder.mkdir()
        shards = {"model-1-of-2.safetensors": list(arrays)[:3],
                  "model-2-of-2.safetensors": list(arrays)[3:]}  # fmt: skip
        for file, names in shards.items():
            as_safetensors(folder / file, {name: arrays[name] for name in names})
        index = {"weight_map": {name: file for file, names in shards.items() for name in names}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        (folder / "training_args.bin").write_bytes(b"not looked at")
        (folder / "optimizer.pt").write_bytes(b"not looked at")
    grams = check(tmp_path, walk)
    assert grams.step.tolist() == [0, 500, 1000, 1500, 2000, 2500]
    with pytest.raises(InputError, match="holds one sharded checkpoint, give the folder above"):
        open_series(tmp_path / "checkpoint-500")
    (tmp_path / "checkpoint-500" / "model-2-of-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"names model-2-of-2.safetensors, which is missing"):
        open_series(tmp_path)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz(model, tmp_path, write):
    walk = model()
    for i, arrays in enumerate(walk):
        # Fortran order, a foreign byte order and float32 that is exact.
        odd = {**arrays, "layers.0.mlp.weight": np.asfortranarray(arrays["layers.0.mlp.weight"])}
        odd["embed.weight"] = odd["embed.weight"].astype(">f8")
        write(tmp_path / f"{i}.npz", **odd)
    check(tmp_path, walk)


def test_npy(model, tmp_path):
    walk = small(model)
    for i, arrays in enumerate(walk):
        np.save(tmp_path / f"weights{i:03d}.npy", flat([arrays])[0])
    check(tmp_path, walk)


@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
def test_hdf5(model, tmp_path, options):
    walk = model(shapes={"a.weight": (6, 5), "b.weight": (7,)})
    for i, arrays in enumerate(walk):
        with h5py.File(tmp_path / f"epoch{i}.h5", "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name.replace(".", "/"), data=values, **options)
            file["tied"] = file["a/weight"]
    check(tmp_path, walk)


def test_stacked_arrays(model, tmp_path):
    walk = small(model)
    stacked = {name: np.array([arrays[name] for arrays in walk]) for name in walk[0]}
    np.savez(tmp_path / "run.npz", seed=np.array([1, 2]), **stacked)
    grams = check(tmp_path / "run.npz", walk)
    assert list(grams.skipped) == ["seed"]
    np.save(tmp_path / "run.npy", flat(walk))
    check(tmp_path / "run.npy", walk)
    first = trajectory.of_checkpoints(tmp_path / "run.npy", cache=tmp_path / "cache.h5")
    again = trajectory.of_checkpoints(tmp_path / "run.npy", cache=tmp_path / "cache.h5")
    assert again.computed == 0
    assert np.array_equal(first.values, again.values)


def test_mixed_precision_of_the_checkpoints(model, tmp_path):
    walk = small(model)
    for i, arrays in enumerate(walk):
        walk[i] = {n: a.astype(np.float16).astype(float) for n, a in arrays.items()}
        dtype = np.float16 if i % 2 else np.float64
        np.savez(tmp_path / f"{i}.npz", **{n: a.astype(dtype) for n, a in walk[i].items()})
    check(tmp_path, walk)


# ---------------------------------------------------------------------- order


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["step2", "step10", "step1"], [1, 2, 10]),
        (["epoch=1-step=900", "epoch=0-step=1000"], [900, 1000]),
        (["e1_step_5_lr3", "e2_step_3_lr4"], [3, 5]),
        (["layer2.run.7", "layer2.run.11"], [7, 11]),
        (["003", "20"], [3, 20]),
    ],
)
def test_natural_order(tmp_path, names, steps):
    for name, step in zip(names, range(len(names)), strict=True):
        np.savez(tmp_path / f"{name}.npz", a=np.full(3, float(step)))
    assert open_series(tmp_path).step.tolist() == steps


def test_a_list_keeps_its_order(tmp_path):
    for name in ("start", "end", "step5", "step9"):
        np.savez(tmp_path / f"{name}.npz", a=np.ones(3))
    named = open_series([tmp_path / "start.npz", tmp_path / "end.npz", tmp_path / "step5.npz"])
    assert named.step.tolist() == [0, 1, 2]
    assert named.checkpoints[1].name.endswith("end.npz")
    assert open_series([tmp_path / "step5.npz", tmp_path / "step9.npz"]).step.tolist() == [5, 9]


# ---------------------------------------------------------------------- bad input


def good(folder, count=3):
    for i in range(count):
        np.savez(folder / f"{i}.npz", a=np.full(3, float(i)), b=np.ones((2, 2)))


def add(folder, **arrays):
    np.savez(folder / "3.npz", **arrays)


BAD = {
    "empty": (lambda f: [p.unlink() for p in f.iterdir()], "holds no checkpoints"),
    "one": (lambda f: [(f / f"{i}.npz").unlink() for i in (1, 2)], "holds 1 checkpoint"),
    "missing": (lambda f: add(f, a=np.ones(3)), r"3.npz: tensor 'b' is missing"),
    "more": (
        lambda f: add(f, a=np.ones(3), b=np.ones((2, 2)), c=np.ones(2)),
        r"3.npz: tensor 'c' is not in .*0.npz",
    ),
    "shape": (
        lambda f: add(f, a=np.ones(3), b=np.ones((4, 1))),
        r"3.npz: tensor 'b' has shape \(4, 1\), must be \(2, 2\) as in .*0.npz",
    ),
    "duplicate": (
        lambda f: (f / "02.npz").write_bytes((f / "2.npz").read_bytes()),
        "holds step 2 twice: 02.npz, 2.npz",
    ),
    "names": (
        lambda f: (f / "start9.npz").write_bytes(b""),
        r"differ in more than a number \(0.npz, start9.npz\), give the files",
    ),
    "truncated": (
        lambda f: (f / "3.npz").write_bytes((f / "2.npz").read_bytes()[:300]),
        r"3.npz: is no .npz file, or truncated",
    ),
    "complex": (lambda f: add(f, a=np.ones(3), b=np.ones((2, 2), complex)), "of type complex128"),
    "pickle": (
        lambda f: np.savez(f / "3.npz", a=np.array([{}, []], dtype=object), b=np.ones((2, 2))),
        "holds pickled objects in 'a', refused",
    ),
    "two kinds": (lambda f: good((f / "4").mkdir() or f / "4"), "as files .* and as folders"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_folders(tmp_path, kind):
    good(tmp_path)
    spoil, message = BAD[kind]
    spoil(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        open_series(tmp_path)
    assert "\n" not in str(caught.value)


def test_paths_that_do_not_exist(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        open_series(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no such file"):
        open_series([tmp_path / "a.npz", tmp_path / "b.npz"])
    with pytest.raises(InputError, match=r"ending '.txt', allowed: .safetensors, .npz"):
        for name in ("a1.txt", "a2.txt"):
            (tmp_path / name).write_text("1")
        open_series([tmp_path / "a1.txt", tmp_path / "a2.txt"])


@pytest.mark.parametrize("length", [4, 20, 200, -8])
def test_truncated_safetensors(model, tmp_path, length):
    for i, arrays in enumerate(small(model)):
        as_safetensors(tmp_path / f"{i}.safetensors", arrays)
    path = tmp_path / "2.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"2.safetensors: is (truncated|no safetensors)"):
        open_series(tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"not json", "not valid JSON"),
        (b"[1, 2]", "not valid JSON"),
        (b'{"a": {"dtype": "F32", "shape": [2]}}', "damaged header at tensor 'a'"),
        (b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}', "damaged header"),
        (b'{"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}', "damaged header"),
        (b'{"a": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}', "type F8_E8M0"),
    ],
)
def test_damaged_safetensors(tmp_path, header, message):
    for i in range(2):
        (tmp_path / f"{i}.safetensors").write_bytes(
            len(header).to_bytes(8, "little") + header + bytes(8)
        )
    with pytest.raises(InputError, match=message):
        open_series(tmp_path)


def test_truncated_npy(tmp_path):
    for i in range(2):
        np.save(tmp_path / f"{i}.npy", np.ones(100))
    whole = (tmp_path / "1.npy").read_bytes()
    (tmp_path / "1.npy").write_bytes(whole[:-80])
    with pytest.raises(InputError, match=r"1.npy: is truncated"):
        open_series(tmp_path)
    (tmp_path / "1.npy").write_bytes(pickle.dumps(1))
    with pytest.raises(InputError, match=r"1.npy: holds no array"):
        open_series(tmp_path)


def test_a_file_that_shrinks_meanwhile(tmp_path):
    good(tmp_path)
    series = open_series(tmp_path)
    (tmp_path / "2.npz").write_bytes(b"")
    tensor = series.rows[2]["a"]
    with pytest.raises(InputError, match=r"2.npz: ends inside tensor 'a'"):
        tensor.read(0, 3, np.empty(24, np.uint8))


def test_results_of_this_package_are_no_checkpoints(tmp_path, make_solution):
    save(tmp_path / "out.h5", make_solution())
    with pytest.raises(InputError, match="is one file, must be a folder"):
        open_series(tmp_path / "out.h5")


@pytest.mark.parametrize("save_archive", [np.savez, np.savez_compressed])
def test_usual_headers_of_arrays_are_not_evaluated(tmp_path, monkeypatch, save_archive):
    """NumPy takes a tenth of a millisecond for each, of maybe many thousands."""
    arrays = {
        "a": np.ones((2, 3)), "b": np.asfortranarray(np.ones((2, 3), "<f4")), "c": np.array(1.0),
        "d": np.ones(4, ">f8"), "e": np.ones(0, "i2"), "f": np.ones((1,) * 9, bool),
    }  # fmt: skip
    save_archive(tmp_path / "a.npz", **arrays)
    evaluated = []
    read = np.lib.format.read_array_header_1_0
    monkeypatch.setattr(
        np.lib.format, "read_array_header_1_0", lambda file: evaluated.append(1) or read(file)
    )
    found = {each.name: each for each in read_file(tmp_path / "a.npz")[0]}
    assert not evaluated
    for name, array in arrays.items():
        assert found[name].shape == array.shape and found[name].dtype == array.dtype.name
        if array.dtype.kind == "f" and array.size:
            values = found[name].read(0, array.size, np.empty(array.nbytes, np.uint8))
            np.testing.assert_array_equal(values.reshape(array.shape), array)
    save_archive(tmp_path / "a.npz", a=np.ones(3, [("x", "<f8")]))
    read_file(tmp_path / "a.npz")
    assert evaluated
