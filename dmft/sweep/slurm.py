"""Sweeps on a Slurm cluster: an array job whose tasks each compute a part of the points.

The tasks need nothing but the folder, on a file system that all nodes see. They are requeued when
they are preempted or reach their time limit, and go on where they stopped.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dmft.errors import DmftError, InputError
from dmft.store import locked
from dmft.sweep.driver import run
from dmft.sweep.folder import Folder, open_folder
from dmft.sweep.submitted import USUAL_LIMIT, Array, array_limit, queued, ranges, remember

MOST_TASKS = 1000  # of one array, by default
_PATTERNS = {
    "${SLURM_ARRAY_JOB_ID}": "%A", "${SLURM_ARRAY_TASK_ID}": "%a", "${SLURM_JOB_ID}": "%j",
}  # fmt: skip

# Under srun, because Slurm signals a preemption to the steps of a job, not to its script.
_SCRIPT = """\
#!/usr/bin/env bash
{options}
{setup}
srun --ntasks=1 --cpus-per-task="${{SLURM_CPUS_PER_TASK:-1}}" \\
    {command} &
step=$!
# A signal that comes to this script alone goes on to the program, which saves and exits with 130.
trap 'kill -USR1 "$step" 2>/dev/null' TERM USR1
wait "$step"
status=$?
while kill -0 "$step" 2>/dev/null; do # the wait was cut short by a signal
    wait "$step"
    status=$?
done
if [ "$status" -eq 130 ]; then
    scontrol requeue "$SLURM_JOB_ID" && sleep 60 # until Slurm ends this run of the job
