"""A flipped bit anywhere in any file is seen, and what other programs do to a file is said."""

from __future__ import annotations

import warnings

import h5py
import numpy as np
import pytest

from dmft.cli.main import main
from dmft.config import Config
from dmft.errors import InputError
from dmft.store import describe, load, load_checkpoint, read_header, save, save_checkpoint
from dmft.store.integrity import TRAILER_BYTES
from dmft.sweep import create, run
from dmft.sweep.collect import collect
from dmft.sweep.collection import load_collection
from dmft.trajectory.cache import Cache
from dmft.trajectory.files import load_report

GRID = """
[base.solver]
t_max = 1.0
n_paths = 64
replicates = 2
rtol = 1e-2
[axes]
problem.noise_std = [0.1, 0.2]
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory, make_solution, make_simulation):
    """One file of every kind, with the functions that read it."""
    folder = tmp_path_factory.mktemp("damage")
    save(folder / "out.h5", make_solution())
    save(folder / "sim.h5", make_simulation())
    state = {"panel": 3, "rng": {"state": 2**100}, "a": np.arange(40.0), "b": None}
    save_checkpoint(folder / "check.h5", Config(), state)
    (folder / "grid.toml").write_text(GRID, encoding="utf-8")
    run(create(folder / "grid.toml", folder / "sweep").path)
    collect(folder / "sweep", folder / "packed.h5", packed=True)
    collect(folder / "sweep", folder / "virtual.h5", packed=False)
    assert main(["trajectory", "map", str(folder / "sim.h5"), "-o", str(folder / "map.h5")]) == 0
    cache = Cache(folder / "cache.h5")
    cache.add(["x", "y"], "piece", np.eye(2))
    cache.save()
    return folder, {
        "out.h5": (load, read_header, describe),
        "sim.h5": (load, read_header, describe),
        "check.h5": (load_checkpoint, read_header, describe),
        "packed.h5": (load_collection, describe),
        "virtual.h5": (load_collection, describe),
        "map.h5": (load_report, describe),
        "cache.h5": (Cache, describe),
    }


def a_copy(files, folder, name):
    """A copy of one of the files, to be changed."""
    path = folder / name
    path.write_bytes((files[0] / name).read_bytes())
    return path


def seen(read, path) -> bool:
    """Whether reading refuses the file in one line, or warns of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            read(path)
        except InputError as error:
            return str(path) in str(error) and "\n" not in str(error)
        return any("unverified" in str(one.message) for one in caught)


