"""Files appear whole or not at all, whatever happens on the way."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys

import pytest

from dmft.errors import DmftError, InputError
from dmft.store import check_output, is_locked, load, locked, replacing, save
from tests.helpers import names


def test_refuses_to_overwrite_unless_told(tmp_path, make_solution):
    path = tmp_path / "out.h5"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        save(path, make_solution())
    assert path.read_text() == "precious"
    save(path, make_solution(), overwrite=True)
    assert load(path).status == "done"


def fail_with(code: int):
    def fail(*_args, **_options):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("function", ["os.fsync", "os.replace", "pathlib.Path.write_bytes"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failure_leaves_the_old_file(tmp_path, make_solution, monkeypatch, function, code):
    path = tmp_path / "out.h5"
    path.write_text("old")
    monkeypatch.setattr(function, fail_with(code))
    with pytest.raises(DmftError, match=f"out.h5: could not be written .{os.strerror(code)}"):
        save(path, make_solution(), overwrite=True)
    monkeypatch.undo()
    assert names(tmp_path) == ["out.h5"] and path.read_text() == "old"


@pytest.mark.parametrize("limit", [100, 4000, 20_000])
def test_a_disk_that_fills_up_while_writing(tmp_path, make_solution, limit):
    """A true limit, of the kernel: the HDF5 library itself would crash the process."""
    path = tmp_path / "out.h5"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(DmftError, match="could not be written"):
            save(path, make_solution(nodes=60), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["out.h5"] and path.read_text() == "old"


def test_any_other_failure_cleans_up_too(tmp_path):
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "figure.png") as temporary:
        assert temporary.suffix == ".png" and temporary.parent == tmp_path
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_folder_is_missing_or_no_folder(tmp_path, make_solution):
    with pytest.raises(InputError, match="folder that does not exist"):
        save(tmp_path / "absent" / "out.h5", make_solution())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="folder that does not exist"):
        save(tmp_path / "file" / "out.h5", make_solution())
    with pytest.raises(InputError, match="is a folder"):
        save(tmp_path, make_solution())
    with pytest.raises(InputError, match="is a device"):
        save(os.devnull, make_solution(), overwrite=True)


def test_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="read-only"):
        check_output(tmp_path / "out.h5", overwrite=False)


def test_name_too_long(tmp_path, make_solution):
    with pytest.raises(InputError, match="cannot be written"):
        save(tmp_path / ("x" * 300), make_solution())


def test_a_link_keeps_pointing(tmp_path, make_solution):
    (tmp_path / "real").mkdir()
    link = tmp_path / "out.h5"
    link.symlink_to(tmp_path / "real" / "out.h5")
    save(link, make_solution())
    assert link.is_symlink() and load(tmp_path / "real" / "out.h5").status == "done"


def test_permissions_are_the_usual_ones(tmp_path, make_solution):
    before = os.umask(0o027)
    try:
        save(tmp_path / "out.h5", make_solution())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.h5").stat().st_mode) == 0o640


def test_lock_excludes_and_goes_away(tmp_path):
    path = tmp_path / "out.h5"
    with locked(path):
        assert is_locked(path)
        with pytest.raises(InputError, match=r"out.h5: another process is writing"), locked(path):
            pass
        assert is_locked(path)  # the refused one has not removed it
    assert not is_locked(path) and names(tmp_path) == []


def test_lock_of_a_killed_process_does_not_block(tmp_path):
    path = tmp_path / "out.h5"
    program = (
        "import os, sys, pathlib\n"
        "from dmft.store.locking import locked\n"
        "from dmft.store.output import temporary_name\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "with locked(path):\n"
        "    temporary_name(path.resolve()).write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert killed.returncode == -9
    assert len(names(tmp_path)) == 2  # its lock file and its temporary
    assert not is_locked(path)
    with locked(path):
        assert names(tmp_path) == ["out.h5.lock"]
    assert names(tmp_path) == []


def test_lock_that_cannot_be_created(tmp_path):
    (tmp_path / "out.h5.lock").mkdir()
    with pytest.raises(InputError, match=r"out.h5: cannot be written"), locked(tmp_path / "out.h5"):
        pass


def test_file_system_without_locks(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", fail_with(errno.ENOLCK))
    with locked(tmp_path / "out.h5"):
        assert names(tmp_path) == ["out.h5.lock"]
    assert names(tmp_path) == []
