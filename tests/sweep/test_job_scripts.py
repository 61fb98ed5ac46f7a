"""Job scripts run by bash: no name of a folder is anything but a name."""

from __future__ import annotations

import subprocess

import pytest

from dmft.errors import InputError
from dmft.sweep import create, open_folder
from dmft.sweep.slurm import Batch, array_script

NAMES = ["plain", "with space", "$(touch hit)", "`touch hit`", "it's", 'a"b', "50%A", "a;touch hit"]


def folder(tmp_path, name):
    (tmp_path / "g.toml").write_text("[axes]\nproblem.noise_std = [0.1]\n", encoding="utf-8")
    return open_folder(create(tmp_path / "g.toml", tmp_path / name).path)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_passed_on_and_never_run(tmp_path, name):
    there = folder(tmp_path, name)
    script = array_script(there, Batch())
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@" > "$SEEN"\n', encoding="utf-8")
    srun.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "SEEN": str(tmp_path / "seen"),
        "SLURM_ARRAY_TASK_ID": "0",
    }
    subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, check=True, timeout=30)
    assert str(there.path) in (tmp_path / "seen").read_text().splitlines()
    assert not (tmp_path / "hit").exists()
    [line] = [line for line in script.splitlines() if line.startswith("#SBATCH --output=")]
    assert line.removeprefix("#SBATCH --output=").startswith('"')
    assert line.count("%") == 2 + 2 * name.count("%")


def test_a_line_break_is_refused(tmp_path):
    with pytest.raises(InputError, match="line breaks"):
        array_script(folder(tmp_path, "a\ntouch hit"), Batch())