fi
exit "$status"
"""


@dataclass(frozen=True)
class Batch:
    """How an array job is submitted.

    chunk : points of a task; by default as few as `MOST_TASKS` allow.
    limit : of tasks that run at the same time.
    options : further options of sbatch, such as "--time=01:00:00".
    setup : lines of shell before the program, such as "module load python".
    run_options : further options of `dmft sweep run`.
    """

    chunk: int | None = None
    limit: int | None = None
    options: Sequence[str] = ()
    setup: Sequence[str] = ()
    run_options: Sequence[str] = ()


def parts_left(
    folder: Folder, chunk: int | None, most: int = MOST_TASKS, waiting: Collection[int] = ()
) -> tuple[int, list[int]]:
    """Points of a part, and the numbers of the parts that have unfinished points.

    Parameters
    ----------
    chunk : points of a part; by default as few as make at most `most` parts.
    waiting : points that somebody else will compute.
    """
    points = folder.grid.points
    chunk = chunk or -(-len(points) // most)
    finished = folder.finished()
    left = [
        point.index // chunk
        for point in points
        if point.index not in waiting and any(item.name not in finished for item in point.items)
    ]
    return chunk, sorted(set(left))


def array_script(folder: Folder, batch: Batch) -> str:
    """The batch script of the parts that are left, for submission by hand.

    Raises
    ------
    InputError : nothing is left to compute, or more than one array can hold; a line break in the
        name of the folder, which no line of a job script can hold.
    """
    chunk, parts = parts_left(folder, batch.chunk)
    if not parts:
        raise InputError("nothing is left to compute", str(folder.path))
    if parts[-1] >= USUAL_LIMIT:
        least = -(-len(folder.grid.points) // MOST_TASKS)
        raise InputError(
            f"given {chunk}, which makes more tasks than an array holds, must be at least {least}; "
            "or submit with --executor slurm, which takes several arrays",
            "--chunk",
        )
    place = str(folder.path.resolve())
    if not place.isprintable():
        raise InputError(
            f"given {place!r}, a job script needs a folder without line breaks and other control "
            "characters in its name; --executor slurm works with any"
        )
    return _array_script(folder, batch, Array("", chunk, 0, tuple(parts)))


def submit(folder: str | Path, batch: Batch, collect: Path | None = None) -> list[str]:
    """Submit the array and, if asked for, a job that collects when it has ended.

    What waits or runs in arrays submitted before is not submitted again. More parts than an array
    of this cluster may have go into several.

    Returns
    -------
    The numbers of the jobs.

    Raises
    ------
    InputError : no sweep, nothing left to compute or to submit, no sbatch on this machine.
    DmftError : sbatch refused the job, or squeue does not answer.
    """
    there = open_folder(folder)
    if shutil.which("sbatch") is None:
        raise InputError("sbatch was not found, this is no machine with Slurm", "--executor slurm")
    scripts = there.path / "slurm"
    scripts.mkdir(exist_ok=True)
    with locked(scripts / "submitted.json"):
        jobs, before = _submit_arrays(there, batch, waited_for=collect is not None)
    if collect is not None:
        output, lines = _log_options(there, "${SLURM_JOB_ID}.out")
        options = [
            f"--job-name=collect-{_job_name(there)}",
            output,
            "--open-mode=append",
            # Not afterok: what failed should be visible in the collection.
            f"--dependency=afterany:{':'.join([*before, *jobs])}",
        ]
        command = [
            sys.executable, "-m", "dmft", "sweep", "collect", str(there.path.resolve()),
            "-o", str(collect.resolve()), "--overwrite",
        ]  # fmt: skip
        script = scripts / "collect.sbatch"
        _write(script, _script(options, [*lines, *batch.setup], shlex.join(command)))
        jobs.append(_sbatch(script))
    return jobs


def _submit_arrays(there: Folder, batch: Batch, *, waited_for: bool) -> tuple[list[str], list[str]]:
    """Submit what nobody computes; numbers of the new jobs, and of those queued before."""
    limit = array_limit()
    waiting, before = queued(there)
    chunk, parts = parts_left(there, batch.chunk, min(MOST_TASKS, limit), waiting)
    if not parts and not before:
        raise InputError("nothing is left to compute", str(there.path))
    if not parts and not waited_for:
        raise InputError(
            f"all that is left is in the queue already, see: squeue -j {','.join(before)}",
            str(there.path),
        )
    jobs = []
    for offset in range(0, max(parts, default=-1) + 1, limit):
        tasks = tuple(part - offset for part in parts if offset <= part < offset + limit)
        if tasks:
            array = Array("", chunk, offset, tasks)
            script = there.path / "slurm" / (f"run-{offset}.sbatch" if offset else "run.sbatch")
            _write(script, _array_script(there, batch, array))
            jobs.append(_sbatch(script))
            remember(there, replace(array, job=jobs[-1]))
    return jobs, before


def _array_script(folder: Folder, batch: Batch, array: Array) -> str:
    limit = f"%{batch.limit}" if batch.limit else ""
    output, lines = _log_options(folder, "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}.out")
    options = [
        f"--job-name=sweep-{_job_name(folder)}",
        f"--array={ranges(array.tasks)}{limit}",
        "--requeue",
        "--open-mode=append",
        "--signal=B:USR1@120",
        output,
        *batch.options,
    ]
    command = [
        sys.executable, "-m", "dmft", "sweep", "run", str(folder.path.resolve()),
        "--chunk", str(array.chunk), *batch.run_options,
    ]  # fmt: skip
    number = "$SLURM_ARRAY_TASK_ID"
    if array.offset:
        number = f"$((SLURM_ARRAY_TASK_ID + {array.offset}))"
    line = f'{shlex.join(command)} --index "{number}"'
    setup = [*lines, *batch.setup]
    return _script(options, setup, f'{line} --threads "${{SLURM_CPUS_PER_TASK:-1}}"')


def submit_with_submitit(
    folder: str | Path, batch: Batch, cluster: str | None = None, **parameters: Any
) -> list[Any]:
    """Submit the parts as an array of submitit jobs, which requeue themselves.

    Parameters
    ----------
    cluster : "slurm", or "local" for processes on this machine; None takes what is there.
    parameters : of `submitit.AutoExecutor.update_parameters`, such as timeout_min=60.

    Raises
    ------
    InputError : submitit is not installed, nothing is left to compute.
    """
    try:
        import submitit
    except ImportError:
        raise InputError("needs submitit: pip install 'dmft[submitit]'", "--executor") from None
    there = open_folder(folder)
    chunk, parts = parts_left(there, batch.chunk)
    if not parts:
        raise InputError("nothing is left to compute", str(there.path))
    executor = submitit.AutoExecutor(folder=there.path / "slurm" / "submitit", cluster=cluster)
    if batch.limit:
        parameters["slurm_array_parallelism"] = batch.limit
    if batch.setup:
        parameters["slurm_setup"] = list(batch.setup)
    if batch.options:
        pairs = (option.lstrip("-").partition("=") for option in batch.options)
        parameters["slurm_additional_parameters"] = {
            key.replace("-", "_"): value or True for key, _, value in pairs
        }
    executor.update_parameters(name=f"sweep-{_job_name(there)}", **parameters)
    ranges = [(part * chunk, (part + 1) * chunk) for part in parts]
    return executor.map_array(Part(str(there.path.resolve())), *zip(*ranges, strict=True))


class Part:
    """A part of the points as a job of submitit."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __call__(self, first: int, end: int) -> dict[str, int]:
        """Compute points `first` to `end` - 1."""
        return run(self.folder, indices=range(first, end)).computed

    def checkpoint(self, first: int, end: int) -> Any:
        """What submitit runs after a preemption: the same; the folder holds the checkpoints."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, first, end)


def _sbatch(script: Path) -> str:
    command = ["sbatch", "--parsable", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DmftError(f"sbatch {script}: {' '.join(done.stderr.split())}")
    return done.stdout.strip().partition(";")[0]


def _write(path: Path, script: str) -> None:
    """Names of folders need not be UTF-8; in a script they stand byte by byte."""
    path.write_text(script, encoding="utf-8", errors="surrogateescape")


def _script(options: Sequence[str], setup: Sequence[str], command: str) -> str:
    lines = "\n".join(f"#SBATCH {option}" for option in options)
    return _SCRIPT.format(options=lines, setup="\n".join(setup), command=command)


def _log_options(folder: Folder, name: str) -> tuple[str, list[str]]:
    """Where the output goes: an option of sbatch and, for some folders, a line of shell.

    Parameters
    ----------
    name : of the file, with variables of Slurm in braces.

    sbatch reads the option in quotes, with % doubled. No option can hold a line break, and beside a
    backslash Slurm puts in no number of a job: then the script itself sends its output there.
    """
    place = str(folder.path.resolve() / "slurm")
    if not place.isprintable() or "\\" in place:
        return "--output=/dev/null", [f'exec >> {shlex.quote(place)}/"{name}" 2>&1']
    for variable, pattern in _PATTERNS.items():
        name = name.replace(variable, pattern)
    place = place.replace('"', '\\"').replace("%", "%%")
    return f'--output="{place}/{name}"', []


def _job_name(folder: Folder) -> str:
    return re.sub(r"[^\w.-]", "-", folder.path.resolve().name)
