"""Arrays that were submitted to Slurm, so that nothing is submitted while it waits in the queue."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dmft.errors import DmftError
from dmft.store import replacing
from dmft.sweep.folder import Folder
from dmft.texts import parse_json, read_text

USUAL_LIMIT = 1001  # of the numbers of the tasks of an array, where the cluster says nothing


@dataclass(frozen=True)
class Array:
    """An array job: task k computes the points of part `offset` + k, `chunk` of them."""

    job: str
    chunk: int
    offset: int
    tasks: tuple[int, ...]

    def points(self, tasks: Iterable[int]) -> set[int]:
        """Numbers of the points of some of its tasks."""
        return {
            point
            for task in tasks
            for point in range((self.offset + task) * self.chunk,
                               (self.offset + task + 1) * self.chunk)
        }  # fmt: skip


def remember(folder: Folder, array: Array) -> None:
    """Note an array that was just submitted."""
    known = [asdict(each) for each in _known(folder)]
    path = _path(folder)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps([*known, asdict(array)]) + "\n", encoding="utf-8")


def queued(folder: Folder) -> tuple[set[int], list[str]]:
    """Points that wait or run in arrays submitted before, and the numbers of those jobs.

    Raises
    ------
    DmftError : squeue does not answer, so that nobody knows.
    """
    known = _known(folder)
    if not known:
        return set(), []
    alive: dict[str, set[int]] = {}
    for line in _ask("squeue", "--noheader", "--me", "--array", "--format=%F %K").splitlines():
        job, _, task = line.strip().partition(" ")
        with suppress(ValueError):
            alive.setdefault(job, set()).add(int(task))
    points: set[int] = set()
    jobs = []
    for array in known:
        if array.job in alive:
            points |= array.points(alive[array.job] & set(array.tasks))
            jobs.append(array.job)
    return points, jobs


def array_limit() -> int:
    """How many tasks an array of this cluster may have; their numbers stay below."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", _ask("scontrol", "show", "config"), re.M)
    except DmftError:
        found = None
    return max(1, int(found.group(1))) if found else USUAL_LIMIT


def _known(folder: Folder) -> list[Array]:
    """Arrays that were noted; a file that somebody spoilt is as good as none."""
    try:
        table = parse_json(read_text(_path(folder)))
        return [
            Array(str(each["job"]), int(each["chunk"]), int(each["offset"]),
                  tuple(map(int, each["tasks"]))) for each in table
        ]  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _path(folder: Folder) -> Path:
    return folder.path / "slurm" / "submitted.json"


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DmftError(f"{command[0]} does not answer ({' '.join(str(error).split())})") from None
    if done.returncode != 0:
        raise DmftError(f"{' '.join(command)}: {' '.join(done.stderr.split())}")
    return done.stdout


def ranges(numbers: Sequence[int]) -> str:
    """Increasing numbers as Slurm writes them: 0-3,7,9-10."""
    text: list[str] = []
    start = before = numbers[0]
    for number in [*numbers[1:], None]:
        if number == before + 1:
            before = number
            continue
        text.append(str(start) if start == before else f"{start}-{before}")
        if number is not None:
            start = before = number
    return ",".join(text)
