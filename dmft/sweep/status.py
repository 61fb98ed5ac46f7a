"""How far a sweep is: counts, time left, failures; and what it costs before it begins."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmft.sweep.claims import active
from dmft.sweep.folder import Folder, open_folder
from dmft.sweep.grid import Grid
from dmft.sweep.tasks import TASKS, Item
from dmft.sweep.worker import FAILED, NOT_CONVERGED, RESTARTED

_MEASURED = ("done", "not-converged")


@dataclass(frozen=True)
class TaskCount:
    """Items of one task; `running` and `interrupted` are part of `pending`."""

    total: int
    done: int
    failed: int
    pending: int
    running: int
    interrupted: int
    not_converged: int
    seconds: float | None
    seconds_left: float


@dataclass(frozen=True)
class Status:
    """How far a sweep is.

    points = done + failed + pending: a point is done when all of its items are, failed when one of
    them is. `done` includes the `not_converged`, whose results are there; `pending` includes the
    `running`.

    failures, warnings : (coordinates, item, reason) of items that failed, or did not converge.
    seconds_left : of the items that are left, over the items running now (one if there are none),
        from the times measured so far or, before any, from a rough formula.
    unused : results of former grids, kept.
    requeued : how often Slurm has put jobs back into the queue, over all jobs.
    """

    folder: str
    points: int
    done: int
    failed: int
    pending: int
    running: int
    not_converged: int
    seconds_left: float
    measured: bool
    unused: int
    requeued: int
    tasks: dict[str, TaskCount]
    failures: tuple[tuple[str, str, str], ...]
    warnings: tuple[tuple[str, str, str], ...]
    workers: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready tables."""
        names = ("point", "item", "reason")
        table = {key: value for key, value in vars(self).items() if key != "tasks"}
        table["tasks"] = {task: vars(count) for task, count in self.tasks.items()}
        for key in ("failures", "warnings"):
            table[key] = [dict(zip(names, entry, strict=True)) for entry in table[key]]
        return table


def status(path: str | Path) -> Status:
    """Look at the names of the files of a sweep; no result is opened.

    Raises
    ------
    InputError : no sweep, a bad grid, a changed base.
    """
    folder = open_folder(path)
    grid = folder.grid
    finished, noted = folder.finished(), folder.noted()
    notes = {name: folder.read_note(name) for name in noted if name in grid.items}
    running = active(folder.running)
    states = {name: _state(name, finished, notes) for name in grid.items}
    points = [_point_state([states[item.name] for item in point.items]) for point in grid.points]
    left = [item for name, item in grid.items.items() if states[name] == "pending"]
    costs, measured = costs_of(folder, left)
    seconds_left = sum(costs.values()) / max(1, len(running.keys() & grid.items.keys()))
    return Status(
        folder=str(folder.path),
        points=len(points),
        done=points.count("done"),
        failed=points.count("failed"),
        pending=points.count("pending"),
        running=sum(any(item.name in running for item in point.items) for point in grid.points),
        not_converged=sum(
            any(notes.get(item.name, {}).get("status") == NOT_CONVERGED for item in point.items)
            for point in grid.points
        ),
        seconds_left=seconds_left,
        measured=measured,
        unused=len(finished - grid.items.keys()),
        requeued=_requeues(folder),
        tasks=_task_counts(folder, grid, states, notes, running, costs),
        failures=_reasons(grid, notes, FAILED),
        warnings=_reasons(grid, notes, NOT_CONVERGED),
        workers=tuple(
            f"{owner.get('host', '?')}, process {owner.get('pid', '?')}: {name}"
            for name, owner in sorted(running.items())
        ),
    )


def plan(grid: Grid, folder: Folder | None = None) -> tuple[int, int, float, bool]:
    """Items in all, items left, their estimated seconds on one core, whether that is measured."""
    finished = folder.finished() if folder else set()
    left = [item for name, item in grid.items.items() if name not in finished]
    costs, measured = costs_of(folder, left)
    return len(grid.items), len(left), sum(costs.values()), measured


