"""The life of one item in one process: claimed, computed, put in place, released."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmft.errors import DmftError, InputError, Interrupted, NotConverged
from dmft.store import locked
from dmft.store.output import one_line
from dmft.sweep.claims import STALE_SECONDS, Claim, claimed
from dmft.sweep.folder import Folder
from dmft.sweep.tasks import TASKS, Context, Item

_MOST_DEATHS = 5  # of processes in a row at one item, between two of its checkpoints

DONE, NOT_CONVERGED, FAILED = "done", "not-converged", "failed"
INTERRUPTED, BUSY, BLOCKED, STORAGE = "interrupted", "busy", "blocked", "storage"
RESTARTED = "restarted"  # in the log: the job was requeued


@dataclass(frozen=True)
class Settings:
    """How items are computed.

    threads : for each.
    retries : how often an item is tried again after an error that may pass.
    checkpoint_seconds : wall-clock time between checkpoints.
    stale_seconds : age at which the claim of a process on another host counts as abandoned.
    """

    threads: int = 1
    retries: int = 1
    checkpoint_seconds: float = 60.0
    stale_seconds: float = STALE_SECONDS


@dataclass(frozen=True)
class Outcome:
    """What became of an item.

    state : "done", "not-converged" or "failed" are final. "interrupted": stopped on request, the
        checkpoint is saved. "busy": another process has it. "blocked": a result that it needs is
        not there. "storage": nothing can be written, which is not the fault of the item.
    """

    name: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Work:
    """An item to be computed, as it is sent to another process.

    stop_file : a file whose appearance asks to stop, on every host that sees the folder.
    """

    folder: Path
    item: Item
    settings: Settings = Settings()
    stop_file: Path | None = None
    command_line: str = "dmft sweep run"


def compute(work: Work, stop: Callable[[], bool] = lambda: False) -> Outcome:
    """Compute an item, unless it is finished or another process has it.

    Returns instead of raising, whatever happens to the item.

    Parameters
    ----------
    stop : polled, beside the stop file; a computation then saves and comes back "interrupted".
    """

    def stopping() -> bool:
        return stop() or (work.stop_file is not None and work.stop_file.exists())

    folder, item = Folder(work.folder), work.item
    try:
        found = _known(folder, item)
        if found is None and stopping():
            return Outcome(item.name, INTERRUPTED)
        if found is not None:
            return found
        stale = work.settings.stale_seconds
        progress = folder.unfinished(item.name)
        with claimed(folder.running, item.name, progress, stale_seconds=stale) as claim:
            if claim is None:
                return Outcome(item.name, BUSY)
            found = _known(folder, item)  # may have come between the look and the claim
            return found or _compute_claimed(folder, work, claim, stopping)
    except OSError as error:
        return Outcome(item.name, STORAGE, f"{folder.path}: {one_line(error)}")


def _known(folder: Folder, item: Item) -> Outcome | None:
    note = folder.read_note(item.name)
    if folder.result(item.name).exists():
        state = NOT_CONVERGED if note.get("status") == NOT_CONVERGED else DONE
        return Outcome(item.name, state, note.get("reason", ""))
    if note.get("status") == FAILED:
        return Outcome(item.name, FAILED, note["reason"])
    for needed in item.needs:
        if not folder.result(needed).exists():
            if folder.read_note(needed).get("status") == FAILED:
                return Outcome(item.name, BLOCKED, f"needs {needed}, which failed")
            return Outcome(item.name, BLOCKED, f"needs {needed}")
    return None


def _compute_claimed(folder: Folder, work: Work, claim: Claim, stop: Callable[[], bool]) -> Outcome:
    item = work.item
    if claim.deaths >= _MOST_DEATHS:
        reason = f"{claim.deaths} processes died while computing it (killed, out of memory?)"
        return _failed(folder, item, reason, [])
    _log_restart(folder, item)
    errors: list[dict[str, Any]] = []
    while True:
        watch = _Stopwatch()
        try:
            # The lock also removes what a killed process left half-written.
            with locked(folder.unfinished(item.name)):
                state, reason = _attempt(folder, work, stop)
                if claim.lost():
                    return Outcome(item.name, BUSY)
                _publish(folder, item, state, reason)
            _log(folder, item, state, watch)
            return Outcome(item.name, state, reason)
        except Interrupted:
            _log(folder, item, INTERRUPTED, watch)
            return Outcome(item.name, INTERRUPTED)
        except Exception as error:
            if _is_storage(error):
                return Outcome(item.name, STORAGE, one_line(error))
            reason = f"{type(error).__name__}: {one_line(error)}"
            if isinstance(error, DmftError):
                reason = one_line(error)
            errors.append({"reason": reason, "traceback": traceback.format_exc()})
            _log(folder, item, "error", watch, **errors[-1])
            # An error of the input, or of the method, comes back for certain.
            certain = isinstance(error, InputError | NotConverged)
            if certain or len(errors) > work.settings.retries:
                return _failed(folder, item, reason, errors)


def _attempt(folder: Folder, work: Work, stop: Callable[[], bool]) -> tuple[str, str]:
    """Compute into the folder of unfinished items; a complete file may be there already."""
    from dmft.store import read_header
    from dmft.store.schema import RUNNING

    item, path = work.item, folder.unfinished(work.item.name)
    if path.exists():
        try:
            header = read_header(path)
        except InputError:
            path.unlink()  # damaged: start again
        else:
            if header.status != RUNNING:
                return header.status, header.reason
    inputs = {
        task: folder.result(name)
        for task, name in zip(TASKS[item.task].needs, item.needs, strict=True)
    }
    context = Context(
        threads=work.settings.threads,
        stop=stop,
        checkpoint_seconds=work.settings.checkpoint_seconds,
        command_line=work.command_line,
        inputs=inputs,
    )
    return TASKS[item.task].compute(item.config, path, context)


def _publish(folder: Folder, item: Item, state: str, reason: str) -> None:
    """Put a complete result in its place; the note first, so that it is never without."""
    if state == NOT_CONVERGED:
        folder.write_note(item.name, {"status": state, "reason": reason, "errors": []})
    os.replace(folder.unfinished(item.name), folder.result(item.name))


def _failed(folder: Folder, item: Item, reason: str, errors: list[dict[str, Any]]) -> Outcome:
    note = {"status": FAILED, "reason": reason, "errors": errors}
    try:
        folder.write_note(item.name, note)
    except DmftError as error:
        return Outcome(item.name, STORAGE, one_line(error))
    _log(folder, item, FAILED, _Stopwatch(), reason=reason)
    return Outcome(item.name, FAILED, reason)


def _is_storage(error: Exception) -> bool:
    """Whether writing failed: the store raises plain DmftError for that."""
    return type(error) is DmftError or isinstance(error, OSError)


def _log_restart(folder: Folder, item: Item) -> None:
    """Note how often Slurm has put the job of this process back into the queue."""
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    if restarts.isdecimal() and int(restarts) > 0:
        names = ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID")
        job = "_".join(os.environ[name] for name in names if name in os.environ)
        event = {"item": item.name, "event": RESTARTED, "restarts": int(restarts)}
        folder.log({**event, "job": job or os.environ.get("SLURM_JOB_ID", "")})


def _log(folder: Folder, item: Item, event: str, spent: _Stopwatch, **more: Any) -> None:
    folder.log({"item": item.name, "event": event, **spent.read(), **more})


class _Stopwatch:
    """Wall-clock time and CPU time of this process since it was made."""

    def __init__(self) -> None:
        self._start = time.monotonic(), time.process_time()

    def read(self) -> dict[str, float]:
        """Both in seconds."""
        wall, cpu = self._start
        return {
            "seconds": round(time.monotonic() - wall, 3),
            "cpu_seconds": round(time.process_time() - cpu, 3),
        }
