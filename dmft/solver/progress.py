"""How much of a solve is done and how long the rest takes, told from its work.

Panels get dearer as the past grows and replicates have more paths than the pilot, so neither t nor
the number of panels tells the truth. The work of a panel follows from its number and the number of
paths; the time that a unit of work takes is measured as the solve goes.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_REMEMBERED = 200  # panels whose speed counts
_DELAY = 4.0  # times the usual speed: a panel that took longer was held up by something else
_FEWEST = 3  # panels before there is an estimate: the first ones load compiled code
# Before its lengths have settled, a panel of the pilot may multiply t and says little of the rest.
_SETTLED, _EARLY_GROWTH = 8, 0.35
_RECENT = 3  # panels whose growth in log t is continued


@dataclass(frozen=True)
class Costs:
    """Work of panels and of endings.

    Panel k (from 0) of N paths takes (N + fixed) (1 + linear k + square k^2) + least.

    start : of a replicate, start N.
    full : number of the panel after which none is dearer.
    last, finish : the ending of a replicate of K panels, `last` last panels and finish N K^2.
    stored : panels an ending looks at, at most.
    pilot : the rotation of the pilot's noise, pilot K^3.
    pause : after so many panels there may be a pause, whose length is measured; 0 for never.

    Only ratios count. Measured on the default problem, on a start of 0.01 and on SGD.
    """

    fixed: float = 0.0
    linear: float = 0.0
    square: float = 0.0
    least: float = 0.0
    start: float = 0.0
    full: int = sys.maxsize
    last: float = 0.0
    finish: float = 0.0
    stored: int = sys.maxsize
    pilot: float = 0.0
    pause: int = 0

    def panels(self, first: int, end: int, paths: int) -> float:
        """Work of the panels first, ..., end - 1."""
        growing = self._sum(end) - self._sum(first)
        return (paths + self.fixed) * growing + self.least * (end - first)

    def replicate_ending(self, panels: int, paths: int) -> float:
        """Work after the last panel of a replicate."""
        last = self.panels(panels - 1, panels, paths)
        return self.last * last + self.finish * paths * min(panels, self.stored) ** 2

    def pilot_ending(self, panels: int) -> float:
        """Work after the last panel of the pilot."""
        return self.pilot * panels**3

    def pauses(self, panels: int) -> int:
        """Pauses within so many panels."""
        return panels // self.pause if self.pause else 0

    def _sum(self, n: int) -> float:
        """Sum of 1 + linear k + square k^2 over k < n, where k grows to `full` only."""
        m, k = min(n, self.full), self.full
        rising = m + self.linear * m * (m - 1) / 2 + self.square * (m - 1) * m * (2 * m - 1) / 6
        return rising + (n - m) * (1 + self.linear * k + self.square * k * k)


FLOW_COSTS = Costs(fixed=1900.0, square=1.0 / 500.0, last=1.4)
TRACED_STEP_COSTS = Costs(linear=1.0 / 15.0, finish=1.0 / 120.0, pilot=0.1)
# Every 32nd step may fold directions, which takes as long as fifty others, or next to nothing.
STEP_COSTS = Costs(
    linear=0.02, least=1800.0, start=450.0, full=100, finish=0.012, stored=256, pause=32
)


class WorkMeter:
    """Follows the marches of one solve.

    pilot_paths, paths : of the pilot and of each replicate.
    clock : in seconds.
    """

    def __init__(
        self,
        costs: Costs,
        pilot_paths: int,
        paths: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._costs, self._clock = costs, clock
        self._pilot_paths, self._paths = pilot_paths, paths
        self._speeds: deque[tuple[float, float]] = deque(maxlen=_REMEMBERED)  # seconds, work
        self._pauses: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)  # seconds, paths
        self._last: tuple[int | None, int, float] | None = None  # replicate, panels, clock
        self._pilot_times: deque[float] = deque(maxlen=_RECENT + 1)

    def pilot_panel(
        self, panels: int, reached: float, t_max: float, replicates: int, planned: int | None = None
    ) -> tuple[float, float | None]:
        """Fraction done and seconds left after a panel of the pilot, which may know its end."""
        self._pilot_times.append(reached)
        total = planned or panels + self._panels_left(panels, t_max)
        self._measure(None, panels, self._pilot_paths)
        done = self._costs.panels(0, panels, self._pilot_paths)
        return self._told(done, panels, self._pilot_paths, total, replicates)

    def onward_panel(
        self, panels: int, reached: float, t_max: float, replicates: int
    ) -> tuple[float, float | None]:
        """The same after a panel of the first replicate, when it chooses panels for all."""
        self._pilot_times.append(reached)
        planned = panels + self._panels_left(panels, t_max)
        return self.replicate_panel(panels, planned, 0, replicates)

    def replicate_panel(
        self, panels: int, planned: int, finished: int, replicates: int
    ) -> tuple[float, float | None]:
        """Fraction done and seconds left after a panel of the replicate after `finished` ones."""
        self._measure(finished, panels, self._paths)
        done = self._pilot(planned) + finished * self._replicate(planned)
        done += self._marched(panels)
        wanted = max(replicates, finished + 1)
        return self._told(done, panels, self._paths, planned, wanted, finished + 1)

    def _pilot(self, panels: int) -> float:
        work = self._costs.panels(0, panels, self._pilot_paths)
        return work + self._costs.pilot_ending(panels)

    def _marched(self, panels: int) -> float:
        """Work of a replicate up to so many panels."""
        return self._costs.start * self._paths + self._costs.panels(0, panels, self._paths)

    def _replicate(self, panels: int) -> float:
        return self._marched(panels) + self._costs.replicate_ending(panels, self._paths)

    def _told(
        self, done: float, panels: int, paths: int, planned: int, replicates: int, begun: int = 0
    ) -> tuple[float, float | None]:
        """Fraction and seconds left, of a march of `paths` with `panels` and what comes after."""
        whole = self._pilot(planned) + replicates * self._replicate(planned)
        ending = self._costs.replicate_ending(planned, self._paths)  # no panel comes after the last
        fraction, speed = min(1.0, round(done / (whole - ending), 9)), self._speed()
        if speed is None:
            return fraction, None
        each, count = self._pause(), self._costs.pauses(planned)
        pauses = paths * (count - self._costs.pauses(panels))
        pauses += (replicates - begun) * self._paths * count
        return fraction, max(0.0, whole - done) * speed + pauses * each

    def _pause(self) -> float:
        """Seconds of a pause for every path."""
        paths = sum(paths for _, paths in self._pauses)
        return sum(seconds for seconds, _ in self._pauses) / paths if paths else 0.0

    def _panels_left(self, panels: int, t_max: float) -> int:
        """Panels that the pilot still needs if log t goes on growing as it did lately."""
        times = self._pilot_times
        rest = math.log(max(1.0, t_max / times[-1]))
        growth = _EARLY_GROWTH
        if len(times) > 1:
            growth = math.log(times[-1] / times[0]) / (len(times) - 1)
        if panels < _SETTLED:
            growth = min(growth, _EARLY_GROWTH)
        return math.ceil(rest / growth - 1e-9)

    def _measure(self, replicate: int | None, panels: int, paths: int) -> None:
        """Note what the last panel took, if it is known when it began."""
        now = self._clock()
        if self._last is not None:
            march, before, then = self._last
            if march == replicate and self._costs.pauses(before) < self._costs.pauses(panels):
                self._pauses.append((now - then, paths))
            elif march == replicate and before < panels:
                work = self._costs.panels(before, panels, paths)
                self._speeds.append((now - then, work))
        self._last = (replicate, panels, now)

    def _speed(self) -> float | None:
        """Seconds a unit of work takes: the mean over what is no delay, as compiling is one."""
        if len(self._speeds) < _FEWEST:
            return None
        most = _DELAY * statistics.median(seconds / work for seconds, work in self._speeds)
        usual = [(seconds, work) for seconds, work in self._speeds if seconds <= most * work]
        return sum(seconds for seconds, _ in usual) / sum(work for _, work in usual)
