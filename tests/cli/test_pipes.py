"""Settings that come through a pipe are all taken; one that nobody writes to makes nobody wait."""

from __future__ import annotations

import os
import threading
import time

import pytest

from dmft.cli.main import main

SYMMETRY = '[model]\nkind = "diagonal"\ndimension = 7\n'


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe.toml"
    os.mkfifo(path)
    return path


@pytest.mark.parametrize(
    ("text", "said"), [("[solver]\nt_max = 7.0\n", "t_max = 7.0"), (SYMMETRY, "dimension = 7")]
)
@pytest.mark.parametrize("late", [0.0, 0.3])
def test_what_comes_through_a_pipe_is_taken(text, said, late, capsys):
    reading, writing = os.pipe()

    def write():
        time.sleep(late)
        os.write(writing, text.encode())
        os.close(writing)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert main(["config", f"/dev/fd/{reading}"]) == 0
    finally:
        writer.join()
        os.close(reading)
    assert f"\n{said}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["config"], ["theory"], ["sweep", "init"], ["sweep", "plan"], ["conservation", "model"],
        ["conservation", "count", "file"], ["symmetry", "find"], ["symmetry", "check"],
        ["trajectory", "map", "-o", "t.h5"], ["trajectory", "inspect"], ["info"], ["resume"],
    ],
)  # fmt: skip
def test_nobody_waits_for_who_never_writes(words, pipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    more = ["new"] if words == ["sweep", "init"] else []
    assert main([*words, str(pipe), *more]) == 2
    err = capsys.readouterr().err
    assert err.startswith("dmft: error: ") and "pipe.toml" in err and err.count("\n") == 1
    assert "is not valid" not in err
    if words[0] in ("config", "theory", "conservation", "symmetry") or words[1:] == ["plan"]:
        assert "pipe.toml: is a pipe that nobody writes to, must be a file of text" in err
