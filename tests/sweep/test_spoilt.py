"""Folders of sweeps that somebody spoilt: what cannot be used is passed over, and told."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from dmft.cli.main import main
from dmft.sweep import create
from dmft.sweep.claims import acquire
from dmft.sweep.folder import Folder

GRID = "[axes]\nproblem.noise_std = [0.1, 0.2]\n"
ODD = [
    b"[" * 10**5, b"[]", b"5", b"null", b'"x"', b"\0", b"\xff\xfe", b"", b"{}",
    b'{"status": 5, "reason": "x"}', b'{"status": "failed"}', b'{"item": [], "event": "done"}',
    b'{"item": "x", "event": "done", "seconds": "x"}', b'{"event": "restarted", "restarts": NaN}',
    b'{"place": 1, "pid": "x", "deaths": {}}', b'{"deaths": [], "mark": 0}', b"[" + b"[]," * 10**6,
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, fake_solve) -> Folder:
    """A sweep of two points, one of them computed."""
    (tmp_path / "grid.toml").write_text(GRID)
    made = create(tmp_path / "grid.toml", tmp_path / "study")
    assert main(["sweep", "run", str(made.path), "--index", "0", "--quiet"]) == 0
    return made


def looked_at(folder: Folder, capsys) -> str:
    """What all commands that look at a sweep say on the way; none of them fails."""
    said = ""
    for words in (["status"], ["collect", "-o", str(folder.path) + ".h5", "--overwrite"]):
        assert main(["sweep", *words, str(folder.path)]) == 0
        out, err = capsys.readouterr()
        said += out + err
    return said


@pytest.mark.parametrize("content", ODD, ids=lambda content: content[:40].decode("latin-1"))
def test_notes_logs_and_claims_of_any_content(folder, capsys, content):
    done, other = sorted(folder.grid.items, key=lambda name: name not in folder.finished())
    for name in (done, other):
        folder.note(name).write_bytes(content)
    (folder.path / "log" / "x.jsonl").write_bytes(content + b"\n")
    (folder.running / f"{other}.claim-0").write_bytes(content)
    os.utime(folder.running / f"{other}.claim-0", (1, 1))
    said = looked_at(folder, capsys)
    assert f"{folder.note(done)}: is damaged, taken for no note" in said
    assert main(["sweep", "retry", str(folder.path)]) == 0
    assert main(["sweep", "run", str(folder.path), "--index", "1"]) == 0
    assert other in folder.finished()


def test_a_note_that_fits_is_told(folder, capsys):
    (name,) = folder.grid.items.keys() - folder.finished()
    folder.note(name).write_text(json.dumps({"status": "failed", "reason": "no luck"}))
    said = looked_at(folder, capsys)
    assert "no luck" in said and "damaged" not in said


@pytest.mark.parametrize("place", ["log/x.jsonl", "notes/{}.json", "running/{}.claim-0"])
def test_pipes_in_place_of_files(folder, capsys, place):
    (name,) = folder.grid.items.keys() - folder.finished()
    os.mkfifo(folder.path / place.format(name))
    looked_at(folder, capsys)


@pytest.mark.parametrize("name", ["results", "running", "notes", "log"])
def test_files_in_place_of_folders(folder, capsys, name):
    shutil.rmtree(folder.path / name)
    (folder.path / name).write_text("")
    for words in (["status"], ["run"], ["retry"], ["collect", "-o", "all.h5"]):
        assert main(["sweep", *words, str(folder.path)]) == 2
        expected = f"dmft: error: {folder.path / name}: must be a folder\n"
        assert capsys.readouterr().err == expected


def test_a_log_that_is_one_endless_line(folder, capsys):
    with (folder.path / "log" / "x.jsonl").open("wb") as file:
        file.truncate(1 << 40)
    looked_at(folder, capsys)


@pytest.mark.parametrize("number", ["9" * 20, "\N{ARABIC-INDIC DIGIT THREE}"])
def test_claims_of_odd_numbers_are_released_at_once(folder, number):
    path = folder.running / f"item.claim-{number}"
    path.write_text("{}")
    os.utime(path, (1, 1))
    claim = acquire(folder.running, "item", folder.unfinished("item"))
    assert claim is not None
    claim.release()
    assert not claim.path.exists()
