"""The scheme of flows: a pilot chooses panels, replicates march over them.

What one flow has of its own is a `Flow` (panel_flow.py).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from dmft.errors import InputError, NotConverged
from dmft.settings import SolverSettings
from dmft.solver.ended import Ended
from dmft.solver.memory import memory_excess
from dmft.solver.panel_flow import Flow
from dmft.solver.pilot import (
    PILOT_PATHS,
    PanelMarch,
    StepControl,
    adaptive_panels,
    make_plan,
)
from dmft.solver.plan import Plan
from dmft.solver.progress import FLOW_COSTS
from dmft.solver.rehearsal import MOST_REHEARSING, rehearsed
from dmft.solver.scheme import (
    Advance,
    Finished,
    Grid,
    PanelFailed,
    Saved,
    Tree,
    Underway,
    sampling_seed,
)
from dmft.solver.state import check_stages, repeated

_FIRST_CAPACITY = 32  # panels the pilot's storage starts with


class PanelScheme:
    """Marches of a flow over panels; see `Scheme`."""

    costs = FLOW_COSTS

    def __init__(
        self, settings: SolverSettings, flow: Flow, pool: ThreadPoolExecutor | None
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._flow = flow
        self.descends, self.method = flow.descends, flow.method
        self.pilot_paths = flow.pilot_paths()

    def pilot(self, saved: Saved | None) -> PanelPilot:
        """A pilot at its start, or where it was left."""
        march = self._start(self.pilot_paths, 0, None, _FIRST_CAPACITY, pilot=True)
        if saved:
            self._replay(march, saved)
        return self._pilot(march, saved)

    def onward(self, plan: Plan, saved: Saved) -> PanelPilot:
        """Replicate 1 at the end of a plan, with the control that a pilot had there."""
        if "panels" not in saved or "control" not in saved:
            raise InputError(
                f"given {self._settings.t_max:g}, the state ends at {plan.end:g} and keeps no "
                "panels to go on from: solve again",
                "solver.t_max",
            )
        march = None if self._flow.pilots_differ else self._again(saved)
        if march is None:
            march = self._start(self._settings.n_paths, 1, plan.rotation, plan.panels, pilot=True)
            self._replay(march, saved)
        return self._pilot(march, saved, plan.rotation)

    def march(self, plan: Plan, index: int, saved: Saved | None) -> PanelReplicate:
        """Replicate `index` at its start or where it was left."""
        march = self._again(saved) if saved else None
        if march is None:
            march = self._start(self._settings.n_paths, index, plan.rotation, plan.panels)
            if saved:
                self._replay(march, saved)
        return PanelReplicate(self._flow, march, plan)

    def other_plan(self, plan: Plan, panel: int, failures: int) -> Plan:
        """Cut the panel that failed in two, or give up the time beyond it."""
        if failures < self._flow.most_splits:
            return plan.split(panel)
        if panel == 0:
            raise NotConverged("the first panel did not converge, nothing was reached")
        reason = f"the sweeps did not converge beyond t = {plan.edges[panel]:.6g}: too few n_paths"
        if plan.reason and failures == self._flow.most_splits:  # not that of an earlier cut
            reason += f"; the pilot {plan.reason}"
        return plan.cut(panel, reason)

    def grid(self, plan: Plan) -> Grid:
        """The nodes of a plan."""
        grid = self._flow.grid(plan)
        time, times = grid.time.copy(), np.array(self._settings.times or ())
        times = times[times <= plan.end]
        # The ends of panels are sums of their lengths; these are what was asked for.
        time[np.abs(time[:, None] - times).argmin(axis=0)] = times
        return replace(grid, time=time)

    def check_memory(self, panels: int) -> None:
        """Refuse paths whose tangents do not fit."""
        count = self._settings.n_paths
        excess = memory_excess(self._flow.memory(count, panels))
        if excess:
            raise InputError(
                f"given {count}, which {excess} for {panels} panels: take fewer paths and more "
                "replicates",
                "solver.n_paths",
            )

    def time_error(self, name: str, mean: np.ndarray, plan: Plan) -> np.ndarray:
        """What the time discretisation may add to a mean curve."""
        return self._flow.time_error(name, max(self._settings.rtol, plan.rtol), mean)

    def kept(self, march: Underway) -> Tree:
        """The rows of its panels."""
        assert isinstance(march, PanelPilot | PanelReplicate)
        return march.kept()

    def ended(self, march: Underway) -> Ended | None:
        """The march of a replicate."""
        if not isinstance(march, PanelReplicate):
            return None
        return march.ended(self._flow.memory(self._settings.n_paths, march.count))

    def _pilot(
        self, march: PanelMarch, saved: Saved | None, rotation: np.ndarray | None = None
    ) -> PanelPilot:
        control = self._flow.control(march, self._settings.rtol)
        before = None
        if saved:
            control.restore(saved["control"])
            before = saved.get("before")
        ends = self._settings.t_max, self._settings.times or ()

        def turn(rough: bool) -> np.ndarray:
            return self._rotation(march, rough) if rotation is None else rotation

        return PanelPilot(self._flow, march, control, *ends, before, turn)

    def _rotation(self, pilot: PanelMarch, rough: bool) -> np.ndarray:
        """That of replicates, by a rehearsal where one pays; rough : without."""
        rotation = self._flow.rotation(pilot)
        # It costs as much as a replicate: for a single one, more paths are the better use of that.
        if rough or self._settings.replicates == 1 or not self._flow.rehearses(pilot):
            return rotation
        count = min(max(self._settings.n_paths, PILOT_PATHS), MOST_REHEARSING)
        march = self._start(count, 0, rotation, len(pilot.rows), beside=True)
        return self._flow.rotation(march) if rehearsed(march, pilot) else rotation

    def _start(
        self,
        count: int,
        index: int,
        rotation: np.ndarray | None,
        panels: int,
        *,
        pilot: bool = False,
        beside: bool = False,
    ) -> PanelMarch:
        seed, rtol = sampling_seed(self._settings, index, beside=beside), self._settings.rtol
        with _no_garbage_collection():  # the first march loads the compiled kernels
            return self._flow.start(count, seed, rotation, panels, rtol, pilot)

    def _again(self, saved: Saved) -> PanelMarch | None:
        """A march that is still in memory, if it has the saved panels."""
        ended = saved.get("ended")
        return ended.again(saved["panels"], self._pool) if isinstance(ended, Ended) else None

    def _replay(self, march: PanelMarch, saved: Saved) -> None:
        """Commit the saved panels again: a small part of the work of solving them."""

        def repeat() -> None:
            panels = saved["panels"]
            for index in range(len(panels)):
                rows = panels[str(index)]
                check_stages(rows)
                march.commit(self._flow.rows_type(**rows))
            march.work = dict.fromkeys(march.work, 0.0) | saved["work"]

        repeated(repeat)


class PanelPilot:
    """A pilot under way, also one that goes on from the end of a replicate."""

    def __init__(
        self,
        flow: Flow,
        march: PanelMarch,
        control: StepControl,
        t_max: float,
        times: Sequence[float],
        before: Tree | None,
        turn: Callable[[bool], np.ndarray],
    ) -> None:
        """A pilot at its start or where it was left.

        before : the state that the control had before the last panel, if it is another now.
        turn : how its plan rotates the noise, a rough way or a better one.
        """
        self._turn = turn
        self._flow = flow
        self._march = march
        self._control = control
        self._t_max, self._times = t_max, times
        self._before: Tree = dict(before or control.state())

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        return self._march.work

    def panels(self) -> Iterator[Advance]:
        """March on panels of lengths that the control chooses."""
        march, control = self._march, self._control
        following = control.state()
        for attempt in adaptive_panels(march, control, self._t_max, self._times):
            self._before, following = dict(following), control.state()
            yield Advance(march.time, attempt.time_error, attempt.sweeps, len(march.rows))
            control.reason = self._flow.hopeless(march)
            if control.reason:
                return

    def saved(self) -> Tree:
        """The rows of its panels and the state of the control."""
        control = self._control.state()
        return {**_saved(self._march), "control": control, "before": self._before}

    def kept(self) -> Tree:
        """The control before the last panel, which t_max cut short, or the longer step after."""
        step = max(self._before["step"], self._control.step)
        return {"control": {**self._before, "step": step}}

    def plan(self, early: str = "") -> Plan:
        """What it has found."""
        self._control.reason = self._control.reason or early
        rotation = self._turn(bool(early))
        return make_plan(self._march, self._control, self._t_max, rotation)

    def replicate(self, plan: Plan) -> PanelReplicate:
        """Its march as that of a replicate, at the end of the plan."""
        return PanelReplicate(self._flow, self._march, plan)


class PanelReplicate:
    """A replicate under way over the panels of a plan."""

    def __init__(self, flow: Flow, march: PanelMarch, plan: Plan) -> None:
        self._flow = flow
        self._march = march
        self._plan = plan

    @property
    def work(self) -> dict[str, float]:
        """Counters of the work done."""
        return self._march.work

    def panels(self) -> Iterator[Advance]:
        """March over the panels that are left."""
        march, plan = self._march, self._plan
        for panel in range(len(march.rows), plan.panels):
            step = plan.edges[panel + 1] - plan.edges[panel]
            attempt = march.attempt(step, plan.directions[panel])
            if attempt is None or not attempt.converged:
                raise PanelFailed(panel, _without_work(march.rows))
            march.commit(attempt.rows)
            yield Advance(march.time, attempt.time_error, attempt.sweeps, len(march.rows))

    def saved(self) -> Tree:
        """The rows of its panels."""
        return _saved(self._march)

    def kept(self) -> Tree:
        """The rows of its panels, which cost nothing when they are repeated."""
        return _without_work(self._march.rows)

    @property
    def count(self) -> int:
        """Its panels."""
        return len(self._march.rows)

    def ended(self, size: float) -> Ended:
        """Its march; this one is over."""
        return Ended(self._march, size)

    def finish(self) -> Finished:
        """What it leaves behind."""
        return self._flow.finish(self._march)


def _without_work(rows: Sequence[Any]) -> Tree:
    return {"work": {}, "panels": _panels(rows)}


def _saved(march: PanelMarch) -> Tree:
    return {"work": dict(march.work), "panels": _panels(march.rows)}


def _panels(panels: Sequence[Any]) -> Tree:
    return {str(index): asdict(rows) for index, rows in enumerate(panels)}


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """What a compiler's modules define all stays: looking it through takes a fifth of the start."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
