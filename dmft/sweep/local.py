"""Local worker processes, each replaceable: one that dies takes nothing but its item with it."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import ProcessPoolExecutor
from types import FrameType
from typing import Any

from dmft.sweep.worker import Outcome, Work, compute

# Imported once, by the server that the workers are forked from.
_PRELOAD = ["dmft.store.results", "h5py"]
_COMPILED = "dmft.sweep.compiled"


def available_cores() -> int:
    """Cores that this process may use; in a batch job those of the job."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalExecutor(Executor):
    """An executor of `jobs` worker processes.

    Unlike a ProcessPoolExecutor it survives the death of a worker: the call under way raises
    BrokenExecutor, all others go on, and a new worker takes the place of the dead one.

    Parameters
    ----------
    jobs : number of workers.
    solves : whether they will solve, and should share the compiled kernels.
    """

    def __init__(self, jobs: int, *, solves: bool = True) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([*_PRELOAD, _COMPILED] if solves else _PRELOAD)
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="worker")
        self._pools: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        for _ in range(jobs):
            self._pools.put(self._new_pool())

    def submit(self, function: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Call a function in the next worker that is free."""
        return self._threads.submit(self._call, function, args, options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers, after what they do now."""
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        while not self._pools.empty():
            self._pools.get().shutdown(wait, cancel_futures=cancel_futures)

    def _call(
        self, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
    ) -> Any:
        pool = self._pools.get()
        try:
            return pool.submit(function, *args, **options).result()
        except BrokenExecutor:
            pool.shutdown(wait=False)
            pool = self._new_pool()
            raise
        finally:
            self._pools.put(pool)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=self._context, initializer=_start_worker)


def compute_in_worker(work: Work) -> Outcome:
    """`compute`, in a worker process; a worker that was asked to end does so afterwards."""
    _worker.busy = True
    try:
        return compute(work, lambda: _worker.ending)
    finally:
        _worker.busy = False
        if _worker.ending:
            os._exit(0)


class _Worker:
    """Whether this process computes, and whether it was asked to end."""

    busy = False
    ending = False

    def end(self, *_: int | FrameType | None) -> None:
        self.ending = True
        if not self.busy:
            os._exit(0)


_worker = _Worker()


def _start_worker() -> None:
    """Leave Ctrl-C to the driver, save and end on a signal, and not outlive the driver."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _worker.end)
    threading.Thread(target=_watch_driver, name="driver", daemon=True).start()


def _watch_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        _worker.end()
