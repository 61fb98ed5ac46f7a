"""The driver: hands the items of a sweep to an executor until nothing is left to do."""

from __future__ import annotations

import queue
import secrets
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from dmft.errors import DmftError, InputError, Interrupted
from dmft.store import is_locked, locked
from dmft.sweep import worker
from dmft.sweep.claims import active
from dmft.sweep.failures import Failures
from dmft.sweep.folder import Folder, items_of, open_folder
from dmft.sweep.tasks import Item
from dmft.sweep.worker import Outcome, Settings, Work, compute

_POLL_SECONDS = 0.2
_WAIT_SECONDS = 2.0  # before another look at what other processes have
_MOST_BREAKS = 8  # of workers in a row before any could begin
_FINAL = (worker.DONE, worker.NOT_CONVERGED, worker.FAILED, worker.BLOCKED)


@dataclass(frozen=True)
class Summary:
    """What a run did.

    computed : items that this run finished, by their final state.
    skipped : items that were finished before.
    failures : outcomes that failed or are blocked by failures.
    not_converged : names of results without the wanted accuracy, also of earlier runs.
    """

    computed: dict[str, int] = field(default_factory=dict)
    skipped: int = 0
    failures: tuple[Outcome, ...] = ()
    not_converged: tuple[str, ...] = ()


def run(
    folder: str | Path,
    executor: Executor | None = None,
    *,
    indices: range | None = None,
    settings: Settings | None = None,
    function: Callable[[Work], Outcome] = compute,
    in_flight: int = 1000,
    most_failures: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[Outcome, int, int], None] = lambda outcome, done, total: None,
    command_line: str = "dmft sweep run",
) -> Summary:
    """Compute what is not finished yet.

    Parameters
    ----------
    folder : of the sweep.
    executor : anything with the protocol of `concurrent.futures.Executor` whose workers see the
        folder; None computes in this process.
    indices : numbers of the points; by default all, by at most one such driver at a time.
    settings : how the items are computed.
    function : what the executor is asked to call.
    in_flight : calls submitted at the same time.
    most_failures : results that may fail before the sweep stops; 0 for any number. By default it
        stops when the first 10 fail with the same words, and nothing else is finished.
    stop : polled; when it returns True the computations save, come back and Interrupted is raised.
    report : called with each final outcome, the number of finished items and of all.
    command_line : noted in the files.

    Raises
    ------
    InputError : no sweep, a bad grid, another driver at work.
    Interrupted : `stop` asked for it.
    DmftError : results cannot be written, workers cannot be started, or too much failed. Nothing
        is lost.
    """
    there = open_folder(folder)
    items = items_of(there, indices)
    with _only_driver(there, indices):
        stop_file = there.running / f".stop-{secrets.token_hex(4)}"
        template = Work(there.path.resolve(), next(iter(items.values())), settings or Settings(),
                        stop_file, command_line)  # fmt: skip
        try:
            driver = _Driver(
                there, items, executor, template, function, in_flight, stop, report,
                Failures(there, most_failures, alone=indices is None),
            )  # fmt: skip
            return driver.drive()
        finally:
            stop_file.unlink(missing_ok=True)


@contextmanager
def _only_driver(folder: Folder, indices: range | None) -> Iterator[None]:
    if indices is not None:
        yield  # workers for a part; claims keep them apart
        return
    lock = folder.path / "driver"
    if is_locked(lock):
        raise InputError(
            f"another driver is at work on this sweep, see: dmft sweep status {folder.path}; "
            "to add workers for a part of the points use --index",
            str(folder.path),
        )
    with locked(lock):
        yield


