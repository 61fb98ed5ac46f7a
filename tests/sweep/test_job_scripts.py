"""Job scripts run by bash: no name of a folder is anything but a name."""

from __future__ import annotations

import subprocess

import pytest

from dmft.errors import DmftError, InputError
from dmft.sweep import create, open_folder
from dmft.sweep.slurm import Batch, array_script, submit

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


def test_a_line_break_is_refused_by_hand(tmp_path):
    with pytest.raises(InputError, match="line breaks"):
        array_script(folder(tmp_path, "a\ntouch hit"), Batch())


# ---------------------------------------------------------------------- a cluster of scripts

SBATCH = """#!/bin/bash
count=$(ls "$STATE"/job-* 2>/dev/null | wc -l)
cp "$2" "$STATE/job-$((100 + count))"
echo "$((100 + count))"
"""
SQUEUE = """#!/bin/bash
[ -e "$STATE/broken" ] && { echo "slurm_load_jobs error" >&2; exit 1; }
cat "$STATE/queue" 2>/dev/null
exit 0
"""
SCONTROL = """#!/bin/bash
echo "Configuration data as of now"
echo "MaxArraySize            = ${LIMIT:-1001}"
"""


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Commands of Slurm that note what they are asked for."""
    place = tmp_path / "bin"
    place.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scontrol": SCONTROL}.items():
        (place / name).write_text(text, encoding="utf-8")
        (place / name).chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    monkeypatch.setenv("STATE", str(state))
    return state


def grid(tmp_path, count, name="study"):
    text = f"[axes]\nproblem.noise_std = {{linspace = [0.1, 1.0, {count}]}}\n"
    (tmp_path / "g.toml").write_text(text, encoding="utf-8")
    return create(tmp_path / "g.toml", tmp_path / name).path


def array_of(state, job) -> str:
    [line] = [x for x in (state / f"job-{job}").read_text().splitlines() if "--array" in x]
    return line.partition("--array=")[2]


def test_what_waits_in_the_queue_is_not_submitted_again(tmp_path, cluster):
    path = grid(tmp_path, 5)
    assert submit(path, Batch()) == ["100"] and array_of(cluster, 100) == "0-4"
    (cluster / "queue").write_text("100 0\n100 1\n100 2\n100 3\n100 4\n77 9\n")
    with pytest.raises(InputError, match="in the queue already, see: squeue -j 100"):
        submit(path, Batch())
    with pytest.raises(InputError, match="in the queue already"):
        submit(path, Batch(chunk=2))
    # Only the collection is new, and waits for the array of before.
    assert submit(path, Batch(), tmp_path / "all.h5") == ["101"]
    assert "--dependency=afterany:100\n" in (cluster / "job-101").read_text()
    (cluster / "queue").write_text("100 1\n100 3\n")  # the others ended without a result
    assert submit(path, Batch()) == ["102"] and array_of(cluster, 102) == "0,2,4"
    (cluster / "queue").write_text("")
    assert submit(path, Batch()) == ["103"] and array_of(cluster, 103) == "0-4"
    (cluster / "broken").touch()
    with pytest.raises(DmftError, match="squeue .*slurm_load_jobs error"):
        submit(path, Batch())


def test_long_arrays_are_split_at_the_limit_of_the_cluster(tmp_path, cluster, monkeypatch):
    monkeypatch.setenv("LIMIT", "10")
    path = grid(tmp_path, 23)
    assert submit(path, Batch()) == ["100"]  # three points a task
    assert array_of(cluster, 100) == "0-7"
    assert submit(path, Batch(chunk=1, limit=4)) == ["101", "102", "103"]
    assert [array_of(cluster, job) for job in (101, 102, 103)] == ["0-9%4", "0-9%4", "0-2%4"]
    script = (cluster / "job-103").read_text()
    assert '--index "$((SLURM_ARRAY_TASK_ID + 20))"' in script
    (cluster / "queue").write_text("".join(f"101 {task}\n" for task in range(10)) + "103 1\n")
    assert submit(path, Batch(chunk=1)) == ["104", "105"]
    assert [array_of(cluster, job) for job in (104, 105)] == ["0-9", "0,2"]


def test_a_folder_with_a_line_break_gets_its_output_from_the_script(tmp_path, cluster):
    path = grid(tmp_path, 2, "a\n#SBATCH --wrap=touch hit\n'\"%A $(touch hit)")
    assert submit(path, Batch()) == ["100"]
    script = (cluster / "job-100").read_text()
    # sbatch reads options up to the first command; nothing of the name stands before it.
    head = script[: script.index("exec")]
    assert head.endswith("#SBATCH --output=/dev/null\n")
    assert "touch hit" not in head and head.count("#SBATCH") == 6
