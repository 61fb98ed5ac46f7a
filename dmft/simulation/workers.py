"""Runs of an ensemble in several processes; each uses one thread."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, wait
from concurrent.futures.process import ProcessPoolExecutor
from typing import TypeVar

from dmft.errors import DmftError, InputError, Interrupted

Result = TypeVar("Result")
_POLL_SECONDS = 0.1


def available_cores() -> int:
    """Cores that this process may use; in a batch job those of the job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_processes(
    function: Callable[[int], Result],
    numbers: Sequence[int],
    workers: int,
    stop: Callable[[], bool],
) -> Iterator[tuple[int, Result]]:
    """Yield (number, function(number)) as they are finished.

    Raises
    ------
    InputError : the function cannot be sent to another process.
    Interrupted : `stop` asked for it; what was under way is dropped at once.
    DmftError : a process died.
    """
    try:
        pickle.dumps(function)
    except Exception:
        raise InputError(
            "given functions that no other process can import, define them in a module or use "
            "workers=1",
            "observables",
        ) from None
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dmft.simulation.ensemble"])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start)
    try:
        waiting = {pool.submit(function, number): number for number in numbers}
        while waiting:
            done, _ = wait(waiting, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=waiting.__getitem__):
                yield waiting.pop(future), future.result()
            if stop():
                raise Interrupted("stopped on request")
    except BrokenExecutor:
        raise DmftError(
            "a worker process died (out of memory? a script needs `if __name__ == '__main__':`)"
        ) from None
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # idle, or at a run that nobody waits for
            process.terminate()


def _start() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
