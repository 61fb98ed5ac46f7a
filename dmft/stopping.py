"""Ctrl-C and SIGTERM as a polite request that a running computation polls."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_requests(
    signals: Sequence[signal.Signals] = _SIGNALS,
) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether a stop was requested by one of `signals`.

    A second Ctrl-C does not wait any longer and raises KeyboardInterrupt; schedulers repeat
    their signals, and mean the same by that.
    """
    requested = False

    def request(number: int, _frame: FrameType | None) -> None:
        nonlocal requested
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested = True
        if os.isatty(2):
            # Not print: the signal may arrive while the stream is being written to.
            os.write(2, b"\nstopping at the next chance to save; once more to stop at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # only the main thread may handle signals
        return
    before = [signal.signal(number, request) for number in signals]
    try:
        yield lambda: requested
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
