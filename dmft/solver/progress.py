"""How much of a solve is done and how long the rest takes, told from its work.

Panels get dearer as the past grows and replicates have more paths than the pilot, so neither t nor
the number of panels tells the truth. The work of a panel follows from its number and the number of
paths; the time that a unit of work takes is measured as the solve goes.
"""

from __future__ import annotations

import math
import statistics
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
    """Work of panel k (from 0) of N paths, (N + fixed) (1 + linear k + square k^2), and of endings.

    last, finish : the ending of a replicate of K panels, `last` last panels and finish N K^2.
    pilot : the rotation of the pilot's noise, pilot K^3.

    Only ratios count. Measured on the default problem, on a start of 0.01 and on SGD.
    """

    fixed: float = 0.0
    linear: float = 0.0
    square: float = 0.0
    last: float = 0.0
    finish: float = 0.0
    pilot: float = 0.0

    def panels(self, first: int, end: int, paths: int) -> float:
        """Work of the panels first, ..., end - 1."""
        return (paths + self.fixed) * (self._sum(end) - self._sum(first))

    def replicate_ending(self, panels: int, paths: int) -> float:
        """Work after the last panel of a replicate."""
        last = self.panels(panels - 1, panels, paths)
        return self.last * last + self.finish * paths * panels**2

    def pilot_ending(self, panels: int) -> float:
        """Work after the last panel of the pilot."""
        return self.pilot * panels**3

    def _sum(self, n: int) -> float:
        """Sum of 1 + linear k + square k^2 over k < n."""
        return n + self.linear * n * (n - 1) / 2 + self.square * (n - 1) * n * (2 * n - 1) / 6


FLOW_COSTS = Costs(fixed=1900.0, square=1.0 / 500.0, last=1.4)
STEP_COSTS = Costs(linear=1.0 / 15.0, finish=1.0 / 120.0, pilot=0.1)


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
        self._last: tuple[int | None, int, float] | None = None  # replicate, panels, clock
        self._pilot_times: deque[float] = deque(maxlen=_RECENT + 1)

    def pilot_panel(
        self, panels: int, reached: float, t_max: float, replicates: int, planned: int | None = None
    ) -> tuple[float, float | None]:
        """Fraction done and seconds left after a panel of the pilot, which may know its end."""
        self._pilot_times.append(reached)
        total = planned or panels + self._panels_left(panels, t_max)
        self._measure(None, panels, self._pilot_paths)
        return self._told(self._costs.panels(0, panels, self._pilot_paths), total, replicates)

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
        done += self._costs.panels(0, panels, self._paths)
        return self._told(done, planned, max(replicates, finished + 1))

    def _pilot(self, panels: int) -> float:
        work = self._costs.panels(0, panels, self._pilot_paths)
        return work + self._costs.pilot_ending(panels)

    def _replicate(self, panels: int) -> float:
        work = self._costs.panels(0, panels, self._paths)
        return work + self._costs.replicate_ending(panels, self._paths)

    def _told(self, done: float, panels: int, replicates: int) -> tuple[float, float | None]:
        whole = self._pilot(panels) + replicates * self._replicate(panels)
        whole -= self._costs.replicate_ending(panels, self._paths)  # no panel comes after the last
        fraction, speed = min(1.0, round(done / whole, 9)), self._speed()
        return fraction, None if speed is None else max(0.0, whole - done) * speed

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
            if march == replicate and before < panels:
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