@pytest.mark.parametrize("count", [120, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_flipped_bit_is_read_in_silence(files, count, tmp_path):
    folder, readers = files
    rng = np.random.default_rng(count)
    names = list(readers)
    for number in range(count):
        name = names[number % len(names)]
        content = bytearray((folder / name).read_bytes())
        place = int(rng.integers(len(content)))
        content[place] ^= int(rng.integers(1, 256))
        (tmp_path / name).write_bytes(content)
        for read in readers[name]:
            assert seen(read, tmp_path / name), f"{name}: byte {place}, {read.__name__}"
    assert not any(seen(read, folder / name) for name in names for read in readers[name])


def test_a_broken_trailer_is_no_lost_one(files, tmp_path):
    folder, _ = files
    content = (folder / "out.h5").read_bytes()
    for end in (content[:-1], content + b"x", content[:-TRAILER_BYTES] + bytes(TRAILER_BYTES)):
        (tmp_path / "out.h5").write_bytes(end)
        with pytest.raises(InputError, match="checksum"):
            load(tmp_path / "out.h5")


def test_a_checksum_far_behind_the_content_is_not_looked_for(files, tmp_path):
    content = (files[0] / "out.h5").read_bytes()
    with (tmp_path / "out.h5").open("wb") as file:
        file.write(content)
        file.seek(1 << 27)  # a hole, which is not read
        file.write(content[-TRAILER_BYTES:])
    with pytest.raises(InputError, match="its checksum is broken"):
        load(tmp_path / "out.h5")


def test_a_file_changed_in_place_is_unverified(files, tmp_path, capsys):
    path = a_copy(files, tmp_path, "out.h5")
    assert main(["info", str(path), "--verify"]) == 0
    assert "checksum  fits (blake2b-256)" in capsys.readouterr().out
    with h5py.File(path, "a") as file:
        file["note"] = "mine"
    with pytest.warns(UserWarning, match="unverified, the checksum was lost"):
        load(path)
    capsys.readouterr()
    assert main(["info", str(path), "--verify"]) == 0
    out, err = capsys.readouterr()
    assert "checksum  lost" in out and "unverified" in err and err.count("\n") == 1


def test_an_older_file_is_read_without_a_word(files, tmp_path, capsys, recwarn):
    path = a_copy(files, tmp_path, "out.h5")
    with h5py.File(path, "a") as file:
        del file.attrs["digest"]
    load(path)
    assert not recwarn.list
    assert main(["info", str(path), "--verify"]) == 0
    assert "checksum  none, the file is unverified" in capsys.readouterr().out


def test_other_programs_still_open_it(files):
    xarray = pytest.importorskip("xarray")
    folder, _ = files
    with h5py.File(folder / "out.h5") as file:
        assert file["time"].shape == (12,)
    with xarray.open_datatree(folder / "out.h5", engine="h5netcdf") as tree:
        assert tree["time"].shape == (12,)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_curve_that_is_no_number_is_refused(files, tmp_path, bad):
    path = a_copy(files, tmp_path, "out.h5")
    with h5py.File(path, "a") as file:
        file["excess_risk"][3] = bad
    with pytest.raises(InputError, match="/excess_risk holds NaN or infinity"):
        load(path)


def test_a_file_that_is_written_now_is_locked(files, tmp_path):
    path = a_copy(files, tmp_path, "out.h5")
    with (
        h5py.File(path, "a"),
        pytest.raises(InputError, match="is locked, another program is writing it"),
    ):
        load(path)
    assert path.exists()


def test_text_of_fixed_length_as_netcdf4_writes_it(files, tmp_path):
    path = a_copy(files, tmp_path, "out.h5")
    with h5py.File(path, "a") as file:
        for key, value in list(file.attrs.items()):
            file.attrs[key] = np.bytes_(value.encode()) if value else h5py.Empty("S1")
    with pytest.warns(UserWarning, match="unverified"):
        assert load(path) == load(files[0] / "out.h5")


def test_a_gram_matrix_that_is_no_number_is_refused(files, tmp_path):
    path = a_copy(files, tmp_path, "map.h5")
    with h5py.File(path, "a") as file:
        file["blocks/gram"][0, 0, 0] = np.nan
    with pytest.raises(InputError, match="/blocks/gram holds NaN or infinity"):
        load_report(path)


def test_text_with_a_fill_value_as_netcdf4_writes_it(files, tmp_path):
    path = a_copy(files, tmp_path, "packed.h5")
    with h5py.File(path, "a") as file:
        for key, value in list(file.attrs.items()):
            file.attrs[key] = np.bytes_(value.encode()) if value else h5py.Empty("S1")
        for name in ("status", "reason"):
            text = file[name].asstr()[()]
            del file[name]
            file.create_dataset(name, data=text, dtype=h5py.string_dtype(), fillvalue="missing")
    with pytest.warns(UserWarning, match="unverified"):
        assert load_collection(path).status.tolist() == ["done"] * 2


def test_netcdf_may_add_to_every_group(files):
    """It does so only where the order of creation is tracked."""
    folder, readers = files
    for name in readers:
        with h5py.File(folder / name) as file:
            groups = [file["/"]]
            file.visititems(lambda _, item, groups=groups: groups.append(item)
                            if isinstance(item, h5py.Group) else None)  # fmt: skip
            assert all(each.id.get_create_plist().get_link_creation_order() for each in groups)
