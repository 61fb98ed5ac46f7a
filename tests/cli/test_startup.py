"""The command starts fast, explains itself and knows its version."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dmft.cli.commands
from dmft.cli.commands import COMMANDS
from dmft.cli.main import main

ROOT = Path(__file__).parents[2]


def test_nothing_heavy_is_imported_for_the_help():
    program = (
        "import sys\n"
        "from dmft.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numba', 'matplotlib', 'scipy', 'h5py', 'tqdm', 'xarray'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def test_every_module_with_a_summary_is_a_command_of_its_own_place():
    folder = Path(dmft.cli.commands.__file__).parent
    named = [path.stem for path in folder.glob("*.py") if "\nSUMMARY = " in path.read_text()]
    places = [import_module(f"dmft.cli.{name}").PLACE for name in COMMANDS]
    assert sorted(named) == sorted(COMMANDS) and COMMANDS[0] == "solve"
    assert places == sorted(set(places))


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    stdout = capsys.readouterr().out
    for command in COMMANDS:
        assert command in stdout
    assert "examples:" in stdout and "exit status: 0 done" in stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(capsys, command):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    stdout = capsys.readouterr().out
    assert f"usage: dmft {command}" in stdout and f"  dmft {command}" in stdout


def test_bare_command_prints_its_help(capsys):
    assert main([]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith("usage: dmft") and stderr == ""


@pytest.mark.parametrize("words", ["solve", "sweep plot"])
def test_help_as_a_command(capsys, words):
    with pytest.raises(SystemExit, match="0"):
        main(["help", *words.split()])
    assert f"usage: dmft {words}" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["solve", "simulate", "theory"])
def test_help_says_where_the_settings_are(capsys, command):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    stdout = " ".join(capsys.readouterr().out.split())
    assert "`dmft config`" in stdout and "docs/settings.md" in stdout


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(capsys, shell):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in COMMANDS:
        assert command in script
    assert "--checkpoint-seconds" in script


def test_completion_without_its_extra(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert capsys.readouterr().err == (
        "dmft: error: completion: needs shtab, the extra 'completion': "
        "pip install 'dmft[completion]'\n"
    )


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out.startswith("dmft ")


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "dmft", "--version"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.startswith("dmft ") and done.stderr == ""
