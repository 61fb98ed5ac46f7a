"""The engine against plain NumPy, on any cut of the work; cache, resuming, bad checkpoints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError, Interrupted
from dmft.trajectory import algebra, engine, layout, passes, projections
from tests.trajectory.conftest import SHAPES, as_safetensors, flat


def error_of(grams, walk, names=None):
    exact = algebra.from_vectors(flat(walk, names))
    return np.abs(grams.trajectory().gram - exact).max() / np.abs(exact).max()


def test_the_sum_over_tensors_is_the_whole(model, write):
    walk = model()
    grams = trajectory.of_checkpoints(write(walk))
    assert error_of(grams, walk) < 1e-14
    assert grams.step.tolist() == [0, 10, 20, 30, 40, 50]
    assert grams.trajectory().parameters == sum(np.prod(shape) for shape in SHAPES.values())
    for name, path in grams.groups("tensor").items():
        exact = algebra.from_vectors(flat(walk, [name]))
        assert np.abs(path.gram - exact).max() < 1e-13 * np.abs(exact).max()
    layers = grams.groups("layer")
    assert list(layers) == ["embed", "layers.0", "layers.1", "scale"]
    total = sum(layer.gram for layer in layers.values())
    assert np.abs(total - grams.trajectory().gram).max() < 1e-12


@pytest.mark.parametrize("unit", [40, 700, 2**24])
@pytest.mark.parametrize("subblock", [16, 8192])
@pytest.mark.parametrize("threads", [1, 4])
def test_any_cut_of_the_work_gives_the_same(model, write, monkeypatch, unit, subblock, threads):
    monkeypatch.setattr(layout, "_UNIT", unit)
    monkeypatch.setattr(layout, "_SMALLEST", 1)
    monkeypatch.setattr(engine, "_SUBBLOCK", subblock)
    walk = model()
    assert error_of(trajectory.of_checkpoints(write(walk), threads=threads), walk) < 1e-14


def test_the_number_of_threads_does_not_change_a_bit(model, write, monkeypatch):
    monkeypatch.setattr(layout, "_UNIT", 300)
    monkeypatch.setattr(layout, "_SMALLEST", 1)
    folder = write(model())
    one, five = (trajectory.of_checkpoints(folder, threads=n).values for n in (1, 5))
    assert np.array_equal(one, five)


def test_every_byte_is_read_once(model, write):
    walk = model(4)
    grams = trajectory.of_checkpoints(write(walk, dtype=np.float32))
    assert grams.computed == 4 * 4 * flat(walk).shape[1]


def test_filters(model, write):
    walk = model()
    folder = write(walk)
    grams = trajectory.of_checkpoints(folder, include=["layers.*"], exclude=["*.bias"])
    names = [n for n in SHAPES if n.startswith("layers") and not n.endswith("bias")]
    assert [part.tensor for part in grams.parts] == names
    assert error_of(grams, walk, names) < 1e-14
    with pytest.raises(InputError, match=r"no tensor matches, there are embed\.weight, layers"):
        trajectory.of_checkpoints(folder, include=["nothing*"])


def test_running_statistics_and_counters_are_no_parameters(model, write):
    walk = model(3)
    full = [{**a, "bn.running_mean": np.ones(3) * i, "bn.num_batches_tracked": np.array(i)}
            for i, a in enumerate(walk)]  # fmt: skip
    grams = trajectory.of_checkpoints(write(full))
    assert set(grams.skipped) == {"bn.running_mean", "bn.num_batches_tracked"}
    assert error_of(grams, walk) < 1e-14


def test_tied_weights_count_once(model, write):
    walk = [{**arrays, "head.weight": arrays["embed.weight"]} for arrays in model()]
    grams = trajectory.of_checkpoints(write(walk))
    assert grams.tied == ("head.weight",)
    assert error_of(grams, model()) < 1e-14


def test_tensors_that_never_move_are_not_tied(write):
    walk = [{"a": np.ones(4), "b": np.ones(4), "c": np.full(4, float(i))} for i in range(3)]
    assert trajectory.of_checkpoints(write(walk)).tied == ()


def test_float32_and_half_precision_are_exact_differences(model, write):
    walk = model()
    for dtype in (np.float32, np.float16):
        stored = [{n: a.astype(dtype).astype(float) for n, a in arrays.items()} for arrays in walk]
        grams = trajectory.of_checkpoints(write(walk, f"run-{dtype.__name__}", dtype=dtype))
        assert error_of(grams, stored) < 1e-14


def test_float32_checkpoints_that_hardly_move(tmp_path):
    """|Delta| / |theta| = 1e-5: the relative map from files to 1e-4 of the exact one."""
    rng = np.random.default_rng(7)
    start = rng.standard_normal(200_000)
    moves = np.cumsum(rng.standard_normal((8, 200_000)), axis=0)
    moves *= 1e-5 * np.linalg.norm(start) / np.linalg.norm(moves[0])
    for i, values in enumerate([start, *(start + moves)]):
        np.savez(tmp_path / f"{i}.npz", theta=values.astype(np.float32))
    product = moves @ moves.T
    norms = np.sqrt(np.diag(product))
    found = trajectory.of_checkpoints(tmp_path).trajectory().map(origin=0).values
    assert np.abs(found - product / np.outer(norms, norms)).max() < 1e-4


# ---------------------------------------------------------------------- cache


def test_a_second_call_reads_nothing(model, write, tmp_path):
    folder, cache = write(model()), tmp_path / "cache.h5"
    first = trajectory.of_checkpoints(folder, cache=cache)
    second = trajectory.of_checkpoints(folder, cache=cache)
    assert first.computed > 0 and second.computed == 0
    assert np.array_equal(first.values, second.values)
    part = trajectory.of_checkpoints(folder, cache=cache, include=["layers.*"])
    assert part.computed == 0


def test_added_checkpoints_compute_new_rows_only(model, write, tmp_path, monkeypatch):
    walk, cache = model(8), tmp_path / "cache.h5"
    folder = write(walk[:5])
    trajectory.of_checkpoints(folder, cache=cache)
    write(walk[5:], first=5)
    rows = record_rows(monkeypatch)
    longer = trajectory.of_checkpoints(folder, cache=cache)
    assert set(map(tuple, rows)) == {(5, 6, 7)}
    assert error_of(longer, walk) < 1e-14


def test_inserted_and_removed_checkpoints(model, write, tmp_path, monkeypatch):
    walk, cache = model(7), tmp_path / "cache.h5"
    folder = write(walk)
    hidden = folder / "step-30.npz"
    content = hidden.read_bytes()
    hidden.unlink()
    trajectory.of_checkpoints(folder, cache=cache)
    hidden.write_bytes(content)
    rows = record_rows(monkeypatch)
    assert error_of(trajectory.of_checkpoints(folder, cache=cache), walk) < 1e-14
    assert set(map(tuple, rows)) == {(3, 4)}
    (folder / "step-0.npz").unlink()
    shorter = trajectory.of_checkpoints(folder, cache=cache)
    assert shorter.computed == 0
    assert error_of(shorter, walk[1:]) < 1e-14


def test_a_changed_file_is_computed_again(model, write, tmp_path, monkeypatch):
    walk, cache = model(), tmp_path / "cache.h5"
    folder = write(walk)
    trajectory.of_checkpoints(folder, cache=cache)
    walk[2] = model(seed=5)[0]
    write(walk[2:3], first=2)
    rows = record_rows(monkeypatch)
    assert error_of(trajectory.of_checkpoints(folder, cache=cache), walk) < 1e-14
    assert set(map(tuple, rows)) == {(2, 3)}


def test_an_interrupted_pass_continues(model, write, tmp_path):
    walk, cache = model(), tmp_path / "cache.h5"
    folder = write(walk)
    whole = trajectory.of_checkpoints(folder).computed
    calls = iter(range(100))
    with pytest.raises(Interrupted):
        trajectory.of_checkpoints(folder, cache=cache, stop=lambda: next(calls) >= 3)
    rest = trajectory.of_checkpoints(folder, cache=cache)
    assert 0 < rest.computed < whole
    assert error_of(rest, walk) < 1e-14


def test_a_killed_pass_continues(model, write, tmp_path):
    walk, cache = model(12, shapes={f"t{i}": (40, 50) for i in range(30)}), tmp_path / "cache.h5"
    folder = write(walk)
    program = (
        "import time; from dmft.trajectory import of_checkpoints, passes; passes.SAVE_SECONDS = 0;"
        f"of_checkpoints({str(folder)!r}, cache={str(cache)!r}, threads=1,"
        "progress=lambda state: time.sleep(0.05))"
    )
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ)
    while not cache.exists() or len(h5py_pieces(cache)) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    whole = trajectory.of_checkpoints(folder)
    rest = trajectory.of_checkpoints(folder, cache=cache)
    assert 0 < rest.computed < whole.computed
    assert np.array_equal(rest.values, whole.values)


def h5py_pieces(cache: Path) -> list[str]:
    with h5py.File(cache) as file:
        return list(file["sets/0/piece"][()])


def test_a_bad_new_checkpoint_loses_nothing(model, write, tmp_path):
    walk, cache = model(), tmp_path / "cache.h5"
    folder = write(walk)
    trajectory.of_checkpoints(folder, cache=cache)
    bad = {name: values.copy() for name, values in walk[-1].items()}
    bad["layers.1.mlp.weight"][3, 3] = np.nan
    write([bad], first=6)
    with pytest.raises(InputError, match=r"step-60.npz: tensor 'layers.1.mlp.weight' holds NaN"):
        trajectory.of_checkpoints(folder, cache=cache)
    (folder / "step-60.npz").unlink()
    again = trajectory.of_checkpoints(folder, cache=cache)
    assert again.computed == 0
    assert error_of(again, walk) < 1e-14
    assert len(again.checkpoints) == 6


def test_a_cache_of_another_kind_is_refused(model, write, tmp_path):
    cache = tmp_path / "cache.h5"
    with h5py.File(cache, "w") as file:
        file.attrs["schema"] = "dmft-solution"
    with pytest.raises(InputError, match="is no cache of trajectories"):
        trajectory.of_checkpoints(write(model()), cache=cache)
    cache.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="is not an HDF5 file"):
        trajectory.of_checkpoints(write(model()), cache=cache)


def record_rows(monkeypatch):
    """The rows of the Gram matrix that each piece is asked for."""
    seen = []
    original = passes.accumulate

    def accumulate(series, units, fresh, **options):
        seen.extend(fresh(unit.shares[0].piece).tolist() for unit in units)
        return original(series, units, fresh, **options)

    monkeypatch.setattr(passes, "accumulate", accumulate)
    return seen


# ---------------------------------------------------------------------- values, memory


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 2, 5])
def test_what_is_not_finite_is_named(model, write, value, which):
    walk = model()
    walk[which] = {name: values.copy() for name, values in walk[which].items()}
    walk[which]["layers.0.mlp.bias"][7] = value
    with pytest.raises(InputError, match=rf"step-{10 * which}.npz: tensor 'layers.0.mlp.bias'"):
        trajectory.of_checkpoints(write(walk))


def test_too_little_memory_is_said(model, write):
    with pytest.raises(InputError, match="memory: given 0.0001 GB"):
        trajectory.of_checkpoints(write(model(40)), memory=100_000)


def test_progress_knows_the_time_left(model, write):
    states = []
    trajectory.of_checkpoints(write(model()), progress=states.append)
    assert states[-1].done == states[-1].total > 0
    assert states[-1].seconds_left == 0.0
    assert all(state.seconds_left >= 0.0 for state in states)


def test_arrays_in_memory(model):
    walk = model()
    stacked = {name: np.array([arrays[name] for arrays in walk]) for name in SHAPES}
    path = trajectory.of_arrays(stacked, step=np.arange(6) * 3)
    exact = algebra.from_vectors(flat(walk))
    assert np.abs(path.gram - exact).max() < 1e-12 * exact.max()
    assert path.step.tolist() == [0, 3, 6, 9, 12, 15]
    with pytest.raises(InputError, match="given 2 checkpoints, must be 6"):
        trajectory.of_arrays({**stacked, "short": np.ones((2, 3))})


@pytest.mark.parametrize("sketch", [False, True])
def test_memory_does_not_grow_with_the_parameters(tmp_path, monkeypatch, sketch):
    """What a pass allocates, the same files eight times as large: a list of the units more."""
    monkeypatch.setattr(layout, "_UNIT", 2**16)
    monkeypatch.setattr(layout, "_SMALLEST", 1)
    monkeypatch.setattr(projections, "WIDTH", 512)
    monkeypatch.setattr("dmft.trajectory.sketch._READ", 2**12)
    peaks = []
    for size in (800_000, 100_000, 800_000):  # the first also imports and compiles
        folder = tmp_path / f"{len(peaks)}"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for t in range(24):
            values = rng.standard_normal(size).astype(np.float16)
            as_safetensors(folder / f"{t}.safetensors", {"a": values})
        tracemalloc.start()
        trajectory.of_checkpoints(folder, sketch=sketch, threads=1)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 0.03 * 24 * 2 * 700_000  # of the bytes that came in addition
