"""What strangers wrote into names and files is shown, and not obeyed by a terminal."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dmft.cli.main import main
from dmft.store import describe, save
from dmft.sweep.axes import read_axes
from dmft.texts import printable

CLEAR = "\x1b[2Jall fine"


def test_printable():
    assert printable("wide 5 µ±") == "wide 5 µ±"
    assert printable(f"a{CLEAR}\x07\nb\udcff") == "a\\x1b[2Jall fine\\x07\\nb\\udcff"


def test_errors_and_warnings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["info", f"{CLEAR}.h5"]) == 2
    err = capsys.readouterr().err
    assert "\\x1b[2Jall fine.h5" in err and "\x1b" not in err


def test_info(tmp_path, make_solution, capsys):
    path = tmp_path / "out.h5"
    save(path, make_solution())
    with h5py.File(path, "r+") as file:
        for name in ("status", "reason", "host", "command_line", "package_version"):
            file.attrs[name] = f"{CLEAR}\nstatus    done"
        file.create_dataset(f"more{CLEAR}", data=np.ones(2))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and out.count("\nstatus") == 1
    assert "/more\\x1b[2Jall fine  2" in out


def test_many_groups_cost_little(tmp_path, make_solution, monkeypatch):
    """A file may have thousands of them, which hold no numbers: none is opened."""
    path = tmp_path / "out.h5"
    save(path, make_solution())
    with h5py.File(path, "r+") as file:
        for number in range(300):
            file.create_group(f"g/{number}")
    opened = []
    get = h5py.Group.__getitem__

    def counted(self, name):
        opened.append(name)
        return get(self, name)

    monkeypatch.setattr(h5py.Group, "__getitem__", counted)
    with pytest.warns(UserWarning, match="unverified"):
        found = describe(path)
    assert not any(name.startswith("g/") for name in opened)
    assert "/time" in found["datasets"]


def test_axes_by_the_thousand_are_refused():
    from dmft.errors import InputError

    with pytest.raises(InputError, match="more than 256 settings"):
        read_axes({f"a{number}": [1, 2] for number in range(3000)}, None)
