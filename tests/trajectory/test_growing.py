"""A growing folder: files laid out alike, rows kept beside the cache; and what breaks them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory import algebra, columns, sketch
from dmft.trajectory.readers.descriptors import kept_open
from dmft.trajectory.readers.moved import Moved
from dmft.trajectory.readers.tensor import Tensor
from dmft.trajectory.series import open_series
from tests.trajectory.conftest import as_safetensors, flat


@pytest.fixture
def run(model, tmp_path):
    """Checkpoints step0 ... step4 in float32, of one layout."""
    folder = tmp_path / "run"
    folder.mkdir()
    walk = [{n: a.astype(np.float32) for n, a in arrays.items()} for arrays in model(5)]
    for t, arrays in enumerate(walk):
        as_safetensors(folder / f"step{t}.safetensors", arrays)
    return folder, walk


def gram_of(walk):
    return algebra.from_vectors(flat(walk).astype(np.float64))


def test_one_table_serves_files_of_one_layout(run):
    folder, walk = run
    series = open_series(folder, exclude=["scale"])
    assert all(isinstance(row, Moved) for row in series.rows[1:])
    for t, row in enumerate(series.rows):
        (alone,) = open_series([series.checkpoints[t].files[0]] * 2, steps="order").rows[:1]
        assert {name: row[name] for name in row} == {n: alone[n] for n in alone if n != "scale"}
    found = trajectory.of_checkpoints(folder).trajectory().gram
    assert np.abs(found - gram_of(walk)).max() < 1e-12 * np.abs(found).max()


def test_another_order_of_tensors_is_another_layout(run):
    """Only the offsets in the header differ; the file is as long as the others."""
    folder, walk = run
    names = list(walk[2])
    names[2], names[5] = names[5], names[2]  # of one shape
    as_safetensors(folder / "step2.safetensors", {name: walk[2][name] for name in names})
    series = open_series(folder)
    assert [isinstance(row, Moved) for row in series.rows] == [False, True, False, True, True]
    for options in ({}, {"sketch": True}):
        found = trajectory.of_checkpoints(folder, **options).trajectory().gram
        assert np.abs(found - gram_of(walk)).max() < 1e-12 * np.abs(found).max()


@pytest.mark.parametrize("place", [0, 3])
def test_the_same_header_before_fewer_numbers(run, place):
    folder, _ = run
    file = folder / f"step{place}.safetensors"
    os.truncate(file, file.stat().st_size - 100)
    with pytest.raises(InputError, match=rf"step{place}.safetensors: is truncated"):
        open_series(folder)


def test_files_replaced_between_two_calls(run):
    folder, walk = run
    trajectory.of_checkpoints(folder)
    names = list(walk[0])[::-1]
    for t, arrays in enumerate(walk):
        as_safetensors(folder / f"step{t}.safetensors", {name: arrays[name] for name in names})
    found = trajectory.of_checkpoints(folder, sketch=True).trajectory().gram
    assert np.abs(found - gram_of(walk)).max() < 1e-12 * np.abs(found).max()


def test_a_file_cut_while_it_is_read(run, monkeypatch):
    folder, _ = run
    monkeypatch.setattr(sketch, "_READ", 300)
    read = Tensor.read

    def cutting(tensor, *rest):
        if tensor.path.name == "step3.safetensors" and tensor.name.endswith("mlp.weight"):
            os.truncate(tensor.path, 4000)
        return read(tensor, *rest)

    monkeypatch.setattr(Tensor, "read", cutting)
    with pytest.raises(InputError, match=r"step3.safetensors: ends inside tensor"):
        trajectory.of_checkpoints(folder, sketch=True)


def grown(folder, walk, cache, count):
    """Projections of the first checkpoints, and whether the cache itself was written."""
    files = [folder / f"step{t}.safetensors" for t in range(count)]
    before = cache.stat().st_ino if cache.exists() else None
    found = trajectory.of_checkpoints(files, sketch=True, cache=cache)
    gram = found.trajectory().gram
    assert np.abs(gram - gram_of(walk[:count])).max() < 1e-12 * np.abs(gram).max()
    return found.computed, cache.stat().st_ino != before


def test_few_rows_are_kept_beside_the_cache(model, tmp_path):
    walk = [{"a": arrays["embed.weight"]} for arrays in model(36)]
    for t, arrays in enumerate(walk):
        as_safetensors(tmp_path / f"step{t}.safetensors", arrays)
    cache, more = tmp_path / "c.h5", tmp_path / "c.h5.more"
    size = walk[0]["a"].nbytes
    assert grown(tmp_path, walk, cache, 32) == (32 * size, True)
    for count in (33, 34):
        assert grown(tmp_path, walk, cache, count) == (size, False)
        assert more.exists()
        assert grown(tmp_path, walk, cache, count) == (0, False)
    old = cache.read_bytes(), more.read_bytes()
    assert grown(tmp_path, walk, cache, 35) == (size, True)  # 3 of 32 are many
    assert not more.exists()
    # Killed before the rows beside were deleted, or while they were written.
    more.write_bytes(old[1])
    (tmp_path / ".c.h5.more.0a1b2c3d.tmp.more").write_bytes(b"half")
    assert grown(tmp_path, walk, cache, 36) == (size, False)
    cache.write_bytes(old[0])  # killed before the cache was replaced
    more.write_bytes(old[1])
    assert grown(tmp_path, walk, cache, 34) == (0, False)
    more.write_bytes(old[1][:-1])
    with pytest.raises(InputError, match=r"c.h5.more: "):
        grown(tmp_path, walk, cache, 34)
    more.write_bytes(old[1])
    cache.unlink()
    assert grown(tmp_path, walk, cache, 34) == (32 * size, True)
    assert not list(tmp_path.glob("*.more")) + list(tmp_path.glob(".*.more"))
    cache.unlink()
    more.write_bytes(b"of somebody else")
    with pytest.raises(InputError, match=r"c.h5.more: "):
        grown(tmp_path, walk, cache, 34)
    assert more.read_bytes() == b"of somebody else"


def test_halves_in_double_precision_are_those_of_numpy():
    """All 65536 of them, and differences; what is no number stays none."""
    bits = np.arange(2**16, dtype=np.uint16)
    tensors = [Tensor(None, "a", bits.shape, "float16", 0)] * 2
    with np.errstate(invalid="ignore"):
        for chosen in (bits, bits[bits & 0x7C00 != 0x7C00]):
            other = np.random.default_rng(0).permutation(chosen)
            raw = np.stack([chosen, other])
            rows = raw.view(np.float16)
            want = rows.astype(np.float64)
            want[1] -= want[0].copy()
            known = np.isfinite(want)
            for compiled in (False, True):
                found = np.empty(want.shape)
                tables = columns.columns_of(tensors, list(rows), raw.view(np.uint8), compiled)
                tables.differences(0, found)
                assert np.array_equal(found[known], want[known])
                assert not np.isfinite(found[~known]).any()
                if not compiled:
                    assert np.array_equal(found, want, equal_nan=True)
    assert known.all() and np.signbit(found[0]).sum() == len(found[0]) // 2


def test_files_kept_open_by_several_workers_are_counted_together(run, monkeypatch):
    """Each holds a window of files; beyond half of what the system allows none are kept."""
    folder, _ = run
    files = sorted(folder.iterdir())
    monkeypatch.setattr(os, "sysconf", {"SC_OPEN_MAX": 16}.__getitem__)
    with kept_open(files) as first, kept_open(files[:3]) as second, kept_open(files[:1]) as third:
        assert (len(first), len(second), len(third)) == (5, 3, 0)
    with kept_open([*files, folder / "lost"]) as again:
        assert len(again) == 5
