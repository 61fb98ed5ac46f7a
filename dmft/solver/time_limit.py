"""A solve that must end soon: how far its pilot may go, and when replicates are enough."""

from __future__ import annotations

import time
from collections.abc import Callable

# A replicate of a few hundred paths takes at most half of what the pilot does.
_PILOT_SHARE = 0.35
_FEWEST = 2  # replicates, for error bars
WORDS = "by the time limit"  # in the reason of a solution that has come to it


class TimeLimit:
    """Seconds that a solve has from its second panel on, which has all code compiled."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._began: float | None = None
        self._before = 0.0  # seconds until the panel before

    def ends_pilot(self, reached: float, t_max: float) -> str:
        """Why the pilot has to end at the panel that it has just made, or ""."""
        passed = self._passed()
        following = 2.0 * passed - self._before  # after a panel that takes as long
        self._before = passed
        if reached >= t_max * (1.0 - 1e-12) or following <= _PILOT_SHARE * self._seconds:
            return ""
        return f"stopped at t = {reached:.6g} {WORDS} of {self._seconds:g} s"

    def ends_replicates(self, finished: int) -> str:
        """Why so many replicates must do, with the one under way given up, or ""."""
        if finished < _FEWEST or self._passed() <= self._seconds:
            return ""
        return f"ended with {finished} replicates {WORDS} of {self._seconds:g} s"

    def _passed(self) -> float:
        now = self._clock()
        if self._began is None:
            self._began = now
        return now - self._began