class _Driver:
    """One run: what waits, what is under way, what came back."""

    def __init__(
        self,
        folder: Folder,
        items: dict[str, Item],
        executor: Executor | None,
        template: Work,
        function: Callable[[Work], Outcome],
        in_flight: int,
        stop: Callable[[], bool],
        report: Callable[[Outcome, int, int], None],
        failures: Failures,
    ) -> None:
        self._folder = folder
        self._executor = executor
        self._template = template
        self._function = function
        self._in_flight = 1 if executor is None else in_flight
        self._stop = stop
        self._report = report
        self._failures = failures
        finished = folder.finished()
        self._items = items
        self._total = len(items)
        self._waiting = {name: item for name, item in items.items() if name not in finished}
        self._skipped = self._total - len(self._waiting)
        self._busy: dict[str, float] = {}  # items of other processes, and when to look again
        self._futures: dict[Future[Outcome], Item] = {}
        self._back: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        self._final: dict[str, Outcome] = {}
        self._breaks: Counter[str] = Counter()
        self._stopping = ""
        self._told = False

    def drive(self) -> Summary:
        """Submit and collect until everything is final, or until something asks to stop."""
        self._stopping = self._failures.too_many_before()
        while self._futures or (self._waiting and not self._stopping):
            self._look_for_stop()
            self._submit()
            try:
                future = self._back.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._say_what_is_waited_for()
                continue
            self._take(future)
        if self._stopping == worker.INTERRUPTED:
            raise Interrupted(
                f"interrupted, {len(self._waiting)} results are left; continue with: "
                f"dmft sweep run {self._template.folder}"
            )
        if self._stopping:
            raise DmftError(f"stopped: {self._stopping}; what is finished is safe, the rest waits")
        return self._summary()

    def _say_what_is_waited_for(self) -> None:
        """Once, when all that is left is with other processes."""
        if self._told or self._futures or not self._busy or self._stopping:
            return
        self._told = True
        owners = active(self._folder.running)
        who = {f"{owner.get('host', '?')} ({owner.get('pid', '?')})" for owner in owners.values()}
        warnings.warn(
            f"waiting for {len(self._waiting)} results that other processes have claimed: "
            f"{', '.join(sorted(who)) or 'unknown ones'}",
            stacklevel=2,
        )

    def _look_for_stop(self) -> None:
        if not self._stopping and self._stop():
            self._end(worker.INTERRUPTED)

    def _end(self, why: str) -> None:
        """Submit no more, call back what has not begun, ask the rest to save and come back."""
        self._stopping = self._stopping or why
        if self._template.stop_file is not None:
            with suppress(OSError):  # full disk: what is under way finishes
                self._template.stop_file.touch()
        for future in list(self._futures):
            future.cancel()

    def _submit(self) -> None:
        if self._stopping:
            return
        for name in list(islice(self._ready(), self._in_flight - len(self._futures))):
            item = self._waiting.pop(name)
            work = replace(self._template, item=item)
            if self._executor is None:
                future: Future[Outcome] = Future()
                future.set_result(compute(work, self._stop))
            else:
                future = self._executor.submit(self._function, work)
            self._futures[future] = item
            future.add_done_callback(self._back.put)

    def _ready(self) -> Iterator[str]:
        """Waiting items all of whose needs are decided, and that nobody else had just now."""
        now = time.monotonic()
        under_way = {item.name for item in self._futures.values()}
        for name, item in self._waiting.items():
            undecided = any(need in self._waiting or need in under_way for need in item.needs)
            if not undecided and self._busy.get(name, 0.0) <= now:
                yield name

    def _take(self, future: Future[Outcome]) -> None:
        item = self._futures.pop(future)
        try:
            outcome = future.result()
        except CancelledError:
            outcome = Outcome(item.name, worker.INTERRUPTED)
        except BrokenExecutor as error:
            outcome = self._broken(item, error)
        if outcome.state in _FINAL:
            self._final[item.name] = outcome
            self._report(outcome, self._skipped + len(self._final), self._total)
            too_many = self._failures.too_many(outcome)
            if too_many and (self._waiting or self._futures):
                self._end(too_many)
            return
        self._waiting[item.name] = item
        if outcome.state == worker.BUSY:
            self._busy[item.name] = time.monotonic() + _WAIT_SECONDS
        elif outcome.state == worker.STORAGE:
            self._end(outcome.reason)

    def _broken(self, item: Item, error: BrokenExecutor) -> Outcome:
        """A worker died; the next one sees that by the claim and takes the item over."""
        self._breaks[item.name] += 1
        if self._breaks[item.name] > _MOST_BREAKS:
            return Outcome(item.name, worker.STORAGE, f"workers keep dying ({error})")
        return Outcome(item.name, worker.INTERRUPTED)

    def _summary(self) -> Summary:
        outcomes = self._final.values()
        return Summary(
            computed=dict(Counter(outcome.state for outcome in outcomes)),
            skipped=self._skipped,
            failures=tuple(o for o in outcomes if o.state in (worker.FAILED, worker.BLOCKED)),
            not_converged=tuple(
                name
                for name in sorted(self._folder.noted() & self._items.keys())
                if self._folder.read_note(name).get("status") == worker.NOT_CONVERGED
            ),
        )
