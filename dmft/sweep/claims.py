"""Claims: who computes an item, so that no two processes do the same, on one host or on many.

A claim is a file NAME.claim-N created exclusively, which is atomic on network file systems
too; locks are not on all of them. Its owner touches it now and then. A claim is *stale* when its
owner is known to be dead, which a process on the same host can tell, or when it has not been
touched for long, by the clock of the file system.

A stale claim N is not removed but superseded by claim N + 1. Only one process can create that, so
only one takes over, and whatever a slow process still believes about claim N does no harm. An owner
that finds a higher number than its own has lost the item. Claims are removed, lowest first, after
the result is in place; hence whoever gets a claim looks for a result before it computes.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmft.texts import parse_json, read_text

BEAT_SECONDS = 15.0
STALE_SECONDS = 120.0


@dataclass(frozen=True)
class Claim:
    """A claim that this process holds.

    deaths : owners in a row that died before this one without getting further.
    """

    folder: Path
    name: str
    number: int
    deaths: int

    @property
    def path(self) -> Path:
        return _claim_path(self.folder, self.name, self.number)

    def lost(self) -> bool:
        """Whether another process took this one for dead and has superseded its claim."""
        return max(_numbers(self.folder, self.name), default=-1) != self.number

    def release(self) -> None:
        """Give up the claim."""
        for number in sorted(_numbers(self.folder, self.name)):
            if number <= self.number:
                _claim_path(self.folder, self.name, number).unlink(missing_ok=True)


@contextmanager
def claimed(
    folder: Path, name: str, progress: Path, *, stale_seconds: float = STALE_SECONDS
) -> Iterator[Claim | None]:
    """Hold the claim of an item while the block runs; None if another process has it.

    Parameters
    ----------
    folder : of the claims.
    name : of the item.
    progress : a file that changes when the computation gets further, for counting `deaths`.
    """
    claim = acquire(folder, name, progress, stale_seconds=stale_seconds)
    if claim is None:
        yield None
        return
    over = threading.Event()

    def beat() -> None:
        while not over.wait(min(BEAT_SECONDS, stale_seconds / 4)):
            with suppress(OSError):
                os.utime(claim.path)

    pulse = threading.Thread(target=beat, name="claim", daemon=True)
    pulse.start()
    try:
        yield claim
    finally:
        over.set()
        pulse.join()
        claim.release()


def acquire(
    folder: Path, name: str, progress: Path, *, stale_seconds: float = STALE_SECONDS
) -> Claim | None:
    """Try once to get the claim of an item."""
    number = max(_numbers(folder, name), default=-1)
    mark = _mark(progress)
    deaths = 0
    if number >= 0:
        owner = _owner(_claim_path(folder, name, number))
        if _alive(_claim_path(folder, name, number), owner, stale_seconds, _clock(folder)):
            return None
        deaths = int(owner.get("deaths", 0)) + 1 if owner.get("mark") == mark else 0
    claim = Claim(folder, name, number + 1, deaths)
    try:
        descriptor = os.open(claim.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None  # somebody else was faster
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({**_identity(), "mark": mark, "deaths": deaths}, file)
    return claim


def active(folder: Path, *, stale_seconds: float = STALE_SECONDS) -> dict[str, dict[str, Any]]:
    """Names of the items that are being computed now, and by whom."""
    latest: dict[str, int] = {}
    for entry in os.scandir(folder):
        name, separator, end = entry.name.rpartition(".claim-")
        if separator and _is_count(end):
            latest[name] = max(latest.get(name, -1), int(end))
    found = {}
    now = _clock(folder) if latest else 0.0
    for name, number in latest.items():
        path = _claim_path(folder, name, number)
        owner = _owner(path)
        if _alive(path, owner, stale_seconds, now):
            found[name] = owner
    return found


def _claim_path(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}.claim-{number}"


def _numbers(folder: Path, name: str) -> list[int]:
    start = f"{name}.claim-"
    ends = (
        entry.name[len(start) :] for entry in os.scandir(folder) if entry.name.startswith(start)
    )
    return [int(end) for end in ends if _is_count(end)]


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _mark(progress: Path) -> int:
    try:
        return progress.stat().st_mtime_ns
    except OSError:
        return 0


def _owner(path: Path) -> dict[str, Any]:
    """Who holds a claim; empty if it was released, is just being written, or is damaged."""
    try:
        owner = parse_json(read_text(path))
    except (OSError, ValueError):
        return {}
    whole = isinstance(owner, dict) and all(
        isinstance(owner.get(key, 0), int) for key in ("pid", "deaths")
    )
    return owner if whole else {}


def _alive(path: Path, owner: dict[str, Any], stale_seconds: float, now: float) -> bool:
    me = _identity()
    if me["place"] and owner.get("place") == me["place"]:
        return _started(int(owner.get("pid", -1))) == owner.get("started")
    try:
        touched = path.stat().st_mtime
    except FileNotFoundError:
        return False
    return now - touched < stale_seconds


def _clock(folder: Path) -> float:
    """The time as the file system has it, which may be that of a server."""
    probe = folder / f".clock-{secrets.token_hex(4)}"
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink(missing_ok=True)
    except OSError:  # a folder to look at only, or a full disk
        return time.time()
    return now


def _identity() -> dict[str, Any]:
    """This process, in a form that another process of the same host can check."""
    return {
        "host": platform.node(),
        "place": _place(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


def _place() -> str:
    """Where process numbers mean the same: a boot of a host and a process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""  # no Linux: claims are judged by their age


def _started(pid: int) -> int | None:
    """When a process started, in ticks since boot; None if there is none, or it is a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
