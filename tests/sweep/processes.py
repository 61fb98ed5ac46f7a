"""Sweeps driven by the command in processes of their own, and comparisons of what they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from dmft.sweep import open_folder

ROOT = Path(__file__).parents[2]


def start(*arguments: object) -> subprocess.Popen[str]:
    """`dmft sweep ...` in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "dmft", "sweep", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Poll; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def results(folder: Path) -> dict[str, float]:
    """Names of the finished files and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "results").glob("*.h5")}


def workers_of(folder: Path) -> list[int]:
    """Processes that hold a claim now."""
    from dmft.sweep.claims import active

    return [owner["pid"] for owner in active(folder / "running").values()]


def kill(pid: int) -> None:
    """Kill -9, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def assert_identical(folder: Path, reference: Path) -> None:
    """The same files with the same arrays, bit for bit."""
    assert results(folder).keys() == results(reference).keys()
    for name in results(folder):
        ours, theirs = (_arrays(where / "results" / name) for where in (folder, reference))
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=f"{name}: {key}")


def assert_nothing_twice(folder: Path) -> None:
    """No item was finished more than once, and no claim or checkpoint is left."""
    done = Counter(e["item"] for e in open_folder(folder).events() if e["event"] == "done")
    assert not [name for name, count in done.items() if count > 1]
    left = [path.name for path in (folder / "running").iterdir()]
    assert not left


def _arrays(path: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(note)
    return arrays