def costs_of(folder: Folder | None, items: list[Item]) -> tuple[dict[str, float], bool]:
    """Estimated seconds of each item: a formula, scaled to what was measured in this folder."""
    rough = {item.name: TASKS[item.task].seconds(item.config) for item in items}
    scales: dict[str, float] = {}
    if folder is not None:
        scales = _scales(folder)
    costs = {item.name: rough[item.name] * scales.get(item.task, 1.0) for item in items}
    return costs, bool(scales) and {item.task for item in items} <= scales.keys()


def _scales(folder: Folder) -> dict[str, float]:
    """Measured over estimated time, by task."""
    measured: dict[str, float] = defaultdict(float)
    estimated: dict[str, float] = defaultdict(float)
    items = folder.grid.items
    for event in folder.events():
        item = items.get(event.get("item", ""))
        if item is not None and event.get("event") in _MEASURED:
            measured[item.task] += event.get("seconds", 0.0)
            estimated[item.task] += TASKS[item.task].seconds(item.config)
    return {task: measured[task] / estimated[task] for task in measured if measured[task] > 0.0}


def _requeues(folder: Folder) -> int:
    """Restarts of every job, summed."""
    most: dict[str, int] = defaultdict(int)
    for event in folder.events():
        if event.get("event") == RESTARTED:
            job = str(event.get("job"))
            most[job] = max(most[job], int(event.get("restarts", 0)))
    return sum(most.values())


def _state(name: str, finished: set[str], notes: dict[str, dict[str, Any]]) -> str:
    if name in finished:
        return "done"
    return "failed" if notes.get(name, {}).get("status") == FAILED else "pending"


def _point_state(states: list[str]) -> str:
    if "failed" in states:
        return "failed"
    return "pending" if "pending" in states else "done"


def _task_counts(
    folder: Folder,
    grid: Grid,
    states: dict[str, str],
    notes: dict[str, dict[str, Any]],
    running: dict[str, dict[str, Any]],
    costs: dict[str, float],
) -> dict[str, TaskCount]:
    checkpoints = {path.stem for path in folder.running.glob("*.h5")}
    counts = {}
    for task in grid.tasks:
        names = [name for name, item in grid.items.items() if item.task == task]
        pending = [name for name in names if states[name] == "pending"]
        seconds = sum(costs[name] for name in pending)
        counts[task] = TaskCount(
            total=len(names),
            done=sum(states[name] == "done" for name in names),
            failed=sum(states[name] == "failed" for name in names),
            pending=len(pending),
            running=sum(name in running for name in pending),
            interrupted=sum(name in checkpoints and name not in running for name in pending),
            not_converged=sum(notes.get(name, {}).get("status") == NOT_CONVERGED for name in names),
            seconds=seconds / len(pending) if pending else None,
            seconds_left=seconds,
        )
    return counts


def _reasons(
    grid: Grid, notes: dict[str, dict[str, Any]], wanted: str
) -> tuple[tuple[str, str, str], ...]:
    found = []
    for point in grid.points:
        for item in point.items:
            note = notes.get(item.name, {})
            if note.get("status") == wanted:
                found.append((point.label, item.name, note.get("reason", "")))
    return tuple(found)


def retry(path: str | Path) -> tuple[str, ...]:
    """Make failed items pending again; their errors stay in the log. Returns their names.

    Raises
    ------
    InputError : no sweep, or a bad grid.
    """
    folder = open_folder(path)
    names = []
    for name in sorted(folder.noted() & folder.grid.items.keys()):
        note = folder.read_note(name)
        if note.get("status") == FAILED:
            folder.log({"item": name, "event": "retry", "reason": note.get("reason", "")})
            folder.note(name).unlink(missing_ok=True)
            names.append(name)
    return tuple(names)
