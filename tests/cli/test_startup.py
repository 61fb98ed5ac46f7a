"""The command starts fast, explains itself and knows its version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dmft.cli.main import COMMANDS, main

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
